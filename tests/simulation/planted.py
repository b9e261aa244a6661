"""Short histories of two nodes in which every checker looks on: what a planted bug comes to."""

from collections.abc import Callable, Sequence

import attrs

from kms.domain.names import LinkId, NodeId
from kms.simulation.checker import Checker, Violation
from kms.simulation.checkers import ALL
from kms.simulation.faults import Fault
from kms.simulation.simulation import Simulation
from kms.simulation.topology import Topology, named

ALICE, BOB, LINK = NodeId("alice"), NodeId("bob"), LinkId("alice~bob")
NETWORK: Topology = named("two-nodes")
# A rude pair among them: the fourth.
CROWDED = attrs.evolve(
    NETWORK, site=tuple(attrs.evolve(each, applications=4) for each in NETWORK.site)
)


def violation(
    *faults: Fault,
    minutes: float = 4,
    checkers: Sequence[type[Checker]] = ALL,
    topology: Topology = NETWORK,
    begin: Callable[[Simulation], object] = lambda simulation: None,
    calm_minutes: float = 0,
) -> str:
    """What the checkers say of this history; empty when they have nothing to say."""
    simulation = Simulation(topology, 1, checkers)
    for fault in faults:
        simulation.loop.after_ms(fault.at_ms, lambda fault=fault: fault.happen(simulation))
    try:
        begin(simulation)
        simulation.begin()
        simulation.loop.run_until_us(int(minutes * 60e6))
        if calm_minutes:
            simulation.heal()
            simulation.loop.run_until_us(int((minutes + calm_minutes) * 60e6))
            simulation.watch.tell("calm")
    except Violation as found:
        return str(found)
    return ""
