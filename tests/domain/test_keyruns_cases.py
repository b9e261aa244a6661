"""Runs of chunks: the edges of a list that has no gap."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kms.domain import limits
from kms.domain.keyruns import KeyRuns
from kms.domain.leftouts import left_out
from kms.domain.lifecycle import KeyEvent, KeyState
from kms.domain.moment import Moment
from kms.domain.names import MaterialId
from kms.domain.records import KeyRunRecord
from kms.domain.run import Span, span_of
from tests.domain.linkbench import forgotten, outbox, saved
from tests.domain.streams_play import KNOWN

NOW = Moment(mono_ms=1_000, wall_ms=5_000)


def ten() -> KeyRuns:
    """Ten chunks that wait to be delivered."""
    runs = KeyRuns(KNOWN)
    runs.append(10, material=MaterialId("m"), now=NOW, ttl_ms=60_000, reason="made")
    return runs


def states(runs: KeyRuns) -> list[tuple[int, int, KeyState]]:
    return [(run.first, run.count, run.state) for run in runs]


def lost(runs: KeyRuns, first: int, count: int) -> None:
    span = Span(first=first, count=count, material=MaterialId("m"), material_first=0)
    runs.move(span, KeyEvent.DESTROY, now=NOW, reason="gone")


WAITS, GONE = KeyState.PRE_ACTIVATION, KeyState.DESTROYED


def test_the_oldest_chunks_are_as_many_as_there_are() -> None:
    runs = ten()
    lost(runs, 2, 3)

    assert [(0, 2), (5, 1)] == [(each.first, each.count) for each in runs.oldest(3)]
    assert [(0, 2), (5, 5)] == [(each.first, each.count) for each in runs.oldest(99)]
    assert runs.oldest(0) == []


def test_a_move_through_no_event_keeps_the_state_and_its_expiry() -> None:
    runs = ten()
    span = Span(first=0, count=10, material=MaterialId("m"), material_first=0)
    runs.move(span, now=Moment(mono_ms=2_000, wall_ms=6_000), reason="looked at")

    assert [(0, 10, WAITS)] == states(runs)
    assert runs.expiry() == (61_000, 65_000)
    assert runs.ready == 10


def test_i2_falling_back_to_where_the_list_ends_changes_nothing() -> None:
    runs = ten()
    runs.fall_back(10)
    runs.fall_back(11)

    assert ([(0, 10, WAITS)], 10) == (states(runs), runs.ready)


def test_i2_falling_back_into_what_is_destroyed_keeps_the_rest_of_it() -> None:
    runs = ten()
    lost(runs, 4, 4)
    runs.fall_back(6)

    assert [(0, 4, WAITS), (4, 2, GONE)] == states(runs)
    assert (runs.end, runs.ready, runs.next_ready(99)) == (6, 4, 0)
    runs.append(1, material=MaterialId("n"), now=NOW, ttl_ms=1, reason="made")
    assert runs.end == 7


def test_a_stream_that_never_was_leaves_no_record() -> None:
    runs, out = ten(), outbox()
    lost(runs, 4, 4)
    runs.save_to(out)
    gone = outbox()
    runs.forget_to(gone)
    again = outbox()
    runs.forget_to(again)
    runs.save_to(again)

    assert [0, 4, 8] == [each.first for each in saved(out) if isinstance(each, KeyRunRecord)]
    assert [0, 4, 8] == [each.first for each in forgotten(gone) if isinstance(each, KeyRunRecord)]
    assert again.effects == []


def test_many_small_designations_that_nobody_read_yet_are_no_holes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "RUNS_PER_STREAM_MAX", 8)
    runs = KeyRuns(KNOWN)
    for number in range(20):
        name = MaterialId(f"m{number}")
        runs.append(1, material=name, now=NOW, ttl_ms=60_000, reason="made")

    assert len(runs) == 20
    assert not runs.crowded()

    for index in range(1, 20, 2):
        span = Span(first=index, count=1, material=MaterialId(f"m{index}"), material_first=index)
        runs.move(span, KeyEvent.DESTROY, now=NOW, reason="gone")

    assert runs.crowded()


@given(st.data())
def test_what_is_left_out_is_what_waits_below_what_left(data: st.DataObject) -> None:
    """Against a list of single chunks. W waits, T is taken, G is gone."""
    runs, chunks = KeyRuns(KNOWN), ""
    for number, piece in enumerate(data.draw(st.lists(st.text("WTG", min_size=1, max_size=9)))):
        name = MaterialId(f"m{number}")
        runs.append(len(piece), material=name, now=NOW, ttl_ms=60_000, reason="made")
        for index, letter in enumerate(piece, len(chunks)):
            if letter == "G":
                span = Span(first=index, count=1, material=name, material_first=len(chunks))
                runs.move(span, KeyEvent.DESTROY, now=NOW, reason="gone")
        chunks += piece
    most = data.draw(st.integers(0, 3))
    taken = []
    for index, letter in enumerate(chunks):
        run = runs.at(index)
        if letter == "T" and run is not None:
            taken.append(span_of(run, index, index + 1))
    stretches = list(re.finditer("W+(?!W|$)", chunks))
    expected = [
        index
        for each in stretches[: max(0, len(stretches) - most)]
        for index in range(*each.span())
    ]
    spans = left_out(runs, taken, most)

    assert expected == [
        index for each in spans for index in range(each.first, each.first + each.count)
    ]
    for each in spans:
        run = runs.at(each.first)

        assert run is not None
        assert span_of(run, each.first, each.first + each.count) == each


# ---- what can be wiped --------------------------------------------------------------------


def test_delivered_chunks_are_wiped_by_whole_units_unless_nobody_else_is_left_in_them() -> None:
    """Units of 4 chunks; 1 to 8 are delivered, 0 and 9 wait beside them."""
    runs = ten()
    span = Span(first=1, count=8, material=MaterialId("m"), material_first=0)
    runs.move(span, KeyEvent.DELIVER, now=NOW, reason="delivered", stamp=3)
    fresh = runs.settled(4)
    runs.age(3)
    amid = runs.settled(4)
    lost(runs, 0, 1)
    lost(runs, 9, 1)

    assert [] == fresh
    assert [(4, 4)] == [(each.first, each.count) for each in amid]
    assert [(1, 8)] == [(each.first, each.count) for each in runs.settled(4)]


def delivered(runs: KeyRuns, first: int, count: int, now: Moment = NOW, stamp: int = 1) -> None:
    span = Span(first=first, count=count, material=MaterialId("m"), material_first=0)
    runs.move(span, KeyEvent.DELIVER, now=now, reason="delivered", stamp=stamp)


def test_reading_one_by_one_in_order_comes_to_the_same_as_reading_all_at_once() -> None:
    one_by_one, at_once = ten(), ten()
    for runs in (one_by_one, at_once):
        runs.save_to(outbox())
    for index in range(6):
        delivered(one_by_one, index, 1)
    delivered(at_once, 0, 6)
    outs = [outbox(), outbox()]
    one_by_one.save_to(outs[0])
    at_once.save_to(outs[1])

    assert list(one_by_one) == list(at_once)
    assert one_by_one.ready == at_once.ready == 4
    assert saved(outs[0]) == saved(outs[1])
    assert len(saved(outs[0])) == 2
    assert forgotten(outs[0]) == forgotten(outs[1]) == []


def test_a_run_that_was_read_to_its_end_is_forgotten_where_it_was_saved() -> None:
    runs, out = ten(), outbox()
    delivered(runs, 0, 1)
    runs.save_to(outbox())
    for index in range(1, 10):
        delivered(runs, index, 1)
    runs.save_to(out)

    assert [(0, 10, KeyState.ACTIVE)] == states(runs)
    assert [0] == [each.first for each in saved(out) if isinstance(each, KeyRunRecord)]
    assert [1] == [each.first for each in forgotten(out) if isinstance(each, KeyRunRecord)]


def test_chunks_of_two_wiping_steps_are_two_runs_and_the_older_moment_counts() -> None:
    runs = ten()
    delivered(runs, 0, 1, Moment(mono_ms=1_000, wall_ms=5_000))
    delivered(runs, 1, 1, Moment(mono_ms=1_001, wall_ms=4_000))
    delivered(runs, 2, 1, stamp=2)

    assert [(0, 2), (2, 1), (3, 7)] == [(run.first, run.count) for run in runs]
    assert [4_000, 5_000, 5_000] == [run.since_ms for run in runs]
    assert [1, 2, 0] == [run.stamp for run in runs]
