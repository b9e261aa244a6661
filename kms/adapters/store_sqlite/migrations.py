"""How a database of an older layout, or an empty one, becomes one of this version.

Rules. Migrations are never edited once released: a change is a new one at the end. Each is in a
transaction of its own and ends by raising ``user_version``.

Record tables follow the record classes: a new field with a default becomes a column by itself (so
adding one to a record needs no line here); anything else, a renamed or dropped field, needs a
migration. Columns that no class knows are a fault.

``schema`` imports this only where there is something to bring up: an ordinary start does not wait
for the library.
"""

import sqlite3
from typing import Any, cast

import attrs
import sqlite_utils
from sqlite_utils.db import Table as SQLTable
from sqlite_utils.migrations import Migrations

from kms.adapters.store_sqlite.rows import TABLES, Table
from kms.adapters.store_sqlite.sum import FACT
from kms.domain.errors import StoreFault

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


def bring_up(connection: sqlite3.Connection) -> None:
    """All migrations are applied, and each table has the columns of its record class. Raises
    ``StoreFault``, ``sqlite3.Error``."""
    database = Database(connection, use_counts_table=False)
    migrations.apply(database)
    with database.atomic():
        for table in TABLES.values():
            _follow(database, table)


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
