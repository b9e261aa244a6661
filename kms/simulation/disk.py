"""A site's disk: what survives a crash, and how a disk can fail.

Rules: ``commit`` is one transaction: all of it or nothing, and after a fault nobody knows which. A
wiped byte is unreadable for good; a material's name is never given twice. Nothing here draws lots:
whoever hurts the disk says how.
"""

from collections.abc import Iterable
from enum import Enum
from operator import attrgetter

from kms.domain.effects import Effect, Forget, Save, StoreMaterial, WipeMaterial
from kms.domain.names import MaterialId
from kms.domain.records import RECORDS, Record
from kms.domain.secret import Secret


class Health(Enum):
    """What the next commit meets."""

    GOOD = "good"
    FULL = "full"
    """a transaction is refused and changes nothing"""
    EIO_DONE = "eio-done"
    """the next sync fails, and the transaction is there all the same"""
    EIO_LOST = "eio-lost"
    """the next sync fails, and the transaction is not there"""


class DiskError(Exception):
    """The store failed: the node stops. Its text is the kind of fault. ``done``: what it was given
    is there all the same."""

    def __init__(self, kind: str, *, done: bool = False) -> None:
        super().__init__(kind)
        self.done = done


class Disk:
    """Records and sealed material, as of the last commit."""

    def __init__(self) -> None:
        self.records: dict[tuple[object, ...], Record] = {}
        self.material: dict[MaterialId, bytes] = {}
        """all bits there ever were, also of what is wiped: a checker looks them up"""
        self.gone: dict[MaterialId, bytearray] = {}
        """1 for each wiped byte"""
        self.live: dict[MaterialId, int] = {}
        """bytes of it not wiped"""
        self.unreadable: set[MaterialId] = set()
        """rotten, or without slots: the seal does not open"""
        self.health = Health.GOOD

    def copy(self) -> "Disk":
        """A clone, slots and all. A backup has no slots: ``without_slots``."""
        twin = Disk()
        twin.records = dict(self.records)
        twin.material = dict(self.material)
        twin.gone = {key: bytearray(value) for key, value in self.gone.items()}
        twin.live = dict(self.live)
        twin.unreadable = set(self.unreadable)
        return twin

    def without_slots(self) -> "Disk":
        """What a restored backup is: every record, and no material that can be read."""
        twin = self.copy()
        twin.unreadable = set(twin.material)
        return twin

    def commit(self, effects: Iterable[Effect]) -> None:
        """The batch's writes are there. Raises ``DiskError``: the store says nothing more."""
        health = self.health
        if health is Health.FULL:
            raise DiskError("full disk")
        self.health = Health.GOOD
        if health is not Health.EIO_LOST:
            self._write(effects)
        if health is not Health.GOOD:
            raise DiskError("EIO", done=health is Health.EIO_DONE)

    def _write(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if type(effect) is Save:
                self.records[key(effect.record)] = effect.record
            elif type(effect) is Forget:
                self.records.pop(key(effect.record), None)
            elif type(effect) is StoreMaterial:
                self._store(effect.material, bytes(effect.bits.expose()))
            elif type(effect) is WipeMaterial:
                self.wipe(effect.material, effect.offset, effect.length)

    def _store(self, material: MaterialId, bits: bytes) -> None:
        assert material not in self.material, "a material's name is never reused"
        self.material[material] = bits
        self.gone[material] = bytearray(len(bits))
        self.live[material] = len(bits)

    def wipe(self, material: MaterialId, offset: int, length: int) -> None:
        gone = self.gone.get(material)
        if gone is None:
            return
        part = gone[offset : offset + length]
        self.live[material] -= part.count(0)
        gone[offset : offset + length] = b"\1" * len(part)
        if not self.live[material]:
            # The name stays; the bits need no room.
            self.material[material] = b""

    def readable(self) -> bytes:
        """Every byte that is not wiped, one after the other: what a thief of the disk has."""
        parts = []
        for name, raw in self.material.items():
            gone = self.gone[name]
            parts.append(bytes(bit for bit, wiped in zip(raw, gone, strict=False) if not wiped))
        return b"".join(parts)

    def read(self, material: MaterialId, offset: int, length: int) -> Secret | None:
        """The bytes; None when any of them is wiped or does not open."""
        gone = self.gone.get(material)
        if material in self.unreadable or gone is None:
            return None
        assert offset + length <= len(gone), "outside the material"
        if gone.find(1, offset, offset + length) >= 0:
            return None
        return Secret(bytearray(self.material[material][offset : offset + length]))


_KEY = {kind: attrgetter("__class__", *kind.KEY) for kind in RECORDS}


def key(record: Record) -> tuple[object, ...]:
    """The primary key of a record, its class first."""
    return _KEY[type(record)](record)
