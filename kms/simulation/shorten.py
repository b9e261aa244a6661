"""The fewest faults that still break the same invariant, as a test to paste.

Delta debugging (Zeller and Hildebrandt, 2002): parts of the plan are left out, halves first, then
smaller ones, as long as what is left still breaks it. Each actor draws from its own generator, so
leaving a fault out changes only what follows from it.
"""

from collections.abc import Callable, Sequence
from typing import Final

from kms.simulation import plan
from kms.simulation.checker import Checker
from kms.simulation.faults import Fault
from kms.simulation.run import Result, run
from kms.simulation.topology import Topology

# Histories tried for one shortening: some minutes.
RUNS_MAX: Final = 300


class Shortener:
    """One failing seed."""

    def __init__(
        self, topology: Topology, failed: Result, checkers: Sequence[type[Checker]]
    ) -> None:
        assert failed.violation, "only what fails is shortened"
        self.topology, self.failed, self.checkers = topology, failed, checkers
        self.invariant = failed.violation.split()[0]
        # Acts up to the violation; those behind it say nothing.
        length = plan.act_ms(topology)
        self.hours = ((failed.at_ms - 1) // length + 1) * length / 3.6e6
        self.runs = 0

    def shortest(self, faults: Sequence[Fault], tell: Callable[[str], None]) -> list[Fault]:
        """A part of ``faults`` that still breaks it, from which no single one can be left out,
        unless so many runs were not enough."""
        left = [each for each in faults if each.at_ms <= self.failed.at_ms]
        parts = 2
        while len(left) >= 1 and self.runs < RUNS_MAX:
            size = max(1, len(left) // parts)
            for start in range(0, len(left), size):
                fewer = left[:start] + left[start + size :]
                tell(f"{len(left)} faults left, {self.runs} histories tried")
                if self._breaks(fewer):
                    left, parts = fewer, max(2, parts - 1)
                    break
                if self.runs >= RUNS_MAX:
                    break
            else:
                if size == 1:
                    break
                parts = min(len(left), parts * 2)
        return left

    def _breaks(self, faults: Sequence[Fault]) -> bool:
        self.runs += 1
        again = run(
            self.topology, self.failed.seed, self.hours, checkers=self.checkers, faults=faults
        )
        return again.violation.split()[:1] == [self.invariant]


def playbook(topology: Topology, failed: Result, hours: float, faults: Sequence[Fault]) -> str:
    """A test for ``tests/domain``: fails as long as the bug is there."""
    name = f"test_seed_{failed.seed}_of_{topology.name}".replace("-", "_")
    lines = "".join(f"        {each!r},\n" for each in faults)
    return f'''from kms.simulation.checkers import ALL
from kms.simulation.faults.clocks import *
from kms.simulation.faults.devices import *
from kms.simulation.faults.disks import *
from kms.simulation.faults.entropy import *
from kms.simulation.faults.processes import *
from kms.simulation.faults.wires import *
from kms.simulation.run import run
from kms.simulation.topology import named


def {name}() -> None:
    """{failed.violation[:200]}"""
    faults = [
{lines}    ]
    played = run(named("{topology.name}"), {failed.seed}, {hours:g}, checkers=ALL, faults=faults)

    assert played.violation == ""
'''
