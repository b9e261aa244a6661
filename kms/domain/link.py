"""One link, this end: session, frames, grants and agreement put together (FR-2, FR-3, NFR-1).

Theory of operation. The neighbour's connection brings opening messages (hello, welcome) and then
sealed frames. A frame is verified under the reader's pad before anything changes; its messages go
to the part that owns them: grants to the pads, offers and appends to the agreement, everything
about streams to ``on_stream_message``. At the end of each batch that stirred the link ``flush``
lets every part say what it has to; a batch costs nothing for a link that it left alone.

What goes wrong has one of three ends: a forged frame costs a counter, and a capped number of them
the session; a neighbour that breaks the protocol costs the session; pads that cannot be trusted any
more cost the link, until a second secret is brought (state doubted).
"""

from collections.abc import Callable, Iterable

from kms.domain import frame, limits, wire
from kms.domain.agreement import Agreement
from kms.domain.blockintake import BlockIntake
from kms.domain.bootstrap import begin_secret
from kms.domain.errors import PeerFault
from kms.domain.events import BlockArrived, MaterialOpened, SecretCarried
from kms.domain.greeting import Greeting
from kms.domain.linkguard import LinkGuard
from kms.domain.linkmemory import LinkMemory, LinkSettings
from kms.domain.names import LinkId, NodeId, link_id
from kms.domain.outbox import Outbox
from kms.domain.outgoing import Outgoing
from kms.domain.pad import Pad
from kms.domain.records import BlockRecord, BlockState, LinkRecord, LinkState, PadRecord, Way
from kms.domain.secret import Secret
from kms.domain.session import Phase
from kms.domain.upkeep import Upkeep
from kms.domain.wire import (
    Alarmed,
    Append,
    Appended,
    Burnt,
    Designate,
    Differ,
    Entrust,
    Grant,
    Message,
    Offer,
    StreamMessage,
    Want,
)

OnStreamMessage = Callable[[LinkId, StreamMessage, Secret | None, Outbox], None]


class Link:
    """Implements ``channel.Channel`` for the streams above it."""

    def __init__(
        self,
        node: NodeId,
        peer: NodeId,
        settings: LinkSettings,
        *,
        on_stream_message: OnStreamMessage,
    ) -> None:
        self.link = link_id(node, peer)
        self.peer = peer
        self.memory = LinkMemory(node, peer, self.link, settings)
        self.outgoing = Outgoing(self.memory)
        self.agreement = Agreement(self.memory, self.send)
        self.guard = LinkGuard(self.memory, self.agreement)
        self.intake = BlockIntake(self.memory, self.agreement, self.guard)
        self.greeting = Greeting(
            self.memory,
            self.agreement,
            doubt=self.doubt,
            on_grant=self._on_grant,
            on_alarm=self.guard.heard,
            forget=self.outgoing.clear,
        )
        self.upkeep = Upkeep(self.memory, self.agreement, self.greeting, self.outgoing)
        self.stirred = True
        """``flush`` may have something to do: an event came, or a stream drew or said something"""
        self.forgeries = 0
        self._forged = 0
        """in this session"""
        self._on_stream_message = on_stream_message
        self._wanted = 0

    # ---- start --------------------------------------------------------------------------

    def restore(
        self,
        link: LinkRecord | None,
        pads: Iterable[PadRecord],
        blocks: Iterable[BlockRecord],
    ) -> None:
        """The link as its records say, agreed blocks in the order of ``seq``; nothing is in
        memory yet."""
        if link is not None:
            self.memory.restore(link)
        kept = list(pads)
        for pad in kept:
            self.memory.pad(pad.direction).restore(pad)
        for block in blocks:
            if block.state is BlockState.HELD:
                self.intake.restore(block)
            else:
                self.agreement.log.restore(block)
        for pad in kept:
            # A hole may lie behind the last block: what an old store once cut off.
            extents = self.memory.pad(pad.direction).extents
            extents.end = max(extents.end, pad.end)
        # The follower's log is durable at the leader, who wrote it first. The leader hears from
        # the hello how much of its own the follower has.
        if not self.memory.leads:
            self.agreement.log.settle(self.memory.log_count)
        self.guard.begin()

    def started(self, boot: int, out: Outbox) -> None:
        """``boot``: a number of this process, which no other has."""
        self.greeting.boot = boot
        self.agreement.log.started(out)
        self.intake.started(out)

    def secret_carried(self, event: SecretCarried, out: Outbox) -> None:
        """The link begins anew under this secret, which was not used before."""
        key = begin_secret(self.memory, self.agreement.log, event, out)
        self.intake.begin(key, out)
        self.guard.begin()
        self.greeting.begin_anew(out)

    def burn(self, reason: str, out: Outbox) -> None:
        """Nothing that was agreed before is ever used: it is unreadable with the batch, and the
        link waits for another secret. For a store that was put back to an old copy."""
        memory = self.memory
        memory.restored = Way.BURN
        if memory.state is LinkState.NEW:
            memory.save(out)
            return
        ends = [pad.extents.end for pad in memory.pads]
        self.agreement.log.clear(reason, out)
        for pad, end in zip(memory.pads, ends, strict=True):
            pad.restart_at(max(end, pad.granted), out)
            out.save(pad.record())
        self.intake.burn(out)
        memory.epoch = min(memory.epoch + 1, limits.EPOCH_MAX)
        self.guard.doubt(reason, out)

    # ---- device -------------------------------------------------------------------------

    def room(self, size_bytes: int) -> bool:
        """Whether a block of this size would be taken."""
        return self.intake.room(size_bytes)

    def block_arrived(self, event: BlockArrived, out: Outbox) -> None:
        """The block is held, or refused with a reason; either way ``BlockStored`` answers."""
        self.intake.arrived(event, out)

    # ---- channel: what streams see ------------------------------------------------------

    @property
    def boot(self) -> int:
        return self.greeting.boot

    @property
    def continuous(self) -> bool:
        return self.greeting.continuous

    @property
    def up(self) -> bool:
        return self.greeting.phase is Phase.UP

    @property
    def alarmed(self) -> str:
        return self.guard.alarmed

    def send(self, message: Message) -> None:
        if self.greeting.phase is not Phase.DOWN:
            self.stirred = True
            self.outgoing.put(message)

    def drawable(self) -> int:
        return self.outgoing.drawable() if self.up else 0

    def level(self) -> int:
        return self.memory.writer.above_reserve()

    def peer_level(self) -> int:
        return self.memory.reader.above_reserve()

    def level_max(self) -> int:
        return max(0, self.memory.settings.pool_bytes_max - self.memory.writer.reserve())

    def want(self, length: int) -> None:
        need = length + limits.DRAW_OVERHEAD_BYTES
        self.stirred = True
        self.outgoing.make_room(length)
        if self.up and need > self._wanted:
            self._wanted = need
            self.send(Want(need, self.memory.writer.granted))

    def rate_bps(self) -> float:
        return self.upkeep.meter.bits_per_second()

    def draw(self, message: Designate, length: int, out: Outbox) -> Secret | None:
        if not self.up or self.alarmed:
            return None
        self.stirred = True
        self.outgoing.flush(self.greeting.session, out)
        return self.outgoing.draw(message, length, self.greeting.session, out)

    def entrust(self, message: Entrust, out: Outbox) -> bool:
        self.stirred = True
        may = self.up and not self.alarmed
        return may and self.outgoing.entrust(message, self.greeting.session, out)

    # ---- session ------------------------------------------------------------------------

    def connected(self, session: int, out: Outbox) -> None:
        """The neighbour's connection stands."""
        self._wanted = self._forged = 0
        self.guard.session_begins()
        self.greeting.connected(session, out)

    def lost(self, session: int, out: Outbox) -> None:
        """The neighbour's connection is gone."""
        self.greeting.lost(session)

    def disconnect(self, reason: str, out: Outbox) -> None:
        """The session ends; the next one begins with a hello."""
        self.stirred = True
        self.greeting.disconnect(reason, out)

    def doubt(self, reason: str, out: Outbox) -> None:
        """The pads cannot be trusted: the link stops until a second secret is brought."""
        self.guard.doubt(reason, out)
        self.disconnect(reason, out)

    # ---- frames -------------------------------------------------------------------------

    def on_frame(self, session: int, data: bytes, out: Outbox) -> None:
        """One frame of the session. Raises ``PeerFault``; the caller ends the session."""
        if session != self.greeting.session or self.greeting.phase is Phase.DOWN:
            return
        header = frame.read_header(data)
        if header.kind is frame.Kind.OPENING:
            opening = wire.decode_opening(frame.opening_message(data))
            self.greeting.on_opening(opening, out)
            return
        if not self.up:
            raise _broken("a sealed frame before the welcome")
        if header.epoch != self.memory.epoch:
            raise _broken("a frame of another epoch")
        messages = self._unsealed(header, data, out)
        own = frame.overhead(header.secret_bytes)
        cursor = header.offset + own
        try:
            for message in messages:
                cursor = self._on_message(message, cursor, out)
        finally:
            if messages:
                self.memory.reader.spend(cursor, cursor - header.offset)

    def _unsealed(self, header: frame.Header, data: bytes, out: Outbox) -> list[Message]:
        """The frame's messages; none if it is forged, which changes nothing but a counter."""
        reader = self.memory.reader
        pad = reader.peek(header.offset, frame.overhead(header.secret_bytes))
        if pad is None:
            raise _broken("a frame outside the granted, unused pad")
        context = frame.context(self.link, self.memory.secret_id, reader.direction)
        try:
            return wire.decode_wiping(frame.unseal(context, header, data, pad))
        except frame.Forged:
            self.forgeries += 1
            self._forged += 1
            if self._forged >= limits.FORGERIES_MAX:
                out.alarm("forgeries", self.link, "frames with wrong one-time MACs")
                self.disconnect("too many forged frames", out)
            return []
        finally:
            pad.wipe()

    def _on_message(self, message: Message, cursor: int, out: Outbox) -> int:
        """Hands the message to its owner; where the next drawn bytes begin."""
        match message:
            case Grant():
                self._on_grant(message.granted, out)
            case Offer():
                self.agreement.on_offer(message, out)
            case Append():
                self.agreement.on_append(message, out)
            case Appended():
                self.agreement.on_appended(message, out)
            case Differ():
                self.agreement.on_differ(message, out)
            case Burnt():
                self._on_burnt(message, out)
            case Alarmed():
                self.guard.heard(message.kind, out)
            case Want():
                most = limits.CHUNK_BYTES_MAX + limits.DRAW_OVERHEAD_BYTES
                self.memory.reader.wanted = min(message.length, most)
                self.memory.reader.recorded(message.recorded)
            case Designate():
                length = message.count * message.chunk_bytes
                drawn = self.memory.reader.peek(cursor, length)
                if drawn is None:
                    raise _broken("a designation of pad that is not granted and unused")
                self._on_stream_message(self.link, message, drawn, out)
                return cursor + length
            case _:
                self._on_stream_message(self.link, message, None, out)
        return cursor

    # ---- grants -------------------------------------------------------------------------

    def _on_grant(self, granted: int, out: Outbox) -> None:
        writer = self.memory.writer
        if granted < writer.granted:
            raise _broken("a grant that goes back")
        if granted > writer.extents.end:
            raise _broken("a grant beyond the end of the pad")
        if granted > writer.granted:
            writer.raise_to(granted, out)
            self.agreement.log.spend(out)
            self._wanted = 0

    def _on_burnt(self, message: Burnt, out: Outbox) -> None:
        self.agreement.log.burn_range(
            self.memory.writer, message.start, message.length, "unreadable at the other end", out
        )

    def asked_for(self, event: MaterialOpened) -> bool:
        """Whether this link had asked for these bytes."""
        of_pads = any(pad.asked_for(event.material, event.offset) for pad in self.memory.pads)
        return of_pads or self.intake.asked_for(event)

    def material_opened(self, event: MaterialOpened, out: Outbox) -> None:
        """What the link asked for goes where it belongs."""
        if self.intake.asked_for(event):
            if not self.intake.opened(event, out):
                self.doubt("the link's hash key is unreadable", out)
            return
        for pad in self.memory.pads:
            part = pad.opened(event.material, event.offset, event.bits)
            if part is not None and event.bits is None:
                out.alarm("pad-unreadable", self.link, event.reason)
            if pad.unreadable and not pad.opening:
                self._burn_unreadable(pad, out)
        self.greeting.welcome_when_opened(out)

    def _burn_unreadable(self, pad: Pad, out: Outbox) -> None:
        """Blocks with a part that this end cannot read are burnt at both ends. The writer has not
        heard of the grant yet, so it is told before that; the reader has, so windows begin anew,
        and the welcome says what is burnt."""
        log, reason = self.agreement.log, "unreadable at this end"
        for part in pad.unreadable:
            length = part.block_end - part.start
            if pad is self.memory.reader:
                pad.lost.append((part.start, length))
                self.send(Burnt(part.start, length))
            log.burn_range(pad, part.start, length, reason, out)
        pad.unreadable.clear()
        if pad is self.memory.writer:
            self.greeting.windows_lost("granted pad is unreadable", out)

    # ---- time ---------------------------------------------------------------------------

    def tick(self, out: Outbox, before_ms: int) -> None:
        """What time ends is ended, what it changes is brought up to date. ``before_ms``: when the
        tick before was."""
        asked = len(out.effects)
        self.upkeep.tick(out, before_ms)
        if len(out.effects) > asked:
            self.stirred = True

    def flush(self, out: Outbox) -> None:
        """End of a batch: grants, offers, appends and whatever is queued leave if they may. Until
        the link is stirred again there is nothing more to say."""
        self.guard.look(out)
        if self.up:
            self._flush_session(out)
        self.upkeep.look()
        self.stirred = False

    def _flush_session(self, out: Outbox) -> None:
        self.guard.say(self.send)
        reader = self.memory.reader
        reader.grant_more(self.agreement.log.settled_end(), out)
        self.agreement.log.spend(out)
        due = reader.due()
        if due is not None:
            self.send(Grant(due))
            reader.told()
        self.agreement.flush()
        self.outgoing.flush(self.greeting.session, out)
        if self.outgoing.overflown:
            self.disconnect("too many messages wait for pad", out)


def _broken(what: str) -> PeerFault:
    return PeerFault(what, hint="the neighbour breaks the protocol; its link begins again")
