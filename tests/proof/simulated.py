"""Hours of whole networks on the virtual clock, every checker on (I1 to I13)."""

import time
from collections import Counter
from collections.abc import Iterator
from typing import Final

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
# Of one processor, the checkers on: what makes the hours of a night possible.
EVENTS_PER_SECOND_MIN: Final = 20_000
_RATE = "events per second of one processor, checkers on"
# An untested fault is not tested: of each kind at least so many in 50 hours, a thousand in a night.
_FAULTS_MIN_PER_50_HOURS = 40


def run(amount: float, seed: int, tell: Tell) -> PartReport:
    """``amount`` simulated network-hours, one to a seed."""
    began = time.monotonic()
    faults: Counter[str] = Counter()
    checks: Counter[str] = Counter()
    measured = Measured()
    violations: list[str] = []
    hours = 0.0
    # Of the processor, and what was done in them, by topology.
    seconds: Counter[str] = Counter()
    events: Counter[str] = Counter()
    served = 0
    for campaign in _campaigns(int(amount), seed):
        report = campaign.report(
            campaign.results(jobs=1), lambda result: measured.add(result.measured)
        )
        hours += report.simulated_hours
        events[report.topology] += report.events
        seconds[report.topology] += report.seconds
        served += report.served
        faults.update(report.faults)
        checks.update(report.checks)
        violations += report.violations
        tell(f"{hours:g} of {amount:g} hours, {len(violations)} violations")
    rates = _rates(events, seconds)
    return PartReport(
        part="simulated",
        invariants=tuple(sorted(checks, key=lambda name: (len(name), name))),
        seed=seed,
        made={
            "simulated network-hours": round(hours, 6),
            "events": events.total(),
            "keys at both ends": served,
        },
        checks=sum(checks.values()),
        faults=dict(sorted(faults.items())),
        faults_min=int(_FAULTS_MIN_PER_50_HOURS * amount / 50),
        measured={**rates, **measured.figures()},
        warnings=_slow(rates),
        violations=tuple(violations),
        seconds=time.monotonic() - began,
    )


def _rates(events: Counter[str], seconds: Counter[str]) -> dict[str, int]:
    """Events per second of processor time, on the whole and by topology."""
    rates = {name: events[name] / seconds[name] for name in sorted(events)}
    return {
        _RATE: round(events.total() / seconds.total()),
        **{f"{_RATE}, {name}": round(rate) for name, rate in rates.items()},
    }


def _slow(rates: dict[str, int]) -> tuple[str, ...]:
    """A slow machine is no fault."""
    if rates[_RATE] >= EVENTS_PER_SECOND_MIN:
        return ()
    return (f"{_RATE}: {rates[_RATE]:,} of at least {EVENTS_PER_SECOND_MIN:,}",)


def _campaigns(hours: int, seed: int) -> Iterator[Campaign]:
    """An hour to a seed, the topologies in turn."""
    for turn, first in enumerate(range(0, hours, _SEEDS_AT_ONCE)):
        yield Campaign(
            topology=named(_TOPOLOGIES[turn % len(_TOPOLOGIES)]),
            first_seed=seed + first,
            seeds=min(_SEEDS_AT_ONCE, hours - first),
            hours_each=1.0,
        )
