"""Files torn or garbled in the middle of a write: what was acknowledged is kept, nothing else is.

Theory of operation. A seeded life on real files (``onfiles``). Now and then one batch of one node
is a *scene* (``scenes``): its store's files are photographed at every write and commit, until the
node is killed. A *torn store* (``tears``) is the files as they were, but for the one file that was
being written: of its bytes between two photographs, some are new and some old, cut at any offset,
filled with noise, or mixed by the sector. Each is opened by the store's own engine, and
(``verdicts``)

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
import time
from collections import Counter
from pathlib import Path
from typing import Final

import attrs

from kms.adapters.store_sqlite import Disk as StoreDisk
from kms.adapters.store_sqlite.engine import Engine
from kms.adapters.store_sqlite.limits import SLOT_BYTES
from kms.domain.effects import Effect, Save, StoreMaterial, TakeMaterial, WipeMaterial
from kms.domain.errors import StoreFault
from kms.domain.names import NodeId
from tests.proof.onfiles import BLOCK_BYTES, STORE, FileDisk, FileSite, Traffic, workshop
from tests.proof.reopening import Reopening, laid_out
from tests.proof.report import PartReport, Tell
from tests.proof.restores import caught, mistakes
from tests.proof.scenes import FILES, Camera, Scene, State, bytes_of, units_of
from tests.proof.tears import KINDS, SECTOR, Torn, tears, whole_tail
from tests.proof.verdicts import contents, verdict
from tests.world import Site

TEARS_PER_SCENE: Final = 200
SCENES_PER_LIFE: Final = 4
# Cutting one tail at every offset costs some thousand stores: once in so many torn stores.
WHOLE_TAIL_EVERY: Final = 20_000
WHOLE_TAIL_BYTES_MAX: Final = 4 * 4120
ROTTEN_PER_SCENE: Final = 10
NOTICED: Final = ("refused", "some units lost", "nothing lost", "an old store")
ROTS: Final = ("flipped bit", "noise", "zeros", "cut")
# Of so many scenes one in which pages of the database itself are written, and torn.
MOVED_EVERY: Final = 3
# Each kind of tear and of rot is tried at least once in so many torn stores.
STORES_PER_FAULT: Final = 250
# Of the torn stores, those that are opened with nothing taken as known, and those opened twice.
WHOLE_SHARE: Final = 0.05
AGAIN_SHARE: Final = 0.05
# Small blocks make small stores: many can be torn. Every so many lives, the blocks are as large as
# in the other parts.
SMALL_BLOCK_BYTES: Final = (4096, 5000, 4096, 8192)
LARGE_EVERY: Final = 10
# Files grow by this much, so that they grow often, and are soon written.
STEP_BYTES: Final = 16 * 1024


def run(amount: float, seed: int, tell: Tell) -> PartReport:
    """``amount`` torn stores were opened, and the nodes went on with one of each scene."""
    began = time.monotonic()
    violations: list[str] = []
    total = Tally()
    reopening = Reopening()
    life = 0
    while total.torn < amount and not violations:
        with (
            workshop(STEP_BYTES) as place,
            caught(violations, f"tests.proof.torn seed {seed} life {life}"),
        ):
            chance = random.Random(f"torn {seed} {life}")
            block_bytes = BLOCK_BYTES if life % LARGE_EVERY == 0 else SMALL_BLOCK_BYTES
            traffic = Traffic(place, chance, watcher=Camera, remember=True, block_bytes=block_bytes)
            try:
                Tearing(place, traffic, reopening, total, amount).live()
            finally:
                total.checks += traffic.ledger.checks
                traffic.close()
        life += 1
        tell(f"torn: {total.torn} stores torn in {total.scenes} scenes")
    return PartReport(
        part="torn",
        invariants=("I1", "I2", "I5", "I6"),
        seed=seed,
        made={
            "torn stores": total.torn,
            "of them with nothing taken as known": total.whole,
            "of them opened twice": total.again,
            "of them with a node that went on": total.nodes,
            "cuts of whole WAL tails": total.tail_cuts,
            "whole WAL tails": total.tails,
            "scenes": total.scenes,
            "rotten stores": sum(total.rot.values()),
        },
        checks=total.checks,
        faults=dict(sorted(total.kinds.items())),
        faults_min=int(amount // STORES_PER_FAULT),
        measured={f"rot: {kind}": number for kind, number in sorted(total.rot.items())},
        violations=tuple(violations),
        seconds=time.monotonic() - began,
    )


@attrs.define
class Tally:
    """What was made, over all lives."""

    torn: int = 0
    whole: int = 0
    again: int = 0
    nodes: int = 0
    tails: int = 0
    tail_cuts: int = 0
    scenes: int = 0
    checks: int = 0
    kinds: Counter[str] = attrs.Factory(
        lambda: Counter(dict.fromkeys((*KINDS, *map(_rot_kind, (*ROTS, *FILES))), 0))
    )
    rot: Counter[str] = attrs.Factory(Counter)


class Tearing:
    """A life whose scenes are torn."""

    def __init__(
        self, place: Path, traffic: Traffic, reopening: Reopening, total: Tally, amount: float
    ) -> None:
        self.place, self.traffic, self.chance = place, traffic, traffic.chance
        self.reopening, self.total, self.amount = reopening, total, amount
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
        if self.total.scenes % MOVED_EVERY == 0:
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
        closed = {name: bytes_of(store / name) for name in FILES}
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
        whole, again = (self.chance.random() < share for share in (WHOLE_SHARE, AGAIN_SHARE))
        opening = self.reopening
        for time_ in ("first", "second") if again else ("first",):
            try:
                if time_ == "second":
                    engine = Engine(store, scene.sealer, scene.node, StoreDisk())
                elif whole or again:
                    engine = opening.whole(store, torn.images, scene)
                else:
                    engine = opening.quick(store, torn.images, scene, torn.file)
            except StoreFault as fault:
                raise AssertionError(f"I5 {torn.what}: {time_} opening refused: {fault}") from fault
            try:
                wrong = verdict(scene, torn, engine, self.chance, whole=whole or again)
            finally:
                engine.close()
            self.total.checks += 1
            assert not wrong, f"{wrong} ({torn.what}, {time_} opening)"
        self.total.whole += whole or again
        self.total.again += again

    def _cut_everywhere(self, scene: Scene) -> None:
        """The log cut at every offset of one batch: SQLite finds what was before, up to the last
        byte, and then what was after."""
        found = whole_tail(scene, WHOLE_TAIL_BYTES_MAX)
        if found is None:
            return
        earlier, later, low, high = found
        store, database = self.place / "tail", earlier.images["records.db"]
        old, new = earlier.images["records.db-wal"], later.images["records.db-wal"]
        before, after = contents(store, database, old), contents(store, database, new)
        assert before != after, "the batch wrote something"
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
            name = self.chance.choice(FILES)
            both = self.chance.sample((scene.shots[-1].images, scene.closed), 2)
            # A store that was closed has an empty log.
            images = next(each for each in both if each[name])
            data = bytearray(images[name])
            at = self._used(name, data)
            if at is None:
                continue
            what = self.chance.choice(ROTS)
            self.total.kinds[_rot_kind(what)] += 1
            self.total.kinds[_rot_kind(name)] += 1
            if what == "flipped bit":
                data[at] ^= 1 << self.chance.randrange(8)
            elif what == "cut":
                del data[at:]
            else:
                end = min(len(data), at - at % SECTOR + SECTOR)
                data[at:end] = (
                    self.chance.randbytes(end - at) if what == "noise" else bytes(end - at)
                )
            laid_out(store, images | {name: bytes(data)})
            self.total.checks += 1
            outcome = self._rotten(scene, store)
            self.total.rot[f"{name}: {outcome}"] += 1
            assert outcome in NOTICED, f"{outcome} ({name}, {what} at {at})"

    def _used(self, name: str, data: bytearray) -> int | None:
        """A place that means something, if one is soon found."""
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
        units = units_of(engine)
        for name, number, material, unit in units:
            try:
                found = engine._open(material, unit)
            except StoreFault:
                lost += 1
                continue
            ever = scene.after.units.get((name, number)) or scene.before.units[name, number]
            if (ever.spans, ever.plain) != (unit.spans, found):
                return "I2 a unit opens to other bytes"
        lost += len(scene.after.units.keys() - {(name, number) for name, number, _, _ in units})
        if records == frozenset(scene.after.records.values()):
            return "some units lost" if lost else "nothing lost"
        if hash(records) in self.traffic.world.files[scene.node].files.states:
            return "an old store"
        return "I2 an altered record is believed"


def _rot_kind(what: str) -> str:
    return f"rot: {what}"


def camera_of(site: Site) -> Camera:
    assert isinstance(site, FileSite)
    assert isinstance(site.files.through, Camera)
    return site.files.through
