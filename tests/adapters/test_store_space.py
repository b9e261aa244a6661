"""Where units lie and which of their bytes are left: the arithmetic, against a plain model."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kms.adapters.store_sqlite import spans
from kms.adapters.store_sqlite.free import FreeSpace
from kms.adapters.store_sqlite.slots import runs
from kms.adapters.store_sqlite.unit import cut

OFFSETS = st.integers(0, 40)
RANGES = st.lists(st.tuples(OFFSETS, OFFSETS), max_size=12)


@given(RANGES)
def test_wiping_ranges_leaves_exactly_the_other_bytes(ranges: list[tuple[int, int]]) -> None:
    left: spans.Spans = ((5, 35),)
    model = set(range(5, 35))
    for start, end in ranges:
        left = spans.subtract(left, start, end)
        model -= set(range(start, end))

    assert model == {byte for first, last in left for byte in range(first, last)}
    assert spans.size(left) == len(model)
    assert all(first < last for first, last in left)
    assert all(end < start for (_, end), (start, _) in pairwise(left))
    if left:
        assert left == spans.from_text(spans.to_text(left))
        plain = bytes(range(1, 31))
        text = cut(plain, 5, left)
        shown = {left[0][0] + at for at, byte in enumerate(text) if byte}
        assert model == shown, "what was wiped is zero in the text that is sealed anew"


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 6)), max_size=60))
def test_no_two_hold_the_same_cell_and_all_come_back(steps: list[tuple[bool, int]]) -> None:
    space = FreeSpace()
    held: list[tuple[int, int]] = []
    for take, count in steps:
        if take or not held:
            start = space.take(count)
            if start is None:
                space.grow(8)
                continue
            cells = {cell for first, size in held for cell in range(first, first + size)}
            assert not cells & set(range(start, start + count))
            held.append((start, count))
        else:
            space.free(*held.pop(count % len(held)))
    again = FreeSpace()
    again.reset(space.total, held)
    assert again._runs == space._runs, "what opening finds is what was known"
    for each in held:
        space.free(*each)

    assert space._runs == ([(0, space.total)] if space.total else [])


def test_a_cell_that_is_freed_twice_is_our_own_mistake() -> None:
    space = FreeSpace()
    space.grow(4)
    for start, count in ((0, 1), (3, 1), (2, 4)):
        with pytest.raises(AssertionError, match="freed"):
            space.free(start, count)


def test_neighbouring_slots_go_in_one_write() -> None:
    assert [(3, 3), (9, 1), (7, 2)] == list(runs([3, 4, 5, 9, 7, 8]))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "[[1]]", "[[2,1]]", "[[0,2],[1,3]]", "[[0,1.5]]", '[["0",1]]', "[1]"]
)
def test_spans_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no |Expecting"):
        spans.from_text(text)
