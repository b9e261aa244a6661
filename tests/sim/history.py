"""A random life of two nodes, from one seed: everything that may happen, in any order.

Theory of operation: ``live`` draws actions by weight; nothing is delivered unless an action says
so: batches, orders and moments of crashes are the seed's. ``heal`` then ends every fault, and what
must be true of two healthy ends is checked: logs and pads agree (I7), nothing destroyed is readable
(I6), streams go on (I12). What must be true at every step is the ledger's to say.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Callable

import attrs

from kms.domain.effects import Effect
from kms.domain.events import HungUp, NetworkChanged, Tick
from kms.domain.names import KSID, NodeId
from kms.domain.policy import Policy, Rule
from kms.domain.records import LinkState
from kms.domain.requests import Close, GetKey, OpenConnect, OpenReply
from kms.domain.session import Phase
from kms.domain.status import QoS, Status
from tests.sim.ledger import Ledger, still_readable
from tests.world import ALICE, ANN, BEN, BOB, LINK, Disk, Site, World

ENDS = {ALICE: ANN, BOB: BEN}
SIZES = (16, 32, 100, 1000, 5000, 40_000)
BLOCKS = (4096, 5000, 8192, 65_536)


@attrs.frozen(kw_only=True)
class Faults:
    """Which faults a history may have, beside cuts, losses and crashes."""

    restores: bool = False
    rot: bool = False
    second_secrets: bool = False
    mismatches: bool = False
    blocks: tuple[int, ...] = BLOCKS


class History:
    """One seed's life."""

    def __init__(self, seed: int, faults: Faults) -> None:
        self.random = random.Random(seed)
        self.faults = faults
        self.world = World()
        self.ledger = Ledger(self.world)
        self.done: Counter[str] = Counter()
        self.streams: list[KSID] = []
        self.backups: dict[NodeId, list[Disk]] = {ALICE: [], BOB: []}
        self._number = 0
        self._secret = 1
        self._late: list[tuple[int, NodeId, int]] = []
        self._asked: list[tuple[NodeId, int]] = []
        self._crash_in: int | None = None
        self._losing: set[NodeId] = set()
        self.world.lose_frame = lambda sender, data: sender in self._losing
        self.world.outputs_before_crash = self._fate
        self.world.on_boot = self._tell_network
        self._network()
        self.world.give_secret()
        self.world.connect()

    # ---- life -------------------------------------------------------------------------------

    def live(self, actions: int) -> None:
        menu: list[tuple[int, Callable[[], None]]] = [
            (60, self.deliver),
            (5, self.settle),
            (12, self.block),
            (4, self.late_block),
            (6, self.time),
            (4, self.open),
            (4, self.join),
            (20, self.get),
            (2, self.hang_up),
            (1, self.close),
            (3, self.cut),
            (9, self.connect),
            (3, self.lose),
            (4, self.crash),
            (2, self.one_sided),
            (1, self.wall_jump),
        ]
        if self.faults.mismatches:
            menu.append((2, self.different))
        if self.faults.restores:
            menu += [(3, self.back_up), (2, self.restore)]
        if self.faults.rot:
            menu.append((2, self.rot))
        if self.faults.second_secrets:
            menu.append((1, self.second_secret))
        weights = [weight for weight, _ in menu]
        for _ in range(actions):
            act = self.random.choices(menu, weights)[0][1]
            self.done[act.__name__] += 1
            act()

    def deliver(self) -> None:
        name = self.random.choice((ALICE, BOB))
        if self.world.sites[name].inbox:
            self.world.step(name, self.random.choice((1, 1, 2, 3, 10)))

    def settle(self) -> None:
        self.world.settle()

    def block(self) -> None:
        self._number += 1
        length = self.random.choice(self.faults.blocks)
        first = self.random.choice((ALICE, BOB))
        other = BOB if first is ALICE else ALICE
        self.world.block(self._number, first, length=length)
        if self.random.random() < 0.7:
            self.world.block(self._number, other, length=length)
        else:
            self._late.append((self._number, other, length))
        if self.random.random() < 0.05:
            self.world.block(self._number, other, length=length)

    def late_block(self) -> None:
        if self._late:
            number, name, length = self._late.pop(self.random.randrange(len(self._late)))
            self.world.block(number, name, length=length)

    def one_sided(self) -> None:
        self._number += 1
        self.world.block(self._number, self.random.choice((ALICE, BOB)), length=4096)

    def different(self) -> None:
        self._number += 1
        self.world.block(self._number, ALICE, length=4096)
        bits = hashlib.shake_256(f"other {self._number}".encode()).digest(4096)
        self.world.block_of(self._number, bits, BOB)

    def time(self) -> None:
        self.world.now_ms += self.random.choice((10, 100, 1000, 3000, 20_000))
        for site in self.world.sites.values():
            site.inbox.append(Tick())

    def wall_jump(self) -> None:
        self.world.wall_ahead_ms += self.random.choice((-3_600_000, -1, 1, 3_600_000))

    def open(self) -> None:
        name = self.random.choice((ALICE, BOB))
        other = BOB if name is ALICE else ALICE
        qos = QoS(
            key_chunk_size=self.random.choice(SIZES),
            priority=self.random.choice((0, 0, 5)),
            ttl=self.random.choice((0, 0, 60)),
        )
        wish = OpenConnect(source=ENDS[name], destination=ENDS[other], qos=qos)
        self._ask(name, wish)

    def join(self) -> None:
        found = self._announced()
        if found:
            name, ksid = self.random.choice(found)
            other = BOB if name is ALICE else ALICE
            self._ask(
                name,
                OpenConnect(source=ENDS[name], destination=ENDS[other], qos=QoS(), ksid=ksid),
            )

    def get(self) -> None:
        if self.streams:
            ksid = self.random.choice(self.streams[-6:])
            index = self.random.choice((None, None, None, None, self.random.randrange(6)))
            name = self.random.choice((ALICE, BOB))
            self._ask(name, GetKey(ksid=ksid, index=index))

    def hang_up(self) -> None:
        if self._asked:
            name, number = self.random.choice(self._asked[-8:])
            self.world.sites[name].inbox.append(HungUp(request_id=number))

    def close(self) -> None:
        if self.streams:
            self._ask(
                self.random.choice((ALICE, BOB)), Close(ksid=self.random.choice(self.streams))
            )

    def cut(self) -> None:
        self.world.cut()

    def connect(self) -> None:
        if not self.world.connected():
            self._losing.clear()
            self.world.connect_now()

    def lose(self) -> None:
        """From now on nothing of one end, or of both, arrives: until the cut."""
        if self.world.connected():
            self._losing |= self.random.choice(({ALICE}, {BOB}, {ALICE, BOB}))

    def crash(self) -> None:
        """In one of the next batches: before its commit, or anywhere in its outputs."""
        self._crash_in = self.random.randrange(4)

    def back_up(self) -> None:
        name = self.random.choice((ALICE, BOB))
        disk = self.world.sites[name].disk
        clone = self.random.random() < 0.5
        self.backups[name].append(disk.copy() if clone else disk.without_slots())

    def restore(self) -> None:
        name = self.random.choice((ALICE, BOB))
        if self.backups[name]:
            # Never both ends: that cannot be seen without a witness.
            self.backups[BOB if name is ALICE else ALICE].clear()
            self.ledger.forgetful.add(name)
            self.world.crash(name, self.random.choice(self.backups[name]).copy())
            self.done["restored"] += 1

    def rot(self) -> None:
        site = self.world.sites[self.random.choice((ALICE, BOB))]
        names = [name for name, gone in site.disk.gone.items() if not all(gone)]
        if names:
            rotten = self.random.choice(names)
            if "hash-key" not in rotten:
                site.disk.unreadable.add(rotten)

    def second_secret(self) -> None:
        self._secret += 1
        self.world.give_secret(number=self._secret, settle=False)

    # ---- the end ----------------------------------------------------------------------------

    def heal(self) -> None:
        """Every fault ends; enough key comes; what must be true then is checked."""
        world = self.world
        self._crash_in = None
        self.cut()
        self._losing.clear()
        world.settle()
        if self._needs_secret():
            self._secret += 1
            world.give_secret(number=self._secret)
        world.connect()
        if self._needs_secret():
            # What an old store burns can be all there was.
            self._secret += 1
            world.give_secret(number=self._secret)
        self._reconnect()
        self._pass_time(6_000)
        self._reconnect()
        for _ in range(24):
            self._number += 1
            world.block(self._number, length=65_536)
            world.settle()
            if self.faults.rot and self._needs_secret():
                # One rotten block can be all the pad there was.
                self._secret += 1
                world.give_secret(number=self._secret)
            self._reconnect()
        self._pass_time(15_000)
        self._reconnect()
        self._two_ends_agree()
        self._streams_go_on()
        self._pass_time(70_000, step_ms=1_000)
        self._two_ends_agree()
        self._nothing_destroyed_is_readable()

    def _needs_secret(self) -> bool:
        memories = [site.node.links[LINK].memory for site in self.world.sites.values()]
        if any(memory.state is not LinkState.OPEN for memory in memories):
            return True
        if memories[0].secret_id != memories[1].secret_id:
            return True
        # Without blocks a link lives on its hand-carried secret, so long.
        return any(pad.level() < 2048 for memory in memories for pad in memory.pads)

    def _reconnect(self) -> None:
        """The shells connect again whenever a session ends."""
        for _ in range(20):
            self.world.settle()
            if self.world.connected():
                return
            if self._needs_secret():
                self._secret += 1
                self.world.give_secret(number=self._secret)
            self.world.connect()
        raise AssertionError("I12 the link does not come up: " + repr(self._alarms()[-3:]))

    def _alarms(self) -> list[tuple[str, str]]:
        return [alarm for site in self.world.sites.values() for alarm in site.alarms]

    def _pass_time(self, ms: int, step_ms: int = 500) -> None:
        for _ in range(ms // step_ms):
            self.world.pass_time(step_ms, step_ms)
            if not self.world.connected():
                self._reconnect()

    def _two_ends_agree(self) -> None:
        links = [self.world.sites[name].node.links[LINK] for name in (ALICE, BOB)]
        alice, bob = (link.memory for link in links)
        assert [link.greeting.phase for link in links] == [Phase.UP, Phase.UP], "I12 link is up"
        assert (alice.log_count, alice.log_hash) == (bob.log_count, bob.log_hash), "I7 logs agree"
        assert alice.epoch == bob.epoch, "I7 epochs agree"
        for writer, reader in ((alice.writer, bob.reader), (bob.writer, alice.reader)):
            assert writer.granted == reader.granted, f"I7 grants agree: {writer.direction}"
            assert writer.mark == reader.mark, f"I7 marks agree: {writer.direction}"
            if not self.faults.rot:
                assert writer.level() == reader.level(), f"I7 levels agree: {writer.direction}"
        both = links[0].agreement.held.keys() & links[1].agreement.held.keys()
        assert not both, "I7 what both ends hold is agreed"
        records = [
            {
                ksid: (stream.record.next_index, stream.record.local_joined)
                for ksid, stream in self.world.sites[name].node.streams._register.streams.items()
                # An end that heard of a close keeps the stream until its own application's word.
                if not (stream.record.local_closed or stream.record.remote_closed)
            }
            for name in (ALICE, BOB)
        ]
        assert records[0].keys() == records[1].keys(), "I7 both ends have the same streams"
        for ksid, (index, _) in records[0].items():
            assert index == records[1][ksid][0], f"I7 next index of {ksid}"

    def _streams_go_on(self) -> None:
        """I12: every stream open at both ends, and a new one, gives equal keys to both."""
        world = self.world
        reply = world.answer(
            ALICE, ANN, OpenConnect(source=ANN, destination=BEN, qos=QoS(key_chunk_size=32))
        )
        assert isinstance(reply, OpenReply), reply
        assert reply.status is Status.PEER_NOT_CONNECTED_YET, reply
        assert reply.ksid is not None
        world.answer(BOB, BEN, OpenConnect(source=BEN, destination=ANN, qos=QoS(), ksid=reply.ksid))
        for ksid in [*self._established(), reply.ksid]:
            assert self._progress(ksid), f"I12 stream {ksid} does not go on"

    def _established(self) -> list[KSID]:
        registers = [self.world.sites[name].node.streams._register for name in (ALICE, BOB)]
        return [
            ksid
            for ksid, stream in registers[0].streams.items()
            if stream.established and ksid in registers[1].streams
        ]

    def _progress(self, ksid: KSID) -> bool:
        got: list[set[int]] = [set(), set()]
        for attempt in range(200):
            numbers = [self.world.ask(n, ENDS[n], GetKey(ksid=ksid)) for n in (ALICE, BOB)]
            self.world.settle()
            if attempt % 3 == 0:
                self._number += 1
                self.world.block(self._number, length=65_536)
            self._pass_time(500)
            for mine, name, number in zip(got, (ALICE, BOB), numbers, strict=True):
                if number in self.world.sites[name].keys:
                    mine.add(self.world.sites[name].keys[number][0])
            if got[0] & got[1] or ksid not in self._established():
                return True
        return False

    def _nothing_destroyed_is_readable(self) -> None:
        for site in self.world.sites.values():
            assert not still_readable(site), f"I6 at {site.name}: {still_readable(site)[:4]}"

    # ---- inside -----------------------------------------------------------------------------

    def _network(self) -> None:
        for name in ENDS:
            self._tell_network(name)
        self.world.settle()

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
        return self.random.randrange(-1, len(effects) + 1)

    def _ask(self, name: NodeId, request: OpenConnect | GetKey | Close) -> None:
        self._asked.append((name, self.world.ask(name, ENDS[name], request)))

    def _announced(self) -> list[tuple[NodeId, KSID]]:
        found = []
        for name in (ALICE, BOB):
            for ksid, stream in self.world.sites[name].node.streams._register.streams.items():
                if ksid not in self.streams:
                    self.streams.append(ksid)
                if not stream.record.local_joined:
                    found.append((name, ksid))
        return found


def lives(seed: int, faults: Faults, actions: int = 250) -> History:
    """The whole history of one seed, healed and checked; its seed is in what it raises."""
    history = History(seed, faults)
    try:
        history.live(actions)
        history.heal()
    except AssertionError as broken:
        raise AssertionError(f"seed {seed}, {faults}: {broken}") from broken
    if not (faults.restores or faults.rot or faults.mismatches or faults.second_secrets):
        alarms = history._alarms()
        assert not alarms, f"without a fault that earns one: {alarms[:3]}"
    return history
