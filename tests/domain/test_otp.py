"""The one-time constructions, against vectors computed another way."""

from uuid import UUID

import pytest

from kms.domain.otp import one_time_tag, same_hash, tag_matches, universal_hash, xor
from kms.domain.secret import Secret

# RFC 8439, 2.5.2.
KEY = bytes.fromhex("85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b")
TEXT = b"Cryptographic Forum Research Group"
TAG = bytes.fromhex("a8061dc1305136c6c22b8baf0c0127a9")


def poly1305(key: bytes, text: bytes) -> bytes:
    """The definition, in integers."""
    r = int.from_bytes(key[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    total = 0
    for at in range(0, len(text), 16):
        total = (total + int.from_bytes(text[at : at + 16] + b"\1", "little")) * r % (2**130 - 5)
    tag = (total + int.from_bytes(key[16:], "little")) % 2**128
    return tag.to_bytes(16, "little")


def test_each_byte_goes_under_its_own_byte_of_pad() -> None:
    assert xor(bytes([0, 1, 0xF0, 0xFF]), bytes([0xFF, 1, 0x0F, 0xFF])) == b"\xff\x00\xff\x00"
    assert xor(xor(TEXT, TEXT[::-1]), TEXT[::-1]) == TEXT
    assert xor(b"", b"") == b""


@pytest.mark.parametrize("pad", [b"", b"12", b"1234"])
def test_i4_a_pad_of_another_length_is_our_mistake(pad: bytes) -> None:
    with pytest.raises(AssertionError, match="I4 the pad is as long as the data"):
        xor(b"123", pad)


def test_the_tag_is_poly1305_of_the_parts_in_a_row() -> None:
    assert one_time_tag(KEY, TEXT) == TAG == poly1305(KEY, TEXT)
    assert one_time_tag(KEY, TEXT[:5], b"", TEXT[5:]) == TAG


@pytest.mark.parametrize("length", [0, 31, 33])
def test_i4_a_mac_key_of_another_length_is_our_mistake(length: int) -> None:
    with pytest.raises(AssertionError, match="I4 a one-time MAC key is 32 bytes"):
        one_time_tag(bytes(length), b"")


def test_a_tag_matches_its_key_and_its_text_only() -> None:
    assert tag_matches(KEY, TAG, TEXT)
    assert tag_matches(KEY, memoryview(TAG), TEXT[:7], TEXT[7:])
    for bit in range(128):
        flipped = (int.from_bytes(TAG, "big") ^ 1 << bit).to_bytes(16, "big")
        assert not tag_matches(KEY, flipped, TEXT)
    assert not tag_matches(KEY[::-1], TAG, TEXT)
    assert not tag_matches(KEY, TAG, TEXT + b"x")
    assert not tag_matches(KEY, TAG[:15], TEXT)


def test_a_blocks_hash_covers_its_name_its_length_and_its_bits() -> None:
    name, bits = UUID(int=5).bytes, bytes(range(100))
    expected = poly1305(KEY, name + (100).to_bytes(8, "big") + bits)

    assert expected == universal_hash(Secret(KEY), name, bits)
    assert expected != universal_hash(Secret(KEY), UUID(int=6).bytes, bits)
    assert expected != universal_hash(Secret(KEY), name, bits[:-1] + b"x")


def test_hashes_are_the_same_when_all_their_bytes_are() -> None:
    assert same_hash(TAG, TAG[:])
    assert not same_hash(TAG, TAG[:15] + b"x")
    assert not same_hash(TAG, TAG[:15])
    assert not same_hash(b"", TAG)
