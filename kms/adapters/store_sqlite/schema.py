"""The database's layout, its versions, and whose it is.

Rules. ``user_version`` is the number of the last migration. A database with a higher one is of a
newer program and is refused; one with a lower one is brought up, each migration in a transaction of
its own. Migrations are never edited once released: a change is a new one at the end.

Record tables follow the record classes: a new field with a default becomes a column by itself (so
adding one to a record needs no line here); anything else, a renamed or dropped field, needs a
migration. Columns that no class knows are a fault.
"""

import sqlite3
from pathlib import Path
from typing import Any, cast

import attrs
import sqlite_utils
from sqlite_utils.db import Table as SQLTable
from sqlite_utils.migrations import Migrations

from kms.adapters.store_sqlite.limits import WAL_BYTES_KEPT
from kms.adapters.store_sqlite.rows import TABLES, Table
from kms.adapters.store_sqlite.sum import FACT
from kms.domain.errors import StoreFault

APPLICATION_ID = 0x514B4D53
"""'QKMS', where ``file`` and ``PRAGMA application_id`` look"""

Database = sqlite_utils.Database

migrations = Migrations("store")


def _table(database: Database, name: str) -> SQLTable:
    return cast(SQLTable, database[name])


@migrations()
def m001_material_and_units(database: Database) -> None:
    """Sealed material, a row per unit; the store's own facts."""
    _table(database, "store").create({"fact": str, "value": str}, pk="fact", strict=True)
    _table(database, "material").create(
        {"row": int, "name": str, "length": int, "unit_bytes": int},
        pk="row",
        not_null={"name", "length", "unit_bytes"},
        strict=True,
    )
    _table(database, "material").create_index(["name"], unique=True)
    database.execute(
        "CREATE TABLE unit (material INTEGER NOT NULL, number INTEGER NOT NULL,"
        " start INTEGER NOT NULL, length INTEGER NOT NULL,"
        " place INTEGER NOT NULL, slot INTEGER NOT NULL,"
        " PRIMARY KEY (material, number)) STRICT, WITHOUT ROWID"
    )
    database.execute("PRAGMA user_version = 1")


@migrations()
def m002_units_have_spans(database: Database) -> None:
    """A unit says which of its bytes are left, so that one in the middle can be wiped."""
    database.execute("ALTER TABLE unit RENAME TO unit_1")
    database.execute(
        "CREATE TABLE unit (material INTEGER NOT NULL, number INTEGER NOT NULL,"
        " spans TEXT NOT NULL, place INTEGER NOT NULL, slot INTEGER NOT NULL,"
        " PRIMARY KEY (material, number)) STRICT, WITHOUT ROWID"
    )
    database.execute(
        "INSERT INTO unit SELECT material, number,"
        " json_array(json_array(start, start + length)), place, slot FROM unit_1"
    )
    database.execute("DROP TABLE unit_1")
    database.execute("PRAGMA user_version = 2")


@migrations()
def m003_records_are_summed(database: Database) -> None:
    """The store's facts hold a sum over all records (``sum``), from the next commit on. A program
    that does not know it must not write here."""
    database.execute("PRAGMA user_version = 3")


VERSION = 3
"""of the layout that this program writes"""


def connect(path: Path) -> sqlite3.Connection:
    """The one connection, on a database that is ours, sound, and not newer than we are.

    Raises ``StoreFault``; a database that is refused is not altered.
    """
    try:
        # The writer thread uses it, whichever thread opened it; never two at a time.
        connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise _unusable(path, error) from error
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        _check_ours(connection, path)
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        assert mode == "wal", "a database file on a local disk can have a write-ahead log"
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_KEPT}")
        connection.execute("PRAGMA trusted_schema = OFF")
    except sqlite3.Error as error:
        connection.close()
        raise _unusable(path, error) from error
    except BaseException:
        connection.close()
        raise
    return connection


def _check_ours(connection: sqlite3.Connection, path: Path) -> None:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    empty = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
    if application != APPLICATION_ID and not (empty and application == 0 and version == 0):
        raise StoreFault(
            f"{path} is the database of another program",
            hint="give the node's store a directory of its own",
        )
    if version > VERSION:
        raise StoreFault(
            f"{path} is of a newer kms (layout {version}, this one knows {VERSION})",
            hint="run the newer kms, or restore a backup made before the upgrade",
        )
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise StoreFault(
            f"{path} is corrupt: {found}",
            hint="restore it from a backup; what the backup knew will be burnt",
        )


def prepare(connection: sqlite3.Connection, node: str) -> None:
    """The layout is this version's, and the store is ``node``'s; else ``StoreFault``."""
    try:
        if connection.execute("PRAGMA application_id").fetchone()[0] == 0:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        database = Database(connection, use_counts_table=False)
        migrations.apply(database)
        with database.atomic():
            for table in TABLES.values():
                _follow(database, table)
        _check_owner(connection, node)
    except sqlite3.Error as error:
        raise StoreFault(
            f"the store's layout cannot be brought up: {error}",
            hint="restore the database from a backup, or report this",
        ) from error


def _follow(database: Database, table: Table) -> None:
    """The table has exactly the columns that the record class has fields."""
    kept = _table(database, table.name)
    if not kept.exists():
        kept.create(
            {column.name: column.sql for column in table.columns},
            pk=table.key,
            not_null={column.name for column in table.columns if column.required},
            strict=True,
        )
        return
    have = set(kept.columns_dict)
    if unknown := have - {column.name for column in table.columns}:
        raise StoreFault(
            f"table {table.name} has columns that this kms does not know: {sorted(unknown)}",
            hint="run the kms that wrote it",
        )
    fields = {field.name: field for field in attrs.fields(table.record)}
    for column in table.columns:
        if column.name in have:
            continue
        default = _default(fields[column.name])
        value = None if default is None else column.write(default)
        kept.add_column(
            column.name, column.sql, not_null_default=value if column.required else None
        )
        # The rows are longer now: the next commit adds them up anew.
        database.execute("DELETE FROM store WHERE fact = ?", (FACT,))


def _default(field: "attrs.Attribute[Any]") -> Any:
    default: Any = field.default
    if default is attrs.NOTHING:
        raise StoreFault(
            f"the store has no column {field.name}, which has no default",
            hint="this kms needs a migration that is missing: please report it",
        )
    return default.factory() if hasattr(default, "factory") else default


def _check_owner(connection: sqlite3.Connection, node: str) -> None:
    owner = connection.execute("SELECT value FROM store WHERE fact = 'node'").fetchone()
    if owner is None:
        connection.execute("INSERT INTO store (fact, value) VALUES ('node', ?)", (node,))
    elif owner[0] != node:
        raise StoreFault(
            f"the store is of node {owner[0]!r}, not {node!r}",
            hint="name the right directory, or the right node, in the node's configuration",
        )


def _unusable(path: Path, error: sqlite3.Error) -> StoreFault:
    if "locked" in str(error) or "busy" in str(error):
        return StoreFault(
            f"{path} is locked: another program has it open",
            hint="close the program that reads the database (sqlite3, a backup), start again",
        )
    return StoreFault(
        f"{path} cannot be used: {error}",
        hint="the file is damaged or unreadable: restore it from a backup",
    )
