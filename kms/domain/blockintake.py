"""A link's front door for device blocks: judged, hashed, held (FR-1, FR-2).

Hashing needs the link's hash key, which is read from the store once after a start; blocks that were
held before a crash are then read and hashed again, one at a time, before new ones are taken.
"""

from collections import deque

from kms.domain import limits
from kms.domain.agreement import Agreement, Held
from kms.domain.effects import BlockStored, ReadMaterial, WipeMaterial
from kms.domain.events import BlockArrived, MaterialOpened
from kms.domain.linkguard import LinkGuard
from kms.domain.linkmemory import LinkMemory
from kms.domain.otp import universal_hash
from kms.domain.outbox import Outbox
from kms.domain.records import BlockRecord, LinkState
from kms.domain.sanity import BlocksSeen, repeats_within
from kms.domain.secret import Secret

REPEATED = "bits that cannot be key"


class BlockIntake:
    """Blocks on their way into the agreement of one link."""

    def __init__(self, memory: LinkMemory, agreement: Agreement, guard: LinkGuard) -> None:
        self._memory, self._agreement, self._guard = memory, agreement, guard
        self._seen = BlocksSeen(memory)
        self._key: Secret | None = None
        self._to_hash: deque[Held] = deque()
        self.refused = 0

    def restore(self, record: BlockRecord) -> None:
        """The block was held when the process ended."""
        held = Held(record=record, hash=None, since_ms=0)
        self._agreement.hold(held)
        self._seen.came(record.bits_digest, record.block_id)
        self._to_hash.append(held)

    def started(self, out: Outbox) -> None:
        """The hash key is asked for."""
        for held in self._to_hash:
            held.since_ms = out.now.mono_ms
        key = self._memory.hash_key
        if key is not None:
            out.add(ReadMaterial(material=key, offset=0, length=limits.HASH_KEY_BYTES))

    def begin(self, key: Secret, out: Outbox) -> None:
        """Another secret begins: its hash key, and none of the blocks held so far."""
        if self._key is not None:
            self._key.wipe()
        self._key = key
        self._to_hash.clear()
        self._agreement.begin(out)

    def burn(self, out: Outbox) -> None:
        """No block is held, and the hash key is unreadable with the batch."""
        assert self._key is None, "a node that stands has read no key"
        self._to_hash.clear()
        self._agreement.begin(out)
        if self._memory.hash_key is not None:
            key, length = self._memory.hash_key, limits.HASH_KEY_BYTES
            out.add(WipeMaterial(material=key, offset=0, length=length))
            self._memory.hash_key = None

    def room(self, size_bytes: int) -> bool:
        """Whether a block of this size would be taken."""
        memory, agreement = self._memory, self._agreement
        if memory.state is not LinkState.OPEN or self._key is None or self._to_hash:
            return False
        most = memory.settings.pool_bytes_max
        if self._guard.alarmed:
            # Nothing is served: a full pool stays full, and only good blocks end the alarm.
            most += limits.ALARM_ROOM_BLOCKS * size_bytes
        elif any(pad.above_reserve() < limits.DRAINED_BYTES for pad in memory.pads):
            # What lies there is reserve, which a small pool is in whole, or the other direction's:
            # no key is made of it, so nobody would ever make room for the next block (I12).
            most = max(most, sum(pad.reserve() for pad in memory.pads))
            most += limits.DRAINED_ROOM_BLOCKS * size_bytes
        pools = memory.writer.level() + memory.reader.level()
        return (
            len(agreement.held) < limits.HELD_BLOCKS_MAX
            and pools + agreement.held_bytes + size_bytes <= most
        )

    def arrived(self, event: BlockArrived, out: Outbox) -> None:
        """The block is held, or refused with a reason; either way ``BlockStored`` answers."""
        refused = self._judge(event, out)
        if not refused:
            assert self._key is not None, "judged"
            digest = self._seen.digest(event.bits.expose())
            refused = self._stuck(event, digest, out) or self._agreement.store(
                event, digest, self._key, out
            )
            if not refused:
                self._seen.came(digest, event.block_id)
        if refused:
            self.refused += 1
            event.bits.wipe()
            out.note("block-refused", link=self._memory.link, reason=refused)
        out.add(BlockStored(device=event.device, block_id=event.block_id, refused=refused))

    def _judge(self, event: BlockArrived, out: Outbox) -> str:
        if not limits.BLOCK_BYTES_MIN <= len(event.bits) <= limits.BLOCK_BYTES_MAX:
            return "impossible length"
        if event.qber is not None and event.qber > self._memory.settings.qber_max:
            self._guard.alarm("qber", f"QBER {event.qber:.3f} of a block is over the limit", out)
            return "QBER over the limit"
        if repeats_within(event.bits.expose()):
            self._guard.alarm("repeated-bits", "a block is one pattern over and over", out)
            return REPEATED
        if self._key is None or self._memory.state is not LinkState.OPEN:
            return f"the link is {self._memory.state.value}"
        return ""

    def _stuck(self, event: BlockArrived, digest: bytes, out: Outbox) -> str:
        """Why the block cannot be key beside those that came before it."""
        if self._agreement.knows(event.block_id):
            return ""  # The same block once more: a duplicate.
        if not self._seen.came_before(digest, event.block_id):
            return ""
        self._guard.alarm("repeated-bits", "the bits of a block are those of an earlier one", out)
        return REPEATED

    # ---- after a start ------------------------------------------------------------------

    def asked_for(self, event: MaterialOpened) -> bool:
        return event.material == self._memory.hash_key or (
            bool(self._to_hash) and self._to_hash[0].record.material == event.material
        )

    def opened(self, event: MaterialOpened, out: Outbox) -> bool:
        """The hash key, or the next block to hash, is here. False: the key is unreadable."""
        if event.material == self._memory.hash_key:
            if event.bits is None:
                return False
            self._key = event.bits
        else:
            self._hash(self._to_hash.popleft(), event, out)
        if self._to_hash:
            record = self._to_hash[0].record
            out.add(ReadMaterial(material=record.material, offset=0, length=record.length))
        return True

    def _hash(self, held: Held, event: MaterialOpened, out: Outbox) -> None:
        block_id = held.record.block_id
        if self._agreement.held.get(block_id) is not held:
            pass  # It expired meanwhile, or the leader appended it.
        elif event.bits is None:
            self._agreement.drop(held, "unreadable after a restart", out)
        else:
            assert self._key is not None, "blocks are read after the key"
            hash_ = universal_hash(self._key, block_id.bytes, event.bits.expose())
            self._agreement.hashed(held, hash_, out)
        if event.bits is not None:
            event.bits.wipe()
