"""Faults of devices, and of operators who bring a second secret."""

import random
from typing import TYPE_CHECKING, ClassVar, Self

import attrs

from kms.simulation.devices import NEXT_BLOCK_MOODS, STUCK_MOODS
from kms.simulation.faults.fault import LinkFault, any_link
from kms.simulation.topology import Topology

if TYPE_CHECKING:
    from kms.simulation.simulation import Simulation


@attrs.frozen(kw_only=True)
class BadBlock(LinkFault):
    """The next blocks of the pair are like this, one after another."""

    kinds: ClassVar = tuple(f"device: {mood}" for mood in NEXT_BLOCK_MOODS)
    per_hour: ClassVar = 40.0
    moods: tuple[str, ...]

    @classmethod
    def drawn(cls, at_ms: int, lots: random.Random, topology: Topology) -> Self:
        mood, often = lots.choice(NEXT_BLOCK_MOODS), lots.choice((1, 1, 1, 2, 5))
        return cls(at_ms=at_ms, link=any_link(lots, topology), moods=(mood,) * often)

    def happen(self, simulation: "Simulation") -> None:
        pair = simulation.devices.pairs[self.link]
        if len(pair.moods) < 16:
            pair.moods.extend(self.moods)


@attrs.frozen(kw_only=True)
class Stuck(LinkFault):
    """The next block of the pair is no key: both ends give it alike."""

    kinds: ClassVar = tuple(f"device: {mood}" for mood in STUCK_MOODS)
    per_hour: ClassVar = 16.0
    mood: str

    @classmethod
    def drawn(cls, at_ms: int, lots: random.Random, topology: Topology) -> Self:
        mood = lots.choice(STUCK_MOODS)
        return cls(at_ms=at_ms, link=any_link(lots, topology), mood=mood)

    def happen(self, simulation: "Simulation") -> None:
        pair = simulation.devices.pairs[self.link]
        if len(pair.moods) < 16:
            pair.moods.append(self.mood)


@attrs.frozen(kw_only=True)
class Silence(LinkFault):
    """The pair makes nothing for a while."""

    kinds: ClassVar = ("device: silent",)
    lasts_ms: int

    @classmethod
    def drawn(cls, at_ms: int, lots: random.Random, topology: Topology) -> Self:
        lasts_ms = lots.choice((10_000, 120_000))
        return cls(at_ms=at_ms, link=any_link(lots, topology), lasts_ms=lasts_ms)

    def happen(self, simulation: "Simulation") -> None:
        pair = simulation.devices.pairs[self.link]
        simulation.fired("device: silent")
        pair.silent = True

        def speaks() -> None:
            pair.silent = False

        simulation.loop.after_ms(self.lasts_ms, speaks)


@attrs.frozen(kw_only=True)
class Rush(LinkFault):
    """The pair makes ten times its rate for a while."""

    kinds: ClassVar = ("device: ten times the rate",)
    per_hour: ClassVar = 6.0
    lasts_ms: int

    @classmethod
    def drawn(cls, at_ms: int, lots: random.Random, topology: Topology) -> Self:
        return cls(
            at_ms=at_ms, link=any_link(lots, topology), lasts_ms=lots.choice((3_000, 15_000))
        )

    def happen(self, simulation: "Simulation") -> None:
        pair = simulation.devices.pairs[self.link]
        simulation.fired("device: ten times the rate")
        pair.rush = 10.0

        def calms() -> None:
            pair.rush = 1.0

        simulation.loop.after_ms(self.lasts_ms, calms)


@attrs.frozen(kw_only=True)
class SecondSecret(LinkFault):
    """An operator begins the link anew."""

    kinds: ClassVar = ("second secret",)
    per_hour: ClassVar = 6.0

    @classmethod
    def drawn(cls, at_ms: int, lots: random.Random, topology: Topology) -> Self:
        return cls(at_ms=at_ms, link=any_link(lots, topology))

    def happen(self, simulation: "Simulation") -> None:
        simulation.fired("second secret")
        simulation.operator.second_secret(self.link)


DEVICES = (BadBlock, Stuck, Silence, Rush, SecondSecret)
