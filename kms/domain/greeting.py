"""How a session with the neighbour begins: hello, welcome, and then pad may move.

``hello.settle`` says what two hellos come to; this carries it out. Each welcome leaves after the
commit of what it says, so in phase UP both ends have both hellos durably.
"""

from collections.abc import Callable

from kms.domain import frame, hello, limits, wire
from kms.domain.agreement import Agreement
from kms.domain.effects import Disconnect, SendFrame
from kms.domain.errors import PeerFault
from kms.domain.linkmemory import LinkMemory
from kms.domain.outbox import Outbox
from kms.domain.records import LinkState
from kms.domain.session import Phase, Step, after
from kms.domain.wire import Hello, Range, Refusal, Welcome


class Greeting:
    """Session and phase of one link's connection."""

    def __init__(
        self,
        memory: LinkMemory,
        agreement: Agreement,
        *,
        doubt: Callable[[str, Outbox], None],
        on_grant: Callable[[int, Outbox], None],
        on_alarm: Callable[[str, Outbox], None],
        forget: Callable[[], None],
    ) -> None:
        """``forget``: what was queued for the session is dropped."""
        self._memory, self._agreement = memory, agreement
        self._doubt, self._on_grant, self._forget = doubt, on_grant, forget
        self._on_alarm = on_alarm
        self.phase = Phase.DOWN
        self.session = 0
        self.refused = ""
        """why the last session was refused, by either end; empty once one is up"""
        self.aged = False
        """this end's store was found to be an old one: what it delivered since it does not know"""
        self.boot = 0
        self._seen_boot = 0
        self._outcome: hello.Outcome | None = None
        self._greeted_ms = 0

    @property
    def continuous(self) -> bool:
        return self._outcome is not None and self._outcome.continuous

    @property
    def up(self) -> bool:
        return self.phase is Phase.UP

    def begin_anew(self, out: Outbox) -> None:
        """The next hello knows nothing of this neighbour's memory."""
        self.windows_lost("another link secret begins", out)

    def windows_lost(self, reason: str, out: Outbox) -> None:
        """The session ends, and the next one begins with new windows at both ends."""
        self._seen_boot = 0
        self.disconnect(reason, out)

    # ---- the connection -----------------------------------------------------------------

    def connected(self, session: int, out: Outbox) -> None:
        """The own hello goes; a link that is new or doubted is refused by name."""
        self.session = session
        self._forget()
        memory = self._memory
        if memory.standing:
            self._refuse(f"{memory.node} stands: {memory.standing}", out)
            return
        if memory.state is not LinkState.OPEN:
            reason = memory.reason or "no link secret was brought to this end yet"
            self._refuse(f"at {memory.node} it is {memory.state.value}: {reason}", out)
            return
        self.phase = after(self.phase, Step.CONNECT)
        self._greeted_ms = out.now.mono_ms
        self._send(hello.own(memory, self.boot, self._seen_boot), out)

    def lost(self, session: int) -> None:
        """The connection is gone, if it was this one."""
        if session == self.session:
            self.phase = after(self.phase, Step.LOSE)
            self._forget()

    def disconnect(self, reason: str, out: Outbox) -> None:
        """The session ends; the next one begins with a hello."""
        if self.phase is not Phase.DOWN:
            out.add(Disconnect(link=self._memory.link, session=self.session, reason=reason))
            self.phase = Phase.DOWN
            self._forget()

    def expires_ms(self) -> int | None:
        """When ``tick`` ends a session that did not begin in time."""
        if self.phase in (Phase.DOWN, Phase.UP):
            return None
        return self._greeted_ms + limits.HELLO_TIMEOUT_MS + 1

    def tick(self, out: Outbox) -> None:
        expires_ms = self.expires_ms()
        if expires_ms is not None and expires_ms <= out.now.mono_ms:
            self.disconnect("no hello in time", out)

    # ---- opening messages ---------------------------------------------------------------

    def on_opening(self, message: Hello | Welcome | Refusal, out: Outbox) -> None:
        """Raises ``PeerFault`` for one that does not fit; nothing changed then."""
        if isinstance(message, Hello):
            self._on_hello(message, out)
        elif isinstance(message, Welcome):
            self._on_welcome(message, out)
        else:
            reason = f"refused by the neighbour: {message.reason}"
            self.refused = reason
            out.note("session-refused-by-peer", link=self._memory.link, reason=message.reason)
            self.disconnect(reason, out)

    def welcome_when_opened(self, out: Outbox) -> None:
        """The welcome goes once the first granted bytes are in memory."""
        memory = self._memory
        if self.phase not in (Phase.SETTLING, Phase.WELCOMED) or memory.reader.opening:
            return
        assert self._outcome is not None, "settling follows a hello"
        welcome = Welcome(
            self._outcome.protocol,
            memory.epoch,
            memory.log_count,
            self._outcome.reader_start,
            memory.reader.granted,
            _ranges(memory.reader.burnt()),
            _ranges(memory.writer.burnt()),
            memory.alarm,
        )
        self._send(welcome, out)
        memory.reader.told()
        self._step(Step.WELCOME_OUT, out)

    def _on_hello(self, theirs: Hello, out: Outbox) -> None:
        after(self.phase, Step.HELLO_IN)
        memory, log = self._memory, self._agreement.log
        mine = hello.own(memory, self.boot, self._seen_boot)
        try:
            outcome = hello.settle(memory, mine, theirs, settled=log.settled, hash_at=log.hash_at)
        except hello.Refused as refused:
            self._refuse(refused.reason, out)
            if refused.doubt:
                self._doubt(refused.reason, out)
            return
        self.phase = after(self.phase, Step.HELLO_IN)
        self._outcome = outcome
        self._seen_boot = theirs.boot
        self._go_on(outcome, out)
        self._agreement.resumed(min(theirs.log_count, memory.log_count))
        memory.reader.grant_more(log.settled_end(), out)
        self.welcome_when_opened(out)

    def _go_on(self, outcome: hello.Outcome, out: Outbox) -> None:
        """Pads, log and epoch are where both hellos say, in the batch's writes."""
        memory, log = self._memory, self._agreement.log
        writer, reader = memory.pads
        if outcome.old:
            out.alarm("old-store", memory.link, outcome.old)
            self.aged = self.aged or outcome.mine
        if memory.leads:
            # A follower that once cut its log is ahead; the leader's next append starts behind it.
            # Never the other way round: what the leader is ahead by are appends still to come.
            writer.extents.end = max(writer.extents.end, outcome.writer_end)
            reader.extents.end = max(reader.extents.end, outcome.reader_end)
        if outcome.cut_to is not None:
            log.cut(outcome.cut_to, outcome.old, out)
        if outcome.continuous:
            writer.window.advance(outcome.writer_start)
            reader.window.advance(outcome.reader_start)
        else:
            writer.restart_at(outcome.writer_start, out)
            reader.restart_at(outcome.reader_start, out)
        reader.resume(outcome.recorded)
        memory.epoch = outcome.epoch
        memory.save(out)
        out.save(writer.record())
        out.save(reader.record())
        log.spend(out)

    def _on_welcome(self, welcome: Welcome, out: Outbox) -> None:
        after(self.phase, Step.WELCOME_IN)
        assert self._outcome is not None, "a welcome follows a hello"
        if welcome.protocol != self._outcome.protocol:
            raise _broken("a welcome in another protocol")
        if welcome.start != self._outcome.writer_start:
            raise _broken("a welcome with another start")
        memory = self._memory
        if welcome.epoch > memory.epoch + 1:
            raise _broken("a welcome of an epoch out of reach")
        if not memory.writer.granted <= welcome.granted <= memory.writer.extents.end:
            raise _broken("a welcome with an impossible grant")
        if welcome.epoch > memory.epoch:
            out.alarm("old-store", memory.link, "the neighbour found this end's store to be old")
            self.aged = True
            memory.epoch = welcome.epoch
            memory.save(out)
        for pad, ranges in zip(
            memory.pads, (welcome.burnt_reads, welcome.burnt_writes), strict=True
        ):
            for each in ranges:
                self._agreement.log.burn_range(
                    pad, each.start, each.length, "the other end has no bits of it", out
                )
        self._on_grant(welcome.granted, out)
        self._on_alarm(welcome.alarm, out)
        memory.reader.welcomed(self._outcome.reader_start)
        self._step(Step.WELCOME_IN, out)

    # ---- inside -------------------------------------------------------------------------

    def _refuse(self, reason: str, out: Outbox) -> None:
        self.refused = reason
        self._send(Refusal(reason[:200]), out)
        out.note("session-refused", link=self._memory.link, reason=reason)
        out.add(Disconnect(link=self._memory.link, session=self.session, reason=reason))
        self.phase = Phase.DOWN

    def _send(self, message: Hello | Welcome | Refusal, out: Outbox) -> None:
        data = frame.opening(wire.encode_opening(message))
        out.add(SendFrame(link=self._memory.link, session=self.session, data=data))

    def _step(self, step: Step, out: Outbox) -> None:
        self.phase = after(self.phase, step)
        if self.up:
            self.refused = ""
            if self._memory.restored:
                # The neighbour knew better, or both burnt all; both hellos are durable.
                self._memory.restored = None
                self._memory.save(out)
            out.note("link-up", link=self._memory.link, epoch=self._memory.epoch)


def _ranges(burnt: list[tuple[int, int]]) -> list[Range]:
    # What is left out lies far above the grant, and is said when a session comes that near.
    return [Range(start, length) for start, length in burnt[: limits.ENTRIES_PER_MESSAGE_MAX]]


def _broken(what: str) -> PeerFault:
    return PeerFault(what, hint="the neighbour breaks the protocol; its link begins again")
