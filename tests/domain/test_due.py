"""Timers on two clocks: the first clock to get there counts, and nothing fires twice."""

from kms.domain.due import ENTRIES_FREE, Due
from kms.domain.moment import Moment


def at(mono_ms: int, wall_ms: int = 0) -> Moment:
    return Moment(mono_ms=mono_ms, wall_ms=wall_ms)


def fired(due: Due[str], now: Moment, most: int = 100) -> list[str]:
    return list(due.fire(now, most))


def test_timers_fire_in_order_when_their_time_has_come_and_once() -> None:
    due: Due[str] = Due()
    due.set("late", 30)
    due.set("early", 10)
    due.set("never", 31)

    assert fired(due, at(9)) == []
    assert fired(due, at(30)) == ["early", "late"]
    assert fired(due, at(30)) == []


def test_a_timer_is_pushed_forward_and_never_back() -> None:
    due: Due[str] = Due()
    due.set("one", 20)
    due.set("one", 30)
    due.set("two", 20)
    due.set("two", 10)

    assert fired(due, at(10)) == ["two"]
    assert fired(due, at(20)) == ["one"]
    assert fired(due, at(30)) == []


def test_either_clock_fires_and_the_other_forgets() -> None:
    due: Due[str] = Due()
    due.set("by wall", 1_000, 50)
    due.set("by mono", 10, 5_000)

    assert fired(due, at(10, 49)) == ["by mono"]
    assert fired(due, at(11, 50)) == ["by wall"]
    assert fired(due, at(1_000, 5_000)) == []


def test_a_cleared_timer_does_not_fire_and_clearing_twice_is_clearing_once() -> None:
    due: Due[str] = Due()
    due.set("one", 10, 10)
    due.clear("one")
    due.clear("one")

    assert fired(due, at(10, 10)) == []
    assert due.deadline_ms(at(0)) is None


def test_at_most_so_many_fire_and_the_rest_fires_the_next_time() -> None:
    due: Due[str] = Due()
    for name in "abc":
        due.set(name, ord(name))

    assert fired(due, at(1_000), most=2) == ["a", "b"]
    assert fired(due, at(1_000), most=0) == []
    assert fired(due, at(1_000), most=2) == ["c"]


def test_the_deadline_is_the_nearer_clocks() -> None:
    due: Due[str] = Due()
    due.set("mono", 500)
    due.set("wall", 900, 1_100)

    assert due.deadline_ms(at(100, 1_000)) == 200
    assert due.deadline_ms(at(100, 2_000)) == 100
    due.clear("wall")
    assert due.deadline_ms(at(100, 1_000)) == 500


def test_a_timer_that_fires_for_hours_leaves_nothing_behind_that_grows() -> None:
    due: Due[str] = Due()
    due.set("idle", 20_000_000, 20_000_000)
    most = 0
    for now_ms in range(0, 10_000_000, 1_000):
        due.set("read", now_ms + 86_400_000, now_ms + 86_400_000)
        due.set("read", now_ms + 500)
        assert fired(due, at(now_ms + 500)) == ["read"]
        most = max(most, len(due))

    assert most <= 2 * (2 * 2 + ENTRIES_FREE)
    assert fired(due, at(20_000_000)) == ["idle"]
    assert len(due) == 0


def test_timers_of_one_instant_fire_in_the_order_in_which_they_were_set() -> None:
    due: Due[str] = Due()
    for number in range(90):
        due.set("moved", 1_000 - number)
        due.set(f"{number:03}", 2_000)

    assert fired(due, at(2_000)) == ["moved", *(f"{number:03}" for number in range(90))]


def test_a_timer_that_was_cleared_and_set_to_the_same_instant_fires_once() -> None:
    due: Due[str] = Due()
    due.set("first", 5)
    due.set("again", 10)
    due.clear("again")
    due.set("again", 10)

    assert fired(due, at(10)) == ["first", "again"]
    assert (len(due), due.deadline_ms(at(10))) == (0, None)


def test_timers_that_are_cleared_all_at_once_are_forgotten_at_once() -> None:
    due: Due[str] = Due()
    due.set("stays", 1)
    for number in range(1_000):
        due.set(f"request {number}", 10 + number)
    for number in range(1_000):
        due.clear(f"request {number}")

    assert len(due) <= 2 + ENTRIES_FREE
