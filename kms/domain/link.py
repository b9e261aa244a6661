"""One link, this end: session, frames, grants and agreement put together (FR-2, FR-3, NFR-1).

Theory of operation. The neighbour's connection brings opening messages (hello, welcome) and then
sealed frames. A frame is verified under the reader's pad before anything changes; its messages go
to the part that owns them: grants to the pads, offers and appends to the agreement, everything
about streams to ``streams``. At the end of each batch ``flush`` lets every part say what it has to.

What goes wrong has one of three ends: a forged or broken frame costs a counter, and a capped number
of them the session; a neighbour that breaks the protocol costs the session; pads that cannot be
trusted any more cost the link, until a second secret is brought (state doubted).
"""

from collections.abc import Callable, Iterable

from kms.domain import frame, hello, limits, wire
from kms.domain.agreement import Agreement, Held
from kms.domain.bootstrap import begin_secret
from kms.domain.effects import BlockStored, Disconnect, ReadMaterial, SendFrame
from kms.domain.errors import PeerFault
from kms.domain.events import BlockArrived, MaterialOpened, SecretCarried
from kms.domain.linkmemory import LinkMemory, LinkSettings
from kms.domain.meter import RateMeter
from kms.domain.names import LinkId, NodeId, link_id
from kms.domain.otp import universal_hash
from kms.domain.outbox import Outbox
from kms.domain.outgoing import Outgoing
from kms.domain.records import BlockRecord, BlockState, LinkRecord, LinkState, PadRecord
from kms.domain.secret import Secret
from kms.domain.session import Phase, Step, after
from kms.domain.wire import (
    Append,
    Appended,
    Burnt,
    Designate,
    Differ,
    Grant,
    Hello,
    Message,
    Offer,
    Refusal,
    StreamMessage,
    Want,
    Welcome,
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
        self.meter = RateMeter()
        self.phase = Phase.DOWN
        self.session = 0
        self.forgeries = 0
        self.refused_blocks = 0
        self._on_stream_message = on_stream_message
        self._boot = 0
        self._seen_boot = 0
        self._key: Secret | None = None
        self._outcome: hello.Outcome | None = None
        self._greeted_ms = 0
        self._good_blocks = 0
        self._wanted = 0
        self._to_hash: list[Held] = []
        self._cooled_ms: int | None = None
        self._counted = 0

    # ---- start --------------------------------------------------------------------------

    def restore(
        self,
        link: LinkRecord | None,
        pads: Iterable[PadRecord],
        blocks: Iterable[BlockRecord],
    ) -> None:
        """The link as its records say; nothing is in memory yet."""
        if link is not None:
            self.memory.restore(link)
        kept = list(pads)
        for pad in kept:
            self.memory.pad(pad.direction).restore(pad)
        for block in blocks:
            if block.state is BlockState.HELD:
                held = Held(record=block, hash=None, since_ms=0)
                self.agreement.held[block.block_id] = held
                self._to_hash.append(held)
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
        self._counted = self.memory.log_count

    def started(self, boot: int, out: Outbox) -> None:
        """Asks for the hash key; blocks that came before the restart are hashed again after it."""
        self._boot = boot
        for held in self._to_hash:
            held.since_ms = out.now.mono_ms
        self._ask_for_hash_key(out)

    def _ask_for_hash_key(self, out: Outbox) -> None:
        if self.memory.hash_key is not None:
            out.add(
                ReadMaterial(material=self.memory.hash_key, offset=0, length=limits.HASH_KEY_BYTES)
            )

    def secret_carried(self, event: SecretCarried, out: Outbox) -> None:
        """The link begins anew under this secret. Raises ``AppFault`` for a used one."""
        key = begin_secret(self.memory, self.agreement.log, event, out)
        if self._key is not None:
            self._key.wipe()
        self._key = key
        for held in list(self.agreement.held.values()):
            self.agreement.drop(held, "another link secret begins", out)
        self._to_hash.clear()
        self._seen_boot = 0
        self._good_blocks = self._counted = 0
        self.disconnect("another link secret begins", out)

    # ---- device -------------------------------------------------------------------------

    def room(self, size_bytes: int) -> bool:
        """Whether a block of this size would be taken."""
        pools = sum(pad.level() for pad in self.memory.pads)
        return (
            self.memory.state is LinkState.OPEN
            and self._key is not None
            and not self._to_hash
            and len(self.agreement.held) < limits.HELD_BLOCKS_MAX
            and pools + self.agreement.held_bytes + size_bytes
            <= self.memory.settings.pool_bytes_max
        )

    def block_arrived(self, event: BlockArrived, out: Outbox) -> None:
        """The block is held, or refused with a reason; either way ``BlockStored`` answers."""
        refused = self._judge(event, out)
        if not refused:
            assert self._key is not None, "judged"
            refused = self.agreement.store(event, self._key, out)
        if refused:
            self.refused_blocks += 1
            event.bits.wipe()
            out.note("block-refused", link=self.link, reason=refused)
        out.add(BlockStored(device=event.device, block_id=event.block_id, refused=refused))

    def _judge(self, event: BlockArrived, out: Outbox) -> str:
        if not limits.BLOCK_BYTES_MIN <= len(event.bits) <= limits.BLOCK_BYTES_MAX:
            return "impossible length"
        if event.qber is not None and event.qber > self.memory.settings.qber_max:
            self.raise_alarm("qber", f"QBER {event.qber:.3f} of a block is over the limit", out)
            return "QBER over the limit"
        if self._key is None or self.memory.state is not LinkState.OPEN:
            return f"the link is {self.memory.state.value}"
        return ""

    # ---- alarms -------------------------------------------------------------------------

    @property
    def alarmed(self) -> str:
        return self.memory.alarm

    def raise_alarm(self, kind: str, detail: str, out: Outbox) -> None:
        """I13: nothing of this link is served until good blocks end the alarm."""
        self._good_blocks = 0
        if self.memory.alarm != kind:
            self.memory.alarm = kind
            self.memory.save(out)
            out.alarm(kind, self.link, detail)

    def doubt(self, reason: str, out: Outbox) -> None:
        """The pads cannot be trusted: the link stops until a second secret is brought."""
        self.memory.state = LinkState.DOUBTED
        self.memory.reason = reason
        self.memory.save(out)
        out.alarm("link-doubted", self.link, reason)
        self.disconnect(reason, out)

    def _count_good_blocks(self, out: Outbox) -> None:
        count = self.memory.log_count
        if count > self._counted:
            self._good_blocks += count - self._counted
        self._counted = count
        alarm = self.memory.alarm
        if self.agreement.mismatches_in_a_row >= limits.MISMATCHES_MAX:
            self.agreement.mismatches_in_a_row = 0
            self.raise_alarm("mismatch", "the two ends' blocks differ, one after another", out)
        elif alarm and self._good_blocks >= limits.ALARM_CLEAR_BLOCKS:
            self.memory.alarm = ""
            self.memory.save(out)
            out.audit("alarm-ended", actor="node", subject=self.link, kind=alarm)
            out.note("alarm-ended", link=self.link, kind=alarm)

    # ---- channel: what streams see ------------------------------------------------------

    @property
    def up(self) -> bool:
        return self.phase is Phase.UP

    def send(self, message: Message) -> None:
        if self.phase is not Phase.DOWN:
            self.outgoing.put(message)

    def drawable(self) -> int:
        return self.outgoing.drawable() if self.up else 0

    def level(self) -> int:
        return max(0, self.memory.writer.level() - limits.RESERVE_BYTES)

    def want(self, length: int) -> None:
        need = length + limits.MAC_KEY_BYTES + 64 + limits.WINDOW_RESERVE_BYTES
        if self.up and need > self._wanted:
            self._wanted = need
            self.send(Want(need, self.memory.writer.granted))

    def rate_bps(self) -> float:
        return self.meter.bits_per_second()

    def draw(self, message: Designate, length: int, out: Outbox) -> Secret | None:
        if not self.up or self.alarmed:
            return None
        self.outgoing.flush(self.session, out)
        return self.outgoing.draw(message, length, self.session, out)

    # ---- session ------------------------------------------------------------------------

    def connected(self, session: int, out: Outbox) -> None:
        self.session = session
        self._wanted = 0
        self.outgoing.clear()
        if self.memory.state is not LinkState.OPEN:
            reason = self.memory.reason or "no link secret was brought to this end yet"
            self._refuse(f"at {self.memory.node} it is {self.memory.state.value}: {reason}", out)
            return
        self.phase = after(self.phase, Step.CONNECT)
        self._greeted_ms = out.now.mono_ms
        self._send_opening(hello.own(self.memory, self._boot, self._seen_boot), out)

    def lost(self, session: int, out: Outbox) -> bool:
        """Whether that was the session that stood."""
        if session != self.session or self.phase is Phase.DOWN:
            return False
        self.phase = after(self.phase, Step.LOSE)
        self.outgoing.clear()
        return True

    def disconnect(self, reason: str, out: Outbox) -> None:
        """The session ends; the next one begins with a hello."""
        if self.phase is not Phase.DOWN:
            out.add(Disconnect(link=self.link, session=self.session, reason=reason))
            self.phase = Phase.DOWN
            self.outgoing.clear()

    def _refuse(self, reason: str, out: Outbox) -> None:
        self._send_opening(Refusal(reason[:200]), out)
        out.add(Disconnect(link=self.link, session=self.session, reason=reason))
        out.note("session-refused", link=self.link, reason=reason)
        self.phase = Phase.DOWN

    def _send_opening(self, message: Hello | Welcome | Refusal, out: Outbox) -> None:
        data = frame.opening(wire.encode_opening(message))
        out.add(SendFrame(link=self.link, session=self.session, data=data))

    def _on_hello(self, theirs: Hello, out: Outbox) -> None:
        after(self.phase, Step.HELLO_IN)
        mine = hello.own(self.memory, self._boot, self._seen_boot)
        log = self.agreement.log
        try:
            outcome = hello.settle(
                self.memory, mine, theirs, settled=log.settled, hash_at=log.hash_at
            )
        except hello.Refused as refused:
            if refused.doubt:
                self._send_opening(Refusal(refused.reason[:200]), out)
                self.doubt(refused.reason, out)
            else:
                self._refuse(refused.reason, out)
            return
        self.phase = after(self.phase, Step.HELLO_IN)
        if outcome.old:
            out.alarm("old-store", self.link, outcome.old)
        if outcome.cut_to is not None:
            log.cut(outcome.cut_to, outcome.old, out)
        writer, reader = self.memory.pads
        writer.extents.end = max(writer.extents.end, outcome.writer_end if outcome.old else 0)
        reader.extents.end = max(reader.extents.end, outcome.reader_end if outcome.old else 0)
        if outcome.continuous:
            writer.window.advance(outcome.writer_start)
            reader.window.advance(outcome.reader_start)
        else:
            writer.restart_at(outcome.writer_start)
            reader.restart_at(outcome.reader_start)
        self.memory.epoch = outcome.epoch
        self.memory.save(out)
        out.save(writer.record())
        out.save(reader.record())
        log.spend(out)
        self._seen_boot = theirs.boot
        self._outcome = outcome
        self.agreement.resumed(min(theirs.log_count, self.memory.log_count))
        reader.resume()
        reader.grant_more(log.settled_end(), out)
        self._welcome_when_opened(out)

    def _welcome_when_opened(self, out: Outbox) -> None:
        reader = self.memory.reader
        if self.phase not in (Phase.SETTLING, Phase.WELCOMED) or reader.opening:
            return
        assert self._outcome is not None, "settling follows a hello"
        self._send_opening(
            Welcome(
                self._outcome.protocol,
                self.memory.epoch,
                self.memory.log_count,
                self._outcome.reader_start,
                reader.granted,
            ),
            out,
        )
        reader.told()
        self._step(Step.WELCOME_OUT, out)

    def _on_welcome(self, welcome: Welcome, out: Outbox) -> None:
        after(self.phase, Step.WELCOME_IN)
        assert self._outcome is not None, "a welcome follows a hello"
        if welcome.protocol != self._outcome.protocol:
            raise _broken("a welcome in another protocol")
        if welcome.start != self._outcome.writer_start:
            raise _broken("a welcome with another start")
        if welcome.epoch > self.memory.epoch:
            out.alarm("old-store", self.link, "the neighbour found this end's store to be old")
            self.memory.epoch = welcome.epoch
            self.memory.save(out)
        self._on_grant(welcome.granted, out)
        self._step(Step.WELCOME_IN, out)

    def _step(self, step: Step, out: Outbox) -> None:
        self.phase = after(self.phase, step)
        if self.phase is Phase.UP:
            out.note("link-up", link=self.link, epoch=self.memory.epoch)

    # ---- frames -------------------------------------------------------------------------

    def on_frame(self, session: int, data: bytes, out: Outbox) -> None:
        """One frame of the session. Raises ``PeerFault``; the caller ends the session."""
        if session != self.session or self.phase is Phase.DOWN:
            return
        header = frame.read_header(data)
        if header.kind is frame.Kind.OPENING:
            self._on_opening(wire.decode_opening(frame.opening_message(data)), out)
            return
        if not self.up:
            raise _broken("a sealed frame before the welcome")
        if header.epoch != self.memory.epoch:
            raise _broken("a frame of another epoch")
        reader = self.memory.reader
        own = frame.overhead(header.secret_bytes)
        pad = reader.peek(header.offset, own)
        if pad is None:
            raise _broken("a frame outside the granted, unused pad")
        try:
            context = frame.context(self.link, self.memory.secret_id, reader.direction)
            messages = wire.decode(frame.unseal(context, header, data, pad))
        except frame.Forged:
            self._on_forgery(out)
            return
        finally:
            pad.wipe()
        cursor = header.offset + own
        try:
            for message in messages:
                cursor = self._on_message(message, cursor, out)
        finally:
            reader.spend(cursor, cursor - header.offset)

    def _on_forgery(self, out: Outbox) -> None:
        self.forgeries += 1
        if self.forgeries % limits.FORGERIES_MAX == 0:
            out.alarm("forgeries", self.link, "frames with wrong one-time MACs")
            self.disconnect("too many forged frames", out)

    def _on_opening(self, message: Hello | Welcome | Refusal, out: Outbox) -> None:
        if isinstance(message, Hello):
            self._on_hello(message, out)
        elif isinstance(message, Welcome):
            self._on_welcome(message, out)
        else:
            out.note("session-refused-by-peer", link=self.link, reason=message.reason)
            self.disconnect(f"refused by the neighbour: {message.reason}", out)

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
            case Want():
                self.memory.reader.wanted = min(
                    message.length, limits.CHUNK_BYTES_MAX + 64 * limits.KIB
                )
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
        return (
            event.material == self.memory.hash_key
            or any(pad.asked_for(event.material, event.offset) for pad in self.memory.pads)
            or (bool(self._to_hash) and self._to_hash[0].record.material == event.material)
        )

    def material_opened(self, event: MaterialOpened, out: Outbox) -> None:
        """What the link asked for goes where it belongs."""
        if event.material == self.memory.hash_key:
            self._on_hash_key(event, out)
            return
        if self._to_hash and self._to_hash[0].record.material == event.material:
            self._on_block_read(self._to_hash.pop(0), event, out)
            return
        for pad in self.memory.pads:
            part = pad.opened(event.material, event.offset, event.bits)
            if part is not None and event.bits is None:
                out.alarm("pad-unreadable", self.link, event.reason)
                if pad is self.memory.reader:
                    self.send(Burnt(part.start, part.length))
        self._welcome_when_opened(out)

    def _on_hash_key(self, event: MaterialOpened, out: Outbox) -> None:
        if event.bits is None:
            self.doubt("the link's hash key is unreadable", out)
            return
        self._key = event.bits
        self._read_next(out)

    def _on_block_read(self, held: Held, event: MaterialOpened, out: Outbox) -> None:
        if event.bits is None:
            self.agreement.drop(held, "unreadable after a restart", out)
        elif held.record.block_id in self.agreement.held:
            assert self._key is not None, "blocks are read after the key"
            bits = event.bits.expose()
            self.agreement.hashed(
                held, universal_hash(self._key, held.record.block_id.bytes, bits), out
            )
        if event.bits is not None:
            event.bits.wipe()
        self._read_next(out)

    def _read_next(self, out: Outbox) -> None:
        """One block at a time: bounded memory."""
        if self._to_hash:
            record = self._to_hash[0].record
            out.add(ReadMaterial(material=record.material, offset=0, length=record.length))

    # ---- time ---------------------------------------------------------------------------

    def tick(self, out: Outbox) -> None:
        now = out.now.mono_ms
        self.agreement.tick(out)
        elapsed = now - (self._cooled_ms if self._cooled_ms is not None else now)
        if elapsed >= 1000 or self._cooled_ms is None:
            self._cooled_ms = now
            for pad in self.memory.pads:
                pad.cool(elapsed)
            self.meter.advance(now, self.agreement.log.agreed_bytes)
        greeting = self.phase not in (Phase.DOWN, Phase.UP)
        if greeting and now - self._greeted_ms > limits.HELLO_TIMEOUT_MS:
            self.disconnect("no hello in time", out)

    def flush(self, out: Outbox) -> None:
        """End of a batch: grants, offers, appends and whatever is queued leave if they may."""
        self._count_good_blocks(out)
        if not self.up:
            return
        reader = self.memory.reader
        reader.grant_more(self.agreement.log.settled_end(), out)
        self.agreement.log.spend(out)
        due = reader.due()
        if due is not None:
            self.send(Grant(due))
            reader.told()
        self.agreement.flush()
        self.outgoing.flush(self.session, out)
        if self.outgoing.overflown:
            self.disconnect("too many messages wait for pad", out)


def _broken(what: str) -> PeerFault:
    return PeerFault(what, hint="the neighbour breaks the protocol; its link begins again")
