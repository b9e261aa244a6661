"""A failing seed is cut down to the faults that matter, as a test that can be pasted."""

from typing import ClassVar

import attrs
import pytest

from kms.simulation import plan
from kms.simulation.checker import Checker
from kms.simulation.faults.clocks import WallJump
from kms.simulation.faults.processes import Kill
from kms.simulation.run import run
from kms.simulation.shorten import Shortener, playbook
from kms.simulation.site import Site
from kms.simulation.topology import named

# Nobody asks for keys: a quarter of an hour is over soon.
IDLE = attrs.evolve(
    named("two-nodes"),
    site=tuple(attrs.evolve(each, applications=0) for each in named("two-nodes").site),
)


class Jumpy(Checker):
    """A planted bug: a node that is killed after its clock jumped ten years."""

    invariant: ClassVar[str] = "I0"

    def stopped(self, site: Site, why: str) -> None:
        jumped = abs(site.clock.wall_ahead_ms) > 10**11
        self.holds(not (jumped and why == "killed"), f"{site.name} is broken by a jump and a kill")


@pytest.mark.slow
def test_of_a_whole_plan_the_two_faults_remain_that_break_it_together() -> None:
    topology = IDLE
    seed = next(seed for seed in range(50) if _has_both(seed))
    faults = plan.drawn(seed, 0.25, topology)
    failed = run(topology, seed, 0.25, checkers=[Jumpy], faults=faults)
    assert failed.violation.startswith("I0")

    shortener = Shortener(topology, failed, [Jumpy])
    left = shortener.shortest(faults, lambda line: None)

    assert [WallJump, Kill] == [type(each) for each in left]
    text = playbook(topology, failed, shortener.hours, left)
    assert repr(left[0]) in text
    compile(text, "playbook", "exec")


def _has_both(seed: int) -> bool:
    """Without running it: a jump of years, and later a kill at the same site."""
    jumps: set[str] = set()
    for fault in plan.drawn(seed, 0.25, IDLE):
        if isinstance(fault, WallJump) and abs(fault.by_ms) > 10**11:
            jumps ^= {fault.site}
        elif isinstance(fault, Kill) and fault.site in jumps:
            return True
    return False


def test_leaving_a_fault_out_changes_nothing_about_what_came_before_it() -> None:
    topology = IDLE
    faults = plan.drawn(3, 0.25, topology)
    last = faults[-1].at_ms
    whole = run(topology, 3, 0.25, checkers=[], faults=faults)
    again = run(topology, 3, 0.25, checkers=[], faults=faults)
    fewer = run(topology, 3, 0.25, checkers=[], faults=faults[:-1])

    assert last > 0
    assert whole.trace_hash == again.trace_hash
    assert whole.trace_hash != fewer.trace_hash
