"""A window, case by case: what is ready, what is burnt, and that what is gone is zero (I1)."""

import pytest

from kms.domain.secret import Secret
from kms.domain.window import Window


def bits(start: int, end: int) -> bytes:
    """The pad's bytes, none of them zero."""
    return bytes(1 + at % 250 for at in range(start, end))


def window_of(*pieces: tuple[int, int], mark: int = 0) -> Window:
    made = Window(mark)
    for start, end in pieces:
        made.add(start, Secret(bits(start, end)))
    return made


def exposed(secret: Secret | None) -> bytes | None:
    return None if secret is None else bytes(secret.expose())


def test_an_empty_window_has_nothing_and_burnt_nothing() -> None:
    window = Window(7)

    assert (window.mark, window.held, window.run(), window.longest_run()) == (7, 0, 0, 0)
    assert (window.burnt_bytes, window.behind_a_hole()) == (0, False)


def test_what_is_put_in_is_wiped_where_it_came_from() -> None:
    secret = Secret(bits(0, 10))
    Window().add(0, secret)

    assert exposed(secret) == bytes(10)


def test_pieces_come_in_any_order_and_runs_go_over_their_seams() -> None:
    window = window_of((30, 40), (0, 10), (10, 15), (40, 42), (60, 61))

    assert (window.run(), window.longest_run(), window.held) == (15, 15, 28)
    assert window.behind_a_hole()
    window.advance(10)
    assert (window.run(), window.longest_run()) == (5, 12)
    window.advance(45)
    assert (window.run(), window.longest_run(), window.behind_a_hole()) == (1, 1, False)


def test_the_longest_run_may_begin_right_behind_a_hole_or_at_the_first_byte() -> None:
    assert window_of((0, 1), (2, 9), (9, 11), (12, 15)).longest_run() == 9
    assert window_of((1, 6)).longest_run() == 5
    assert window_of((0, 1)).longest_run() == 1


@pytest.mark.parametrize(
    "again", [(5, 6), (0, 1), (9, 10), (9, 11), (19, 21), (29, 31), (0, 40), (12, 22)]
)
def test_i1_no_byte_is_opened_twice(again: tuple[int, int]) -> None:
    window = window_of((0, 10), (20, 30))
    with pytest.raises(AssertionError, match="I1 "):
        window.add(again[0], Secret(bits(*again)))


def test_a_piece_fits_exactly_between_two() -> None:
    window = window_of((0, 10), (20, 30), (40, 50), (10, 20))

    assert window.run() == 30


@pytest.mark.parametrize(
    ("mark", "held"), [(0, 10), (9, 10), (10, 10), (11, 9), (19, 1), (20, 0), (25, 0)]
)
def test_i1_what_comes_below_the_mark_is_burnt(mark: int, held: int) -> None:
    window = window_of((10, 20), mark=mark)

    assert (window.held, window.run()) == (held, held)
    assert window.peek(9, 1) is None
    if held:
        assert window.take(1)[0] == max(mark, 10)


def test_i1_bytes_leave_from_the_front_once_with_their_offset() -> None:
    window = window_of((5, 10), (10, 20))

    assert (5, bits(5, 6)) == taken(window, 1)
    assert (6, bits(6, 12)) == taken(window, 6)
    assert (window.mark, window.held, window.run(), window.burnt_bytes) == (12, 8, 8, 5)
    assert (12, bits(12, 20)) == taken(window, 8)
    assert (window.mark, window.held, window.run()) == (20, 0, 0)


def taken(window: Window, length: int) -> tuple[int, bytes]:
    offset, secret = window.take(length)
    return offset, bytes(secret.expose())


@pytest.mark.parametrize("length", [-1, 0, 6, 16])
def test_i1_only_what_is_ready_in_one_run_is_taken(length: int) -> None:
    window = window_of((0, 5), (10, 20))
    with pytest.raises(AssertionError, match="I1 take only what is ready"):
        window.take(length)


@pytest.mark.parametrize(
    ("start", "length", "ready"),
    [
        (4, 0, True),
        (4, 1, True),
        (4, 16, True),
        (8, 4, True),
        (9, 1, True),
        (10, 10, True),
        (3, 1, False),
        (4, -1, False),
        (4, 17, False),
        (19, 2, False),
        (20, 1, False),
        (22, 3, True),
        (22, 4, False),
        (21, 2, False),
        (19, 4, False),
    ],
)
def test_a_look_gives_exactly_these_bytes_or_none(start: int, length: int, ready: bool) -> None:
    window = window_of((0, 10), (10, 20), (22, 25))
    window.advance(4)
    expected = bits(start, start + length) if ready else None

    assert expected == exposed(window.peek(start, length))
    assert (window.mark, window.held) == (4, 19)


def test_everything_that_is_held_can_be_looked_at_at_once() -> None:
    assert exposed(window_of((3, 8)).peek(3, 5)) == bits(3, 8)


def test_i1_the_mark_only_grows_and_what_it_passes_is_counted_and_zero() -> None:
    window = window_of((0, 10), (10, 20), (30, 40))
    pieces = list(window._pieces)
    window.advance(15)

    assert (window.held, window.burnt_bytes, window.run()) == (15, 15, 5)
    assert [bytes(each.bits) for each in pieces] == [
        bytes(10),
        bytes(5) + bits(15, 20),
        bits(30, 40),
    ]
    window.advance(15)
    window.advance(3)
    assert (window.mark, window.burnt_bytes, window.held) == (15, 15, 15)
    window.advance(18, used=2)
    assert (window.mark, window.burnt_bytes, window.held, window.run()) == (18, 16, 12, 2)
    window.advance(20, used=2)
    assert (window.burnt_bytes, window.held, window.run()) == (16, 10, 10)
    window.advance(30)
    assert (window.burnt_bytes, window.held, window.run()) == (26, 10, 10)
    window.advance(41)
    assert (window.burnt_bytes, window.held, window.run()) == (37, 0, 0)
    assert all(not any(each.bits) for each in pieces)


def test_the_run_is_known_after_each_step_without_counting_it_again() -> None:
    window = window_of((0, 10), (20, 25))

    assert window.run() == 10
    window.advance(4)
    assert window._run == 6
    window.advance(10)
    assert window._run is None
    assert window.run() == 5


def test_a_skipped_run_is_burnt_up_to_the_hole() -> None:
    window = window_of((5, 10), (10, 12), (20, 30))
    window.skip_run()

    assert (window.mark, window.run(), window.burnt_bytes) == (12, 10, 12)
    window.skip_run()
    assert (window.mark, window.run(), window.held) == (30, 0, 0)


def test_dropped_bytes_are_zero_and_their_neighbours_stay_ready() -> None:
    window = window_of((0, 10), (10, 20), (30, 40), (50, 60))
    buffers = [each.bits for each in window._pieces]
    window.advance(2)
    window.drop(15, 35)

    assert (window.held, window.burnt_bytes, window.mark) == (28, 12, 2)
    assert (window.run(), window.longest_run()) == (13, 13)
    assert exposed(window.peek(2, 13)) == bits(2, 15)
    assert exposed(window.peek(35, 5)) == bits(35, 40)
    assert exposed(window.peek(50, 10)) == bits(50, 60)
    assert window.peek(15, 1) is None
    assert window.peek(34, 1) is None
    # A buffer is cut off where nothing is left of it.
    assert bytes(buffers[1]).rstrip(b"\0") == bits(10, 15)
    assert bytes(buffers[2]) == bytes(5) + bits(35, 40)
    window.drop(52, 53)
    assert (window.held, window.burnt_bytes) == (27, 13)
    assert exposed(window.peek(50, 2)) == bits(50, 52)
    assert exposed(window.peek(53, 7)) == bits(53, 60)


@pytest.mark.parametrize(
    ("start", "end"), [(0, 10), (20, 30), (10, 10), (40, 99), (15, 12), (5, 2)]
)
def test_dropping_what_is_not_there_burns_nothing(start: int, end: int) -> None:
    window = window_of((10, 20), (30, 40))
    kept = list(window._pieces)
    window.drop(start, end)

    assert (window.held, window.burnt_bytes) == (20, 0)
    assert [id(each) for each in kept] == [id(each) for each in window._pieces]


def test_dropping_everything_leaves_nothing_to_skip() -> None:
    window = window_of((10, 20), (30, 40))
    window.drop(0, 100)

    assert (window.held, window.run(), window.longest_run(), window._pieces) == (0, 0, 0, [])
    window.skip_run()
    assert window.mark == 0
    window.add(10, Secret(bits(10, 12)))
    assert window.run() == 2
