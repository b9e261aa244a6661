"""The store without its thread: one call at a time, from whichever thread.

Theory of operation of ``commit``; a crash may come between any two steps:

    1  sealed units to free places of the material file, sync     nothing refers to them
    2  their wrapped keys to free slots, sync                     erased when the store opens
    3  one SQLite transaction: records, units that come and go    <- the moment it happens
    4  slots of the units that went: overwritten, sync            finished when the store opens

``take`` overwrites slots before any row changes: a row whose slot is zero reads as wiped, and goes
with the next commit. Slots and places are used again only when no row on disk refers to them.

A fault before step 3 that is no fault of the disk (full, sealed, a mistake) refuses the commit
and changes nothing. After any other fault nothing about the disk is known: the engine is
*broken* and refuses everything.
"""

import errno
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import attrs

from kms.adapters.entropy import OSEntropy
from kms.adapters.store_sqlite.catalogue import Catalogue, Material
from kms.adapters.store_sqlite.directory import DATABASE, MATERIAL, SLOTS, Directory
from kms.adapters.store_sqlite.disk import Disk
from kms.adapters.store_sqlite.ledger import Ledger, LedgerBroken, Moves, Refused, damaged
from kms.adapters.store_sqlite.material_file import MaterialFile
from kms.adapters.store_sqlite.plan import Change, Draft, Plan, plan, sealed
from kms.adapters.store_sqlite.schema import SQL_ERRORS
from kms.adapters.store_sqlite.slots import SlotFile
from kms.adapters.store_sqlite.spans import Spans
from kms.adapters.store_sqlite.unit import Unit, context, cut, unseal
from kms.domain.errors import StoreFault
from kms.domain.names import MaterialId
from kms.domain.records import Record
from kms.ports.entropy import Entropy
from kms.ports.sealer import Sealer

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LOOK = "look at the disk, then start the node again: it recovers what is durable"


@attrs.frozen(kw_only=True)
class Opened:
    """A unit's plaintext."""

    number: int
    left: Spans
    base: int
    """offset in the material of the first of ``bits``"""
    bits: bytearray = attrs.field(repr=False)

    def part(self, start: int, end: int) -> memoryview:
        """The bytes at these offsets of the material."""
        return memoryview(self.bits)[start - self.base : end - self.base]


class Engine:
    """The open store."""

    def __init__(
        self,
        path: Path,
        sealer: Sealer,
        node: str,
        disk: Disk,
        entropy: Entropy | None = None,
    ) -> None:
        """The store is ours, whole, and every overwrite that a crash interrupted is done; or
        ``StoreFault``, and nothing is held."""
        # One of its own: all draws are this thread's.
        self._sealer, self._entropy = sealer, entropy or OSEntropy()
        self._broken = ""
        self._catalogue = Catalogue()
        self._taken: list[tuple[Material, Unit]] = []
        """units whose slots are zero, and whose rows go with the next commit"""
        self.commits = self.writes = 0
        self._path = path
        with ExitStack() as undo:
            directory = Directory(path, disk)
            undo.callback(directory.release)
            try:
                disk.close(disk.open(path / DATABASE))  # made by us: its mode is 0600
                self._ledger = Ledger(path / DATABASE, disk, node)
                undo.callback(self._ledger.close)
                self._slots = SlotFile(path / SLOTS, disk)
                undo.callback(self._slots.close)
                self._material = MaterialFile(path / MATERIAL, disk)
                undo.callback(self._material.close)
                disk.sync_directory(path)
                self._recover()
            except (OSError, *SQL_ERRORS, LedgerBroken) as error:
                raise StoreFault(
                    f"the store {path} cannot be opened: {error.__cause__ or error}",
                    hint="look at the disk and its free space, then start again",
                ) from error
            self._undo = undo.pop_all()

    def _recover(self) -> None:
        """The catalogue is what the rows say; slots that no row refers to are zero."""
        catalogue = self._catalogue
        for material in self._ledger.materials():
            catalogue.add(material)
        by_row = {material.row: material for material in catalogue.materials.values()}
        for material, unit in self._ledger.units(by_row):
            if unit.slot in catalogue.by_slot:
                raise damaged("unit", (material.row, unit.number))
            catalogue.put(material, unit)
        self._material.settle([(unit.place, unit.length) for unit in catalogue.units()])
        wiped = self._slots.settle(set(catalogue.by_slot))
        for material, unit in [catalogue.by_slot[slot] for slot in wiped]:
            catalogue.drop(material, unit.number)
            self._taken.append((material, unit))
        empty = [material for material in by_row.values() if not material.units]
        self._transact(Plan(), [], empty)
        for material in empty:
            catalogue.materials.pop(material.name, None)

    def load(self) -> list[Record]:
        """All records."""
        self._check()
        return self._ledger.load()

    # ---- commit ---------------------------------------------------------------------------------

    def commit(self, changes: Sequence[Change]) -> None:
        """All changes are durable and what they wipe is unreadable; or none is, ``StoreFault``."""
        self._check()
        made = plan(self._catalogue, changes)
        drafts = list(made.drafts.values())
        for draft in drafts:
            self._open_old(draft)
        put = self._write_units([draft for draft in drafts if draft.left])
        try:
            self._transact(made, put, _emptied(drafts))
        except Refused:
            self._give_back([unit for _, unit in put])
            raise
        doomed = [draft.old for draft in drafts if draft.old is not None]
        with self._fatal("overwriting data keys"):
            self._slots.erase(unit.slot for unit in doomed)
        for material in made.added.values():
            self._catalogue.add(material)
        for draft in drafts:
            self._catalogue.drop(draft.material, draft.number)
        for material, unit in put:
            self._catalogue.put(material, unit)
        for draft in drafts:
            if not draft.material.units:
                self._catalogue.materials.pop(draft.material.name, None)
        self._free(doomed)
        self.commits += 1
        self.writes += len(changes)

    def _open_old(self, draft: Draft) -> None:
        """The draft has its plaintext. If it cannot be read, nothing of the unit is left."""
        if draft.old is None or not draft.left:
            return
        try:
            plain = self._open(draft.material, draft.old)
        except StoreFault:
            # The survivors are lost already; reading them says so. The wipe must not fail for it.
            draft.left = ()
            return
        draft.plain = cut(plain, draft.old.start, draft.left)

    def _write_units(self, drafts: list[Draft]) -> list[tuple[Material, Unit]]:
        """The drafts are sealed and in the files, durably; no row refers to them yet."""
        if not drafts:
            return []
        # Raises ``Sealed``, or what the random source raises, while nothing is written.
        texts, images = sealed(drafts, self._sealer, self._entropy)
        try:
            places = self._material.allocate([len(text) for text in texts])
            try:
                slots = self._slots.allocate(len(texts))
            except (StoreFault, OSError):
                for place, text in zip(places, texts, strict=True):
                    self._material.free(place, len(text))
                raise
        except OSError as error:
            raise self._full_or_broken("growing the store", error) from error
        put = [
            (draft.material, Unit(number=draft.number, spans=draft.left, place=place, slot=slot))
            for draft, place, slot in zip(drafts, places, slots, strict=True)
        ]
        try:
            self._material.write(places, texts)
        except OSError as error:
            fault = self._full_or_broken("writing sealed material", error)
            self._free([unit for _, unit in put])
            raise fault from error
        with self._fatal("writing sealed material"):
            self._material.sync()
            self._slots.write(slots, images)
            self._slots.sync()
        return put

    def _give_back(self, units: list[Unit]) -> None:
        """What was written for a commit that is refused is unreadable, and its room free."""
        with self._fatal("overwriting data keys"):
            self._slots.erase(unit.slot for unit in units)
        self._free(units)

    def _free(self, units: Sequence[Unit]) -> None:
        """Slots and places may be used again: no row on disk refers to them."""
        self._slots.free(unit.slot for unit in units)
        for unit in units:
            self._material.free(unit.place, unit.length)

    def _transact(
        self, made: Plan, put: list[tuple[Material, Unit]], emptied: list[Material]
    ) -> None:
        """The plan is durable, and the rows of what was taken before are gone; or ``Refused``."""
        spent = self._taken
        dropped = [(material, unit.number) for material, unit in spent]
        dropped += [(d.material, d.number) for d in made.drafts.values() if d.old and not d.left]
        spent_materials = {id(m): m for m, _ in spent if not m.units}
        gone = {id(m): m for m in emptied} | spent_materials
        try:
            self._ledger.transact(
                made, Moves(put=put, dropped=dropped, emptied=list(gone.values()))
            )
        except LedgerBroken as broken:
            raise self._break(str(broken), broken.__cause__ or broken) from broken
        self._taken = []
        self._free([unit for _, unit in spent])
        for material in spent_materials.values():
            self._catalogue.materials.pop(material.name, None)

    # ---- reading --------------------------------------------------------------------------------

    def read(self, name: MaterialId, offset: int, length: int) -> tuple[list[Opened], int]:
        """The units that the bytes lie in, opened, and the length of a unit; they stay."""
        self._check()
        material, units = self._catalogue.find(name, offset, length)
        opened = [
            Opened(
                number=unit.number,
                left=unit.spans,
                base=unit.start,
                bits=bytearray(self._open(material, unit)),
            )
            for unit in units
        ]
        return opened, material.unit_bytes

    def take(self, name: MaterialId, offset: int, length: int) -> bytearray:
        """The bytes, which are unreadable in the files now. ``StoreFault`` before anything is
        overwritten when one unit does not open."""
        self._check()
        material, units = self._catalogue.find(name, offset, length)
        whole = [material.whole(unit.number) for unit in units]
        if whole[0][0] != offset or whole[-1][1] != offset + length:
            raise StoreFault(
                f"{name}: bytes {offset} to {offset + length} are not whole units",
                hint="this is a mistake of the program: please report it",
            )
        bits = bytearray(length)
        for unit in units:
            bits[unit.start - offset : unit.end - offset] = self._open(material, unit)
        try:
            with self._fatal("overwriting data keys"):
                self._slots.erase(unit.slot for unit in units)
        except StoreFault:
            bits[:] = bytes(length)
            raise
        for unit in units:
            self._catalogue.drop(material, unit.number)
            self._taken.append((material, unit))
        return bits

    def _open(self, material: Material, unit: Unit) -> bytes:
        bound = context(material.name, unit.number, unit.start, unit.end)
        try:
            slot = self._slots.read(unit.slot)
            text = self._material.read(unit.place, unit.length)
        except OSError as error:
            raise StoreFault(
                f"{material.name} cannot be read: {error.strerror}",
                hint="the disk is failing: burn the block, replace the disk",
            ) from error
        return unseal(self._sealer, text, slot, bound)

    # ---- rekey ----------------------------------------------------------------------------------

    def live_slots(self) -> list[int]:
        """Slots in use, in order."""
        return sorted(self._catalogue.by_slot)

    def rewrap(self, slots: Sequence[int], to_epoch: int) -> tuple[int, int]:
        """Those slots that are still live are wrapped under an epoch not below ``to_epoch``,
        durably; how many were wrapped anew, and how many could not be read.

        Each is overwritten in place, one sector at a time: old or new whenever a crash comes.
        """
        self._check()
        if to_epoch > self._sealer.epoch:
            raise StoreFault(
                f"there is no epoch {to_epoch} to wrap under", hint="rotate the epoch key first"
            )
        done: list[int] = []
        images: list[bytes] = []
        unreadable = 0
        for number in slots:
            if (owner := self._catalogue.by_slot.get(number)) is None:
                continue
            material, unit = owner
            bound = context(material.name, unit.number, unit.start, unit.end)
            try:
                slot = self._slots.read(number)
                if slot.epoch >= to_epoch:
                    continue
                key = self._sealer.unwrap(slot.wrapped, bound)
            except (StoreFault, OSError):
                unreadable += 1
                continue
            epoch = self._sealer.epoch
            wrapped = self._sealer.wrap(key, bound)
            key.wipe()
            images.append(attrs.evolve(slot, epoch=epoch, wrapped=wrapped).image())
            done.append(number)
        with self._fatal("wrapping data keys"):
            self._slots.write(done, images)
            self._slots.sync()
        return len(done), unreadable

    # ---- state ----------------------------------------------------------------------------------

    @property
    def material_bytes(self) -> int:
        """Sealed bytes that are readable."""
        return self._catalogue.bytes

    @property
    def slots_live(self) -> int:
        return len(self._catalogue.by_slot)

    def file_bytes(self) -> int:
        """Size of everything in the directory."""
        total = 0
        for each in self._path.iterdir():
            with suppress(FileNotFoundError):  # a key file may be replaced meanwhile
                total += each.stat().st_size
        return total

    def close(self) -> None:
        """Everything committed is on disk and the store is free. Safe to call twice."""
        self._broken = "closed"
        self._undo.close()

    def give_up(self, error: BaseException) -> None:
        """An error that nobody foresaw left the engine: it does nothing more."""
        self._break("working", error)

    def _check(self) -> None:
        if self._broken == "closed":
            raise StoreFault("the store is closed", hint="start the node again")
        if self._broken:
            raise StoreFault(f"the store stopped after a fault while {self._broken}", hint=_LOOK)

    def _break(self, doing: str, error: BaseException) -> StoreFault:
        """The store refuses everything from now on; the fault to raise."""
        self._broken = self._broken or f"{doing}: {error}"
        return StoreFault(f"the disk failed while {doing}: {error}", hint=_LOOK)

    def _full_or_broken(self, doing: str, error: OSError) -> StoreFault:
        if error.errno in _NO_ROOM:
            return StoreFault(
                f"the disk is full: {error.strerror}", hint="make room, then start again"
            )
        return self._break(doing, error)

    @contextmanager
    def _fatal(self, doing: str) -> Iterator[None]:
        """Whatever the disk refuses inside breaks the engine."""
        try:
            yield
        except OSError as error:
            raise self._break(doing, error) from error


def _emptied(drafts: Sequence[Draft]) -> list[Material]:
    """Materials of which nothing is left after the drafts."""
    materials = {id(draft.material): draft.material for draft in drafts}
    drafted: dict[int, set[int]] = {key: set() for key in materials}
    for draft in drafts:
        drafted[id(draft.material)].add(draft.number)
        if draft.left:
            materials.pop(id(draft.material), None)
    return [each for key, each in materials.items() if not each.units.keys() - drafted[key]]
