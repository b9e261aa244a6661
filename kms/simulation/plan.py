"""Which faults a seed has, and when: drawn once, then a list that can be cut down.

Theory of operation. Swarm testing (Groce et al., ISSTA 2012): each storm has some kinds of fault
and not others, so that no kind hides what another one would have found. A storm of eleven minutes
is followed by a calm of four, in which nothing new goes wrong; of more where a slow link needs them
to fill what its nodes keep for themselves (as sync periods do, a calm scales with the rate). Each
kind draws from a generator of its own: another kind, or another rate of one, leaves the times of
all others alone.
"""

import random
from typing import Final

from kms.domain import limits
from kms.simulation.faults import ALL, Fault
from kms.simulation.topology import LinkSpec, Topology

STORM_MS: Final = 11 * 60_000
CALM_MS_MIN: Final = 4 * 60_000
# A calm is so many times as long as the slowest link takes to fill the reserves of both directions:
# two thirds of it are left for streams, and for keys for several slaves, which come last.
_FILLS: Final = 3
# Before the first storm the links get their first blocks.
QUIET_START_MS: Final = 60_000
# Of the kinds, how many take part in a storm.
_SHARE: Final = (0.2, 0.4, 0.7)


def drawn(seed: int, hours: float, topology: Topology) -> list[Fault]:
    """The plan of this seed, in the order of time."""
    faults: list[Fault] = []
    length = act_ms(topology)
    for act in range(acts(hours, topology)):
        share = random.Random(f"{seed}/plan/{act}").choice(_SHARE)
        begins = act * length + (QUIET_START_MS if act == 0 else 0)
        ends = act * length + STORM_MS
        for kind in ALL:
            lots = random.Random(f"{seed}/plan/{act}/{kind.__name__}")
            if lots.random() < share:
                faults += _of_kind(kind, begins, ends, lots, topology)
    return sorted(faults, key=lambda fault: fault.at_ms)


def acts(hours: float, topology: Topology) -> int:
    """Storms with their calms, so many that they last ``hours`` or more; at least one."""
    return max(1, -(-round(hours * 3_600_000) // act_ms(topology)))


def act_ms(topology: Topology) -> int:
    """A storm and the calm behind it."""
    return STORM_MS + max(CALM_MS_MIN, *(_FILLS * _fill_ms(link) for link in topology.link))


def _fill_ms(link: LinkSpec) -> int:
    """How long the devices take for the reserves of both directions."""
    kept = limits.RESERVE_UNITS * limits.unit_bytes(link.block_bytes)
    return round(2 * max(limits.RESERVE_BYTES, kept) * 8_000 / link.rate_bps)


def _of_kind(
    kind: type[Fault], begins: int, ends: int, lots: random.Random, topology: Topology
) -> list[Fault]:
    # A larger network has more to hurt.
    size = max(1.0, len(topology.link) ** 0.5)
    expected = kind.per_hour * size * (ends - begins) / 3_600_000
    count = int(expected) + (lots.random() < expected % 1)
    # The calm before is judged in the millisecond in which it ends: the storm begins with the next.
    first = begins + 1
    return [
        kind.drawn(max(first, lots.randrange(begins, ends)), lots, topology) for _ in range(count)
    ]
