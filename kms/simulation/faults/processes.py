"""Faults of the node's process and its machine."""

import random
from typing import TYPE_CHECKING, ClassVar, Self

import attrs

from kms.simulation.faults.fault import SiteFault, any_site
from kms.simulation.topology import Topology

if TYPE_CHECKING:
    from kms.simulation.simulation import Simulation

_DOWN_MS = (100, 2_000, 20_000)


@attrs.frozen(kw_only=True)
class Kill(SiteFault):
    """``kill -9`` between two things it does; it is started again."""

    kinds: ClassVar = ("kill -9",)
    per_hour: ClassVar = 15.0
    down_ms: int

    @classmethod
    def drawn(cls, at_ms: int, lots: random.Random, topology: Topology) -> Self:
        return cls(at_ms=at_ms, site=any_site(lots, topology), down_ms=lots.choice(_DOWN_MS))

    def happen(self, simulation: "Simulation") -> None:
        site = self.target(simulation)
        if site.running:
            simulation.fired("kill -9")
            site.stop("killed")
            simulation.start_later(site, self.down_ms)


@attrs.frozen(kw_only=True)
class CrashAtEffect(SiteFault):
    """The process dies in the middle of what one of its next batches does."""

    kinds: ClassVar = ("crash before a commit", "crash at an effect")
    per_hour: ClassVar = 40.0
    batches: int
    """batches with effects that go well before"""
    outputs: int
    """that still leave; -1: it dies before the commit"""
    down_ms: int

    @classmethod
    def drawn(cls, at_ms: int, lots: random.Random, topology: Topology) -> Self:
        return cls(
            at_ms=at_ms,
            site=any_site(lots, topology),
            batches=lots.randrange(4),
            outputs=lots.choice((-1, -1, 0, 1, 2, 3, 5, 8, 13)),
            down_ms=lots.choice(_DOWN_MS),
        )

    def happen(self, simulation: "Simulation") -> None:
        site = self.target(simulation)
        if site.running:
            site.crash_in = (self.batches, self.outputs, self.down_ms)


@attrs.frozen(kw_only=True)
class PowerLoss(SiteFault):
    """The machine is gone at once, silently; its monotonic clock begins anew."""

    kinds: ClassVar = ("power loss",)
    down_ms: int

    @classmethod
    def drawn(cls, at_ms: int, lots: random.Random, topology: Topology) -> Self:
        down_ms = lots.choice((1_000, 30_000, 120_000))
        return cls(at_ms=at_ms, site=any_site(lots, topology), down_ms=down_ms)

    def happen(self, simulation: "Simulation") -> None:
        site = self.target(simulation)
        if site.running:
            simulation.fired("power loss")
            site.stop("power lost", power=True)
            simulation.start_later(site, self.down_ms)


@attrs.frozen(kw_only=True)
class Freeze(SiteFault):
    """SIGSTOP, then SIGCONT: nothing of it happens meanwhile, and all of it afterwards."""

    kinds: ClassVar = ("frozen",)
    lasts_ms: int

    @classmethod
    def drawn(cls, at_ms: int, lots: random.Random, topology: Topology) -> Self:
        lasts_ms = lots.choice((100, 5_000, 30_000, 90_000))
        return cls(at_ms=at_ms, site=any_site(lots, topology), lasts_ms=lasts_ms)

    def happen(self, simulation: "Simulation") -> None:
        site = self.target(simulation)
        if site.running:
            simulation.fired("frozen")
            site.freeze()
            simulation.loop.after_ms(self.lasts_ms, site.thaw)


@attrs.frozen(kw_only=True)
class Clone(SiteFault):
    """A second machine with the disk and name of this one runs for a while."""

    kinds: ClassVar = ("clone",)
    per_hour: ClassVar = 8.0
    lasts_ms: int

    @classmethod
    def drawn(cls, at_ms: int, lots: random.Random, topology: Topology) -> Self:
        lasts_ms = lots.choice((5_000, 60_000))
        return cls(at_ms=at_ms, site=any_site(lots, topology), lasts_ms=lasts_ms)

    def happen(self, simulation: "Simulation") -> None:
        site = self.target(simulation)
        if site.running and len(simulation.sites) == len(simulation.topology.site):
            simulation.fired("clone")
            simulation.add_clone(site)
            simulation.loop.after_ms(self.lasts_ms, simulation.remove_clones)


PROCESSES = (Kill, CrashAtEffect, PowerLoss, Freeze, Clone)
