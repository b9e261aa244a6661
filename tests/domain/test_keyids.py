"""Key IDs: one block of bytes for many, and back to the streams and indices that they name."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from kms.domain.keyids import ID_BYTES, grouped, key_ids, prefix_of, stretches
from kms.domain.names import KSID

KSIDS = st.uuids(version=4).map(KSID)
INDEX_MAX = 2**32 - 1


def split(ids: bytes) -> list[bytes]:
    return [ids[at : at + ID_BYTES] for at in range(0, len(ids), ID_BYTES)]


@given(KSIDS, st.integers(0, INDEX_MAX - 40), st.integers(1, 40))
def test_a_key_id_is_a_uuid_version_4_that_says_which_key_it_names(
    ksid: KSID, first: int, count: int
) -> None:
    ids = key_ids(ksid, first, count)
    named = [UUID(bytes=each) for each in split(ids)]

    assert count == len(set(named))
    assert {(4, "specified in RFC 4122")} == {(each.version, each.variant) for each in named}
    assert [(prefix_of(ksid), ids)] == list(grouped(ids))
    assert [(first, count)] == list(stretches(ksid, ids))


def test_the_last_four_octets_are_the_streams_xor_the_index() -> None:
    ksid = KSID(UUID("6b1f3a52-0f1c-4c7e-9a8b-2d4e6f8a0b1c"))

    assert ksid.bytes == key_ids(ksid, 0, 1)
    assert "6b1f3a52-0f1c-4c7e-9a8b-2d4e6f8a0b1d" == str(UUID(bytes=key_ids(ksid, 1, 1)))
    assert "6b1f3a52-0f1c-4c7e-9a8b-2d4e9075f4e3" == str(UUID(bytes=key_ids(ksid, INDEX_MAX, 1)))


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 6)), min_size=1, max_size=30))
def test_ids_in_any_order_are_the_same_keys_in_that_order(asked: list[tuple[str, int]]) -> None:
    known = {each: KSID(UUID(f"{each}" * 32, version=4)) for each in "ab"}
    by_prefix = {prefix_of(ksid): (each, ksid) for each, ksid in known.items()}
    ids = b"".join(key_ids(known[each], index, 1) for each, index in asked)
    back = []
    for prefix, group in grouped(ids):
        each, ksid = by_prefix[prefix]
        for first, count in stretches(ksid, group):
            back += [(each, index) for index in range(first, first + count)]

    assert asked == back


def test_what_does_not_follow_is_another_stretch_and_the_last_index_ends_one() -> None:
    ksid = KSID(UUID(int=7, version=4))
    ids = b"".join(key_ids(ksid, index, 1) for index in (4, 5, 3, INDEX_MAX, 0))

    assert [(4, 2), (3, 1), (INDEX_MAX, 1), (0, 1)] == list(stretches(ksid, ids))
