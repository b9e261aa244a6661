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

    length = plan.act_ms(NETWORK)
    assert faults
    assert [] == [each for each in faults if not 0 < each.at_ms % length < plan.STORM_MS]


def test_a_calm_is_long_enough_to_fill_the_reserves_of_the_slowest_link() -> None:
    """Goal: what is judged at a calm's end is the nodes, not the devices: at 1 kbit/s the 24 KiB
    of both directions' reserves take 196.6 s (seeds 5, 13, 22 and 32 of a calm of four minutes)."""
    fast = plan.act_ms(named("two-nodes")) - plan.STORM_MS
    slow = plan.act_ms(NETWORK) - plan.STORM_MS

    assert [(1_000, 4096)] == [(each.rate_bps, each.block_bytes) for each in NETWORK.link]
    assert (240_000, 589_824) == (fast, slow)
