"""Two nodes, and everything that can be done to them: each act with its arguments said.

Theory of operation: nothing is delivered unless an act says so, so that batches, orders and moments
of crashes are the caller's. Who calls may draw its choices from a seed (``history``) or from
hypothesis (``test_machine``): the acts are the same, and each is written down as it is done.
``story`` is what was done, as a test that can be pasted into tests/domain.

What must be true at every step is the ledger's to say; what must be true when every fault has
ended, ``healing``'s.
"""

import hashlib
from collections import Counter
from collections.abc import Callable

import attrs

from kms.domain.effects import Effect
from kms.domain.events import HungUp, NetworkChanged, Restored, Tick
from kms.domain.names import KSID, MaterialId, NodeId
from kms.domain.policy import Policy, Rule
from kms.domain.records import Way
from kms.domain.requests import Close, GetKey, OpenConnect
from kms.domain.status import QoS
from kms.simulation.disk import Disk
from tests.sim.healing import ENDS, Healing
from tests.sim.ledger import Ledger
from tests.world import ALICE, ANN, BEN, BOB, Site, World

BLOCKS = (4096, 5000, 8192, 65_536)


@attrs.frozen(kw_only=True)
class Faults:
    """Which faults a history may have, beside cuts, losses and crashes."""

    restores: bool = False
    rot: bool = False
    second_secrets: bool = False
    mismatches: bool = False
    both_restored: bool = False
    """both ends are put back together, each to a copy of any age"""
    witness: bool = True
    """each end has one, if both can be put back"""
    blocks: tuple[int, ...] = BLOCKS


class Life:
    """Two nodes with an application each, connected, under their first secret."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.world = World(watched=faults.both_restored and faults.witness)
        self.ledger = Ledger(self.world)
        self.done: Counter[str] = Counter()
        self.streams: list[KSID] = []
        self.backups: dict[NodeId, list[Disk]] = {ALICE: [], BOB: []}
        self.asked: list[tuple[NodeId, int]] = []
        self.blocks = 0
        """numbers of blocks that were given out"""
        self.secrets = 1
        self.script: list[str] = []
        self.draw_place: Callable[[int], int] | None = None
        """where a crash strikes, if not where ``crash`` said"""
        self._crash_in: int | None = None
        self._crash_place = 0
        self._crash_line = 0
        self._losing: set[NodeId] = set()
        self.world.lose_frame = lambda sender, data: sender in self._losing
        self.world.outputs_before_crash = self._fate
        self.world.on_boot = self._tell_network
        for name in ENDS:
            self._tell_network(name)
        self.world.settle()
        self.world.give_secret()
        self.world.connect()

    def story(self) -> str:
        """What was done so far, as a test."""
        lines = [f"life = Life({self.faults!r})", *self.script]
        return "\n".join(("def test_what_was_found() -> None:", *(f"    {line}" for line in lines)))

    # ---- the shells -------------------------------------------------------------------------

    def deliver(self, name: NodeId, events_max: int) -> None:
        """One batch of what waits at one end."""
        self._did("deliver", name, events_max)
        if self.world.sites[name].inbox:
            self.world.step(name, events_max)

    def settle(self) -> None:
        self._did("settle")
        self.world.settle()

    def time(self, ms: int) -> None:
        self._did("time", ms)
        self.world.now_ms += ms
        for site in self.world.sites.values():
            site.inbox.append(Tick())

    def wall_jump(self, ms: int) -> None:
        self._did("wall_jump", ms)
        self.world.wall_ahead_ms += ms

    # ---- devices ----------------------------------------------------------------------------

    def new_block(self) -> int:
        """A number that no block has."""
        self.blocks += 1
        return self.blocks

    def block(self, name: NodeId, number: int, length: int) -> None:
        """One device of the pair delivers it; the other may have, may yet, or never will."""
        self._did("block", name, number, length)
        self.blocks = max(self.blocks, number)
        self.world.block(number, name, length=length)

    def different(self, number: int) -> None:
        """The devices give other bits to the two ends under one id."""
        self._did("different", number)
        self.blocks = max(self.blocks, number)
        self.world.block(number, ALICE, length=4096)
        bits = hashlib.shake_256(f"other {number}".encode()).digest(4096)
        self.world.block_of(number, bits, BOB)

    # ---- applications -----------------------------------------------------------------------

    def open(self, name: NodeId, chunk_bytes: int, priority: int, ttl: int) -> None:
        self._did("open", name, chunk_bytes, priority, ttl)
        qos = QoS(key_chunk_size=chunk_bytes, priority=priority, ttl=ttl)
        wish = OpenConnect(source=ENDS[name], destination=ENDS[other_end(name)], qos=qos)
        self._ask(name, wish)

    def announced(self) -> list[tuple[NodeId, KSID]]:
        """Streams that an application may still join, and where; all are in ``streams`` then."""
        found, known = [], len(self.streams)
        for name in (ALICE, BOB):
            for ksid, stream in self.world.sites[name].node.streams._register.streams.items():
                if ksid not in self.streams:
                    self.streams.append(ksid)
                if not stream.record.local_joined:
                    found.append((name, ksid))
        if len(self.streams) > known:
            self._did("announced")
        return found

    def join(self, name: NodeId, stream: int) -> None:
        """``stream``: its place in ``streams``."""
        self._did("join", name, stream)
        there = ENDS[other_end(name)]
        wish = OpenConnect(
            source=ENDS[name], destination=there, qos=QoS(), ksid=self.streams[stream]
        )
        self._ask(name, wish)

    def get(self, name: NodeId, stream: int, index: int | None) -> None:
        self._did("get", name, stream, index)
        self._ask(name, GetKey(ksid=self.streams[stream], index=index))

    def close(self, name: NodeId, stream: int) -> None:
        self._did("close", name, stream)
        self._ask(name, Close(ksid=self.streams[stream]))

    def hang_up(self, asked: int) -> None:
        """``asked``: the request's place in ``asked``."""
        self._did("hang_up", asked)
        name, number = self.asked[asked]
        self.world.sites[name].inbox.append(HungUp(request_id=number))

    # ---- faults -----------------------------------------------------------------------------

    def cut(self) -> None:
        self._did("cut")
        self.world.cut()

    def connect(self) -> None:
        self._did("connect")
        if not self.world.connected():
            self._losing.clear()
            self.world.connect_now()

    def lose(self, *ends: NodeId) -> None:
        """From now on nothing that these ends send arrives: until the next connection."""
        self._did("lose", *ends)
        if self.world.connected():
            self._losing |= set(ends)

    def crash(self, batches: int, place: int) -> None:
        """After so many batches: before its commit (-1), or after so many of its outputs."""
        self._did("crash", batches, place)
        self._crash_in, self._crash_place = batches, place
        self._crash_line = len(self.script) - 1

    def back_up(self, name: NodeId, *, clone: bool) -> None:
        """``clone``: slots and all; a backup has none."""
        self.script.append(f"life.back_up({_said(name)}, clone={clone})")
        disk = self.world.sites[name].disk
        self.backups[name].append(disk.copy() if clone else disk.without_slots())

    def restore(self, name: NodeId, backup: int) -> None:
        """``backup``: its place among this end's. Those of the other end are gone: both ends
        restored cannot be seen without a witness."""
        self._did("restore", name, backup)
        self.backups[other_end(name)].clear()
        self.ledger.forgetful.add(name)
        self.world.crash(name, self.backups[name][backup].copy())
        self.done["restored"] += 1

    def restore_both(self, alice: int | None, bob: int | None) -> None:
        """Both stop, and start on the copies at these places; None: on what they had."""
        self._did("restore_both", alice, bob)
        for name, backup in ((ALICE, alice), (BOB, bob)):
            self.ledger.forgetful.add(name)
            disk = None if backup is None else self.backups[name][backup].copy()
            self.world.crash(name, disk)
        self.done["both restored"] += 1

    def speak(self, name: NodeId, way: Way) -> None:
        """The operator there says how an old store goes on."""
        self.script.append(f"life.speak({_said(name)}, Way.{way.name})")
        if self.world.sites[name].node.standing is not None:
            self.done[f"stood: {way.value}"] += 1
        self.world.sites[name].inbox.append(Restored(way))

    def rot(self, name: NodeId, material: MaterialId) -> None:
        self._did("rot", name, material)
        self.world.sites[name].disk.unreadable.add(material)

    def second_secret(self) -> None:
        """Brought to both ends, which hear of it one after the other."""
        self._did("second_secret")
        self.secrets += 1
        self.world.give_secret(number=self.secrets, settle=False)

    # ---- the end ----------------------------------------------------------------------------

    def heal(self) -> None:
        """Every fault ends; enough key comes; what must be true then is checked."""
        self._did("heal")
        self._crash_in = None
        self.world.cut()
        self._losing.clear()
        Healing(self).heal()
        faults = self.faults
        if not (
            faults.restores
            or faults.rot
            or faults.mismatches
            or faults.second_secrets
            or faults.both_restored
        ):
            assert not self.alarms(), f"without a fault that earns one: {self.alarms()[:3]}"

    def alarms(self) -> list[tuple[str, str]]:
        return [alarm for site in self.world.sites.values() for alarm in site.alarms]

    # ---- inside -----------------------------------------------------------------------------

    def _tell_network(self, name: NodeId) -> None:
        self.world.sites[name].inbox.append(
            NetworkChanged(
                neighbours=frozenset(self.world.sites[name].peers),
                directory={ANN: ALICE, BEN: BOB},
                policy=Policy(rules=(Rule(one="sae:*", other="sae:*"),)),
            )
        )

    def _fate(self, site: Site, effects: list[Effect]) -> int | None:
        if self._crash_in is None or not effects:
            return None
        self._crash_in -= 1
        if self._crash_in >= 0:
            return None
        self._crash_in = None
        self.done["crashed"] += 1
        place = min(self._crash_place, len(effects))
        if self.draw_place is not None:
            place = self.draw_place(len(effects))
            said = self.script[self._crash_line].split(",")[0]
            self.script[self._crash_line] = f"{said}, {place})"
        return place

    def _ask(self, name: NodeId, request: OpenConnect | GetKey | Close) -> None:
        self.asked.append((name, self.world.ask(name, ENDS[name], request)))

    def _did(self, act: str, *arguments: object) -> None:
        self.script.append(f"life.{act}({', '.join(map(_said, arguments))})")


def other_end(name: NodeId) -> NodeId:
    return BOB if name == ALICE else ALICE


def _said(argument: object) -> str:
    names: dict[object, str] = {ALICE: "ALICE", BOB: "BOB"}
    return names.get(argument, repr(argument))
