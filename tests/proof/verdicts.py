"""What is wrong with a torn store, as the store's own engine opened it.

Theory of operation. ``Engine`` opens it as a node's start does, every time. Two things that are the
same in store after store are not done anew for each, but for a sample (``whole``):

- the layout (migrations, columns, owner): what it looks at is compared to what it has looked at
  before, byte by byte (``Layouts``), and only what is new to it is worked through;
- what files hold that were not torn there: rows that are those of a known state mean its records,
  and a unit whose slot and sealed text are byte for byte those of a known state opens to its bytes.

Whatever differs by a byte is opened; in the sample, everything that the batch touched is.
"""

import os
import random
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Final
from unittest.mock import patch

from kms.adapters.store_sqlite import ledger, spans
from kms.adapters.store_sqlite.engine import Engine
from kms.adapters.store_sqlite.limits import SLOT_BYTES
from kms.adapters.store_sqlite.schema import prepare
from kms.adapters.store_sqlite.spans import Spans
from kms.domain.errors import StoreFault
from tests.proof.scenes import Images, Rows, Scene, State, Unit, bytes_of, sealed_in, units_of
from tests.proof.tears import Torn

_TEXTS_MAX: Final = 10_000


class Layouts:
    """Layouts of a database that ``prepare`` found right, and left as they were."""

    def __init__(self) -> None:
        self._right: set[tuple[object, ...]] = set()
        self._from_text = lru_cache(_TEXTS_MAX)(spans.from_text)

    @contextmanager
    def known(self) -> Iterator[None]:
        """While it lasts, stores of a layout that was found right are not looked at for it, and a
        text of spans that was read is not read again."""
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


class Opened:
    """A torn store's files as the engine left them when it had opened it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.rows: Rows = engine._ledger._rows()
        engine._ledger._add_up(self.rows)
        self.slots, self.texts = (bytes_of(engine._path / each) for each in ("slots", "material"))
        self.units = {(name, number): (m, unit) for name, number, m, unit in units_of(engine)}
        self.spans: dict[Unit, Spans] = {key: unit.spans for key, (_, unit) in self.units.items()}

    def slots_in_use(self) -> int:
        """Slots that are not zero."""
        if not self.slots.strip(b"\0"):
            return 0
        sectors = range(0, len(self.slots), SLOT_BYTES)
        return sum(1 for at in sectors if self.slots[at : at + SLOT_BYTES].strip(b"\0"))


def verdict(scene: Scene, torn: Torn, engine: Engine, chance: random.Random, *, whole: bool) -> str:
    """What is wrong with the store as it opened; empty when it is right."""
    found = Opened(engine)
    maybe = [scene.after] if torn.earlier.committed else [scene.before]
    if torn.later.committed and not torn.earlier.committed:
        maybe = [scene.before, scene.after]
    doomed = scene.doomed(torn.later.begun)
    gone = scene.doomed(max(0, torn.earlier.begun - 1))
    state = next((each for each in maybe if _same(each, found, doomed)), None)
    if state is None:
        old = "before and after" if len(maybe) == 2 else "acknowledged"
        return f"I5 the store is not what was {old}: {_difference(maybe[-1], found)}"
    if whole and frozenset(engine.load()) != frozenset(state.records.values()):
        return "I5 the records are not those of their rows"
    if gone & found.units.keys():
        return f"I1 what was taken is there again: {sorted(gone & found.units.keys())[:2]}"
    if found.slots_in_use() != len(found.units):
        return "I6 a data key that no row refers to is there"
    return _opens_otherwise(
        scene, state, found, doomed, _opened_anyway(scene, found, chance, whole)
    )


def _opened_anyway(scene: Scene, found: Opened, chance: random.Random, whole: bool) -> set[Unit]:
    """Units that are opened though their bytes are known: in the sample, those of the batch, and
    some others."""
    if not whole:
        return set()
    some = chance.sample(sorted(found.units), min(3, len(found.units)))
    return {unit for unit in found.units if unit[0] in scene.touched}.union(some)


def _opens_otherwise(
    scene: Scene, state: State, found: Opened, doomed: set[Unit], anyway: set[Unit]
) -> str:
    """Which unit is lost, or opens to bytes that were not stored."""
    for key, (material, unit) in found.units.items():
        known = state.units[key]
        sealed = sealed_in(found.slots, found.texts, unit)
        if sealed == (known.slot, known.text) and key not in anyway:
            continue
        try:
            plain = found.engine._open(material, unit)
        except StoreFault as fault:
            if key not in doomed:
                return f"I5 {key} is lost: {fault.reason}"
        else:
            if plain != known.plain:
                return f"I2 {key} opens to other bytes"
    return ""


def _same(state: State, found: Opened, doomed: Iterable[Unit]) -> bool:
    if state.rows != found.rows:
        return False
    wanted = {key: unit.spans for key, unit in state.units.items()}
    for key in doomed:
        if key not in found.spans:
            wanted.pop(key, None)
    return wanted == found.spans


def _difference(state: State, found: Opened) -> str:
    rows = [
        f"{kind.__name__} {each!r}"[:120]
        for kind, had in state.rows.items()
        for each in set(had) ^ set(found.rows[kind])
    ]
    wanted = {key: unit.spans for key, unit in state.units.items()}
    keys = wanted.keys() | found.spans.keys()
    units = [key for key in keys if wanted.get(key) != found.spans.get(key)]
    return f"records {rows[:2]}, units {units[:3]}"


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


def contents(place: Path, database: bytes, log: bytes) -> str:
    """Every row that SQLite alone finds in these two files."""
    path = laid_out(place, {"records.db": database, "records.db-wal": log}) / "records.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA query_only = ON")
        tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        names = [name for (name,) in tables.fetchall()]
        return repr([connection.execute(f'SELECT * FROM "{name}"').fetchall() for name in names])
