"""Faults of clocks. The monotonic one begins anew with the machine (``PowerLoss``)."""

import random
from typing import TYPE_CHECKING, ClassVar, Final, Self

import attrs

from kms.simulation.faults.fault import SiteFault, any_site
from kms.simulation.topology import Topology

if TYPE_CHECKING:
    from kms.simulation.simulation import Simulation

_HOUR_MS = 3_600_000
_YEARS_MS = 10 * 365 * 24 * _HOUR_MS
# What the kernel lets a time service slew at most; a virtual machine whose counter was measured
# badly at its start. A cheap crystal is ten times better than the first.
_MONO_PPM: Final = (500, 5_000)
# As the monotonic one; a minute in a storm; an hour in a storm of eleven minutes.
_WALL_PPM: Final = (500, 90_000, 5_450_000)


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
        self.target(simulation).clock.jump(self.by_ms)


@attrs.frozen(kw_only=True)
class Skew(SiteFault):
    """Both clocks go too fast or too slow, the wall clock even backwards, until they are healed."""

    kinds: ClassVar = ("clock fast", "clock slow")
    per_hour: ClassVar = 15.0
    mono_ppm: int
    wall_ppm: int

    @classmethod
    def drawn(cls, at_ms: int, lots: random.Random, topology: Topology) -> Self:
        return cls(
            at_ms=at_ms,
            site=any_site(lots, topology),
            mono_ppm=lots.choice(_MONO_PPM) * lots.choice((-1, 1)),
            wall_ppm=lots.choice(_WALL_PPM) * lots.choice((-1, 1)),
        )

    def happen(self, simulation: "Simulation") -> None:
        simulation.fired("clock fast" if self.mono_ppm > 0 else "clock slow")
        self.target(simulation).clock.go_at(mono_ppm=self.mono_ppm, wall_ppm=self.wall_ppm)


CLOCKS = (WallJump, Skew)
