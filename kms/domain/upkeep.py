"""What time does to a link: uses cool, rates are measured, what waited for too long ends.

Theory of operation: ``due_ms`` is known beforehand, so that a tick costs nothing for a link on
which nothing is due, however many links a node has. Only what stirs a link can move it.
"""

from typing import Final

from kms.domain import limits
from kms.domain.agreement import Agreement
from kms.domain.greeting import Greeting
from kms.domain.linkmemory import LinkMemory
from kms.domain.meter import RateMeter
from kms.domain.outbox import Outbox
from kms.domain.outgoing import Outgoing

_COOL_EVERY_MS: Final = 1000
_MUTE_MS_MAX: Final = limits.HELLO_TIMEOUT_MS


class Upkeep:
    """The clock of one link."""

    def __init__(
        self, memory: LinkMemory, agreement: Agreement, greeting: Greeting, outgoing: Outgoing
    ) -> None:
        self._memory, self._agreement = memory, agreement
        self._greeting, self._outgoing = greeting, outgoing
        self.meter = RateMeter()
        self.due_ms = 0
        """monotonic; a tick before it has nothing to do"""
        self._cooled_ms: int | None = None
        self._mute_since_ms: int | None = None
        """the last tick at which the window was not too small to speak; None: it is not"""

    def tick(self, out: Outbox, before_ms: int) -> None:
        """Blocks expire, a silent hello ends, rates and uses are brought up to date.
        ``before_ms``: when the tick before was."""
        now_ms = out.now.mono_ms
        self._agreement.tick(out)
        self._greeting.tick(out)
        if not self._mute:
            self._mute_since_ms = None
        elif self._mute_since_ms is None:
            self._mute_since_ms = before_ms
        if self._mute_since_ms is not None and now_ms - self._mute_since_ms > _MUTE_MS_MAX:
            # A hello needs no pad, and says what an acknowledgement could not: how long the log is.
            reason = "no pad is left to speak with: if it goes on, restart the link"
            self._greeting.disconnect(reason, out)
        if self._cooled_ms is None or now_ms - self._cooled_ms >= _COOL_EVERY_MS:
            for pad in self._memory.pads:
                pad.cool(now_ms - self._cooled_ms if self._cooled_ms is not None else 0)
            self._cooled_ms = now_ms
            self.meter.advance(now_ms, self._agreement.log.agreed_bytes)
        self.look()

    def look(self) -> None:
        """What is due next is known, until the link is stirred."""
        if self._cooled_ms is None or self._mute or self._mute_since_ms is not None:
            # Whether it can speak again is asked at each tick.
            self.due_ms = 0
            return
        self.due_ms = self._cooled_ms + _COOL_EVERY_MS
        for expires_ms in (self._agreement.expires_ms(), self._greeting.expires_ms()):
            if expires_ms is not None and expires_ms < self.due_ms:
                self.due_ms = expires_ms

    @property
    def _mute(self) -> bool:
        return self._greeting.up and self._outgoing.mute
