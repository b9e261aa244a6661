"""The database's layout, its versions, and whose it is.

Rules. ``user_version`` is the number of the last migration. A database with a higher one is of a
newer program and is refused; one with a lower one, or without the columns of a record class, is
brought up (``migrations``).
"""

import sqlite3
from pathlib import Path

from kms.adapters.store_sqlite.limits import WAL_BYTES_KEPT
from kms.adapters.store_sqlite.rows import TABLES
from kms.domain.errors import StoreFault

APPLICATION_ID = 0x514B4D53
"""'QKMS', where ``file`` and ``PRAGMA application_id`` look"""

VERSION = 3
"""of the layout that this program writes"""

SQL_ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""what a statement raises: SQLite quotes a damaged layout in its message, whatever its bytes are"""


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
    except SQL_ERRORS as error:
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
        if not _is_current(connection):
            from kms.adapters.store_sqlite import migrations

            migrations.bring_up(connection)
        _check_owner(connection, node)
    except SQL_ERRORS as error:
        raise StoreFault(
            f"the store's layout cannot be brought up: {error}",
            hint="restore the database from a backup, or report this",
        ) from error


def _is_current(connection: sqlite3.Connection) -> bool:
    """Nothing is to be brought up: version and columns are those that this program writes."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    return version == VERSION and all(
        _columns(connection, table.name) == {column.name for column in table.columns}
        for table in TABLES.values()
    )


def _columns(connection: sqlite3.Connection, table: str) -> set[str]:
    """None, where there is no such table."""
    asked = connection.execute("SELECT name FROM pragma_table_info(?)", (table,))
    return {name for (name,) in asked}


def _check_owner(connection: sqlite3.Connection, node: str) -> None:
    owner = connection.execute("SELECT value FROM store WHERE fact = 'node'").fetchone()
    if owner is None:
        connection.execute("INSERT INTO store (fact, value) VALUES ('node', ?)", (node,))
    elif owner[0] != node:
        raise StoreFault(
            f"the store is of node {owner[0]!r}, not {node!r}",
            hint="name the right directory, or the right node, in the node's configuration",
        )


def _unusable(path: Path, error: Exception) -> StoreFault:
    if "locked" in str(error) or "busy" in str(error):
        return StoreFault(
            f"{path} is locked: another program has it open",
            hint="close the program that reads the database (sqlite3, a backup), start again",
        )
    return StoreFault(
        f"{path} cannot be used: {error}",
        hint="the file is damaged or unreadable: restore it from a backup",
    )
