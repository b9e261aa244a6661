"""The storage port in memory, with a disk that can lose power.

``MemoryDisk`` is what survives; ``MemoryStorage`` is the process. ``disk.crash()`` takes the
process away: what it had not committed is gone, what it committed or took is as it was. A storage
that was crashed, or whose disk failed, refuses everything.

A commit is applied in one step, after ``MemoryDisk.latency_s`` (a simulated disk is slow too), so a
crash while it waits loses all of it, as the port says.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import attrs
import trio

from kms.domain.effects import Forget, Save, StoreMaterial, Stretch, WipeMaterial, Write
from kms.domain.errors import StoreFault
from kms.domain.names import MaterialId
from kms.domain.records import RECORDS, Record
from kms.domain.secret import Secret
from kms.ports.storage import StorageStatistics

Key = tuple[object, ...]
T = TypeVar("T")


@attrs.define
class _Material:
    bits: bytearray = attrs.field(repr=False)
    unit_bytes: int
    left: bytearray
    """one byte each: 1 while readable"""


class MemoryDisk:
    """What is durable. Held by one storage at a time."""

    def __init__(self, node: str = "node", latency_s: float = 0.0) -> None:
        self.node = node
        self.latency_s = latency_s
        self.failing = ""
        """why every write fails from now on; empty: none does"""
        self.keeps = False
        """what is stored is in memory as well, and need not be waited for"""
        self._records: dict[type[Record], dict[Key, Record]] = {kind: {} for kind in RECORDS}
        self._materials: dict[MaterialId, _Material] = {}
        self._holder: MemoryStorage | None = None

    def open(self, node: str | None = None) -> "MemoryStorage":
        """The storage of ``node``; ``StoreFault`` if it is held, or another node's."""
        if self._holder is not None:
            raise StoreFault("the store is locked", hint="close it first")
        if node not in (None, self.node):
            raise StoreFault(f"the store is of node {self.node!r}", hint="open the right one")
        self._holder = MemoryStorage(self)
        return self._holder

    def crash(self) -> None:
        """The process is gone; the disk may be opened again."""
        if self._holder is not None:
            self._holder.stop("the process is gone")
        self._holder = None

    def release(self, holder: "MemoryStorage") -> None:
        """Free, if it was ``holder`` who held it."""
        if self._holder is holder:
            self._holder = None

    # ---- what the storage does, each at one stroke -----------------------------------------------

    def records(self) -> list[Record]:
        return [record for kind in RECORDS for record in self._records[kind].values()]

    def apply(self, writes: Sequence[Write]) -> None:
        """All writes, or ``StoreFault`` and none."""
        if self.failing:
            raise StoreFault(self.failing, hint="look at the disk")
        new: set[MaterialId] = set()
        for write in writes:
            if isinstance(write, StoreMaterial):
                assert len(write.bits) and write.unit_bytes > 0, "a material has bytes, in units"
                if write.material in self._materials or write.material in new:
                    raise StoreFault(
                        f"material {write.material} is there already", hint="please report it"
                    )
                new.add(write.material)
        for write in writes:
            self._apply(write)

    def _apply(self, write: Write) -> None:
        if isinstance(write, Save):
            self._records[type(write.record)][_key(write.record)] = write.record
        elif isinstance(write, Forget):
            self._records[type(write.record)].pop(_key(write.record), None)
        elif isinstance(write, StoreMaterial):
            bits = bytearray(write.bits.expose())
            left = bytearray(b"\x01" * len(bits))
            self._materials[write.material] = _Material(bits, write.unit_bytes, left)
        else:
            self.wipe(write)

    def wipe(self, write: WipeMaterial) -> None:
        """The bytes are zero and unreadable."""
        material = self._materials.get(write.material)
        if material is None:
            return
        start = max(write.offset, 0)
        count = max(min(write.offset + write.length, len(material.bits)) - start, 0)
        material.bits[start : start + count] = bytes(count)
        material.left[start : start + count] = bytes(count)
        if not any(material.left):
            del self._materials[write.material]

    def read(self, name: MaterialId, offset: int, length: int) -> Secret:
        """The bytes, or ``StoreFault`` if one of them is gone."""
        material = self._materials.get(name)
        if material is None:
            raise StoreFault(f"{name} is wiped there", hint="nothing to do")
        if offset < 0 or length <= 0 or offset + length > len(material.bits):
            raise StoreFault(f"{name} has no such bytes", hint="please report it")
        if not all(material.left[offset : offset + length]):
            raise StoreFault(f"{name} is wiped there", hint="nothing to do")
        return Secret(memoryview(material.bits)[offset : offset + length])

    def take(self, name: MaterialId, offset: int, length: int) -> Secret:
        """The bytes, which are gone from here; whole units only."""
        if self.failing:
            raise StoreFault(self.failing, hint="look at the disk")
        bits = self.read(name, offset, length)
        material = self._materials[name]
        end = offset + length
        if offset % material.unit_bytes or (
            end % material.unit_bytes and end != len(material.bits)
        ):
            bits.wipe()
            raise StoreFault(f"{name}: not whole units", hint="please report it")
        self.wipe(WipeMaterial(material=name, offset=offset, length=length))
        return bits

    def read_all(self, stretches: Sequence[Stretch]) -> Secret:
        """As the port says."""
        parts: list[Secret] = []
        try:
            for each in stretches:
                parts.append(self.read(each.material, each.offset, each.length))
        except StoreFault:
            for part in parts:
                part.wipe()
            raise
        return Secret.joined(parts)

    @property
    def material_bytes(self) -> int:
        return sum(sum(each.left) for each in self._materials.values())

    @property
    def units(self) -> int:
        return sum(
            any(each.left[at : at + each.unit_bytes])
            for each in self._materials.values()
            for at in range(0, len(each.bits), each.unit_bytes)
        )


class MemoryStorage:
    """Implements ``Storage``. Made by ``MemoryDisk.open``."""

    def __init__(self, disk: MemoryDisk) -> None:
        self._disk = disk
        self._stopped = ""
        self._commits = self._writes = 0
        self._turn = trio.StrictFIFOLock()

    def load(self) -> Sequence[Record]:
        self._check()
        assert self._commits == 0, "records are loaded before the first commit"
        return self._disk.records()

    async def commit(self, writes: Sequence[Write]) -> None:
        """As the port says. Cancelled: the transaction is applied all the same, unless its turn had
        not come."""
        self._check()
        # The bits are copied now: the caller may be cancelled, and wipe its own.
        writes = [
            attrs.evolve(each, bits=Secret(each.bits.expose()))
            if isinstance(each, StoreMaterial)
            else each
            for each in writes
        ]
        async with self._turn:
            with trio.CancelScope(shield=True):  # bounded by latency_s
                await trio.sleep(self._disk.latency_s)
            self._check()
            self._try(lambda: self._disk.apply(writes))
            self._commits += 1
            self._writes += len(writes)

    async def take(self, material: MaterialId, offset: int, length: int) -> Secret:
        self._check()
        async with self._turn:
            await trio.lowlevel.checkpoint()
            self._check()
            return self._try(lambda: self._disk.take(material, offset, length))

    def at_hand(self, material: MaterialId, offset: int, length: int) -> Secret | None:
        if not self._disk.keeps or self._stopped:
            return None
        try:
            return self._disk.read(material, offset, length)
        except StoreFault:
            return None

    async def read(self, material: MaterialId, offset: int, length: int) -> Secret:
        self._check()
        async with self._turn:
            await trio.lowlevel.checkpoint()
            self._check()
            return self._disk.read(material, offset, length)

    async def read_all(self, stretches: Sequence[Stretch]) -> Secret:
        self._check()
        async with self._turn:
            await trio.lowlevel.checkpoint()
            self._check()
            return self._disk.read_all(stretches)

    def statistics(self) -> StorageStatistics:
        return StorageStatistics(
            commits=self._commits,
            writes=self._writes,
            material_bytes=self._disk.material_bytes,
            slots_live=self._disk.units,
            file_bytes=0,
        )

    async def aclose(self) -> None:
        async with self._turn:
            self.stop("the store is closed")
            # Also after a fault of the disk: what is closed is free for another process.
            self._disk.release(self)

    def stop(self, reason: str) -> None:
        """Every call from now on raises ``StoreFault``."""
        self._stopped = self._stopped or reason

    def _check(self) -> None:
        if self._stopped:
            raise StoreFault(self._stopped, hint="start the node again")

    def _try(self, work: Callable[[], T]) -> T:
        """A failing disk stops the storage for good."""
        try:
            return work()
        except StoreFault:
            if self._disk.failing:
                self.stop("the store stopped after a fault of its disk")
            raise


def _key(record: Record) -> Key:
    return tuple(getattr(record, name) for name in record.KEY)
