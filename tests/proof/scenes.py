"""A scene: one batch of one node, its store's files photographed at every write and commit.

Rules: a photograph is every byte of every file. What a store is *known to hold* is what its own
engine read from files that nobody tore, with the bytes in the files that it was read from: files
that hold those bytes again hold the same.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs

from kms.adapters.seal import FileSealer
from kms.adapters.store_sqlite import Disk as StoreDisk
from kms.adapters.store_sqlite.catalogue import Material
from kms.adapters.store_sqlite.disk import Buffer
from kms.adapters.store_sqlite.engine import Engine
from kms.adapters.store_sqlite.limits import GRANULE_BYTES, SLOT_BYTES
from kms.adapters.store_sqlite.rows import Value
from kms.adapters.store_sqlite.spans import Spans
from kms.adapters.store_sqlite.unit import Unit as Place
from kms.domain.names import MaterialId, NodeId
from kms.domain.records import Record
from kms.simulation.disk import key

FILES: Final = ("records.db", "records.db-wal", "material", "slots")

Images = dict[str, bytes]
Unit = tuple[MaterialId, int]
Records = dict[tuple[object, ...], Record]
Rows = dict[type[Record], list[tuple[Value, ...]]]


@attrs.frozen
class Shot:
    """The files at one moment of a scene."""

    images: Images = attrs.field(repr=False)
    committed: bool
    """the transaction was durable before this moment"""
    begun: int
    """takes that had begun"""


class Camera(StoreDisk):
    """A disk that photographs its directory at each step while it is on."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.on = self.committed = False
        self.begun = 0
        self.shots: list[Shot] = []

    def begin(self) -> None:
        self.on, self.committed, self.begun, self.shots = True, False, 0, []
        self.shoot()

    def shoot(self) -> None:
        if self.on:
            images = {name: bytes_of(self._directory / name) for name in FILES}
            self.shots.append(Shot(images, self.committed, self.begun))

    def write(self, fd: int, buffers: Sequence[Buffer], offset: int) -> None:
        super().write(fd, buffers, offset)
        self.shoot()

    def extend(self, fd: int, size: int) -> None:
        super().extend(fd, size)
        self.shoot()

    def commit(self, database: object) -> None:
        super().commit(database)  # type: ignore[arg-type]
        self.committed = True
        self.shoot()


def bytes_of(path: Path) -> bytes:
    """Nothing, where there is no such file."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return b""
    try:
        return os.read(fd, os.fstat(fd).st_size)
    finally:
        os.close(fd)


@attrs.frozen
class Sealed:
    """One unit as it lies in the files, and what it opens to."""

    spans: Spans
    plain: bytes = attrs.field(repr=False)
    slot: bytes = attrs.field(repr=False)
    text: bytes = attrs.field(repr=False)


@attrs.frozen
class State:
    """What a store holds: records, and which bytes of which units."""

    rows: Rows = attrs.field(repr=False)
    """as SQLite gives them"""
    records: Records = attrs.field(repr=False)
    """the rows, as records"""
    units: dict[Unit, Sealed] = attrs.field(repr=False)

    @classmethod
    def of(cls, engine: Engine) -> "State":
        slots, texts = (bytes_of(engine._path / name) for name in ("slots", "material"))
        units = {
            (name, number): Sealed(
                unit.spans, engine._open(material, unit), *sealed_in(slots, texts, unit)
            )
            for name, number, material, unit in units_of(engine)
        }
        return cls(engine._ledger._rows(), {key(each): each for each in engine.load()}, units)


def units_of(engine: Engine) -> list[tuple[MaterialId, int, Material, Place]]:
    """Every unit that the store's rows speak of."""
    return [
        (name, number, material, unit)
        for name, material in engine._catalogue.materials.items()
        for number, unit in material.units.items()
    ]


def sealed_in(slots: bytes, texts: bytes, unit: Place) -> tuple[bytes, bytes]:
    """The unit's slot and its sealed text, in these files."""
    at, start = unit.slot * SLOT_BYTES, unit.place * GRANULE_BYTES
    return slots[at : at + SLOT_BYTES], texts[start : start + unit.length]


@attrs.frozen
class Scene:
    """One batch of one node, step by step."""

    node: NodeId
    sealer: FileSealer
    shots: list[Shot]
    before: State
    after: State
    takes: list[tuple[MaterialId, int, int]]
    touched: set[MaterialId]
    closed: Images = attrs.field(repr=False)
    """after the batch, and closed in order: all pages are in the database"""

    def doomed(self, begun: int) -> set[Unit]:
        """Units of takes that had begun: they may be gone."""
        return {
            (name, number)
            for name, offset, length in self.takes[:begun]
            for (material, number), unit in self.after.units.items()
            if material == name and offset <= unit.spans[0][0] < offset + length
        }
