"""The device pairs: blocks that should appear at both ends, and how devices fall short of that.

Theory of operation. Each pair makes a block every so often, the same bits under the same id at both
ends. A node that takes it (``BlockStored``) has read it destructively; one that is down finds it
later, if the device's buffer is large enough. One block at a time is under way to a node, as the
real intake does it. What a device does wrong (physics: late, lost at one end, different, repeated,
noisy, silent, a burst) is a word in ``mood``, used up by the next block or until it is healed.
"""

import random
from collections import deque
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID, uuid5

import attrs

from kms.domain.effects import BlockStored
from kms.domain.events import BlockArrived
from kms.domain.names import BlockId, DeviceId, LinkId, NodeId
from kms.domain.secret import Secret
from kms.simulation.topology import LinkSpec

if TYPE_CHECKING:
    from kms.simulation.simulation import Simulation
    from kms.simulation.site import Site

_NAMES = UUID("5f0c1c6e-51e5-4d28-9d1d-5a2b1c3d4e5f")
# What one end's device keeps for a node that does not come: then the oldest is lost.
BUFFER_BLOCKS = 64
# A node that has no room is asked again.
_ROOM_US = 1_000_000
GOOD_QBER, BAD_QBER = 0.03, 0.14
NEXT_BLOCK_MOODS = (
    "lost at one end",
    "different at the two ends",
    "delivered twice",
    "late at one end",
    "out of order",
    "QBER over the limit",
    "empty block",
    "lost at both ends",
)
"""what the next block can be"""
STUCK_MOODS = ("one pattern over and over", "the same bits under another id")
"""likewise, of a device that is stuck: at both ends alike"""


@attrs.define(eq=False)
class End:
    """One end's device: what waits for its node."""

    name: NodeId
    waiting: deque[BlockArrived] = attrs.Factory(deque)
    under_way: BlockId | None = None
    life: int = -1
    """of the process that was given the block under way"""


class DevicePair:
    """Both devices of one link."""

    def __init__(self, simulation: "Simulation", number: int, spec: LinkSpec) -> None:
        self.simulation, self.loop, self.spec = simulation, simulation.loop, spec
        self.link = spec.link
        self.ends = {name: End(name) for name in spec.between}
        self.moods: deque[str] = deque()
        self.silent = False
        self.rush = 1.0
        """how much faster than normal"""
        self.made = 0
        self._base = number << 30
        self._random = random.Random(f"{simulation.seed}/device/{self.link}")

    def begin(self) -> None:
        self._next()

    def _next(self) -> None:
        block_s = self.spec.block_bytes * 8 / (self.spec.rate_bps * self.rush)
        self.loop.after_ms(1000 * block_s * self._random.uniform(0.9, 1.1), self._block)

    def _block(self) -> None:
        self._next()
        if self.silent:
            return
        self.made += 1
        mood = self.moods.popleft() if self.moods else ""
        if mood:
            self.simulation.fired(f"device: {mood}")
        names = list(self.ends)
        self._random.shuffle(names)
        qber = BAD_QBER if mood == "QBER over the limit" else GOOD_QBER
        for turn, name in enumerate(names):
            last = turn == len(names) - 1
            if mood == "lost at both ends" or (mood == "lost at one end" and last):
                continue
            different = mood == "different at the two ends" and last
            length = 0 if mood == "empty block" else self.spec.block_bytes
            delay = self._random.uniform(0, 50)
            if mood == "late at one end" and last:
                delay += self._random.uniform(1_000, 60_000)
            elif mood == "out of order":
                delay += self._random.uniform(
                    0, 3_000 * self.spec.block_bytes * 8 / self.spec.rate_bps
                )
            copies = 2 if mood == "delivered twice" else 1
            for _ in range(copies):
                # Each has bits of its own: what the node has stored, the device wipes.
                event = self._event(name, length, different=different, qber=qber)
                if mood == STUCK_MOODS[0]:
                    event = attrs.evolve(event, bits=self._pattern(length))
                self.loop.after_ms(delay, partial(self._ready, name, event))
            if mood == STUCK_MOODS[1]:
                again = self._event(name, length, different=different, qber=qber)
                again = attrs.evolve(again, block_id=self._id("again"))
                self.loop.after_ms(delay, partial(self._ready, name, again))

    def _event(self, name: NodeId, length: int, *, different: bool, qber: float) -> BlockArrived:
        source = self._base + 2 * self.made + different
        return BlockArrived(
            device=DeviceId(f"device-{name}"),
            link=self.link,
            block_id=self._id(),
            bits=Secret(bytearray(self.simulation.bits.make(source, length))),
            qber=qber,
        )

    def _id(self, *more: str) -> BlockId:
        return BlockId(uuid5(_NAMES, "/".join((self.link, str(self.made), *more))))

    def _pattern(self, length: int) -> Secret:
        """The same at both ends: a byte, or a few, again and again."""
        one = (b"\0", b"\xff", b"\x55\xaa", self.made.to_bytes(16))[self.made % 4]
        return Secret(bytearray(one * (length // len(one))))

    # ---- to the node ------------------------------------------------------------------------

    def _ready(self, name: NodeId, event: BlockArrived) -> None:
        end = self.ends[name]
        if len(end.waiting) >= BUFFER_BLOCKS:
            lost = end.waiting.popleft()
            lost.bits.wipe()
            self.simulation.fired("device: buffer overflow")
        # A secret is wiped by the node that takes it; the device keeps its own.
        end.waiting.append(event)
        self.offer(end)

    def offer(self, end: End) -> None:
        """The next block goes to the node if it runs, has none under way, and has room."""
        site = self.simulation.sites[end.name]
        if not end.waiting or not site.running:
            return
        if end.under_way is not None and end.life == site.life:
            return
        event = end.waiting[0]
        if not site.node.room(self.link, len(event.bits)):
            end.under_way, end.life = None, -1
            self.loop.after_us(_ROOM_US, partial(self._again, end, event))
            return
        end.under_way, end.life = event.block_id, site.life
        site.put(attrs.evolve(event, bits=Secret(bytearray(event.bits.expose()))))

    def _again(self, end: End, event: BlockArrived) -> None:
        if end.waiting and end.waiting[0] is event and end.under_way is None:
            self.offer(end)

    def stored(self, site: "Site", effect: BlockStored) -> None:
        end = self.ends[site.name]
        if end.under_way == effect.block_id and end.life == site.life:
            end.under_way = None
            end.waiting.popleft().bits.wipe()
            self.offer(end)

    def heal(self) -> None:
        self.moods.clear()
        self.silent, self.rush = False, 1.0


class Devices:
    """All device pairs of a simulation."""

    def __init__(self, simulation: "Simulation") -> None:
        self.simulation = simulation
        self.pairs: dict[LinkId, DevicePair] = {
            spec.link: DevicePair(simulation, number, spec)
            for number, spec in enumerate(simulation.topology.link, 1)
        }

    def begin(self) -> None:
        for pair in self.pairs.values():
            pair.begin()

    def site_is_back(self, site: "Site") -> None:
        """A process reads its devices from its start on; a clone has none."""
        if site.place != site.name:
            return
        for pair in self.pairs.values():
            if site.name in pair.ends:
                end = pair.ends[site.name]
                self.simulation.loop.after_ms(200, partial(pair.offer, end))

    def stored(self, site: "Site", effect: BlockStored) -> None:
        if site.place != site.name:
            return
        for pair in self.pairs.values():
            if site.name in pair.ends:
                pair.stored(site, effect)

    def heal(self) -> None:
        for pair in self.pairs.values():
            pair.heal()
