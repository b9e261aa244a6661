"""Opens one torn store after the other with the store's own engine, and does nothing twice.

Theory of operation. ``Engine`` opens each store as a node's start does. Three things would be the
same in store after store; what they look at is compared byte by byte with what was looked at
before, and only what is new is done:

- the layout of a database (migrations, columns, owner), when it was found right and left alone;
- the text of a unit's spans;
- a database and its log, when the tear is in another file. A ``Ledger`` opened these very bytes
  once, and the engine gets what it said. As soon as the engine wants to write to the database, the
  store is opened again, database and all.

``whole`` opens a store with none of this.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Final
from unittest.mock import patch

from kms.adapters.store_sqlite import Disk, engine, ledger, spans
from kms.adapters.store_sqlite.catalogue import Material
from kms.adapters.store_sqlite.engine import Engine
from kms.adapters.store_sqlite.ledger import Ledger, Moves
from kms.adapters.store_sqlite.plan import Plan
from kms.adapters.store_sqlite.schema import prepare
from kms.adapters.store_sqlite.unit import Unit
from tests.proof.scenes import Images, Rows, Scene

DATABASE: Final = ("records.db", "records.db-wal")
_TEXTS_MAX: Final = 10_000
# Of one scene: it has a dozen steps.
_DATABASES_MAX: Final = 32


class _Writes(Exception):
    """The engine writes to a database that is only remembered."""


class _Remembered:
    """What a ``Ledger`` said of a database; the engine sees no difference until it writes."""

    def __init__(self, opened: Ledger) -> None:
        by_row = {each.row: each for each in opened.materials()}
        self._materials = list(by_row.values())
        self._units = [(material.row, unit) for material, unit in opened.units(by_row)]
        self._kept: Rows = opened._rows()
        opened._add_up(self._kept)

    def materials(self) -> Iterator[Material]:
        for each in self._materials:
            yield Material(
                row=each.row, name=each.name, length=each.length, unit_bytes=each.unit_bytes
            )

    def units(self, by_row: dict[int, Material]) -> Iterator[tuple[Material, Unit]]:
        for row, unit in self._units:
            yield by_row[row], unit

    def transact(self, made: Plan, moves: Moves) -> None:
        if made.statements or made.added or moves.put or moves.dropped or moves.emptied:
            raise _Writes

    def _rows(self) -> Rows:
        return self._kept

    def _add_up(self, rows: Rows) -> None:
        """They were, when the database was opened."""

    def close(self) -> None:
        """It is not open."""


class Reopening:
    """Opens stores of one life after another; knows what it has seen."""

    def __init__(self) -> None:
        self._right: set[tuple[object, ...]] = set()
        self._databases: dict[tuple[bytes, bytes], _Remembered] = {}
        self._from_text = lru_cache(_TEXTS_MAX)(spans.from_text)

    def whole(self, store: Path, images: Images, scene: Scene) -> Engine:
        """The store of these files, opened; nothing is taken as known."""
        return Engine(laid_out(store, images), scene.sealer, scene.node, Disk())

    def quick(self, store: Path, images: Images, scene: Scene, torn: str) -> Engine:
        """The same, when the file ``torn`` differs from files that were opened before."""
        with self._known():
            if torn not in DATABASE:
                remembered = self._database(store, images, scene)
                laid_out(store, {n: data for n, data in images.items() if n not in DATABASE})
                try:
                    with patch.object(engine, "Ledger", lambda *_: remembered):
                        return Engine(store, scene.sealer, scene.node, Disk())
                except _Writes:
                    pass
            return self.whole(store, images, scene)

    def _database(self, store: Path, images: Images, scene: Scene) -> _Remembered:
        key = (images["records.db"], images["records.db-wal"])
        if key not in self._databases:
            while len(self._databases) >= _DATABASES_MAX:
                self._databases.pop(next(iter(self._databases)))
            laid_out(store, {name: images[name] for name in DATABASE})
            with closing(Ledger(store / "records.db", Disk(), scene.node)) as opened:
                self._databases[key] = _Remembered(opened)
        return self._databases[key]

    @contextmanager
    def _known(self) -> Iterator[None]:
        with (
            patch.object(ledger, "prepare", self._prepare),
            patch.object(spans, "from_text", self._from_text),
        ):
            yield

    def _prepare(self, database: sqlite3.Connection, node: str) -> None:
        found = _layout(database, node)
        if found in self._right:
            return
        prepare(database, node)
        if _layout(database, node) == found:
            self._right.add(found)


def _layout(database: sqlite3.Connection, node: str) -> tuple[object, ...]:
    """All that ``prepare`` goes by."""
    asked = (
        "SELECT type, name, sql FROM sqlite_schema ORDER BY name",
        "PRAGMA application_id",
        "PRAGMA user_version",
        "SELECT value FROM store WHERE fact = 'node'",
        "SELECT * FROM _sqlite_migrations",
    )
    try:
        return (node, *(repr(database.execute(each).fetchall()) for each in asked))
    except sqlite3.Error as error:
        return (node, repr(error))


def laid_out(place: Path, images: Images) -> Path:
    """A store of these files, and no log where there is none."""
    place.mkdir(parents=True, exist_ok=True)
    for name, data in images.items():
        path = place / name
        if data or name != "records.db-wal":
            _write(path, data)
        else:
            path.unlink(missing_ok=True)
    return place


def _write(path: Path, data: bytes) -> None:
    """In place: room that the file has already costs nothing."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if os.pread(fd, len(data) + 1, 0) != data:
            assert os.pwrite(fd, data, 0) == len(data), "memory takes it all at once"
            os.ftruncate(fd, len(data))
    finally:
        os.close(fd)
