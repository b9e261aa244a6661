"""Physical bits say where they come from, whatever was cut out of them."""

import random

from hypothesis import given
from hypothesis import strategies as st

from kms.domain import limits
from kms.simulation.bits import LOCATABLE_BYTES_MIN, PhysicalBits, Place
from kms.simulation.operator import secret_bits

BITS = PhysicalBits(7)


@given(
    source=st.integers(0, (1 << 40) - 1),
    start=st.integers(0, 100_000),
    length=st.integers(LOCATABLE_BYTES_MIN, 5_000),
)
def test_any_31_bytes_tell_their_source_and_place(source: int, start: int, length: int) -> None:
    assert [Place(source, start, length)] == BITS.locate(BITS.make(source, length, start))


def test_key_made_of_two_sources_names_both() -> None:
    key = BITS.make(3, 100, 50) + BITS.make(9, 200, 7)

    assert [Place(3, 50, 100), Place(9, 7, 200)] == BITS.locate(key)


def test_bits_of_another_simulation_are_noise() -> None:
    assert BITS.locate(PhysicalBits(8).make(3, 1_000)) is None
    assert BITS.anywhere(PhysicalBits(8).make(3, 1_000)) is None


def test_one_cell_hidden_anywhere_in_noise_is_found() -> None:
    noise = random.Random(1).randbytes(500)
    for at in range(500):
        data = noise[:at] + BITS.make(5, 16, 32) + noise[at:]

        assert Place(5, 32, 16) == BITS.anywhere(data)


def test_noise_is_never_taken_for_key() -> None:
    assert BITS.anywhere(random.Random(2).randbytes(1 << 20)) is None


def test_a_part_is_cut_from_the_whole() -> None:
    whole = BITS.make(11, 8192)

    assert whole[1000:1100] == BITS.make(11, 100, 1000)
    assert b"" == BITS.make(11, 0)


def test_key_behind_the_end_of_a_secrets_pad_is_never_taken_for_the_next_pad() -> None:
    """Whatever byte follows: seed 43 of slow-link had the one that the next pad begins with."""
    secret = secret_bits(BITS, 3)
    end = limits.HASH_KEY_BYTES + limits.SECRET_PAD_BYTES
    tail = secret[end - 100 : end]
    (before,) = BITS.locate(tail) or ()
    (begin,) = BITS.locate(secret[end : end + 100]) or ()

    assert begin.source != before.source
    assert {before.source} == {
        place.source for other in range(256) for place in BITS.locate(tail + bytes([other])) or ()
    }
