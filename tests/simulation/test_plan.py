"""When faults happen: in storms, and never at the moment at which a calm is judged."""

import pytest

from kms.simulation import plan
from kms.simulation.topology import named

NETWORK = named("slow-link")


@pytest.mark.parametrize("seed", [1, 55, 200])
def test_every_fault_is_inside_a_storm(seed: int) -> None:
    """Goal: what a calm is judged by is not hurt by the next storm.

    Seed 55 drew the millisecond in which the calm before its fourth storm ends: one in 660,000.
    """
    faults = plan.drawn(seed, 1.0, NETWORK)

    assert faults
    assert [] == [each for each in faults if not 0 < each.at_ms % plan.ACT_MS < plan.STORM_MS]
