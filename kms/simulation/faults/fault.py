"""One fault of a plan."""

import random
from typing import TYPE_CHECKING, ClassVar, Self

import attrs

from kms.domain.names import LinkId, NodeId
from kms.simulation.topology import Topology

if TYPE_CHECKING:
    from kms.simulation.network import Wire
    from kms.simulation.simulation import Simulation
    from kms.simulation.site import Site


@attrs.frozen(kw_only=True)
class Fault:
    """``repr`` is a line that can be pasted."""

    kinds: ClassVar[tuple[str, ...]] = ()
    """what ``Simulation.fired`` is told: every one of them must fire in a long run"""
    per_hour: ClassVar[float] = 10.0
    """how often in an hour of storm, where this kind is chosen at all"""

    at_ms: int

    @classmethod
    def drawn(cls, at_ms: int, lots: random.Random, topology: Topology) -> Self:
        """One of this kind at this time."""
        raise NotImplementedError

    def happen(self, simulation: "Simulation") -> None:
        """It goes wrong, now. Whatever is not there to be hurt is left alone."""
        raise NotImplementedError


@attrs.frozen(kw_only=True)
class SiteFault(Fault):
    """At one site."""

    site: NodeId

    def target(self, simulation: "Simulation") -> "Site":
        return simulation.sites[self.site]


@attrs.frozen(kw_only=True)
class LinkFault(Fault):
    """On one link."""

    link: LinkId

    def wire(self, simulation: "Simulation") -> "Wire":
        return simulation.network.wires[self.link]


def any_site(lots: random.Random, topology: Topology) -> NodeId:
    return lots.choice(topology.site).name


def any_link(lots: random.Random, topology: Topology) -> LinkId:
    return lots.choice(topology.link).link
