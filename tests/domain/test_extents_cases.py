"""Extents of a pad, case by case: the edges that the model in ``test_extents`` meets by luck."""

from uuid import UUID

import pytest

from kms.domain.extents import Extent, Extents, Part
from kms.domain.names import BlockId, MaterialId

UNIT = 4096


def extent(seq: int, start: int, length: int, *, burnt: bool = False) -> Extent:
    return Extent(
        seq=seq,
        start=start,
        length=length,
        block_id=BlockId(UUID(int=seq)),
        material=None if burnt else MaterialId(f"m{seq}"),
    )


def pad() -> Extents:
    """0 to 8192 usable, 8192 to 12288 burnt, a hole, 20000 to 24096 usable."""
    made = Extents()
    made.append(extent(0, 0, 8192))
    made.append(extent(1, 8192, 4096, burnt=True))
    made.append(extent(2, 20_000, 4096))
    return made


def part(seq: int, offset: int, length: int, start: int, block_end: int) -> Part:
    return Part(
        material=MaterialId(f"m{seq}"),
        offset=offset,
        length=length,
        start=start,
        block_end=block_end,
    )


def test_an_empty_pad_begins_where_it_is_told_and_has_nothing() -> None:
    made = Extents()

    assert (made.end, made.above(0), made.step(0, 1, 99), list(made)) == (0, 0, 0, [])
    assert (Extents(7).end, Extents(7).unsettled_start(0)) == (7, 7)


def test_i1_an_extent_never_overlaps_the_one_before() -> None:
    made = pad()
    with pytest.raises(AssertionError, match="I1 a pad's offsets only grow"):
        made.append(extent(3, 24_095, 5))
    made.append(extent(3, 24_096, 5))

    assert made.end == 24_101


@pytest.mark.parametrize(
    ("offset", "above"),
    [
        (0, 12_288),
        (1, 12_287),
        (8191, 4097),
        (8192, 4096),
        (12_288, 4096),
        (20_000, 4096),
        (20_001, 4095),
        (24_096, 0),
        (99_999, 0),
    ],
)
def test_what_is_usable_above_an_offset(offset: int, above: int) -> None:
    assert above == pad().above(offset)


@pytest.mark.parametrize(
    ("start", "length", "burnt"),
    [
        (0, 0, []),
        (0, 1, [0]),
        (8191, 1, [0]),
        (8191, 2, [0]),
        (8192, 11_808, []),
        (8192, 11_809, [2]),
        (24_095, 1, [2]),
        (24_096, 5, []),
        (0, 99_999, [0, 2]),
        (12_288, 7_712, []),
    ],
)
def test_extents_that_touch_a_range_are_burnt_whole_and_named_as_they_were(
    start: int, length: int, burnt: list[int]
) -> None:
    made = pad()
    found = made.burn(start, length)

    assert burnt == [each.seq for each in found]
    assert all(each.material for each in found)
    assert made.above(0) == 12_288 - sum(each.length for each in found)
    assert [each.seq for each in made if each.material is None] == sorted([1, *burnt])
    assert made.burn(start, length) == []
    assert made.end == 24_096


@pytest.mark.parametrize(
    ("start", "stop", "expected"),
    [
        (0, 0, []),
        (0, 1, [part(0, 0, 1, 0, 8192)]),
        (100, 300, [part(0, 100, 200, 100, 8192)]),
        (8191, 20_000, [part(0, 8191, 1, 8191, 8192)]),
        (8192, 20_000, []),
        (8192, 20_001, [part(2, 0, 1, 20_000, 24_096)]),
        (0, 99_999, [part(0, 0, 8192, 0, 8192), part(2, 0, 4096, 20_000, 24_096)]),
        (24_096, 99_999, []),
        (300, 100, []),
    ],
)
def test_what_is_opened_between_two_offsets(start: int, stop: int, expected: list[Part]) -> None:
    assert expected == pad().parts(start, stop)


@pytest.mark.parametrize(
    ("start", "stop", "expected"),
    [
        (0, 8192, []),
        (0, 8193, [(8192, 1)]),
        (0, 99_999, [(8192, 4096)]),
        (9000, 9100, [(9000, 100)]),
        (12_287, 99_999, [(12_287, 1)]),
        (12_288, 99_999, []),
        (9100, 9000, []),
    ],
)
def test_what_is_burnt_between_two_offsets(
    start: int, stop: int, expected: list[tuple[int, int]]
) -> None:
    assert expected == pad().holes(start, stop)


def test_all_burnt_stretches_are_found() -> None:
    made = pad()
    made.burn(20_000, 1)

    assert made.holes(0, 99_999) == [(8192, 4096), (20_000, 4096)]


@pytest.mark.parametrize(
    ("offset", "wanted", "below", "reached"),
    [
        (0, 1, 99_999, UNIT),
        (0, UNIT, 99_999, UNIT),
        (0, UNIT + 1, 99_999, 2 * UNIT),
        (0, 8192, 99_999, 8192),
        (0, 8193, 99_999, 24_096),
        (0, 99_999, 99_999, 24_096),
        (0, 0, 99_999, 0),
        (100, UNIT - 100, 99_999, UNIT),
        (100, UNIT - 99, 99_999, 2 * UNIT),
        (8192, 1, 99_999, 24_096),
        (12_288, 1, 99_999, 24_096),
        (24_096, 1, 99_999, 24_096),
        (0, 99_999, 24_096, 24_096),
        (0, 99_999, 24_095, 8192),
        (0, 99_999, 8192, 8192),
        (0, 1, 8191, 0),
    ],
)
def test_a_grant_steps_over_holes_to_the_unit_that_holds_enough(
    offset: int, wanted: int, below: int, reached: int
) -> None:
    assert reached == pad().step(offset, wanted, below)


@pytest.mark.parametrize(
    ("seq", "start"), [(0, 0), (1, 8192), (2, 20_000), (3, 24_096), (9, 24_096)]
)
def test_where_the_appends_from_a_number_on_begin(seq: int, start: int) -> None:
    assert start == pad().unsettled_start(seq)


@pytest.mark.parametrize(
    ("offset", "spent", "above"),
    [
        (8191, [], 12_288),
        (8192, [0], 4096),
        (12_288, [0, 1], 4096),
        (24_095, [0, 1], 4096),
        (24_096, [0, 1, 2], 0),
    ],
)
def test_what_lies_wholly_below_is_dropped(offset: int, spent: list[int], above: int) -> None:
    made = pad()

    assert spent == [each.seq for each in made.spent_below(offset)]
    assert (above, 24_096) == (made.above(0), made.end)
    assert [each.seq for each in made] == [n for n in range(3) if n not in spent]


@pytest.mark.parametrize(
    ("seq", "dropped", "above"),
    [(0, [0, 1, 2], 0), (1, [1, 2], 8192), (2, [2], 8192), (3, [], 12_288)],
)
def test_appends_that_never_were_are_dropped_and_their_offsets_stay_used(
    seq: int, dropped: list[int], above: int
) -> None:
    made = pad()

    assert dropped == [each.seq for each in made.from_seq(seq)]
    assert (above, 24_096) == (made.above(0), made.end)
    assert [each.seq for each in made] == [n for n in range(3) if n not in dropped]


def test_the_smallest_unit_of_a_large_block_is_a_sixteenth() -> None:
    assert (extent(0, 0, 65_536).unit, extent(0, 0, 1_048_576).unit) == (4096, 65_536)
