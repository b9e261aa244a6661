"""Faults of the disk, and of those who put old disks back."""

import random
from typing import TYPE_CHECKING, ClassVar, Self

import attrs

from kms.simulation.disk import Health
from kms.simulation.faults.fault import LinkFault, SiteFault, any_link, any_site
from kms.simulation.topology import Topology

if TYPE_CHECKING:
    from kms.simulation.simulation import Simulation


@attrs.frozen(kw_only=True)
class FailedSync(SiteFault):
    """The next commit fails with EIO; whether it is there nobody knows. The node stops."""

    kinds: ClassVar = ("EIO",)
    done: bool
    """it is there"""

    @classmethod
    def drawn(cls, at_ms: int, lots: random.Random, topology: Topology) -> Self:
        return cls(at_ms=at_ms, site=any_site(lots, topology), done=lots.random() < 0.5)

    def happen(self, simulation: "Simulation") -> None:
        self.target(simulation).disk.health = Health.EIO_DONE if self.done else Health.EIO_LOST


@attrs.frozen(kw_only=True)
class FullDisk(SiteFault):
    """There is no room for a while: no commit goes through."""

    kinds: ClassVar = ("full disk",)
    per_hour: ClassVar = 4.0
    lasts_ms: int

    @classmethod
    def drawn(cls, at_ms: int, lots: random.Random, topology: Topology) -> Self:
        lasts_ms = lots.choice((1_000, 20_000))
        return cls(at_ms=at_ms, site=any_site(lots, topology), lasts_ms=lasts_ms)

    def happen(self, simulation: "Simulation") -> None:
        disk = self.target(simulation).disk
        disk.health = Health.FULL

        def room() -> None:
            if disk.health is Health.FULL:
                disk.health = Health.GOOD

        simulation.loop.after_ms(self.lasts_ms, room)


@attrs.frozen(kw_only=True)
class SlowDisk(SiteFault):
    """Each commit takes so long."""

    kinds: ClassVar = ("slow disk",)
    commit_ms: int
    lasts_ms: int

    @classmethod
    def drawn(cls, at_ms: int, lots: random.Random, topology: Topology) -> Self:
        return cls(
            at_ms=at_ms,
            site=any_site(lots, topology),
            commit_ms=lots.choice((20, 300, 3_000, 10_000)),
            lasts_ms=lots.choice((5_000, 60_000)),
        )

    def happen(self, simulation: "Simulation") -> None:
        site = self.target(simulation)
        simulation.fired("slow disk")
        site.slow(self.commit_ms)
        simulation.loop.after_ms(self.lasts_ms, site.fast)


@attrs.frozen(kw_only=True)
class BitRot(SiteFault):
    """A material on the disk does not open any more."""

    kinds: ClassVar = ("bit rot",)
    which: float
    """0 to 1: of all that is there"""

    @classmethod
    def drawn(cls, at_ms: int, lots: random.Random, topology: Topology) -> Self:
        return cls(at_ms=at_ms, site=any_site(lots, topology), which=lots.random())

    def happen(self, simulation: "Simulation") -> None:
        site = self.target(simulation)
        names = [name for name, live in site.disk.live.items() if live and "hash-key" not in name]
        if names:
            simulation.fired("bit rot")
            site.disk.unreadable.add(names[int(self.which * len(names))])


@attrs.frozen(kw_only=True)
class Restore(SiteFault):
    """One of the copies comes back, with what opens it (a clone) or without (a backup)."""

    kinds: ClassVar = ("restored clone", "restored backup")
    per_hour: ClassVar = 16.0
    which: float
    slots: bool

    @classmethod
    def drawn(cls, at_ms: int, lots: random.Random, topology: Topology) -> Self:
        return cls(
            at_ms=at_ms,
            site=any_site(lots, topology),
            which=lots.random(),
            slots=lots.random() < 0.5,
        )

    def happen(self, simulation: "Simulation") -> None:
        if simulation.restore(self.target(simulation), self.which, slots=self.slots):
            simulation.fired("restored clone" if self.slots else "restored backup")


@attrs.frozen(kw_only=True)
class RestoreBoth(LinkFault):
    """Both ends of a link come back on copies of any ages, where a witness sees it."""

    kinds: ClassVar = ("both ends restored",)
    per_hour: ClassVar = 24.0
    which: tuple[float, float]
    slots: bool

    @classmethod
    def drawn(cls, at_ms: int, lots: random.Random, topology: Topology) -> Self:
        return cls(
            at_ms=at_ms,
            link=any_link(lots, topology),
            which=(lots.random(), lots.random()),
            slots=lots.random() < 0.5,
        )

    def happen(self, simulation: "Simulation") -> None:
        sites = [simulation.sites[name] for name in self.wire(simulation).spec.between]
        if simulation.watched and all(simulation.can_restore(site) for site in sites):
            simulation.fired("both ends restored")
            for site, which in zip(sites, self.which, strict=True):
                simulation.restore(site, which, slots=self.slots, both=True)


DISKS = (FailedSync, FullDisk, SlowDisk, BitRot, Restore, RestoreBoth)
