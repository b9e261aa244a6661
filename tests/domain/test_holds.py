"""Ranges of indices, and what two ends make of each other's orders about them."""

import itertools

import attrs
from hypothesis import given
from hypothesis import strategies as st

from kms.domain import holds, ranges
from kms.domain.holds import ALL, Holds, changed, fresh, merged, ordered, same
from kms.domain.names import KSID
from kms.domain.ranges import Ranges
from kms.domain.records import HoldRecord
from tests.domain.streams_play import KNOWN, LINK, key_of

TOP = 12
sets = st.frozensets(st.integers(0, TOP - 1))
counts = st.integers(0, 2)


def spelt(indices: frozenset[int]) -> Ranges:
    return ranges.union([(index, index + 1) for index in indices])


def indices(said: Ranges) -> frozenset[int]:
    return frozenset(index for first, end in said for index in range(first, end))


@st.composite
def records(draw: st.DrawFn) -> HoldRecord:
    lost = draw(sets)
    return HoldRecord(
        link=LINK,
        ksid=KNOWN,
        leader=draw(counts),
        follower=draw(counts),
        suspended=spelt(draw(sets) - lost),
        compromised=spelt(lost),
    )


# ---- ranges -------------------------------------------------------------------------------------


@given(sets, sets)
def test_ranges_are_sets(one: frozenset[int], other: frozenset[int]) -> None:
    here, there = spelt(one), spelt(other)

    assert one | other == indices(ranges.union(here, there))
    assert one - other == indices(ranges.minus(here, there))
    assert one & other == indices(ranges.overlap(here, there))
    assert [index in one for index in range(TOP)] == [ranges.has(here, n) for n in range(TOP)]
    for made in (ranges.union(here, there), ranges.minus(here, there)):
        assert made == ranges.union(made)
        assert all(left[1] < right[0] for left, right in itertools.pairwise(made))


def test_empty_ranges_are_none() -> None:
    assert () == ranges.union([(3, 3)])
    assert ((2, 5),) == ranges.union([(4, 5)], [(2, 4)], [(3, 3)])


# ---- two ends -----------------------------------------------------------------------------------


@given(records(), records())
def test_both_ends_come_to_the_same_whoever_heard_whom(one: HoldRecord, other: HoldRecord) -> None:
    assert same(merged(one, other), merged(other, one))


@given(records(), records())
def test_hearing_it_again_changes_nothing(one: HoldRecord, other: HoldRecord) -> None:
    both = merged(one, other)

    assert same(both, merged(both, other))
    assert same(both, merged(both, one))
    assert same(both, merged(both, both))


@given(records(), records())
def test_what_is_compromised_never_comes_back(one: HoldRecord, other: HoldRecord) -> None:
    both = merged(one, other)

    assert indices(one.compromised) | indices(other.compromised) == indices(both.compromised)
    assert not indices(both.suspended) & indices(both.compromised)


def said(hold: HoldRecord, suspended: Ranges, *, leads: bool, wall_ms: int = 7) -> HoldRecord:
    return changed(
        hold,
        suspended=suspended,
        compromised=hold.compromised,
        leads=leads,
        wall_ms=wall_ms,
        operator="olga",
        reason="why",
    )


def test_an_order_that_has_seen_all_others_stands_and_orders_at_once_add_up() -> None:
    first = said(fresh(LINK, KNOWN), ((0, 4),), leads=True)
    resumed = said(first, ((0, 1),), leads=False)
    beside = said(first, ((0, 4), (6, 8)), leads=True)

    assert resumed == merged(first, resumed) == merged(resumed, first)
    assert ((0, 4), (6, 8)) == merged(resumed, beside).suspended
    assert (beside.leader, resumed.follower) == (
        merged(beside, resumed).leader,
        merged(beside, resumed).follower,
    )


def test_numbers_rise_also_when_the_clock_goes_back() -> None:
    late = said(fresh(LINK, KNOWN), ALL, leads=False, wall_ms=1000)
    early = said(late, (), leads=False, wall_ms=5)

    assert (0, 1001) == (early.leader, early.follower)
    assert early == merged(late, early)


def test_words_do_not_make_two_holds_different() -> None:
    hold = said(fresh(LINK, KNOWN), ALL, leads=True)

    assert same(hold, attrs.evolve(hold, reason="another", operator="otto", since_ms=9))
    assert (False, True) == (same(hold, None), same(None, None))


# ---- for a person -------------------------------------------------------------------------------


def test_what_is_held_is_shown_shortly() -> None:
    many = tuple((3 * each, 3 * each + 1) for each in range(11))
    hold = HoldRecord(link=LINK, ksid=KNOWN, suspended=many, compromised=((70, 80),))

    assert "suspended 0, 3, 6, 9, 12, 15, 18, 21, and 3 more; compromised 70-79" == ordered(hold)
    assert "suspended all" == ordered(HoldRecord(link=LINK, ksid=KNOWN, suspended=ALL))
    assert "" == ordered(fresh(LINK, KNOWN))


def test_holds_are_kept_by_link_and_stream() -> None:
    kept, other = Holds(), KSID(key_of(3))
    kept.restore(HoldRecord(link=LINK, ksid=KNOWN, suspended=ALL))

    assert (1, None) == (len(kept), kept.of(LINK, other))
    assert kept.drop(LINK, other) is None
    assert kept.drop(LINK, KNOWN) is not None
    assert (0, "") == (len(kept), kept.stopped(LINK))
    assert holds.SUSPENDED != holds.COMPROMISED
