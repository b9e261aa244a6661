"""A secret is never printed, never pickled, wiped by its owner, and compared whole."""

import pickle

import pytest

from kms.domain.secret import Secret, zero


def test_a_secret_is_not_printed_and_not_pickled() -> None:
    secret = Secret(b"super secret bits")

    assert repr(secret) == f"{secret}" == "Secret(17 B)"
    with pytest.raises(TypeError, match="a Secret is not pickled"):
        pickle.dumps(secret)


def test_secrets_are_equal_when_all_bits_are() -> None:
    assert Secret(b"abc") == Secret(b"abc")
    assert Secret(b"abc") != Secret(b"abd")
    assert Secret(b"abc") != Secret(b"abcd")
    assert Secret(b"abc") != b"abc"


def test_a_secret_is_a_copy_and_an_adopted_one_is_not() -> None:
    bits = bytearray(b"abc")
    copied, adopted = Secret(bits), Secret.adopt(bits)
    bits[0] = ord("x")

    assert [bytes(copied.expose()), bytes(adopted.expose())] == [b"abc", b"xbc"]


def test_parts_are_joined_in_order_and_wiped() -> None:
    parts = [Secret(b"abc"), Secret(b""), Secret(b"de")]
    joined = Secret.joined(parts)

    assert Secret(b"abcde") == joined
    assert [bytes(3), b"", bytes(2)] == [bytes(each.expose()) for each in parts]


def test_what_is_exposed_cannot_be_written() -> None:
    with pytest.raises(TypeError):
        Secret(b"abc").expose()[0] = 0


@pytest.mark.parametrize("length", [0, 1, 4096, 4097, 100_000])
def test_wiped_is_zero_to_the_last_byte_and_as_long_as_before(length: int) -> None:
    bits = bytearray(b"\xff" * length)
    secret = Secret.adopt(bits)
    secret.wipe()

    assert bits == bytes(length)
    assert len(secret) == length


def test_a_part_of_a_buffer_is_wiped_without_its_neighbours() -> None:
    bits = bytearray(b"abcdef")
    zero(memoryview(bits)[2:4])

    assert bits == b"ab\0\0ef"


def test_a_part_is_a_copy_inside_its_secret() -> None:
    secret = Secret(b"abcdef")
    part = secret.part(1, 3)
    secret.wipe()

    assert bytes(part.expose()) == b"bcd"
    assert len(secret.part(6, 0)) == 0


@pytest.mark.parametrize(("start", "length"), [(-1, 2), (0, -1), (4, 3), (7, 0)])
def test_a_part_outside_its_secret_is_our_mistake(start: int, length: int) -> None:
    with pytest.raises(AssertionError, match="outside"):
        Secret(b"abcdef").part(start, length)
