"""Trio's scheduler, made to follow a seed.

Trio shuffles the tasks that can run, on purpose, by an order of its own. ``scheduled_by`` gives it
an order that depends on nothing but the seed: with adapters in memory and a clock that jumps, a run
is then the same every time, on every machine.
"""

from typing import Any, cast

import trio._core._run as scheduler


def scheduled_by(seed: int) -> None:
    """Every later ``trio.run`` of this process, and the one under way, follows ``seed``."""
    # Trio's own switch for this, which pytest-trio turns on under hypothesis; it has no public
    # name.
    inner = cast(Any, scheduler)
    inner._ALLOW_DETERMINISTIC_SCHEDULING = True
    inner._r.seed(seed)
