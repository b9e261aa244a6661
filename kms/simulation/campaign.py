"""Many seeds, on as many processors as there are, and one report of all."""

import gc
import hashlib
import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import attrs

from kms.simulation.checkers import ALL
from kms.simulation.measured import Measured
from kms.simulation.run import Result, run
from kms.simulation.topology import Topology


@attrs.frozen(kw_only=True)
class Report:
    """What all seeds came to."""

    topology: str
    seeds: int
    first_seed: int
    simulated_hours: float
    events: int
    events_per_second: float
    """of one processor, checkers on"""
    seconds: float
    """of one processor"""
    served: int
    """keys that both applications of a pair got"""
    faults: dict[str, int]
    checks: dict[str, int]
    violations: list[str]
    """each with the command that plays it again"""
    seldom: list[str]
    """kinds of fault that happened less often than asked for: they were not tried"""
    trace_hash: str
    """of all seeds' traces, in order"""
    hours_each: float
    measured: dict[str, float]
    """of all seeds: the longest and the 99th percentile of times, the most of what is bounded"""


@attrs.frozen(kw_only=True)
class Campaign:
    """What to run. The same campaign gives the same report, whatever runs it."""

    topology: Topology
    first_seed: int
    seeds: int
    hours_each: float
    least: int = 0
    """of each kind of fault"""

    def results(self, jobs: int) -> Iterator[Result]:
        """One per seed, in order."""
        tasks = [
            (self.topology, seed, self.hours_each)
            for seed in range(self.first_seed, self.first_seed + self.seeds)
        ]
        if jobs <= 1 or len(tasks) == 1:
            yield from map(_one, tasks)
            return
        # A fresh process inherits nothing that could differ from one run to the next.
        with multiprocessing.get_context("spawn").Pool(min(jobs, len(tasks))) as pool:
            yield from pool.imap(_one, tasks)

    def report(self, results: Iterable[Result], done: Callable[[Result], None]) -> Report:
        """All results as one."""
        faults: Counter[str] = Counter()
        checks: Counter[str] = Counter()
        violations, hours, seconds, events, served = [], 0.0, 0.0, 0, 0
        measured = Measured()
        trace = hashlib.blake2b(digest_size=16)
        for result in results:
            done(result)
            faults.update({kind: count for kind, count in result.faults.items() if count})
            faults.update(dict.fromkeys(result.faults, 0))
            checks.update(result.checks)
            hours += result.simulated_hours
            seconds += result.seconds
            events += result.events
            served += result.served
            measured.add(result.measured)
            trace.update(result.trace_hash.encode())
            if result.violation:
                violations.append(self._named(result))
        return Report(
            topology=self.topology.name,
            seeds=self.seeds,
            first_seed=self.first_seed,
            hours_each=self.hours_each,
            simulated_hours=hours,
            events=events,
            events_per_second=events / seconds if seconds else 0.0,
            seconds=seconds,
            served=served,
            faults=dict(sorted(faults.items())),
            checks=dict(sorted(checks.items(), key=lambda item: (len(item[0]), item[0]))),
            violations=violations,
            seldom=[kind for kind, count in sorted(faults.items()) if count < self.least],
            trace_hash=trace.hexdigest(),
            measured=measured.figures(),
        )

    def _named(self, result: Result) -> str:
        again = f"kms sim --seed {result.seed} --hours {self.hours_each:g}"
        return (
            f"{result.violation} (after {result.at_ms / 1000:.1f} s on {self.topology.name}; "
            f"again: {again} --topology {self.topology.name})"
        )


def processors() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0))


# Objects allocated between two looks for unreachable cycles. A history makes few before it ends;
# looking for them as often as Python does by itself takes 4 % of its time.
_GARBAGE_THRESHOLD: Final = 200_000


def _one(task: tuple[Topology, int, float]) -> Result:
    topology, seed, hours = task
    gc.collect()  # the history before
    gc.set_threshold(_GARBAGE_THRESHOLD)
    return run(topology, seed, hours, checkers=ALL)
