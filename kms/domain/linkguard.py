"""When a link may serve key, and when it has to stop (I13).

An *alarm* (QBER, mismatch) holds all serving until some good blocks in a row were agreed. *Doubt*
is for pads that cannot be trusted any more: the link stops until a second secret is brought. Both
ends hold while one of them is under alarm: each tells the other.
"""

from collections.abc import Callable

from kms.domain import limits
from kms.domain.agreement import Agreement
from kms.domain.linkmemory import LinkMemory
from kms.domain.outbox import Outbox
from kms.domain.records import LinkState, Way
from kms.domain.wire import Alarmed, Message


class LinkGuard:
    """Alarms and doubt of one link."""

    def __init__(self, memory: LinkMemory, agreement: Agreement) -> None:
        self._memory, self._agreement = memory, agreement
        self._good_blocks = 0
        self._counted = 0
        self._neighbours = ""
        """the alarm that the neighbour's end is under"""
        self._said = ""

    @property
    def alarmed(self) -> str:
        """Why no key of the link is served; empty when it may be."""
        if self._neighbours:
            return self._memory.alarm or f"{self._neighbours} at {self._memory.peer}"
        return self._memory.alarm

    def session_begins(self) -> None:
        """The welcome says how this end is; an alarm is said under the pads as well, where nobody
        can take it away."""
        self._said = ""

    def say(self, send: Callable[[Message], None]) -> None:
        """The neighbour is told of a change."""
        if self._said != self._memory.alarm:
            self._said = self._memory.alarm
            send(Alarmed(self._said))

    def heard(self, kind: str, out: Outbox) -> None:
        """The neighbour's word; until it says otherwise nothing is served here either."""
        link, before = self._memory.link, self._neighbours
        self._neighbours = kind
        if kind and kind != before:
            out.alarm("neighbour-alarm", link, f"{self._memory.peer} is under alarm: {kind}")
        elif before and not kind:
            out.audit("alarm-ended", actor="node", subject=link, kind="neighbour-alarm")
            out.note("alarm-ended", link=link, kind="neighbour-alarm")

    def begin(self) -> None:
        """What is in the log so far says nothing about the device now."""
        self._good_blocks, self._counted = 0, self._memory.log_count

    def alarm(self, kind: str, detail: str, out: Outbox) -> None:
        """I13: nothing of this link is served until good blocks end the alarm."""
        self._good_blocks = 0
        if self._memory.alarm != kind:
            self._memory.alarm = kind
            self._memory.save(out)
            out.alarm(kind, self._memory.link, detail)

    def doubt(self, reason: str, out: Outbox) -> None:
        """The pads cannot be trusted: nothing moves until a second secret is brought."""
        self._memory.state = LinkState.DOUBTED
        self._memory.reason = reason
        if self._memory.restored:
            # Nobody was left to ask: the streams end with it (``Node``).
            self._memory.restored = Way.BURN
        self._memory.save(out)
        out.alarm("link-doubted", self._memory.link, reason)

    def look(self, out: Outbox) -> None:
        """End of a batch: blocks that differ raise an alarm, good ones end it."""
        count = self._memory.log_count
        if count != self._counted:
            self._good_blocks += max(0, count - self._counted)
            self._counted = count
        alarm = self._memory.alarm
        if self._agreement.mismatches_in_a_row >= limits.MISMATCHES_MAX:
            self._agreement.mismatches_in_a_row = 0
            self.alarm("mismatch", "the two ends' blocks differ, one after another", out)
        elif alarm and self._good_blocks >= limits.ALARM_CLEAR_BLOCKS:
            self._memory.alarm = ""
            self._memory.save(out)
            out.audit("alarm-ended", actor="node", subject=self._memory.link, kind=alarm)
            out.note("alarm-ended", link=self._memory.link, kind=alarm)
