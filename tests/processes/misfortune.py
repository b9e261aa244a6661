"""Seeded misfortune for a real network: processes killed, frozen and restarted, one after another.

Theory of operation. What will happen is dealt before anything does: hand after hand, shuffled, in
which every kind has its share, and all of it is played, so that the seed and the number of kills
say how often each kind happens. What cannot happen now (to a process that is frozen) waits for its
turn. A kill is followed by a start, mostly by a wait until the network has healed, and sometimes at
once by the next kill. A freeze lasts longer than the time-outs between nodes, devices and
applications, and the kills go on meanwhile.

Between two misfortunes the nodes' own figures are looked at: marks and grants of an epoch never
fall (I1).
"""

import random
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from enum import Enum
from functools import partial
from typing import Final

import attrs
import trio

from kms.domain.statistics import LinkStatus
from tests.processes.network import ALICE, BOB, RealNetwork

# Above silence and hello between nodes, an answer of a device (10 s each), and what applications
# wait for (1 s agreed, and 5 s for the way).
FREEZE_S: Final = 12.0
# Above everything: what the edge grants an idle client (60 s) too. One of so many freezes.
LONG_FREEZE_S: Final = 62.0
LONG_FREEZE_EVERY: Final = 20
# The share of kills that hits while the victim of the one before is still coming back.
AT_ONCE: Final = 0.3


class Kind(Enum):
    """What happens to one process."""

    KILL_ALICE = "kill -9 alice"
    KILL_BOB = "kill -9 bob"
    KILL_DEVICE = "kill -9 device"
    STOP_NODE = "SIGSTOP node"
    STOP_DEVICE = "SIGSTOP device"
    RESTART = "SIGTERM node"


_A, _B, _D = Kind.KILL_ALICE, Kind.KILL_BOB, Kind.KILL_DEVICE
KILLS: Final = frozenset({_A, _B, _D})
# Any first so many of them have every kind in its share: six, six, and four.
KILLS_OF_A_HAND: Final = (_A, _B, _D, _A, _B, _A, _B, _D, _A, _B, _A, _B, _D, _A, _B, _D)
OTHERS_OF_A_HAND: Final = (Kind.STOP_NODE, Kind.STOP_DEVICE, Kind.RESTART)


def dealt(kills: int, chance: random.Random) -> list[Kind]:
    """Everything that happens, in order: so many kills, and the other kinds among them."""
    deck: list[Kind] = []
    for first in range(0, kills, len(KILLS_OF_A_HAND)):
        hand = list(KILLS_OF_A_HAND[: kills - first])
        if len(hand) > len(KILLS_OF_A_HAND) // 2:
            hand += OTHERS_OF_A_HAND
        chance.shuffle(hand)
        deck += hand
    return deck


def least(kills: int) -> int:
    """Every kind happens so often at least, whatever the seed."""
    whole, rest = divmod(kills, len(KILLS_OF_A_HAND))
    return whole + (rest > len(KILLS_OF_A_HAND) // 2)


@attrs.define
class Marks:
    """Pad marks of both directions at both ends: within an epoch they never fall (I1)."""

    seen: dict[tuple[str, str], tuple[int, int, int, int]] = attrs.Factory(dict)
    looks: int = 0
    violations: list[str] = attrs.Factory(list)

    def look(self, name: str, link: LinkStatus) -> None:
        for way, pad in (("outgoing", link.outgoing), ("incoming", link.incoming)):
            now = (link.epoch, pad.mark, pad.granted, pad.end)
            before = self.seen.get((name, way), (0, 0, 0, 0))
            self.looks += 1
            if now[0] < before[0]:
                self.violations.append(f"I1 the epoch of {name} {way} fell: {before} {now}")
            elif now[0] == before[0] and now[1] < before[1]:
                self.violations.append(f"I1 the mark of {name} {way} fell: {before} {now}")
            elif now[0] == before[0] and now[2] < before[2]:
                self.violations.append(f"I1 the grant of {name} {way} fell: {before} {now}")
            self.seen[name, way] = now


@attrs.define
class Misfortune:
    """What happens to a network, and how it came through."""

    network: RealNetwork
    chance: random.Random
    happened: Counter[Kind] = attrs.Factory(Counter)
    marks: Marks = attrs.Factory(Marks)
    ready_s: list[float] = attrs.Factory(list)
    """from the start of a killed node to the moment when both nodes say that they are ready"""
    _whole: bool = True
    """nothing was coming back when the next kill came"""
    _deck: list[Kind] = attrs.Factory(list)
    _frozen: set[str] = attrs.Factory(set)
    _freezes: int = 0

    @property
    def kills(self) -> int:
        return sum(self.happened[kind] for kind in KILLS)

    async def strike(self, kills: int, tell: Callable[[int], None]) -> None:
        """So many kills happened, all that was dealt with them too, and the network is ready.
        ``AssertionError`` when it does not come back, ``LocalFault`` when a process ended by
        itself."""
        self._deck = dealt(kills, self.chance)
        async with trio.open_nursery() as nursery:
            while self._deck:
                await trio.sleep(self.chance.uniform(0.0, 0.6))
                kind = self._draw()
                if kind is None:
                    continue
                if kind in KILLS:
                    await self._kill(kind)
                elif kind is Kind.RESTART:
                    await self._restart()
                else:
                    await self._freeze(kind, nursery)
                tell(self.kills)
        await self.network.until_in_time("ready after the last kill", self.network.ready)
        await self._look()

    def _draw(self) -> Kind | None:
        """The next that can happen now; None: someone has to thaw first."""
        for place, kind in enumerate(self._deck):
            if self._possible(kind):
                return self._deck.pop(place)
        return None

    def _possible(self, kind: Kind) -> bool:
        """A frozen process is left alone, or no freeze would last; one node and one device are
        frozen at a time."""
        if kind is Kind.KILL_DEVICE:
            return True  # the other one
        if kind is Kind.STOP_DEVICE:
            return self._frozen <= {ALICE, BOB}
        if kind in (Kind.STOP_NODE, Kind.RESTART):
            return not self._frozen & {ALICE, BOB}
        return {Kind.KILL_ALICE: ALICE, Kind.KILL_BOB: BOB}[kind] not in self._frozen

    async def _kill(self, kind: Kind) -> None:
        devices = sorted({"device-alice", "device-bob"} - self._frozen)
        device = self.chance.choice(devices)
        victim = {Kind.KILL_ALICE: ALICE, Kind.KILL_BOB: BOB}.get(kind, device)
        delay_s, at_once = self.chance.uniform(0.0, 0.3), self.chance.random() < AT_ONCE
        whole, self._whole = self._whole and not self._frozen, False
        await trio.to_thread.run_sync(self.network.kill, victim)
        self.happened[kind] += 1
        await trio.sleep(delay_s)
        self.network.start(victim)
        began = trio.current_time()
        if at_once:
            return
        node = victim.removeprefix("device-")
        if self._frozen:
            await self.network.until_in_time(f"{node} answers", partial(self.network.answers, node))
            return
        await self.network.until_in_time("ready", self.network.ready)
        if kind is not Kind.KILL_DEVICE and whole:
            self.ready_s.append(trio.current_time() - began)
        self._whole = True
        await self._look()

    async def _restart(self) -> None:
        """A node that is told to stop stops with status 0, and begins again."""
        name = self.chance.choice((ALICE, BOB))
        await self.network.until_in_time(f"{name} answers", partial(self.network.answers, name))
        self._whole = False
        await trio.to_thread.run_sync(self.network.restart, name)
        self.happened[Kind.RESTART] += 1

    async def _freeze(self, kind: Kind, nursery: trio.Nursery) -> None:
        name = self.chance.choice((ALICE, BOB))
        if kind is Kind.STOP_DEVICE:
            name = f"device-{name}"
        self._freezes += 1
        self._whole = False
        long = self._freezes % LONG_FREEZE_EVERY == 0
        self._frozen.add(name)
        self.network.signal(name, signal.SIGSTOP)
        nursery.start_soon(self._thaw, name, LONG_FREEZE_S if long else FREEZE_S, kind)

    async def _thaw(self, name: str, seconds: float, kind: Kind) -> None:
        await trio.sleep(seconds)
        self.network.signal(name, signal.SIGCONT)
        self.happened[kind] += 1
        self._frozen.remove(name)

    async def _look(self) -> None:
        await trio.to_thread.run_sync(self._look_now)

    def _look_now(self) -> None:
        for name in (ALICE, BOB):
            for link in self.network.status(name).links:
                self.marks.look(name, link)


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` of them lie; 0 without any."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
