"""Two nodes on real files: SQLite store, key file and journal; frames are carried by hand.

Theory of operation. ``tests/world.py`` is the shell: batches, commits, outputs, the wire. Here its
disks are directories. ``FileDisk`` gives a batch's writes to the store's engine (what
``SQLiteStore`` runs in its thread) and its audit entries to the journal, as the pump does; records
are those that the files gave back at the last start, and what was acknowledged since. A crash is
``kill -9``: the directory is copied as it is, nothing is closed in order, and the node starts on
the copy.

The ledger (``tests/sim/ledger.py``) sees every commit and every output: it knows each pad byte that
was used (I1), each key that was delivered (I2) and who held it (I5). What is read back from the
files is checked there too: a key out of the store must be made of bits that a device gave.

For speed, and nothing else: files lie in memory (``/dev/shm``) where there is such a place, so that
a sync costs nothing; the passphrase is hashed cheaply; files grow by small steps, so that a copy is
small. Sectors, pages, formats and the order of writes are those of production.
"""

import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from unittest.mock import patch

from kms.adapters import journal_file
from kms.adapters.journal_file import FileJournal, FileOperations
from kms.adapters.seal import WEAK, FileSealer
from kms.adapters.store_sqlite import Disk as StoreDisk
from kms.adapters.store_sqlite import material_file, slots
from kms.adapters.store_sqlite.engine import Engine
from kms.adapters.store_sqlite.limits import SLOT_BYTES
from kms.adapters.store_sqlite.plan import Change, Store, split
from kms.adapters.store_sqlite.store import _joined
from kms.domain import limits
from kms.domain.effects import (
    Audit,
    DeliverKey,
    Effect,
    Forget,
    Save,
    StoreMaterial,
    TakeMaterial,
    WipeMaterial,
)
from kms.domain.errors import JournalFault, StoreFault
from kms.domain.events import MaterialOpened, NetworkChanged, Restored, Tick
from kms.domain.names import KSID, MaterialId, NodeId, SAEId
from kms.domain.policy import Policy, Rule
from kms.domain.records import LinkState, Way
from kms.domain.requests import Close, GetKey, OpenConnect
from kms.domain.secret import Secret
from kms.domain.status import QoS
from kms.simulation.disk import Disk, key
from tests.sim.ledger import Ledger
from tests.world import ALICE, ANN, BEN, BOB, LINK, Site, World

ENDS: Final = {ALICE: ANN, BOB: BEN}
MORE: Final = {ALICE: SAEId("sae:abe"), BOB: SAEId("sae:bea")}
"""a second application at each"""
STORE, JOURNAL = "store", "audit.jsonl"
# Files grow by this much: a whole store is some hundred KiB, and is copied in a millisecond.
STEP_BYTES: Final = 64 * 1024
# Of devices' blocks: one unit, a unit and a bit, two, sixteen.
BLOCK_BYTES: Final = (4096, 5000, 8192, 65_536)
# Pages in the write-ahead log after which SQLite moves them: every history sees that happen.
_WAL_PAGES: Final = 40


@contextmanager
def workshop(step_bytes: int = STEP_BYTES) -> Iterator[Path]:
    """A directory in memory, if there is such; until it ends stores grow by small steps."""
    memory = Path("/dev/shm")
    at = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
    with (
        TemporaryDirectory(dir=at, prefix="kms-proof-") as place,
        patch.object(slots, "MIB", step_bytes),
        patch.object(slots, "SLOTS_STEP", step_bytes // SLOT_BYTES),
        patch.object(material_file, "MATERIAL_STEP_BYTES", 4 * step_bytes),
    ):
        yield Path(place)


def sealer_in(place: Path, name: str) -> FileSealer:
    """A new key file, open."""
    return FileSealer.create(place / f"{name}.keys", Secret(b"a line of words"), cost=WEAK)


def copied(source: Path, target: Path) -> Path:
    """The directory as it is, byte by byte; the lock is not: it goes with its process."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("lock"))
    return target


class FileDisk(Disk):
    """One node's files. ``tests.world.Disk`` whose every byte is on a disk."""

    def __init__(
        self,
        home: Path,
        node: NodeId,
        sealer: FileSealer,
        *,
        watcher: Callable[[Path], StoreDisk] = lambda home: StoreDisk(),
    ) -> None:
        """Nothing is opened yet. ``watcher`` makes what the store writes through."""
        super().__init__()
        self.home, self.node, self.sealer = home, node, sealer
        self.forgot_keys = False
        """the data keys were lost, as in a backup: what was stored before is wiped"""
        self.faults: list[str] = []
        """material that could not be read"""
        self.states: set[int] = set()
        """hashes of all records, as of each commit that these files ever saw, if ``remember``"""
        self.remember = False
        self.through: StoreDisk | None = None
        """what the open store writes through"""
        self._watcher = watcher
        self.engine: Engine | None = None
        self.journal: FileJournal | None = None
        self.deliveries = 0
        self.taken_bytes = 0

    # ---- a process's life -------------------------------------------------------------------

    def start(self) -> None:
        """The store and the journal are open; ``records`` is what the files say."""
        assert self.engine is None, "a disk is opened once: a crash makes another"
        self.home.mkdir(mode=0o700, exist_ok=True)
        self.through = self._watcher(self.home / STORE)
        self.engine = Engine(self.home / STORE, self.sealer, self.node, self.through)
        self.engine._ledger._database.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
        self.journal = journal_file._open(self.home / JOURNAL, FileOperations(), FileJournal)
        self.records = {key(each): each for each in self.engine.load()}
        self._note_state()

    def killed(self) -> "FileDisk":
        """What ``kill -9`` leaves of it now. This one is of no use any more, and its files gone."""
        twin = self.copy()
        twin.forgot_keys = self.forgot_keys
        self.drop()
        return twin

    def copy(self) -> "FileDisk":
        """A clone, slots and all, as old as this moment."""
        name, _, _ = self.home.name.partition(".")
        home = copied(self.home, _free(self.home.with_name(name)))
        twin = FileDisk(home, self.node, self.sealer, watcher=self._watcher)
        twin.remember, twin.states = self.remember, set(self.states)
        return twin

    def without_slots(self) -> "FileDisk":
        """A backup as docs/storage.md makes it: no data keys."""
        twin = self.copy()
        (twin.home / STORE / "slots").unlink()
        twin.forgot_keys = True
        return twin

    def drop(self) -> None:
        """Closed, and the files are gone."""
        self.close()
        shutil.rmtree(self.home)

    def close(self) -> None:
        """Closed in order."""
        if self.engine is not None:
            self.engine.close()
        if self.journal is not None:
            os.close(self.journal._fd)
        self.engine = self.journal = None

    # ---- the storage port -------------------------------------------------------------------

    def commit(self, effects: Iterable[Effect]) -> None:
        assert self.engine is not None, "the disk was started"
        assert self.journal is not None, "the disk was started"
        effects = list(effects)
        entries = [each.entry for each in effects if isinstance(each, Audit)]
        if entries and isinstance(fault := self.journal._written(entries), JournalFault):
            raise fault
        changes: list[Change] = []
        for effect in effects:
            if isinstance(effect, StoreMaterial):
                with effect.bits.expose() as bits:
                    units = split(bits, effect.unit_bytes)
                unit_bytes = effect.unit_bytes
                changes.append(Store(material=effect.material, unit_bytes=unit_bytes, units=units))
            elif isinstance(effect, Save | Forget | WipeMaterial):
                changes.append(effect)
        if changes:
            self.engine.commit(changes)
        for change in changes:
            if isinstance(change, Save):
                self.records[key(change.record)] = change.record
            elif isinstance(change, Forget):
                self.records.pop(key(change.record), None)
        self._note_state()

    def _note_state(self) -> None:
        if self.remember:
            self.states.add(hash(frozenset(self.records.values())))

    def read(self, material: MaterialId, offset: int, length: int) -> Secret | None:
        assert self.engine is not None, "the disk was started"
        try:
            units, _ = self.engine.read(material, offset, length)
        except StoreFault as fault:
            self.faults.append(f"{material}: {fault.reason}")
            return None
        return _joined(units, offset, length)

    def take(self, material: MaterialId, offset: int, length: int) -> Secret | None:
        """The bytes, which are gone from the files; None: they were gone, or do not open."""
        assert self.engine is not None, "the disk was started"
        self.taken_bytes += length
        try:
            return Secret.adopt(self.engine.take(material, offset, length))
        except StoreFault as fault:
            self.faults.append(f"{material}: {fault.reason}")
            return None

    def wipe(self, material: MaterialId, offset: int, length: int) -> None:
        raise AssertionError("on files, bytes are taken or wiped by a commit")


def _free(path: Path) -> Path:
    """A name beside it that is not used."""
    return next(each for n in count(1) if not (each := path.with_name(f"{path.name}.{n}")).exists())


class FileSite(Site):
    """A node that starts on files."""

    def __init__(self, disk: FileDisk, peers: Iterable[NodeId], *, watched: bool) -> None:
        self._first = disk
        super().__init__(disk.node, peers, watched=watched)

    @property
    def files(self) -> FileDisk:
        assert isinstance(self.disk, FileDisk)
        return self.disk

    def boot(self) -> None:
        """Killed if it runs, then started on what its files say."""
        if not isinstance(self.disk, FileDisk):
            self.disk = self._first
        if self.files.engine is not None:
            self.disk = self.files.killed()
        self.files.start()
        super().boot()


class FilesWorld(World):
    """Alice and bob, each with a directory below ``place``."""

    def __init__(
        self,
        place: Path,
        *,
        watcher: Callable[[Path], StoreDisk] = lambda home: StoreDisk(),
        remember: bool = False,
        watched: bool = False,
    ) -> None:
        """``watched``: each has a witness outside its files, which no copy has."""
        super().__init__(ALICE, BOB)
        self.files: dict[NodeId, FileSite] = {}
        for name, peer in ((ALICE, BOB), (BOB, ALICE)):
            disk = FileDisk(place / name, name, sealer_in(place, name), watcher=watcher)
            disk.remember = remember
            self.files[name] = FileSite(disk, [peer], watched=watched)
        self.sites = {**self.files}
        self.before_boot: Callable[[NodeId], FileDisk | None] = lambda name: None
        """asked at each crash: files that the node starts on instead of its own"""

    def crash(self, name: NodeId, disk: Disk | None = None) -> None:
        """``disk``: files that the node now starts on; those it had are gone."""
        disk = disk or self.before_boot(name)
        if disk is not None:
            self.files[name].files.drop()
        super().crash(name, disk)

    def close(self) -> None:
        """No file is open."""
        for site in self.files.values():
            site.files.close()

    def _carry_out(self, site: Site, effect: Effect) -> None:
        assert isinstance(site, FileSite)
        if isinstance(effect, TakeMaterial):
            bits = site.files.take(effect.material, effect.offset, effect.length)
            site.inbox.append(
                MaterialOpened(
                    material=effect.material,
                    offset=effect.offset,
                    length=effect.length,
                    bits=bits,
                    reason="" if bits else "gone",
                )
            )
        elif isinstance(effect, DeliverKey):
            bits = site.files.read(effect.material, effect.offset, effect.length)
            assert bits is not None or site.files.forgot_keys, (
                f"I5 {site.name} cannot read the key that it delivers: {site.files.faults[-1:]}"
            )
            site.answers[effect.request_id] = effect
            site.files.deliveries += 1
            if bits is not None:
                site.keys[effect.request_id] = (effect.index, bytes(bits.expose()))
        else:
            super()._carry_out(site, effect)


class Traffic:
    """A seeded life of the two nodes and an application at each. I1, I2 and I5 are checked at every
    step: ``AssertionError`` names what broke."""

    def __init__(
        self,
        place: Path,
        chance: random.Random,
        *,
        watcher: Callable[[Path], StoreDisk] = lambda home: StoreDisk(),
        ttls_s: tuple[int, ...] = (0,),
        remember: bool = False,
        block_bytes: tuple[int, ...] = BLOCK_BYTES,
        watched: bool = False,
    ) -> None:
        """``block_bytes``: what the devices give, in turn. ``watched``: by a witness each, outside
        the files; without, what the two ends themselves can see of an old store is tried."""
        self.chance = chance
        self.ttls_s = ttls_s
        self.block_bytes = block_bytes
        self.world = FilesWorld(place, watcher=watcher, remember=remember, watched=watched)
        self.ledger = Ledger(self.world)
        self.done: Counter[str] = Counter()
        self.streams: list[KSID] = []
        self.secrets = self.blocks = 0
        self._crash_in: int | None = None
        self.world.outputs_before_crash = self._fate
        self.world.on_boot = self._tell_network
        for name in ENDS:
            self._tell_network(name)
        self.world.settle()
        self.second_secret()
        self.come_up()

    def close(self) -> None:
        self.world.close()

    def live(self, acts: int) -> None:
        """So many random acts; nothing is settled that an act does not settle."""
        menu: tuple[tuple[int, Callable[[], None]], ...] = (
            (30, self.step),
            (8, self.world.settle),
            (8, self.block),
            (8, self.time),
            (3, self.open),
            (4, self.join),
            (24, self.get),
            (1, self.shut),
            (2, self.cut),
            (5, self.connect),
            (2, self.crash),
        )
        weights = [weight for weight, _ in menu]
        for _ in range(acts):
            act = self.chance.choices(menu, weights)[0][1]
            self.done[act.__name__] += 1
            act()

    # ---- acts -------------------------------------------------------------------------------

    def step(self) -> None:
        name = self.chance.choice((ALICE, BOB))
        if self.world.sites[name].inbox:
            self.world.step(name, self.chance.choice((1, 1, 2, 3, 10)))

    def block(self) -> None:
        self.blocks += 1
        for name in self.chance.sample((ALICE, BOB), 2):
            if self.chance.random() < 0.95:
                self.world.block(self.blocks, name, length=self.length())

    def length(self) -> int:
        """The same at both ends: of the block's number."""
        return self.block_bytes[self.blocks % len(self.block_bytes)]

    def time(self) -> None:
        self.world.now_ms += self.chance.choice((10, 100, 1000, 3000))
        for site in self.world.sites.values():
            site.inbox.append(Tick())

    def open(self) -> None:
        name = self.chance.choice((ALICE, BOB))
        qos = QoS(
            key_chunk_size=self.chance.choice((16, 32, 100, 1000, 5000)),
            ttl=self.chance.choice(self.ttls_s),
        )
        self._ask(name, OpenConnect(source=ENDS[name], destination=ENDS[_other(name)], qos=qos))

    def join(self) -> None:
        found = self._announced()
        if found:
            name, ksid = self.chance.choice(found)
            ends = ENDS[name], ENDS[_other(name)]
            wish = OpenConnect(source=ends[0], destination=ends[1], qos=QoS(), ksid=ksid)
            self._ask(name, wish)

    def get(self) -> None:
        if self.streams:
            ksid = self.chance.choice(self.streams[-4:])
            for name in self.chance.sample((ALICE, BOB), self.chance.choice((1, 2, 2))):
                self._ask(name, GetKey(ksid=ksid, index=None))

    def shut(self) -> None:
        if self.streams:
            name, ksid = self.chance.choice((ALICE, BOB)), self.chance.choice(self.streams)
            self._ask(name, Close(ksid=ksid))

    def cut(self) -> None:
        self.world.cut()

    def connect(self) -> None:
        if not self.world.connected():
            self.world.connect_now()

    def crash(self) -> None:
        """In one of the next batches: before its commit, or anywhere in its outputs."""
        self._crash_in = self.chance.randrange(4)

    def second_secret(self) -> None:
        self.secrets += 1
        self.world.give_secret(number=self.secrets)

    # ---- to a quiet end ---------------------------------------------------------------------

    def come_up(self) -> None:
        """The link is up, with a new secret if it needs one, and has pad; operators have come to
        the nodes that stood."""
        self._crash_in = None
        for _ in range(40):
            self.world.settle()
            self.operate()
            if self.world.connected() and not self._needs_secret():
                return
            if self._needs_secret():
                self.second_secret()
            if not self.world.connected():
                self.world.connect()
        alarms = [alarm for site in self.world.sites.values() for alarm in site.alarms]
        raise AssertionError(f"I12 the link does not come up: {alarms[-3:]}")

    def operate(self) -> None:
        """A node that stands is told how it goes on."""
        for name in (ALICE, BOB):
            if self.world.sites[name].node.standing is not None:
                way = self.chance.choice((Way.BURN, Way.BURN, Way.ASK_PEERS))
                self.done[f"stood, then {way.value}"] += 1
                self.world.sites[name].inbox.append(Restored(way))
        self.world.settle()

    def feed(self, blocks: int = 2) -> None:
        """So many blocks are agreed."""
        for _ in range(blocks):
            self.blocks += 1
            self.world.block(self.blocks, length=max(self.block_bytes))
            self.world.settle()

    def serve(self) -> int:
        """Both applications get the next key of a new stream; how many they got alike."""
        name = self.chance.choice((ALICE, BOB))
        self.open_joined(name, chunk_bytes=32)
        before = len(self.ledger.served)
        for _ in range(3):
            self.ask_both(self.streams[-1])
            self.world.pass_time(1_000, 500)
        return len(self.ledger.served) - before

    def open_joined(self, name: NodeId, chunk_bytes: int, ttl_s: int = 0) -> KSID | None:
        """A stream whose two applications are there; None if it was refused."""
        ends, qos = (ENDS[name], ENDS[_other(name)]), QoS(key_chunk_size=chunk_bytes, ttl=ttl_s)
        wish = OpenConnect(source=ends[0], destination=ends[1], qos=qos)
        reply = self.world.answer(name, ends[0], wish)
        ksid: KSID | None = getattr(reply, "ksid", None)
        if ksid is None:
            return None
        wish = OpenConnect(source=ends[1], destination=ends[0], qos=QoS(), ksid=ksid)
        self.world.answer(_other(name), ends[1], wish)
        if ksid not in self.streams:
            self.streams.append(ksid)
        return ksid

    def ask_both(self, ksid: KSID) -> None:
        """Each application asks for its next key."""
        for name in ENDS:
            self._ask(name, GetKey(ksid=ksid, index=None))

    # ---- inside -----------------------------------------------------------------------------

    def _ask(self, name: NodeId, request: OpenConnect | GetKey | Close) -> None:
        self.world.ask(name, ENDS[name], request)

    def _announced(self) -> list[tuple[NodeId, KSID]]:
        found = []
        for name in (ALICE, BOB):
            for ksid, stream in self.world.sites[name].node.streams._register.streams.items():
                if ksid not in self.streams:
                    self.streams.append(ksid)
                if not stream.record.local_joined:
                    found.append((name, ksid))
        return found

    def _needs_secret(self) -> bool:
        memories = [site.node.links[LINK].memory for site in self.world.sites.values()]
        if any(memory.state is not LinkState.OPEN for memory in memories):
            return True
        if memories[0].secret_id != memories[1].secret_id:
            return True
        return any(pad.level() < 2 * limits.KIB for memory in memories for pad in memory.pads)

    def _fate(self, site: Site, effects: list[Effect]) -> int | None:
        if self._crash_in is None or not effects:
            return None
        self._crash_in -= 1
        if self._crash_in >= 0:
            return None
        self._crash_in = None
        self.done["crashed"] += 1
        return self.chance.randrange(-1, len(effects) + 1)

    def _tell_network(self, name: NodeId) -> None:
        self.world.sites[name].inbox.append(
            NetworkChanged(
                neighbours=frozenset(self.world.sites[name].peers),
                directory={sae: end for saes in (ENDS, MORE) for end, sae in saes.items()},
                policy=Policy(rules=(Rule(one="sae:*", other="sae:*"),)),
            )
        )


def _other(name: NodeId) -> NodeId:
    return BOB if name is ALICE else ALICE
