"""Extents of a pad against a naive model, and at the size of a full pool."""

import time
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from kms.domain import limits
from kms.domain.extents import Extent, Extents
from kms.domain.names import BlockId, MaterialId

LENGTHS = st.lists(
    st.tuples(st.integers(4096, 70_000), st.integers(0, 3), st.booleans()), max_size=8
)


def built(shape: list[tuple[int, int, bool]]) -> tuple[Extents, list[Extent]]:
    """Extents of these lengths, with these holes before them, burnt or not."""
    extents = Extents()
    for seq, (length, hole, burnt) in enumerate(shape):
        extents.append(
            Extent(
                seq=seq,
                start=extents.end + hole * 1000,
                length=length,
                block_id=BlockId(UUID(int=seq)),
                material=None if burnt else MaterialId(f"m{seq}"),
            )
        )
    return extents, list(extents)


def usable(kept: list[Extent], start: int, stop: int) -> int:
    return sum(
        max(0, min(each.end, stop) - max(each.start, start)) for each in kept if each.material
    )


@settings(max_examples=200, deadline=None)
@given(LENGTHS, st.integers(0, 300_000), st.integers(1, 100_000), st.integers(0, 9))
def test_a_step_ends_at_a_unit_has_what_was_wanted_and_no_unit_too_much(
    shape: list[tuple[int, int, bool]], offset: int, wanted: int, settled: int
) -> None:
    extents, kept = built(shape)
    below = extents.unsettled_start(settled)
    reached = extents.step(offset, wanted, below)
    parts = extents.parts(offset, reached)

    assert reached >= offset
    assert usable(kept, offset, 2**62) == extents.above(offset)
    assert usable(kept, offset, reached) == sum(part.length for part in parts)
    if reached > offset:
        last = next(each for each in kept if each.start < reached <= each.end)
        assert last.end <= below
        assert (reached - last.start) % last.unit == 0 or reached == last.end
        assert usable(kept, offset, reached) < wanted + last.unit
    if usable(kept, offset, reached) < wanted:
        reachable = [each for each in kept if each.end <= below]
        assert usable(kept, offset, reached) == usable(reachable, offset, 2**62)


@settings(max_examples=200, deadline=None)
@given(LENGTHS, st.integers(0, 300_000), st.integers(0, 100_000), st.integers(0, 300_000))
def test_what_is_burnt_or_spent_no_longer_counts(
    shape: list[tuple[int, int, bool]], start: int, length: int, spent: int
) -> None:
    extents, kept = built(shape)
    expected = [e.seq for e in kept if e.material and e.start < start + length and start < e.end]
    burnt = [each.seq for each in extents.burn(start, length)]
    gone = extents.spent_below(spent)

    assert expected == burnt
    assert [each.seq for each in kept if each.end <= spent] == [each.seq for each in gone]
    assert usable(list(extents), 0, 2**62) == extents.above(0)


def test_a_full_pool_of_the_smallest_blocks_is_asked_without_walking_it() -> None:
    count = limits.POOL_BYTES_MAX // limits.BLOCK_BYTES_MIN
    extents, _ = built([(4096, 0, False)] * count)
    began = time.perf_counter()
    for _ in range(200):
        extents.unsettled_start(count)
        extents.unsettled_start(count - 10)
        extents.burn(count * 4096 - 1, 1)
        extents.above(4096)
        extents.step(4096, 8192, extents.end)
        extents.parts(4096, 8192)
    per_round_s = (time.perf_counter() - began) / 200
    began = time.perf_counter()
    sum(1 for _ in extents)
    walk_s = time.perf_counter() - began

    # No absolute time: one walk over the pool is the floor of the same run.
    assert per_round_s < walk_s
