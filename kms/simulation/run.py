"""One seed from beginning to end, and what came of it."""

import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import PurePath

import attrs

from kms.simulation import plan
from kms.simulation.checker import Checker, Violation
from kms.simulation.faults import ALL, Fault
from kms.simulation.measured import Measured
from kms.simulation.simulation import Simulation
from kms.simulation.topology import Topology

# Of an error's own words.
_SHOWN_CHARACTERS = 300


@attrs.frozen(kw_only=True)
class Result:
    """What one seed came to."""

    seed: int
    topology: str
    simulated_hours: float
    events: int
    seconds: float
    """of this machine's processor"""
    faults: Mapping[str, int]
    """how often each kind happened; 0 for one that did not"""
    checks: Mapping[str, int]
    """comparisons made, by invariant"""
    served: int
    """keys that both applications of a pair got"""
    trace_hash: str
    measured: Measured
    violation: str = ""
    at_ms: int = 0
    """when it was found"""

    @property
    def events_per_second(self) -> float:
        return self.events / self.seconds if self.seconds else 0.0


Tell = Callable[[Simulation], None]


def run(
    topology: Topology,
    seed: int,
    hours: float,
    *,
    checkers: Sequence[type[Checker]],
    faults: Sequence[Fault] | None = None,
    tell: Tell = lambda simulation: None,
) -> Result:
    """The seed's history, ended early by a violation, or by whatever broke.

    ``faults``: instead of the seed's own plan. ``tell`` is called once per simulated minute.
    """
    began = time.process_time()
    simulation = Simulation(topology, seed, checkers)
    violation = ""
    try:
        play(
            simulation, hours, plan.drawn(seed, hours, topology) if faults is None else faults, tell
        )
    except Violation as found:
        violation = str(found)
    except Exception as error:  # noqa: BLE001
        # A node or the simulator broke: that is what this seed found, and others are still to run.
        violation = _broken(error)
    return Result(
        seed=seed,
        topology=topology.name,
        simulated_hours=simulation.loop.now_us / 3.6e9,
        events=simulation.loop.events,
        seconds=time.process_time() - began,
        faults=counted(simulation.faults),
        checks=simulation.watch.checks,
        served=sum(pair.common for pair in simulation.applications.all),
        trace_hash=simulation.trace.digest(),
        measured=simulation.watch.measured,
        violation=violation,
        at_ms=simulation.loop.now_ms if violation else 0,
    )


def play(simulation: Simulation, hours: float, faults: Sequence[Fault], tell: Tell) -> None:
    """Storms and calms, in turn. Raises ``Violation``."""
    for fault in faults:
        simulation.loop.after_ms(fault.at_ms, partial(_happen, simulation, fault))
    simulation.begin()
    length = plan.act_ms(simulation.topology)
    for act in range(plan.acts(hours, simulation.topology)):
        simulation.watch.tell("storm")
        begins = act * length
        _until(simulation, begins + plan.STORM_MS, tell)
        simulation.heal()
        _until(simulation, begins + length, tell)
        simulation.watch.tell("calm")


def _broken(error: Exception) -> str:
    """What broke, and where."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{PurePath(last.filename).name}:{last.lineno}"
    return f"{type(error).__name__} at {place}: {str(error)[:_SHOWN_CHARACTERS]}"


def counted(faults: Mapping[str, int]) -> dict[str, int]:
    """Every kind there is, and how often it happened."""
    kinds = [kind for fault in ALL for kind in fault.kinds]
    return {**dict.fromkeys(kinds, 0), **Counter(faults)}


def _happen(simulation: Simulation, fault: Fault) -> None:
    simulation.trace.note(repr(fault))
    fault.happen(simulation)


def _until(simulation: Simulation, end_ms: int, tell: Tell) -> None:
    while simulation.loop.now_ms < end_ms:
        simulation.loop.run_until_us(min(end_ms * 1000, simulation.loop.now_us + 60_000_000))
        tell(simulation)
