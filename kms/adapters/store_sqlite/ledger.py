"""The database: records, and which unit lies where. One transaction is one commit of the store.

A fault that leaves the database as it was is ``Refused``; after any other the disk is not to be
trusted, and ``LedgerBroken`` says so.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from kms.adapters.store_sqlite import spans
from kms.adapters.store_sqlite.catalogue import Material
from kms.adapters.store_sqlite.disk import Disk
from kms.adapters.store_sqlite.limits import GRANULE_BYTES, MATERIAL_FILE_BYTES_MAX, SLOTS_MAX
from kms.adapters.store_sqlite.plan import Plan
from kms.adapters.store_sqlite.rows import TABLES, Value
from kms.adapters.store_sqlite.schema import SQL_ERRORS, connect, prepare
from kms.adapters.store_sqlite.sum import FACT, Place, Sum
from kms.adapters.store_sqlite.unit import Unit
from kms.domain.errors import StoreFault
from kms.domain.names import MaterialId
from kms.domain.records import RECORDS, Record

_SAVE_UNIT = (
    "INSERT OR REPLACE INTO unit (material, number, spans, place, slot) VALUES (?, ?, ?, ?, ?)"
)
_SAVE_FACT = "INSERT OR REPLACE INTO store (fact, value) VALUES (?, ?)"
_BREAKING = ("SQLITE_IOERR", "SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_READONLY")
_PLACES_MAX = MATERIAL_FILE_BYTES_MAX // GRANULE_BYTES


class Refused(StoreFault):
    """The transaction was rolled back; the database is as it was."""


class LedgerBroken(Exception):
    """Nothing is known about the database any more."""


@attrs.frozen(kw_only=True)
class Moves:
    """Units that come and go with one transaction."""

    put: Sequence[tuple[Material, Unit]] = ()
    dropped: Sequence[tuple[Material, int]] = ()
    emptied: Sequence[Material] = ()


class Ledger:
    """The open database. Exactly one connection: more are not safe in a WAL before 3.51.3."""

    def __init__(self, path: Path, disk: Disk, node: str) -> None:
        """It is ours, sound and of this version; or ``StoreFault``, and it is as it was."""
        self._disk = disk
        self._sum: Sum | None = None
        """over all records; None until they are read"""
        self._database = connect(path)
        try:
            prepare(self._database, node)
        except BaseException:
            self._database.close()
            raise

    def load(self) -> list[Record]:
        """All records; ``StoreFault`` names the first row that is none."""
        rows = self._rows()
        records = [TABLES[kind].structure(row) for kind, of_kind in rows.items() for row in of_kind]
        self._add_up(rows)
        return records

    def _rows(self) -> dict[type[Record], list[tuple[Value, ...]]]:
        rows = {}
        for kind in RECORDS:
            table = TABLES[kind]
            try:
                rows[kind] = self._database.execute(table.select).fetchall()
            except SQL_ERRORS as error:
                raise StoreFault(
                    f"table {table.name} cannot be read: {error}",
                    hint="the file is damaged: restore it from a backup",
                ) from error
        return rows

    def _add_up(self, rows: dict[type[Record], list[tuple[Value, ...]]]) -> None:
        """The rows are those that were written; else ``StoreFault``."""
        found = Sum()
        for kind, of_kind in rows.items():
            found.add(TABLES[kind], of_kind)
        kept = self._database.execute("SELECT value FROM store WHERE fact = ?", (FACT,)).fetchone()
        if kept is not None and kept[0] != found.text():
            raise StoreFault(
                "the records are not those that were written: some were altered or lost",
                hint="the disk alters data: restore the database from a backup, check the disk",
            )
        self._sum = found

    def materials(self) -> Iterator[Material]:
        """All materials, without their units."""
        for row, name, length, unit_bytes in self._database.execute(
            "SELECT row, name, length, unit_bytes FROM material ORDER BY row"
        ):
            if not (row > 0 and length > 0 and unit_bytes > 0):
                raise damaged("material", row)
            yield Material(row=row, name=MaterialId(name), length=length, unit_bytes=unit_bytes)

    def units(self, by_row: dict[int, Material]) -> Iterator[tuple[Material, Unit]]:
        """All units, each inside its material."""
        for row, number, text, place, slot in self._database.execute(
            "SELECT material, number, spans, place, slot FROM unit"
        ):
            material = by_row.get(row)
            try:
                left = spans.from_text(text)
            except (ValueError, RecursionError):
                raise damaged("unit", (row, number)) from None
            if material is None or not 0 <= number < material.unit_count:
                raise damaged("unit", (row, number))
            start, end = material.whole(number)
            unit = Unit(number=number, spans=left, place=place, slot=slot)
            in_files = 0 <= place < _PLACES_MAX and 0 <= slot < SLOTS_MAX
            if not (in_files and start <= unit.start and unit.end <= end):
                raise damaged("unit", (row, number))
            yield material, unit

    def transact(self, made: Plan, moves: Moves) -> None:
        """The plan and the moves are durable. ``Refused``: nothing changed. ``LedgerBroken``."""
        database = self._database
        statements = list(made.statements)
        changed: dict[Place, int] = {}
        if statements:
            if self._sum is None:
                self._add_up(self._rows())
            assert self._sum is not None, "the records were added up"
            changed = self._sum.changes(statements)
            statements.append((_SAVE_FACT, [(FACT, self._sum.text(changed))]))
        if made.added:
            rows = [(m.row, m.name, m.length, m.unit_bytes) for m in made.added.values()]
            statements.append(("INSERT INTO material VALUES (?, ?, ?, ?)", list(rows)))
        if moves.put:
            statements.append((_SAVE_UNIT, [_row(*each) for each in moves.put]))
        if moves.dropped:
            keys = [(material.row, number) for material, number in moves.dropped]
            statements.append(("DELETE FROM unit WHERE material = ? AND number = ?", list(keys)))
        if moves.emptied:
            statements.append(
                ("DELETE FROM material WHERE row = ?", [(each.row,) for each in moves.emptied])
            )
        if not statements:
            return
        try:
            database.execute("BEGIN IMMEDIATE")
            for sql, values in statements:
                database.executemany(sql, values)
        except (sqlite3.Error, OverflowError) as error:
            self._roll_back(error)
        try:
            self._disk.commit(database)
        except (sqlite3.Error, OSError) as error:
            if _code(error) != "SQLITE_FULL":
                raise LedgerBroken("committing") from error
            self._roll_back(error)
        if self._sum is not None:
            self._sum.apply(changed)

    def _roll_back(self, error: Exception) -> None:
        """Raises ``Refused`` when the database is as it was, else ``LedgerBroken``."""
        code = _code(error)
        if code.startswith(_BREAKING):
            raise LedgerBroken("writing the database") from error
        try:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
        except sqlite3.Error as second:
            raise LedgerBroken("undoing a transaction") from second
        if code == "SQLITE_FULL":
            raise Refused("the disk is full", hint="make room, then start again") from error
        raise Refused(
            f"the database refuses a record: {error}",
            hint="this is a mistake of the program: please report it",
        ) from error

    def close(self) -> None:
        self._database.close()


def damaged(table: str, key: object) -> StoreFault:
    """The fault that names a row which cannot be."""
    return StoreFault(
        f"the row {key} of table {table} is damaged",
        hint="the database was altered or damaged: restore it from a backup",
    )


def _row(material: Material, unit: Unit) -> tuple[int, int, str, int, int]:
    return material.row, unit.number, spans.to_text(unit.spans), unit.place, unit.slot


def _code(error: Exception) -> str:
    return getattr(error, "sqlite_errorname", "")
