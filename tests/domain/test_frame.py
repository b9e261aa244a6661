"""Frames: what is sealed opens at the other end, and nothing else does."""

import struct

import pytest

from kms.domain import frame, limits
from kms.domain.direction import Direction
from kms.domain.errors import PeerFault
from kms.domain.frame import Forged, Header, Kind
from kms.domain.names import LinkId, SecretId
from kms.domain.otp import one_time_tag
from kms.domain.secret import Secret

CONTEXT = frame.context(LinkId("alice~bob"), SecretId("5" * 32), Direction.FROM_LEADER)
MESSAGE, PUBLIC = b"attack at dawn", b"in clear"
PAD = bytes(range(100, 100 + 32 + len(MESSAGE)))


def sealed() -> bytes:
    return frame.seal(CONTEXT, 7, 1234, Secret(PAD), MESSAGE, PUBLIC)


def header(**changes: int) -> bytes:
    """The first bytes of a frame, as docs/protocol.md has them."""
    fields = {"version": 1, "kind": 2, "epoch": 0, "offset": 0, "public": 0, "secret": 0}
    return struct.pack(">BBIQII", *(fields | changes).values())


def test_a_sealed_frame_is_header_public_hidden_and_tag() -> None:
    data = sealed()
    hidden = bytes(one ^ two for one, two in zip(MESSAGE, PAD[32:], strict=True))
    first = header(epoch=7, offset=1234, public=len(PUBLIC), secret=len(MESSAGE))
    tag = one_time_tag(PAD[:32], CONTEXT + first + PUBLIC + hidden)

    assert data == first + PUBLIC + hidden + tag


def test_what_is_sealed_opens_with_the_same_pad() -> None:
    data = sealed()
    found = frame.read_header(data)

    assert found == Header(
        kind=Kind.SEALED,
        epoch=7,
        offset=1234,
        public_bytes=len(PUBLIC),
        secret_bytes=len(MESSAGE),
    )
    assert frame.unseal(CONTEXT, found, data, Secret(PAD)) == MESSAGE


def test_i1_a_frame_takes_exactly_its_own_pad_bytes() -> None:
    assert frame.overhead(len(MESSAGE)) == len(PAD)
    for pad in (PAD[:-1], PAD + b"x"):
        with pytest.raises(AssertionError, match="I1 a frame uses exactly its own pad bytes"):
            frame.seal(CONTEXT, 7, 1234, Secret(pad), MESSAGE)


def test_i4_no_bit_of_a_frame_can_be_flipped() -> None:
    data = sealed()
    for bit in range(8 * len(data)):
        altered = bytearray(data)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(PeerFault):
            frame.unseal(CONTEXT, frame.read_header(altered), altered, Secret(PAD))


def test_a_frame_of_another_pad_is_forged_whatever_its_bytes() -> None:
    link, secret = LinkId("alice~bob"), SecretId("5" * 32)
    data = sealed()
    for context in (
        frame.context(link, secret, Direction.TO_LEADER),
        frame.context(link, SecretId("6" * 32), Direction.FROM_LEADER),
        frame.context(LinkId("alice~carol"), secret, Direction.FROM_LEADER),
    ):
        with pytest.raises(Forged, match="a frame's one-time MAC does not match") as forged:
            frame.unseal(context, frame.read_header(data), data, Secret(PAD))

        assert "kms link restart" in forged.value.hint


def test_an_opening_carries_its_message_in_clear() -> None:
    data = frame.opening(b"hello")

    assert data == header(kind=1, public=5) + b"hello"
    assert frame.read_header(data).kind is Kind.OPENING
    assert bytes(frame.opening_message(data)) == b"hello"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "a frame of 0 bytes"),
        (header(kind=1)[:-1], "a frame of 21 bytes"),
        (bytes(limits.FRAME_BYTES_MAX + 1), f"a frame of {limits.FRAME_BYTES_MAX + 1} bytes"),
        (header(version=2) + bytes(16), "frame version 2"),
        (header(version=0) + bytes(16), "frame version 0"),
        (header(kind=0), "frame kind 0"),
        (header(kind=3), "frame kind 3"),
        (header(), "a frame whose lengths do not add up"),
        (header() + bytes(15), "a frame whose lengths do not add up"),
        (header() + bytes(17), "a frame whose lengths do not add up"),
        (header(secret=2**32 - 1) + bytes(16), "a frame whose lengths do not add up"),
        (header(kind=1, public=1), "a frame whose lengths do not add up"),
        (header(kind=1) + bytes(16), "a frame whose lengths do not add up"),
        (header(kind=1, epoch=1), "an opening with pad fields"),
        (header(kind=1, offset=1), "an opening with pad fields"),
        (header(kind=1, secret=1) + b"x", "an opening with pad fields"),
    ],
)
def test_i9_a_frame_that_does_not_fit_is_refused_by_name(data: bytes, reason: str) -> None:
    with pytest.raises(PeerFault) as refused:
        frame.read_header(data)

    assert reason == refused.value.reason
    assert refused.value.hint == "the neighbour speaks another protocol, or is hostile"


def test_the_smallest_and_the_largest_frame_are_read() -> None:
    assert frame.read_header(header(kind=1)).public_bytes == 0
    most = limits.FRAME_BYTES_MAX - frame.HEADER_BYTES
    whole = header(kind=1, public=most) + bytes(most)
    assert len(whole) == limits.FRAME_BYTES_MAX
    assert frame.read_header(whole).public_bytes == most
