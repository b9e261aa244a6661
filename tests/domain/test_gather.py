"""Small keys become the same blocks at both ends, whatever the order."""

from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kms.domain.gather import (
    GROUPS_OPEN_MAX,
    Gathered,
    Gatherer,
    GatherStatistics,
    Piece,
    group_size,
)
from kms.domain.names import BlockId
from kms.domain.secret import Secret

STREAM = UUID("6f2c8d5e-0b1a-4c3d-9e4f-5a6b7c8d9e0f")
CHUNK = 1024
GROUP = 4


def piece(index: int, **changes: object) -> Piece:
    fields = {"index": index, "block_id": BlockId(UUID(int=index)), "bits": bits(index)}
    return Piece(**{**fields, **changes})  # type: ignore[arg-type]


def bits(index: int) -> Secret:
    return Secret(index.to_bytes(4, "big") * (CHUNK // 4))


def feed(gatherer: Gatherer, indexes: list[int]) -> list[Gathered]:
    return [block for index in indexes if (block := gatherer.add(piece(index)))]


@pytest.mark.parametrize(
    ("chunk_bytes", "size"), [(1, 4096), (32, 128), (1000, 5), (4095, 2), (4096, 1), (5000, 1)]
)
def test_a_group_has_as_many_keys_as_a_block_needs(chunk_bytes: int, size: int) -> None:
    assert size == group_size(chunk_bytes)


def test_a_complete_group_is_one_block_in_index_order() -> None:
    gatherer = Gatherer(STREAM, CHUNK)
    [block] = feed(gatherer, [4, 5, 6, 7])

    assert Secret(b"".join(bytes(bits(index).expose()) for index in (4, 5, 6, 7))) == block.bits
    assert uuid5(STREAM, "group 1") == block.block_id
    assert gatherer.block_bytes == len(block.bits)


@given(st.permutations(range(8)))
def test_both_ends_gather_alike_in_any_order_within_the_open_groups(order: list[int]) -> None:
    straight = feed(Gatherer(STREAM, CHUNK), list(range(8)))
    shuffled = feed(Gatherer(STREAM, CHUNK), order)

    assert {block.block_id for block in straight} == {block.block_id for block in shuffled}
    for block in straight:
        [same] = [other for other in shuffled if other.block_id == block.block_id]

        assert block.bits == same.bits


def test_a_group_with_a_missing_key_is_given_up_and_its_bits_wiped() -> None:
    gatherer = Gatherer(STREAM, CHUNK)
    kept = [piece(index) for index in (0, 1, 3)]
    for each in kept:
        gatherer.add(each)
    blocks = feed(gatherer, [4, 5, 6, 7])

    assert [uuid5(STREAM, "group 1")] == [block.block_id for block in blocks]
    # Group 0 may still be completed after its neighbour, but not once group 2 has begun.
    assert gatherer.statistics().given_up == 0

    gatherer.add(piece(8))

    assert GatherStatistics(complete=1, given_up=1, dropped=0) == gatherer.statistics()
    assert not any(any(each.bits.expose()) for each in kept)


def test_a_key_that_comes_after_its_group_was_given_up_begins_nothing() -> None:
    gatherer = Gatherer(STREAM, CHUNK)
    feed(gatherer, [0, 8])
    late = piece(1)

    assert gatherer.add(late) is None
    assert GatherStatistics(complete=0, given_up=1, dropped=1) == gatherer.statistics()
    assert not any(late.bits.expose())


def test_a_repeated_key_is_dropped_before_and_after_its_block() -> None:
    gatherer = Gatherer(STREAM, CHUNK)
    blocks = feed(gatherer, [0, 0, 1, 2, 3, 3])

    assert len(blocks) == 1
    assert gatherer.statistics().dropped == 2


def test_a_block_is_as_good_as_its_worst_key() -> None:
    gatherer = Gatherer(STREAM, CHUNK)
    gatherer.add(piece(0, qber=0.01, age_ms=5))
    gatherer.add(piece(1, qber=0.09, origin="classical"))
    gatherer.add(piece(2, age_ms=50, origin="post-quantum"))
    block = gatherer.add(piece(3, qber=0.02))

    assert block is not None
    assert (block.qber, block.origin, block.age_ms) == (0.09, "classical", 50)


def test_keys_large_enough_are_blocks_already_and_keep_their_ids() -> None:
    gatherer = Gatherer(STREAM, 4096)
    key = Secret(b"k" * 4096)
    block = gatherer.add(piece(9, bits=key))

    assert block is not None
    assert UUID(int=9) == block.block_id
    assert block.bits is key


@given(st.lists(st.integers(0, 2**32 - 1), max_size=200))
def test_whatever_indexes_come_few_pieces_are_held(indexes: list[int]) -> None:
    gatherer = Gatherer(STREAM, CHUNK)
    blocks = feed(gatherer, indexes)
    seen = gatherer.statistics()
    held = len(indexes) - seen.dropped - GROUP * len(blocks)

    assert held <= GROUPS_OPEN_MAX * (GROUP - 1) + seen.given_up * (GROUP - 1)
