"""What is wrong with a torn store, as the store's own engine opened it.

Theory of operation. What files hold that were not torn there is known (``scenes``): rows that are
those of a known state mean its records, and a unit whose slot and sealed text are byte for byte
those of a known state opens to its bytes. Whatever differs by a byte is opened. Of a sample
(``whole``) the records are read, and all units that the batch touched are opened.
"""

import random
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from kms.adapters.store_sqlite.engine import Engine
from kms.adapters.store_sqlite.limits import SLOT_BYTES
from kms.adapters.store_sqlite.spans import Spans
from kms.domain.errors import StoreFault
from tests.proof.reopening import laid_out
from tests.proof.scenes import Rows, Scene, State, Unit, bytes_of, sealed_in, units_of
from tests.proof.tears import Torn


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


def contents(place: Path, database: bytes, log: bytes) -> bytes:
    """Every page that SQLite alone finds in these two files."""
    path = laid_out(place, {"records.db": database, "records.db-wal": log}) / "records.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        return connection.serialize()
