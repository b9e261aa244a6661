"""Faults of the source of randomness."""

import random
from typing import TYPE_CHECKING, ClassVar, Self

import attrs

from kms.simulation.entropy import MOODS
from kms.simulation.faults.fault import SiteFault, any_site
from kms.simulation.topology import Topology

if TYPE_CHECKING:
    from kms.simulation.simulation import Simulation


@attrs.frozen(kw_only=True)
class BadEntropy(SiteFault):
    """The source fails, or repeats itself, for a while. It has happened when somebody drew."""

    kinds: ClassVar = MOODS
    per_hour: ClassVar = 50.0
    mood: str
    lasts_ms: int

    @classmethod
    def drawn(cls, at_ms: int, lots: random.Random, topology: Topology) -> Self:
        return cls(
            at_ms=at_ms,
            site=any_site(lots, topology),
            mood=lots.choice(MOODS),
            lasts_ms=lots.choice((20_000, 120_000)),
        )

    def happen(self, simulation: "Simulation") -> None:
        entropy = self.target(simulation).entropy
        entropy.take(self.mood)
        simulation.loop.after_ms(self.lasts_ms, lambda: entropy.take(""))


ENTROPY = (BadEntropy,)
