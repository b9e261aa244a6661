"""Faults of the wall clock. The monotonic one begins anew with the machine (``PowerLoss``)."""

import random
from typing import TYPE_CHECKING, ClassVar, Self

import attrs

from kms.simulation.faults.fault import SiteFault, any_site
from kms.simulation.topology import Topology

if TYPE_CHECKING:
    from kms.simulation.simulation import Simulation

_HOUR_MS = 3_600_000
_YEARS_MS = 10 * 365 * 24 * _HOUR_MS


@attrs.frozen(kw_only=True)
class WallJump(SiteFault):
    """The wall clock jumps: an hour (a wrong zone), a moment (NTP), ten years (a battery)."""

    kinds: ClassVar = ("clock jump",)
    by_ms: int

    @classmethod
    def drawn(cls, at_ms: int, lots: random.Random, topology: Topology) -> Self:
        small = (-_HOUR_MS, -1_500, 1_500, _HOUR_MS)
        by_ms = lots.choice((*small, *small, -_YEARS_MS, _YEARS_MS))
        return cls(at_ms=at_ms, site=any_site(lots, topology), by_ms=by_ms)

    def happen(self, simulation: "Simulation") -> None:
        simulation.fired("clock jump")
        self.target(simulation).wall_ahead_ms += self.by_ms


CLOCKS = (WallJump,)
