"""Files torn or garbled in the middle of a write: what was acknowledged is kept, nothing else is.

Theory of operation. A seeded life on real files (``onfiles``). Now and then one batch of one node
is a *scene*: its store's files are photographed at every write and commit, until the node is
killed. A *torn store* is the files as they were, but for the one file that was being written: of
its bytes between two photographs, some are new and some old, cut at any offset, filled with noise,
or mixed by the sector. Each is opened by the store's own engine, and

- the records and the sealed units are those before the batch, or those after it, nothing between;
  once the commit had returned, those after it (I5);
- sealed bytes open to what was stored, or are gone where their destruction was under way (I1, I6);
  slots that no row refers to are zero;
- opening it again finds the same (no crash loop).

Once every scene, one of its torn stores is what the node goes on with: it meets its peer, and the
ledger compares every pad byte and key of the whole life (I1, I2). Once in a while the tail of the
write-ahead log is cut at *every* offset behind the last acknowledged commit.

*Rot* is another thing: bytes that were acknowledged are altered. That cannot always be mended, but
must be noticed: the store is refused with a fault that says what to do, or one unit is lost, or
(the log's end being rotten) the store is an old one, which the peer tells. Other bytes than those
stored are never given out, and no record differs from all that were ever written.
"""

import random
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import attrs

from kms.adapters.seal import FileSealer
from kms.adapters.store_sqlite import Disk as StoreDisk
from kms.adapters.store_sqlite.disk import Buffer
from kms.adapters.store_sqlite.engine import Engine
from kms.adapters.store_sqlite.limits import SLOT_BYTES
from kms.adapters.store_sqlite.spans import Spans
from kms.domain.effects import (
    Effect,
    Save,
    StoreMaterial,
    TakeMaterial,
    WipeMaterial,
)
from kms.domain.errors import StoreFault
from kms.domain.names import MaterialId, NodeId
from kms.domain.records import Record
from tests.proof.onfiles import STORE, FileDisk, FileSite, Traffic, workshop
from tests.proof.report import PartReport, Tell
from tests.proof.restores import caught, mistakes
from tests.world import Site, _key

FILES: Final = ("records.db", "records.db-wal", "material", "slots")
TEARS_PER_SCENE: Final = 120
SCENES_PER_LIFE: Final = 10
# Cutting one tail at every offset costs some thousand stores: once in so many torn stores.
WHOLE_TAIL_EVERY: Final = 10_000
WHOLE_TAIL_BYTES_MAX: Final = 4 * 4120
ROTTEN_PER_SCENE: Final = 10
NOTICED: Final = ("refused", "some units lost", "nothing lost", "an old store")
# Of the scenes, those in which pages of the database itself are written, and torn.
MOVED_SHARE: Final = 0.3
_SECTOR: Final = 512
_AGAIN_EVERY: Final = 5
"""every so many torn stores one is opened a second time"""
_WAL_HEADER, _WAL_FRAME, _PAGE = 32, 24 + 4096, 4096

Images = dict[str, bytes]
Unit = tuple[MaterialId, int]
Records = dict[tuple[object, ...], Record]


def run(amount: float, seed: int, tell: Tell) -> PartReport:
    """``amount`` torn stores were opened, and the nodes went on with one of each scene."""
    began = time.monotonic()
    violations: list[str] = []
    total = Tally()
    life = 0
    while total.torn < amount and not violations:
        with workshop() as place, caught(violations, f"tests.proof.torn seed {seed} life {life}"):
            tearing = Tearing(place, random.Random(f"torn {seed} {life}"), total, amount)
            try:
                tearing.live()
            finally:
                total.checks += tearing.traffic.ledger.checks
                tearing.traffic.close()
        life += 1
        tell(f"torn: {total.torn} stores torn in {total.scenes} scenes")
    return PartReport(
        part="torn",
        invariants=("I1", "I2", "I5", "I6"),
        seed=seed,
        made={
            "torn stores": total.torn,
            "of them opened twice": total.again,
            "of them with a node that went on": total.nodes,
            "cuts of whole WAL tails": total.tail_cuts,
            "whole WAL tails": total.tails,
            "scenes": total.scenes,
            "rotten stores": sum(total.rot.values()),
        },
        checks=total.checks,
        faults=dict(sorted(total.kinds.items())),
        measured={f"rot: {kind}": number for kind, number in sorted(total.rot.items())},
        violations=tuple(violations),
        seconds=time.monotonic() - began,
    )


@attrs.define
class Tally:
    """What was made, over all lives."""

    torn: int = 0
    again: int = 0
    nodes: int = 0
    tails: int = 0
    tail_cuts: int = 0
    scenes: int = 0
    checks: int = 0
    kinds: Counter[str] = attrs.Factory(Counter)
    rot: Counter[str] = attrs.Factory(Counter)


# ---- recording ----------------------------------------------------------------------------------


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
            images = {name: _bytes_of(self._directory / name) for name in FILES}
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


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


@attrs.frozen
class State:
    """What a store holds: records, and which bytes of which units."""

    records: Records = attrs.field(repr=False)
    units: dict[Unit, tuple[Spans, bytes]] = attrs.field(repr=False)

    @classmethod
    def of(cls, engine: Engine) -> "State":
        units = {}
        for name, material in engine._catalogue.materials.items():
            for number, unit in material.units.items():
                units[name, number] = unit.spans, engine._open(material, unit)
        return cls({_key(each): each for each in engine.load()}, units)


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
            for (material, number), (spans, _) in self.after.units.items()
            if material == name and offset <= spans[0][0] < offset + length
        }


# ---- tearing ------------------------------------------------------------------------------------


@attrs.frozen
class Torn:
    """A store as a crash may leave it."""

    kind: str
    images: Images = attrs.field(repr=False)
    earlier: Shot
    later: Shot
    what: str


def tears(scene: Scene, chance: random.Random, count: int) -> Iterator[Torn]:
    """``count`` torn stores of the scene: each step that wrote something in its turn."""
    steps = [
        (earlier, later, name, *changed(earlier.images[name], later.images[name]))
        for earlier, later in zip(scene.shots, scene.shots[1:], strict=False)
        for name in FILES
        if earlier.images[name] != later.images[name]
    ]
    for made in range(count if steps else 0):
        earlier, later, name, low, high = steps[made % len(steps)]
        images = dict(earlier.images)
        if name == "records.db":
            # SQLite moves pages here from a log that is synced: the log is whole by now.
            images["records.db-wal"] = later.images["records.db-wal"]
        old, new = earlier.images[name], later.images[name]
        if name == "records.db-wal" and low < _WAL_HEADER:
            # A log begun anew: SQLite syncs its header, in one sector, before the first frame.
            if chance.random() < 0.1:
                new = new[:_WAL_HEADER] + old[_WAL_HEADER:]
                high = _WAL_HEADER
            else:
                old, low = new[:_WAL_HEADER] + old[_WAL_HEADER:], _WAL_HEADER
        at = chance.choice(_places(name, low, high, chance))
        way = chance.choice(WAYS)
        images[name] = _only_written(name, old, new, way(old, new, at, (low, high), chance))
        kind = f"{name} {way.__name__.strip('_').replace('_', ' ')}"
        yield Torn(kind, images, earlier, later, f"{kind} at {at} of {low} to {high}")


def whole_tail(scene: Scene) -> tuple[Shot, Shot, int, int] | None:
    """The step in which the batch was written to the end of the log, and from where to where; None
    if it wrote too much, or began the log anew."""
    for earlier, later in zip(scene.shots, scene.shots[1:], strict=False):
        old, new = earlier.images["records.db-wal"], later.images["records.db-wal"]
        low, high = changed(old, new)
        moved = earlier.images["records.db"] != later.images["records.db"]
        if 0 < high - low <= WHOLE_TAIL_BYTES_MAX and low >= _WAL_HEADER and not moved:
            return earlier, later, low, high
    return None


def contents(place: Path, database: bytes, log: bytes) -> str:
    """Every row that SQLite alone finds in these two files."""
    path = laid_out(place, {"records.db": database, "records.db-wal": log}) / "records.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA query_only = ON")
        tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        names = [name for (name,) in tables.fetchall()]
        return repr([connection.execute(f'SELECT * FROM "{name}"').fetchall() for name in names])


def changed(old: bytes, new: bytes) -> tuple[int, int]:
    """From the first byte that differs to behind the last, in the longer one."""
    low, high = 0, min(len(old), len(new))
    if old[:high] == new[:high]:
        return high, max(len(old), len(new))
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (middle, high) if old[:middle] == new[:middle] else (low, middle)
    first = low
    if len(old) != len(new):
        return first, max(len(old), len(new))
    low, high = first, len(new)
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (low, middle) if old[middle:] == new[middle:] else (middle, high)
    return first, high


def _places(name: str, low: int, high: int, chance: random.Random) -> list[int]:
    """Where to cut: somewhere, or at the edge of a field, frame, sector or page."""
    somewhere = chance.randrange(low, high + 1)
    if name == "records.db-wal":
        frame = somewhere - (somewhere - _WAL_HEADER) % _WAL_FRAME
        edges = [frame + field for field in (0, 4, 8, 12, 16, 20, 24, 24 + 512, _WAL_FRAME)]
    elif name == "slots":
        sector = somewhere - somewhere % SLOT_BYTES
        edges = [sector + field for field in (0, 4, 8, 10, 26, 50, 126, SLOT_BYTES)]
    else:
        page = somewhere - somewhere % _PAGE
        edges = [page, page + 100, page + _SECTOR, page + _PAGE]
    near = [edge + chance.choice((-1, 0, 0, 1)) for edge in edges]
    return [*(edge for edge in near if low <= edge <= high), somewhere, somewhere]


Span = tuple[int, int]
Way = Callable[[bytes, bytes, int, Span, random.Random], bytes]


def _cut(old: bytes, new: bytes, at: int, span: Span, chance: random.Random) -> bytes:
    """New up to here; behind it what was there."""
    return new[:at] + old[at:]


def _late(old: bytes, new: bytes, at: int, span: Span, chance: random.Random) -> bytes:
    """Old up to here, new behind: a disk writes in any order until it is told to sync."""
    return old[:at].ljust(at, b"\0") + new[at:]


def _ended(old: bytes, new: bytes, at: int, span: Span, chance: random.Random) -> bytes:
    """The file grew, and ends here."""
    return new[: max(at, len(old))] if len(new) > len(old) else new[:at] + old[at:]


def _garbled(old: bytes, new: bytes, at: int, span: Span, chance: random.Random) -> bytes:
    """Noise from here to the end of what was written."""
    return new[:at] + chance.randbytes(span[1] - at) + old[span[1] :]


def _garbled_sector(old: bytes, new: bytes, at: int, span: Span, chance: random.Random) -> bytes:
    """Noise in one sector, new before it, old behind."""
    end = min(at - at % _SECTOR + _SECTOR, span[1])
    return new[:at] + chance.randbytes(max(0, end - at)) + old[max(end, at) :]


def _mixed(old: bytes, new: bytes, at: int, span: Span, chance: random.Random) -> bytes:
    """Each sector old or new."""
    low, high = span
    parts, end = [new[:low]], low
    while end < high:
        start, end = end, min(end - end % _SECTOR + _SECTOR, high)
        source = chance.choice((old, new))
        parts.append(source[start:end].ljust(end - start, b"\0"))
    return b"".join([*parts, old[high:]])


def _only_written(name: str, old: bytes, new: bytes, torn: bytes) -> bytes:
    """Pages that the step did not write, between those that it did, are as they were."""
    unit = {"records.db": _PAGE, "material": _PAGE, "slots": SLOT_BYTES}.get(name)
    if unit is None or old == torn or new == torn:
        return torn  # the log is written from front to back
    pages = []
    for at in range(0, len(torn), unit):
        was, page = old[at : at + unit], torn[at : at + unit]
        pages.append(was if was == new[at : at + unit] else page)
    return b"".join(pages)


WAYS: Final[tuple[Way, ...]] = (_cut, _late, _ended, _garbled, _garbled_sector, _mixed)


# ---- looking ------------------------------------------------------------------------------------


def laid_out(place: Path, images: Images) -> Path:
    """A store of these files."""
    place.mkdir(parents=True, exist_ok=True)
    for name, data in images.items():
        if data or name != "records.db-wal":
            (place / name).write_bytes(data)
        else:
            (place / name).unlink(missing_ok=True)
    return place


def verdict(scene: Scene, torn: Torn, engine: Engine, chance: random.Random) -> str:
    """What is wrong with the store as it opened; empty when it is right."""
    records = {_key(each): each for each in engine.load()}
    held = {
        (name, number): unit.spans
        for name, material in engine._catalogue.materials.items()
        for number, unit in material.units.items()
    }
    maybe = [scene.after] if torn.earlier.committed else [scene.before]
    if torn.later.committed and not torn.earlier.committed:
        maybe = [scene.before, scene.after]
    doomed = scene.doomed(torn.later.begun)
    gone = scene.doomed(max(0, torn.earlier.begun - 1))
    state = next((each for each in maybe if _same(each, records, held, doomed)), None)
    if state is None:
        old = "before and after" if len(maybe) == 2 else "acknowledged"
        return f"I5 the store is not what was {old}: {_difference(maybe[-1], records, held)}"
    if gone & held.keys():
        return f"I1 what was taken is there again: {sorted(gone & held.keys())[:2]}"
    if _slots_that_are_not_zero(engine) != len(held):
        return "I6 a data key that no row refers to is there"
    some = [unit for unit in held if unit[0] in scene.touched]
    for unit in [*some, *chance.sample(sorted(held), min(3, len(held)))]:
        try:
            found = engine._open(
                engine._catalogue.materials[unit[0]],
                engine._catalogue.materials[unit[0]].units[unit[1]],
            )
        except StoreFault as fault:
            if unit not in doomed:
                return f"I5 {unit} is lost: {fault.reason}"
        else:
            if found != state.units[unit][1]:
                return f"I2 {unit} opens to other bytes"
    return ""


def _same(state: State, records: Records, held: dict[Unit, Spans], doomed: Iterable[Unit]) -> bool:
    if state.records != records:
        return False
    wanted = {unit: spans for unit, (spans, _) in state.units.items()}
    for unit in doomed:
        if unit not in held:
            wanted.pop(unit, None)
    return wanted == held


def _difference(state: State, records: Records, held: dict[Unit, Spans]) -> str:
    lost = [key for key, record in state.records.items() if records.get(key) != record]
    more = [key for key in records if key not in state.records]
    wanted = {unit: spans for unit, (spans, _) in state.units.items()}
    units = [unit for unit in wanted.keys() | held.keys() if wanted.get(unit) != held.get(unit)]
    return f"records {lost[:2]} {more[:2]}, units {units[:3]}"


def _slots_that_are_not_zero(engine: Engine) -> int:
    image = (engine._path / "slots").read_bytes()
    sectors = (image[at : at + SLOT_BYTES] for at in range(0, len(image), SLOT_BYTES))
    return sum(1 for sector in sectors if sector.strip(b"\0"))


# ---- the life -----------------------------------------------------------------------------------


class Tearing:
    """A life whose scenes are torn."""

    def __init__(self, place: Path, chance: random.Random, total: Tally, amount: float) -> None:
        self.place, self.chance, self.total, self.amount = place, chance, total, amount
        self.traffic = Traffic(place, chance, watcher=Camera, remember=True)
        self._armed = False
        self._before: State | None = None
        self._effects: list[Effect] = []
        self._fate = self.traffic.world.outputs_before_crash
        world, ledger = self.traffic.world, self.traffic.ledger

        def watch_output(site: Site, effect: Effect) -> None:
            ledger._leaves(site, effect)
            if isinstance(effect, TakeMaterial):
                camera_of(site).begun += 1

        world.outputs_before_crash = self._in_scene
        world.watch_output = watch_output
        world.before_boot = self._torn

    def live(self) -> None:
        """Scenes and what lies between them."""
        for _ in range(SCENES_PER_LIFE):
            self.traffic.live(self.chance.randrange(5, 30))
            self._armed = True
            while self._armed:
                self.traffic.live(5)
            self.traffic.live(self.chance.randrange(20))
            self.traffic.come_up()
            self.traffic.feed(1)
            mistakes(self.traffic)
            if self.total.torn >= self.amount:
                break
        assert self.traffic.serve() > 0, "I12 no key is served after a torn store"

    def _in_scene(self, site: Site, effects: list[Effect]) -> int | None:
        """A batch with writes or takes, once a scene is wanted, is photographed and cut off."""
        wanted = any(isinstance(each, Save | StoreMaterial | WipeMaterial) for each in effects)
        if not (self._armed and wanted and self.chance.random() < 0.5):
            return self._fate(site, effects)
        assert isinstance(site, FileSite)
        assert site.files.engine is not None
        self._armed = False
        self._before = State.of(site.files.engine)
        self._effects = effects
        if self.chance.random() < MOVED_SHARE:
            # At the end of this commit SQLite moves the log's pages into the database.
            site.files.engine._ledger._database.execute("PRAGMA wal_autocheckpoint = 1")
        camera_of(site).begin()
        takes = [n for n, each in enumerate(effects, 1) if isinstance(each, TakeMaterial)]
        # Usually nothing leaves; at times the bytes that it takes are torn as well.
        return self.chance.choice([0, *takes]) if takes else 0

    def _torn(self, name: NodeId) -> FileDisk | None:
        """The files that the node goes on with, when a scene has ended."""
        if self._before is None:
            return None
        files = self.traffic.world.files[name].files
        camera = camera_of(self.traffic.world.files[name])
        camera.shoot()
        camera.on = False
        scene = self._scene(files, camera)
        self._before = None
        self.total.scenes += 1
        store = self.place / "torn"
        if self.total.tails <= self.total.torn // WHOLE_TAIL_EVERY:
            self._cut_everywhere(scene)
        last: Torn | None = None
        for torn in tears(scene, self.chance, TEARS_PER_SCENE):
            if self.total.torn >= self.amount:
                break
            self._look(scene, torn, store)
            self.total.torn += 1
            self.total.kinds[torn.kind] += 1
            if last is None or self.chance.random() < 0.05:
                last = torn
        self._rot(scene, store)
        if last is None:
            return None
        self.total.nodes += 1
        twin = files.copy()
        laid_out(twin.home / STORE, last.images)
        return twin

    def _scene(self, files: FileDisk, camera: Camera) -> Scene:
        assert self._before is not None
        committed = next(shot for shot in reversed(camera.shots) if shot.begun == 0)
        store = laid_out(self.place / "after", committed.images)
        engine = Engine(store, files.sealer, files.node, StoreDisk())
        after = State.of(engine)
        engine.close()
        closed = {name: _bytes_of(store / name) for name in FILES}
        assert after.records == files.records, "I5 what was acknowledged is not what is there"
        touched = {
            each.material
            for each in self._effects
            if isinstance(each, StoreMaterial | WipeMaterial | TakeMaterial)
        }
        takes = [
            (each.material, each.offset, each.length)
            for each in self._effects
            if isinstance(each, TakeMaterial)
        ]
        return Scene(
            files.node, files.sealer, camera.shots, self._before, after, takes, touched, closed
        )

    def _look(self, scene: Scene, torn: Torn, store: Path) -> None:
        """The torn store opens to what it must; ``AssertionError`` if not."""
        laid_out(store, torn.images)
        again = self.chance.randrange(_AGAIN_EVERY) == 0
        for time_ in ("first", "second") if again else ("first",):
            try:
                engine = Engine(store, scene.sealer, scene.node, StoreDisk())
            except StoreFault as fault:
                raise AssertionError(f"I5 {torn.what}: {time_} opening refused: {fault}") from fault
            try:
                wrong = verdict(scene, torn, engine, self.chance)
            finally:
                engine.close()
            self.total.checks += 1
            assert not wrong, f"{wrong} ({torn.what}, {time_} opening)"
        self.total.again += again

    def _cut_everywhere(self, scene: Scene) -> None:
        """The log cut at every offset of one batch: SQLite finds what was before, up to the last
        byte, and then what was after."""
        found = whole_tail(scene)
        if found is None:
            return
        earlier, later, low, high = found
        store, database = self.place / "tail", earlier.images["records.db"]
        old, new = earlier.images["records.db-wal"], later.images["records.db-wal"]
        before, after = contents(store, database, old), contents(store, database, new)
        for at in range(low, high + 1):
            # Behind the cut there is nothing, or what an earlier round of the log left there.
            seen = contents(store, database, new[:at] + old[at:])
            self.total.checks += 1
            assert seen == (after if at == high else before), f"I5 log cut at {at} of {low}-{high}"
        self.total.tail_cuts += high - low + 1
        self.total.tails += 1

    def _rot(self, scene: Scene, store: Path) -> None:
        """Acknowledged bytes are altered: noticed, or lost, and never other bytes."""
        for _ in range(ROTTEN_PER_SCENE):
            images = self.chance.choice((scene.shots[-1].images, scene.closed))
            name = self.chance.choice(FILES)
            data = bytearray(images[name])
            at = self._used(name, data)
            if at is None:
                continue
            what = self.chance.choice(("flipped bit", "noise", "zeros", "cut"))
            if what == "flipped bit":
                data[at] ^= 1 << self.chance.randrange(8)
            elif what == "cut":
                del data[at:]
            else:
                end = min(len(data), at - at % _SECTOR + _SECTOR)
                data[at:end] = (
                    self.chance.randbytes(end - at) if what == "noise" else bytes(end - at)
                )
            laid_out(store, images | {name: bytes(data)})
            self.total.checks += 1
            outcome = self._rotten(scene, store)
            self.total.rot[f"{name}: {outcome}"] += 1
            assert outcome in NOTICED, f"{outcome} ({name}, {what} at {at})"

    def _used(self, name: str, data: bytearray) -> int | None:
        """A place that means something."""
        if not data:
            return None
        for _ in range(100):
            at = self.chance.randrange(len(data))
            if name != "slots" or any(
                data[at - at % SLOT_BYTES : at - at % SLOT_BYTES + SLOT_BYTES]
            ):
                return at
        return None

    def _rotten(self, scene: Scene, store: Path) -> str:
        try:
            engine = Engine(store, scene.sealer, scene.node, StoreDisk())
        except StoreFault as fault:
            return "refused" if fault.hint else "I5 a fault does not say what to do"
        try:
            return self._believed(scene, engine)
        except StoreFault:
            return "refused"
        finally:
            engine.close()

    def _believed(self, scene: Scene, engine: Engine) -> str:
        records = frozenset(engine.load())
        lost = 0
        for name, material in engine._catalogue.materials.items():
            for number, unit in material.units.items():
                try:
                    found = engine._open(material, unit)
                except StoreFault:
                    lost += 1
                    continue
                ever = scene.after.units.get((name, number)) or scene.before.units[name, number]
                if ever != (unit.spans, found):
                    return "I2 a unit opens to other bytes"
        held = {(name, n) for name, each in engine._catalogue.materials.items() for n in each.units}
        lost += len(scene.after.units.keys() - held)
        if records == frozenset(scene.after.records.values()):
            return "some units lost" if lost else "nothing lost"
        if hash(records) in self.traffic.world.files[scene.node].files.states:
            return "an old store"
        return "I2 an altered record is believed"


def camera_of(site: Site) -> Camera:
    assert isinstance(site, FileSite)
    assert isinstance(site.files.through, Camera)
    return site.files.through
