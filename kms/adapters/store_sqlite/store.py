"""The storage port on SQLite and two files beside it (docs/storage.md, ADR 0004).

    records.db   every record, and where each sealed unit lies; no key bits
    material     sealed units
    slots        their wrapped data keys, one per sector; overwriting one destroys its unit
    lock         which process holds the store

This file is the event loop's side: it copies what must not change under the writer, waits, and
keeps freshly designated chunks at hand. The work is in ``engine``.
"""

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Self

import attrs
import outcome
import trio

from kms.adapters.store_sqlite.disk import Disk
from kms.adapters.store_sqlite.engine import Engine, Opened
from kms.adapters.store_sqlite.fresh import Fresh
from kms.adapters.store_sqlite.limits import CLOSE_S, REWRAP_STEP
from kms.adapters.store_sqlite.plan import Change, Store, split
from kms.adapters.store_sqlite.writer import T, Writer
from kms.domain.effects import StoreMaterial, Stretch, WipeMaterial, Write
from kms.domain.errors import KMSError, StoreFault
from kms.domain.names import MaterialId
from kms.domain.records import Record
from kms.domain.secret import Secret, zero
from kms.ports.entropy import Entropy
from kms.ports.sealer import Sealer
from kms.ports.storage import StorageStatistics

LIBRARY = f"SQLite {sqlite3.sqlite_version}"
"""what the node prints when it starts"""


@attrs.frozen(kw_only=True)
class Rewrapped:
    """What a rekey did."""

    slots: int
    """data keys wrapped under the new epoch"""
    unreadable: int
    """data keys that were damaged, and are lost with the old epoch"""


def is_chunk(material: MaterialId) -> bool:
    """Whether this material is designated chunks, which an application will soon ask for."""
    return material.startswith("chunk")


class SQLiteStore:
    """One node's store. Implements ``Storage``."""

    library = LIBRARY

    def __init__(self, engine: Engine, writer: Writer, keep: Callable[[MaterialId], bool]) -> None:
        """Use ``open``."""
        self._engine = engine
        self._writer = writer
        self._keep = keep
        self._fresh = Fresh()
        self._closed = False

    @classmethod
    async def open(
        cls,
        directory: Path,
        sealer: Sealer,
        *,
        node: str,
        keep: Callable[[MaterialId], bool] = is_chunk,
        disk: Disk | None = None,
        entropy: Entropy | None = None,
    ) -> Self:
        """The store of ``node`` in ``directory`` (made if it is not there), recovered and ours.

        ``keep``: materials whose plaintext is held for delivery, within ``FRESH_BYTES_MAX``.
        Raises ``StoreFault`` if it is locked, corrupt, too new or foreign. The sealer may still be
        sealed: records can be loaded and saved, material cannot.
        """
        writer = Writer(f"store-{node}")
        try:
            with trio.CancelScope(shield=True):  # bounded by the disk: files are read once
                engine = await writer.run(
                    lambda: Engine(directory, sealer, node, disk or Disk(), entropy)
                )
        except BaseException:
            with trio.CancelScope(shield=True):  # the thread has nothing more to do: immediate
                await writer.stop()
            raise
        return cls(engine, writer, keep)

    def load(self) -> Sequence[Record]:
        """All records, each table in the order of ``RECORDS``. Before the first commit only."""
        assert self._engine.commits == 0, "records are loaded before the first commit"
        return self._engine.load()

    async def commit(self, writes: Sequence[Write]) -> None:
        """As ``Storage.commit``. The bits are copied when the call is made: the caller may wipe its
        own whatever becomes of the call."""
        changes: list[Change] = []
        fresh: list[tuple[MaterialId, int, Opened] | WipeMaterial] = []
        for write in writes:
            if isinstance(write, StoreMaterial):
                with write.bits.expose() as bits:
                    units = split(bits, write.unit_bytes)
                changes.append(
                    Store(material=write.material, unit_bytes=write.unit_bytes, units=units)
                )
                if self._keep(write.material):
                    fresh += _opened(write, units)
                del units
                continue
            changes.append(write)
            if isinstance(write, WipeMaterial):
                fresh.append(write)

        def settle(result: outcome.Outcome[None]) -> None:
            for each in fresh:
                if isinstance(each, WipeMaterial):
                    self._fresh.wipe(each.material, each.offset, each.length)
                elif isinstance(result, outcome.Value):
                    self._fresh.put(*each)
                else:
                    zero(each[2].bits)

        await self._run(lambda: self._engine.commit(changes), settle)

    async def take(self, material: MaterialId, offset: int, length: int) -> Secret:
        """As ``Storage.take``. All units of the call are destroyed with one write and sync if their
        slots are neighbours."""

        def settle(result: outcome.Outcome[Secret]) -> None:
            self._fresh.wipe(material, offset, length)

        return await self._run(
            lambda: Secret.adopt(self._engine.take(material, offset, length)), settle
        )

    def at_hand(self, material: MaterialId, offset: int, length: int) -> Secret | None:
        """As ``Storage.at_hand``: chunks just designated, and neighbours of those read."""
        return self._fresh.read(material, offset, length)

    async def read(self, material: MaterialId, offset: int, length: int) -> Secret:
        """As ``Storage.read``; from memory if the chunk was just designated, or others of its unit
        were read."""
        await trio.lowlevel.checkpoint()
        found = self.at_hand(material, offset, length)
        if found is not None:
            return found
        opened = Fresh()
        return await self._run(
            lambda: self._open(material, offset, length, opened),
            lambda result: opened.pour(self._fresh),
        )

    async def read_all(self, stretches: Sequence[Stretch]) -> Secret:
        """As ``Storage.read_all``: one call of the thread. Each unit is opened once, within
        ``FRESH_BYTES_MAX``."""
        await trio.lowlevel.checkpoint()
        found = [self.at_hand(each.material, each.offset, each.length) for each in stretches]
        opened = Fresh()

        def work() -> Secret:
            parts: list[Secret] = []
            try:
                for each, at_hand in zip(stretches, found, strict=True):
                    where = each.material, each.offset, each.length
                    part = at_hand or opened.read(*where) or self._open(*where, opened)
                    parts.append(part)
            except BaseException:
                for part in parts:
                    part.wipe()
                raise
            return Secret.joined(parts)

        def settle(result: outcome.Outcome[Secret]) -> None:
            opened.pour(self._fresh)
            for part in found:
                if part is not None:  # wiped already, unless the work came to nothing
                    part.wipe()

        return await self._run(work, settle)

    def _open(self, material: MaterialId, offset: int, length: int, opened: Fresh) -> Secret:
        """In the thread: the bytes; what else is in their units is in ``opened``, if it is to be
        kept."""
        units, unit_bytes = self._engine.read(material, offset, length)
        if len(units) == 1 and len(units[0].bits) == length:
            # Nothing else is in the unit: its buffer is the answer, and nobody asks again.
            return Secret.adopt(units[0].bits)
        bits = _joined(units, offset, length)
        for unit in units:
            if self._keep(material):
                opened.put(material, unit_bytes, unit)
            else:
                zero(unit.bits)
        return bits

    async def rewrap(self, to_epoch: int) -> Rewrapped:
        """Every data key is wrapped under an epoch not below ``to_epoch``, durably; then, and only
        then, older epochs may be retired. Other calls are served between its steps. Interrupted at
        any point, it is simply run again."""
        slots = await self._run(self._engine.live_slots)
        done = unreadable = 0
        for at in range(0, len(slots), REWRAP_STEP):
            step = slots[at : at + REWRAP_STEP]
            some, bad = await self._run(partial(self._engine.rewrap, step, to_epoch))
            done, unreadable = done + some, unreadable + bad
        return Rewrapped(slots=done, unreadable=unreadable)

    def statistics(self) -> StorageStatistics:
        """What was done since the store was opened, and what is there."""
        return StorageStatistics(
            commits=self._engine.commits,
            writes=self._engine.writes,
            material_bytes=self._engine.material_bytes,
            slots_live=self._engine.slots_live,
            file_bytes=self._engine.file_bytes(),
        )

    async def aclose(self) -> None:
        """As ``Storage.aclose``. What was handed over before is done first. Twice is no error."""
        if self._closed:
            return
        self._closed = True
        with trio.move_on_after(CLOSE_S, shield=True):  # a cancelled node still closes its files
            await self._writer.run(self._engine.close)
            await self._writer.stop()
        self._fresh.clear()

    async def _run(
        self,
        work: Callable[[], T],
        settle: Callable[[outcome.Outcome[T]], None] = lambda result: None,
    ) -> T:
        if self._closed:
            raise StoreFault("the store is closed", hint="start the node again")

        def guarded() -> T:
            try:
                return work()
            except KMSError:
                raise
            except BaseException as error:
                # A mistake of ours: what the engine believes is not to be trusted any more.
                self._engine.give_up(error)
                raise

        return await self._writer.run(guarded, settle)


def _opened(write: StoreMaterial, units: Sequence[bytes]) -> list[tuple[MaterialId, int, Opened]]:
    """The units as the fresh ones are kept."""
    found, start = [], 0
    for number, plain in enumerate(units):
        left = ((start, start + len(plain)),)
        unit = Opened(number=number, left=left, base=start, bits=bytearray(plain))
        found.append((write.material, write.unit_bytes, unit))
        start += len(plain)
    return found


def _joined(units: Sequence[Opened], offset: int, length: int) -> Secret:
    """The bytes, out of neighbouring units."""
    bits = bytearray(length)
    at = offset
    for unit in units:
        end = min(unit.base + len(unit.bits), offset + length)
        bits[at - offset : end - offset] = unit.part(at, end)
        at = end
    assert at == offset + length, "the units hold all bytes"
    return Secret.adopt(bits)
