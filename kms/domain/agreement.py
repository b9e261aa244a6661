"""The synchronisation manager: agreement on blocks between the two ends of a link (FR-3, I7).

Theory of operation. Each end stores a device's block and computes its universal hash. The follower
offers what it holds (id, length, hash); the leader compares with what *it* holds and appends what
is equal: a sequence number, a pad, an offset. The follower copies the append and acknowledges it.
From then on the bytes are pad. A block at one end only expires; blocks that differ are destroyed at
both ends. After a hello, appends that the follower lacks are sent again and the follower offers
again whatever it still holds: nothing that both ends hold is lost.

    follower: held ──offer─▶ leader: held, equal ──append─▶ follower: agreed ──appended─▶ settled
"""

from collections import OrderedDict
from collections.abc import Callable
from itertools import islice
from uuid import UUID

import attrs

from kms.domain import limits
from kms.domain.agreedlog import AgreedLog
from kms.domain.appendlog import LogEntry
from kms.domain.direction import Direction
from kms.domain.effects import StoreMaterial, WipeMaterial
from kms.domain.errors import PeerFault
from kms.domain.events import BlockArrived
from kms.domain.linkmemory import LinkMemory
from kms.domain.names import BlockId, MaterialId
from kms.domain.otp import same_hash, universal_hash
from kms.domain.outbox import Outbox
from kms.domain.records import BlockRecord, BlockState
from kms.domain.secret import Secret
from kms.domain.wire import (
    Append,
    Appended,
    AppendEntry,
    Differ,
    Message,
    Offer,
    OfferEntry,
)

# A message of 32 entries is about 1.3 KB: it fits the smallest window.
_ENTRIES_PER_MESSAGE = 32


@attrs.define(kw_only=True)
class Held:
    """A block at this end that is not agreed yet."""

    record: BlockRecord
    hash: bytes | None
    """None: to be computed from the store after a restart"""
    since_ms: int
    """monotonic"""


@attrs.frozen(kw_only=True)
class Offered:
    """The follower's word about a block that the leader does not hold."""

    entry: OfferEntry
    since_ms: int


class Agreement:
    """Held blocks, offers and appends of one link."""

    def __init__(self, memory: LinkMemory, send: Callable[[Message], None]) -> None:
        self._memory = memory
        self._send = send
        self.log = AgreedLog(memory)
        self.held: OrderedDict[BlockId, Held] = OrderedDict()
        self.held_bytes = 0
        self._offered: OrderedDict[BlockId, Offered] = OrderedDict()
        self._to_offer: OrderedDict[BlockId, None] = OrderedDict()
        self._to_append: list[LogEntry] = []
        self._stored = 0
        self.mismatches = 0
        self.mismatches_in_a_row = 0
        self.expired = 0
        self.duplicates = 0

    # ---- this end's blocks --------------------------------------------------------------

    def hold(self, held: Held) -> None:
        """The block waits here for the other end."""
        self.held[held.record.block_id] = held
        self.held_bytes += held.record.length

    def knows(self, block_id: BlockId) -> bool:
        """Whether a block with this id is held or agreed."""
        return block_id in self.held or self.log.knows(block_id)

    def store(self, event: BlockArrived, digest: bytes, key: Secret, out: Outbox) -> str:
        """The block is held (in the batch's writes), or why it is refused."""
        if self.knows(event.block_id):
            self.duplicates += 1
            return "duplicate"
        if len(self.held) >= limits.HELD_BLOCKS_MAX:
            return "too many blocks wait for the other end"
        record = BlockRecord(
            link=event.link,
            block_id=event.block_id,
            state=BlockState.HELD,
            length=len(event.bits),
            material=self._name(event, out),
            device=event.device,
            origin=event.origin,
            qber=event.qber,
            received_ms=out.now.wall_ms,
            bits_digest=digest,
        )
        out.add(
            StoreMaterial(
                material=record.material,
                bits=event.bits,
                unit_bytes=limits.unit_bytes(record.length),
            )
        )
        out.save(record)
        held = Held(record=record, hash=None, since_ms=out.now.mono_ms)
        self.hold(held)
        self.hashed(held, universal_hash(key, event.block_id.bytes, event.bits.expose()), out)
        return ""

    def _name(self, event: BlockArrived, out: Outbox) -> MaterialId:
        """Never given twice, even to a block that comes again while the wall clock falls back."""
        self._stored += 1
        number = f"{out.now.wall_ms:x}-{self._stored:x}"
        return MaterialId(f"block/{event.link}/{event.block_id}/{number}")

    def hashed(self, held: Held, hash_: bytes, out: Outbox) -> None:
        """The block can be compared from now on."""
        held.hash = hash_
        block_id = held.record.block_id
        if not self._memory.leads:
            self._to_offer[block_id] = None
        elif block_id in self._offered:
            self._compare(held, self._offered.pop(block_id).entry, out)

    def drop(self, held: Held, reason: str, out: Outbox) -> None:
        """The block is destroyed at this end."""
        self._unhold(held)
        self._wipe(held.record, out)
        out.audit(
            "block-destroyed",
            actor=str(held.record.device),
            subject=str(held.record.block_id),
            link=self._memory.link,
            reason=reason,
        )

    def tick(self, out: Outbox) -> None:
        """Blocks and offers that waited too long for the other end are given up."""
        before = out.now.mono_ms - self._memory.settings.block_expiry_ms
        while self.held:
            oldest = next(iter(self.held.values()))
            if oldest.since_ms > before:
                break
            self.expired += 1
            self.drop(oldest, "the other end never had it", out)
        while self._offered and next(iter(self._offered.values())).since_ms <= before:
            self._offered.popitem(last=False)

    def expires_ms(self) -> int | None:
        """When ``tick`` has something to give up."""
        if not self.held and not self._offered:
            return None
        oldest: list[Held | Offered] = [
            *islice(self.held.values(), 1),
            *islice(self._offered.values(), 1),
        ]
        return min(each.since_ms for each in oldest) + self._memory.settings.block_expiry_ms

    # ---- what the other end says --------------------------------------------------------

    def on_offer(self, message: Offer, out: Outbox) -> None:
        if not self._memory.leads:
            raise _wrong("an offer to the follower")
        for entry in message.entries:
            block_id = BlockId(UUID(bytes=entry.block_id))
            held = self.held.get(block_id)
            if held is not None and held.hash is not None:
                self._compare(held, entry, out)
            elif not self.log.knows(block_id):
                self._offered[block_id] = Offered(entry=entry, since_ms=out.now.mono_ms)
                self._offered.move_to_end(block_id)
                if len(self._offered) > limits.HELD_BLOCKS_MAX:
                    self._offered.popitem(last=False)

    def on_append(self, message: Append, out: Outbox) -> None:
        if self._memory.leads:
            raise _wrong("an append to the leader")
        missing = []
        for each in message.entries:
            entry = LogEntry(
                seq=each.seq,
                block_id=BlockId(UUID(bytes=each.block_id)),
                direction=Direction.TO_LEADER if each.to_leader else Direction.FROM_LEADER,
                start=each.start,
                length=each.length,
            )
            if self.log.has(entry):
                continue
            if entry.seq != self._memory.log_count:
                raise _wrong("an append out of order")
            if not 0 < entry.length <= limits.BLOCK_BYTES_MAX:
                raise _wrong("an append of an impossible length")
            if entry.start < self._memory.pad(entry.direction).extents.end:
                raise _wrong("an append over another one")
            if entry.start + entry.length > limits.PAD_OFFSET_MAX:
                raise _wrong("an append beyond any pad")
            if self.log.knows(entry.block_id):
                raise _wrong("a block that is appended twice")
            held = self.held.get(entry.block_id)
            if held is not None and held.record.length != entry.length:
                raise _wrong("an append of another length")
            if held is None:
                missing.append(entry.seq)
            else:
                self._agreed(held)
            self.log.append(entry, held.record if held else None, out)
        self._send(Appended(self._memory.log_count, missing))

    def on_appended(self, message: Appended, out: Outbox) -> None:
        if not self._memory.leads:
            raise _wrong("an acknowledgement to the follower")
        if not self.log.settled <= message.count <= self._memory.log_count:
            raise _wrong("an acknowledgement of what was not appended")
        if any(not self.log.settled <= seq < message.count for seq in message.missing):
            raise _wrong("a missing block that was acknowledged before")
        for seq in message.missing:
            self.log.burn_seq(seq, "the other end does not hold it", out)
        self.log.settle(message.count)

    def on_differ(self, message: Differ, out: Outbox) -> None:
        if self._memory.leads:
            raise _wrong("a verdict to the leader")
        for raw in message.block_ids:
            held = self.held.get(BlockId(UUID(bytes=raw)))
            if held is not None:
                self._differs(held, out)

    def begin(self, out: Outbox) -> None:
        """Another secret begins: blocks and offers under the old hash key are given up."""
        for held in list(self.held.values()):
            self.drop(held, "another link secret begins", out)
        self._offered.clear()
        self._to_append.clear()

    def resumed(self, peer_count: int) -> None:
        """After a hello: what the follower lacks goes again; what it holds is offered again."""
        self._to_append.clear()
        if self._memory.leads:
            self.log.settle(peer_count)
            self._to_append.extend(self.log.entries_from(peer_count))
        else:
            self._to_offer.update((key, None) for key, held in self.held.items() if held.hash)

    def flush(self) -> None:
        """Offers and appends that are due become messages, many to one."""
        while self._to_offer:
            chosen = [self._to_offer.popitem(last=False)[0] for _ in _up_to(self._to_offer)]
            entries = []
            for block_id in chosen:
                held = self.held[block_id]
                assert held.hash is not None, "only hashed blocks are offered"
                entries.append(OfferEntry(block_id.bytes, held.record.length, held.hash))
            self._send(Offer(entries))
        while self._to_append:
            batch = self._to_append[:_ENTRIES_PER_MESSAGE]
            del self._to_append[:_ENTRIES_PER_MESSAGE]
            self._send(
                Append(
                    [
                        AppendEntry(
                            entry.block_id.bytes,
                            entry.seq,
                            entry.direction is Direction.TO_LEADER,
                            entry.start,
                            entry.length,
                        )
                        for entry in batch
                    ]
                )
            )

    # ---- inside -------------------------------------------------------------------------

    def _compare(self, held: Held, offer: OfferEntry, out: Outbox) -> None:
        assert held.hash is not None, "compared only when hashed"
        if offer.length != held.record.length or not same_hash(offer.tag, held.hash):
            self._send(Differ([held.record.block_id.bytes]))
            self._differs(held, out)
            return
        self._agreed(held)
        direction = self._thirstier()
        entry = LogEntry(
            seq=self._memory.log_count,
            block_id=held.record.block_id,
            direction=direction,
            start=self._memory.pad(direction).extents.end,
            length=held.record.length,
        )
        self.log.append(entry, held.record, out)
        self._to_append.append(entry)

    def _agreed(self, held: Held) -> None:
        """Both ends hold the block: it is appended in this very batch."""
        self.mismatches_in_a_row = 0
        self._memory.agreed(held.record.bits_digest)
        self._unhold(held)

    def _thirstier(self) -> Direction:
        """The pad that runs lower against its use."""
        writer, reader = self._memory.pads
        if any(pad.level() < 2 * pad.reserve() for pad in (writer, reader)):
            lower = writer.level() <= reader.level()
        else:
            lower = writer.level() * (reader.use + 1) <= reader.level() * (writer.use + 1)
        return writer.direction if lower else reader.direction

    def _differs(self, held: Held, out: Outbox) -> None:
        self.mismatches += 1
        self.mismatches_in_a_row += 1
        self.drop(held, "the two ends hold different bits", out)

    def _unhold(self, held: Held) -> None:
        del self.held[held.record.block_id]
        self.held_bytes -= held.record.length
        self._to_offer.pop(held.record.block_id, None)

    def _wipe(self, record: BlockRecord, out: Outbox) -> None:
        out.add(WipeMaterial(material=record.material, offset=0, length=record.length))
        out.forget(record)


def _up_to(waiting: OrderedDict[BlockId, None]) -> range:
    return range(min(len(waiting), _ENTRIES_PER_MESSAGE))


def _wrong(what: str) -> PeerFault:
    return PeerFault(what, hint="the two ends disagree on who leads or on the append log")
