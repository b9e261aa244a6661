"""Something that happens after the k-th step of the schedule, for every k.

Trio runs tasks step by step, from one await to the next. ``at_step`` does one thing between two
steps: so a caller hangs up, or a node is cancelled, while any task whatever is anywhere whatever. A
sweep asks for step 1, 2, 3, … until what it disturbs is over before its step comes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

# A sweep that goes on past this disturbs something that never ends.
STEPS_MAX = 2_000


class Steps(trio.abc.Instrument):
    """Counts steps; after number ``at`` (from 1) it acts, once."""

    def __init__(self, at: int, act: Callable[[], object]) -> None:
        self._at, self._act = at, act
        self.count = 0

    @property
    def acted(self) -> bool:
        return self.count >= self._at

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1
        if self.count == self._at:
            self._act()


@contextmanager
def at_step(at: int, act: Callable[[], object]) -> Iterator[Steps]:
    """``act`` is called after that step from now, unless the block ends before."""
    assert at <= STEPS_MAX, "what is disturbed never ends"
    steps = Steps(at, act)
    trio.lowlevel.add_instrument(steps)
    try:
        yield steps
    finally:
        trio.lowlevel.remove_instrument(steps)
