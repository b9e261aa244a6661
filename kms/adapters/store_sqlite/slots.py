"""The slot file: one wrapped data key per disk sector, overwritten in place to destroy it (I6).

Theory of operation. A slot is *live* exactly when a row of the database refers to it. Slots are
written and synced before the transaction that refers to them; they are overwritten with zeros and
synced after the transaction that gives them up. So whatever a crash interrupts, opening the store
finds every live slot whole, and may overwrite every other one that is not zero. A zero slot that
a row still refers to was destroyed by ``take``: it reads as wiped, never as damaged.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import attrs

from kms.adapters.store_sqlite.disk import Disk
from kms.adapters.store_sqlite.free import FreeSpace
from kms.adapters.store_sqlite.limits import MIB, SLOT_BYTES, SLOTS_MAX, SLOTS_STEP
from kms.domain.errors import StoreFault

_HEAD = struct.Struct("<4sIH16s24s")
_MAGIC = b"KMS1"
_ZERO = bytes(SLOT_BYTES)


@attrs.frozen(kw_only=True)
class Slot:
    """What one slot says."""

    epoch: int
    """the epoch key that wraps it; at the latest, this one"""
    tag: bytes = attrs.field(repr=False)
    nonce: bytes = attrs.field(repr=False)
    wrapped: bytes = attrs.field(repr=False)

    def image(self) -> bytes:
        """The sector."""
        head = _HEAD.pack(_MAGIC, self.epoch, len(self.wrapped), self.tag, self.nonce)
        image = (head + self.wrapped).ljust(SLOT_BYTES, b"\0")
        assert len(image) == SLOT_BYTES, "a wrapped data key fits a sector"
        return image


def parse(image: bytes) -> Slot:
    """The slot, or ``StoreFault`` if it was wiped or damaged."""
    if not any(image):
        raise StoreFault("the key material was wiped", hint="it was used or burnt; nothing to do")
    if len(image) == SLOT_BYTES:
        magic, epoch, length, tag, nonce = _HEAD.unpack_from(image)
        if magic == _MAGIC and _HEAD.size + length <= SLOT_BYTES:
            wrapped = image[_HEAD.size : _HEAD.size + length]
            return Slot(epoch=epoch, tag=tag, nonce=nonce, wrapped=wrapped)
    raise StoreFault(
        "a data-key slot is damaged", hint="the disk alters data: burn the block, check the disk"
    )


class SlotFile:
    """All slots, by number."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self._disk = disk
        self._fd = disk.open(path)
        self._free = FreeSpace()
        self._unsynced = False

    def settle(self, live: set[int]) -> set[int]:
        """Every slot that is not live is zero, durably; returns the live ones that are zero too.
        (A slot file that was lost, as in a backup, is made anew: all its keys are wiped.)"""
        needed = max(live, default=-1) + 1
        if needed > self.bytes() // SLOT_BYTES:
            self._disk.extend(self._fd, needed * SLOT_BYTES)
        total = self.bytes() // SLOT_BYTES
        wiped: set[int] = set()
        stale: list[int] = []
        for first in range(0, total, MIB // SLOT_BYTES):
            data = self._disk.read(self._fd, MIB, first * SLOT_BYTES)
            nothing = not data.strip(b"\0")
            for slot in range(first, first + len(data) // SLOT_BYTES):
                at = (slot - first) * SLOT_BYTES
                if nothing or data[at : at + SLOT_BYTES] == _ZERO:
                    if slot in live:
                        wiped.add(slot)
                elif slot not in live:
                    stale.append(slot)
        self._free.reset(total, ((slot, 1) for slot in live))
        self.erase(stale)
        return wiped

    def allocate(self, count: int) -> list[int]:
        """Slots that are used from now on, neighbours if there are. ``StoreFault``: full."""
        run = self._free.take(count)
        if run is not None:
            return list(range(run, run + count))
        if count > 1:
            slots = self.allocate(count // 2)
            try:
                return slots + self.allocate(count - count // 2)
            except (StoreFault, OSError):
                self.free(slots)
                raise
        if self._free.total + SLOTS_STEP > SLOTS_MAX:
            raise StoreFault(
                f"the store holds {SLOTS_MAX} data keys and takes no more",
                hint="lower the pool sizes, or let the applications use the keys",
            )
        self._grow()
        return self.allocate(count)

    def _grow(self) -> None:
        """A step of zero slots, written for real: overwriting later happens in place."""
        total = self._free.total
        self._disk.write(
            self._fd, [bytes(MIB)] * (SLOTS_STEP * SLOT_BYTES // MIB), total * SLOT_BYTES
        )
        self._disk.sync(self._fd)
        self._free.grow(SLOTS_STEP)

    def free(self, slots: Iterable[int]) -> None:
        """The slots may be used again. They are zero on disk, and no row refers to them."""
        for slot in slots:
            self._free.free(slot, 1)

    def read(self, slot: int) -> Slot:
        """What the slot says. ``StoreFault``: wiped or damaged."""
        return parse(self._disk.read(self._fd, SLOT_BYTES, slot * SLOT_BYTES))

    def write(self, slots: Sequence[int], images: Sequence[bytes]) -> None:
        """The slots hold the images; durable after ``sync``."""
        at = 0
        for first, count in runs(slots):
            self._disk.write(self._fd, [b"".join(images[at : at + count])], first * SLOT_BYTES)
            at += count
        self._unsynced = self._unsynced or bool(slots)

    def sync(self) -> None:
        """What was written is durable."""
        if self._unsynced:
            self._disk.sync(self._fd)
            self._unsynced = False

    def erase(self, slots: Iterable[int]) -> None:
        """The slots are zero on disk, durably."""
        for first, count in runs(sorted(slots)):
            self._disk.write(self._fd, [bytes(count * SLOT_BYTES)], first * SLOT_BYTES)
            self._unsynced = True
        self.sync()

    def bytes(self) -> int:
        """Size of the file."""
        return self._disk.size(self._fd)

    def close(self) -> None:
        self._disk.close(self._fd)


def runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Neighbours in sequence, as (first, count): one write each."""
    at = 0
    while at < len(numbers):
        end = at + 1
        while end < len(numbers) and numbers[end] == numbers[end - 1] + 1:
            end += 1
        yield numbers[at], end - at
        at = end
