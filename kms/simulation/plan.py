"""Which faults a seed has, and when: drawn once, then a list that can be cut down.

Theory of operation. Swarm testing (Groce et al., ISSTA 2012): each storm has some kinds of fault
and not others, so that no kind hides what another one would have found. A storm of eleven minutes
is followed by a calm of four, in which nothing new goes wrong. Each kind draws from a generator of
its own: another kind, or another rate of one, leaves the times of all others alone.
"""

import random
from typing import Final

from kms.simulation.faults import ALL, Fault
from kms.simulation.topology import Topology

STORM_MS: Final = 11 * 60_000
CALM_MS: Final = 4 * 60_000
ACT_MS: Final = STORM_MS + CALM_MS
# Before the first storm the links get their first blocks.
QUIET_START_MS: Final = 60_000
# Of the kinds, how many take part in a storm.
_SHARE: Final = (0.2, 0.4, 0.7)


def drawn(seed: int, hours: float, topology: Topology) -> list[Fault]:
    """The plan of this seed, in the order of time."""
    faults: list[Fault] = []
    for act in range(acts(hours)):
        share = random.Random(f"{seed}/plan/{act}").choice(_SHARE)
        begins = act * ACT_MS + (QUIET_START_MS if act == 0 else 0)
        ends = act * ACT_MS + STORM_MS
        for kind in ALL:
            lots = random.Random(f"{seed}/plan/{act}/{kind.__name__}")
            if lots.random() < share:
                faults += _of_kind(kind, begins, ends, lots, topology)
    return sorted(faults, key=lambda fault: fault.at_ms)


def acts(hours: float) -> int:
    """Storms with their calms; at least one."""
    return max(1, round(hours * 3_600_000 / ACT_MS))


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
