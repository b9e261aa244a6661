"""What every clock must keep, the real one and the fake."""

from collections.abc import Callable

import pytest

from kms.adapters.clock import SystemClock
from kms.adapters.memory.clock import SettableClock
from kms.ports.clock import Clock


@pytest.fixture(params=[SystemClock, SettableClock])
def clock(request: pytest.FixtureRequest) -> Clock:
    make: Callable[[], Clock] = request.param
    return make()


def test_monotonic_time_never_falls(clock: Clock) -> None:
    readings = [clock.now().mono_ms for _ in range(1000)]

    assert readings == sorted(readings)


def test_wall_time_is_milliseconds_since_1970(clock: Clock) -> None:
    """Of the right size: a clock in seconds or nanoseconds is off by a thousand."""
    year_2020, year_2200 = 1_577_836_800_000, 7_258_118_400_000

    assert year_2020 < clock.now().wall_ms < year_2200


def test_a_jump_of_the_wall_clock_leaves_monotonic_time_alone() -> None:
    clock = SettableClock(mono_ms=5)
    clock.jump_wall(0)
    clock.advance(2)

    now = clock.now()

    assert (now.mono_ms, now.wall_ms) == (7, 2)
