"""Hours of whole networks on the virtual clock, every checker on (I1 to I13)."""

import time
from collections import Counter
from collections.abc import Iterator

from kms.simulation.campaign import Campaign
from kms.simulation.measured import Measured
from kms.simulation.topology import named
from tests.proof.report import PartReport, Tell

# Most seeds are two nodes: a violation there is the easiest to read. An hour of five nodes takes as
# long as three to four of two: one turn in 24, early enough for the 13 turns of a commit.
_TOPOLOGIES = (
    *("two-nodes", "slow-link") * 3,
    "nec-five-node",
    *("slow-link", "slow-link", "two-nodes") * 5,
    "slow-link",
    "slow-link",
)
_SEEDS_AT_ONCE = 4
# An untested fault is not tested: of each kind at least so many in 50 hours, a thousand in a night.
_FAULTS_MIN_PER_50_HOURS = 40


def run(amount: float, seed: int, tell: Tell) -> PartReport:
    """``amount`` simulated network-hours, one to a seed."""
    began = time.monotonic()
    faults: Counter[str] = Counter()
    checks: Counter[str] = Counter()
    measured = Measured()
    violations: list[str] = []
    hours = seconds = 0.0
    events = served = 0
    for campaign in _campaigns(int(amount), seed):
        report = campaign.report(
            campaign.results(jobs=1), lambda result: measured.add(result.measured)
        )
        hours += report.simulated_hours
        events += report.events
        seconds += report.events / report.events_per_second
        served += report.served
        faults.update(report.faults)
        checks.update(report.checks)
        violations += report.violations
        tell(f"{hours:g} of {amount:g} hours, {len(violations)} violations")
    return PartReport(
        part="simulated",
        invariants=tuple(sorted(checks, key=lambda name: (len(name), name))),
        seed=seed,
        made={
            "simulated network-hours": round(hours, 6),
            "events": events,
            "keys at both ends": served,
        },
        checks=sum(checks.values()),
        faults=dict(sorted(faults.items())),
        faults_min=int(_FAULTS_MIN_PER_50_HOURS * amount / 50),
        measured={"events per second": round(events / seconds), **measured.figures()},
        violations=tuple(violations),
        seconds=time.monotonic() - began,
    )


def _campaigns(hours: int, seed: int) -> Iterator[Campaign]:
    """An hour to a seed, the topologies in turn."""
    for turn, first in enumerate(range(0, hours, _SEEDS_AT_ONCE)):
        yield Campaign(
            topology=named(_TOPOLOGIES[turn % len(_TOPOLOGIES)]),
            first_seed=seed + first,
            seeds=min(_SEEDS_AT_ONCE, hours - first),
            hours_each=1.0,
        )
