"""A machine's clocks: what each pace, jump and start comes to."""

from kms.simulation.clock import BOOTED_MS, WALL_MS, Clock
from kms.simulation.loop import Loop

MINUTE_US = 60_000_000


def test_a_good_clock_shows_the_true_time() -> None:
    loop = Loop()
    clock = Clock(loop)
    loop.run_until_us(MINUTE_US)

    assert (60_000, WALL_MS + 60_000) == (clock.mono_ms, clock.wall_ms)
    assert clock.wall_ahead_ms == 0


def test_each_clock_goes_at_its_own_pace_from_then_on_and_keeps_what_it_gained() -> None:
    loop = Loop()
    clock = Clock(loop)
    loop.run_until_us(MINUTE_US)
    clock.go_at(mono_ppm=-5_000, wall_ppm=100_000)
    loop.run_until_us(2 * MINUTE_US)
    clock.go_at(mono_ppm=0, wall_ppm=0)
    loop.run_until_us(3 * MINUTE_US)

    assert 180_000 - 300 == clock.mono_ms
    assert clock.wall_ahead_ms == 6_000


def test_a_wall_clock_may_go_backwards_and_the_monotonic_one_never_does() -> None:
    loop = Loop()
    clock = Clock(loop)
    clock.go_at(mono_ppm=-5_000, wall_ppm=-5_450_000)
    seen = [clock.moment]
    for seconds in range(1, 10):
        loop.run_until_us(seconds * 1_000_000)
        seen.append(clock.moment)

    assert sorted(each.mono_ms for each in seen) == [each.mono_ms for each in seen]
    assert seen[-1].wall_ms < seen[0].wall_ms


def test_a_machine_that_is_switched_on_begins_its_monotonic_time_anew() -> None:
    loop = Loop()
    clock = Clock(loop)
    loop.run_until_us(MINUTE_US)
    clock.jump(-3_600_000)
    clock.switch_on()

    assert clock.mono_ms == BOOTED_MS
    assert clock.wall_ahead_ms == -3_600_000
