"""Faults of the classical network, and of an attacker inside a session."""

import random
from typing import TYPE_CHECKING, ClassVar, Self

import attrs

from kms.domain.names import NodeId
from kms.simulation.faults.fault import LinkFault, any_link
from kms.simulation.network import ATTACKS
from kms.simulation.topology import Topology

if TYPE_CHECKING:
    from kms.simulation.simulation import Simulation


@attrs.frozen(kw_only=True)
class Cut(LinkFault):
    """The connection breaks; both ends hear of it soon."""

    kinds: ClassVar = ("connection cut",)
    per_hour: ClassVar = 40.0

    @classmethod
    def drawn(cls, at_ms: int, lots: random.Random, topology: Topology) -> Self:
        return cls(at_ms=at_ms, link=any_link(lots, topology))

    def happen(self, simulation: "Simulation") -> None:
        wire = self.wire(simulation)
        if wire.up:
            simulation.fired("connection cut")
            wire.close(next(iter(wire.up)), "cut")


@attrs.frozen(kw_only=True)
class Partition(LinkFault):
    """Nothing of these senders arrives for a while."""

    kinds: ClassVar = ("one-way partition", "two-way partition")
    per_hour: ClassVar = 15.0

    senders: tuple[NodeId, ...]
    lasts_ms: int

    @classmethod
    def drawn(cls, at_ms: int, lots: random.Random, topology: Topology) -> Self:
        spec = lots.choice(topology.link)
        senders = lots.choice((spec.between, spec.between[:1], spec.between[1:]))
        lasts_ms = lots.choice((200, 3_000, 15_000, 60_000))
        return cls(at_ms=at_ms, link=spec.link, senders=senders, lasts_ms=lasts_ms)

    def happen(self, simulation: "Simulation") -> None:
        wire = self.wire(simulation)
        if wire.blocked:
            return
        simulation.fired(self.kinds[len(self.senders) - 1])
        for sender in self.senders:
            wire.block(sender)
        simulation.loop.after_ms(self.lasts_ms, wire.unblock)


@attrs.frozen(kw_only=True)
class Clog(LinkFault):
    """What is sent piles up, and arrives all at once."""

    kinds: ClassVar = ("clog",)
    lasts_ms: int

    @classmethod
    def drawn(cls, at_ms: int, lots: random.Random, topology: Topology) -> Self:
        return cls(
            at_ms=at_ms, link=any_link(lots, topology), lasts_ms=lots.choice((500, 5_000, 9_000))
        )

    def happen(self, simulation: "Simulation") -> None:
        simulation.fired("clog")
        wire = self.wire(simulation)
        wire.clogged_until_us = simulation.loop.now_us + self.lasts_ms * 1000


@attrs.frozen(kw_only=True)
class SlowNetwork(LinkFault):
    """Packets take longer and some are lost: to a session that is time."""

    kinds: ClassVar = ("slow network", "lost packet")
    slow_ms: float
    loss: float
    lasts_ms: int

    @classmethod
    def drawn(cls, at_ms: int, lots: random.Random, topology: Topology) -> Self:
        return cls(
            at_ms=at_ms,
            link=any_link(lots, topology),
            slow_ms=lots.choice((0.0, 50.0, 500.0)),
            loss=lots.choice((0.01, 0.2, 0.5)),
            lasts_ms=lots.choice((5_000, 60_000)),
        )

    def happen(self, simulation: "Simulation") -> None:
        wire = self.wire(simulation)
        simulation.fired("slow network")
        wire.slow_ms, wire.loss = self.slow_ms, self.loss

        def ends() -> None:
            wire.slow_ms = wire.loss = 0.0

        simulation.loop.after_ms(self.lasts_ms, ends)


@attrs.frozen(kw_only=True)
class Attack(LinkFault):
    """An attacker inside TLS does this to the next frame of the link, one after another."""

    kinds: ClassVar = ATTACKS
    per_hour: ClassVar = 40.0
    what: tuple[str, ...]

    @classmethod
    def drawn(cls, at_ms: int, lots: random.Random, topology: Topology) -> Self:
        what = tuple(lots.choice(ATTACKS) for _ in range(lots.choice((1, 1, 1, 3, 20))))
        return cls(at_ms=at_ms, link=any_link(lots, topology), what=what)

    def happen(self, simulation: "Simulation") -> None:
        self.wire(simulation).attack(self.what)


WIRES = (Cut, Partition, Clog, SlowNetwork, Attack)
