"""The binary form of ETSI 004, against the vectors and against strangers."""

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kms.adapters.etsi004_binary import (
    HEADER_BYTES,
    REQUEST_PAYLOAD_BYTES_MAX,
    VERSION,
    VERSION_B,
    CloseRequest,
    CloseResponse,
    Dialect,
    ErrorReply,
    GetKeyRequest,
    GetKeyResponse,
    KeyRole,
    KeyType,
    Message,
    MessageFault,
    OpenConnectRequest,
    OpenConnectResponse,
    Reader,
    Selector,
    Service,
    Version,
    encode,
    selector,
)
from kms.domain.secret import Secret
from kms.domain.status import QoS, Status

VECTORS = Path(__file__).parent.parent / "vectors" / "etsi004-binary"
FRAMES = json.loads((VECTORS / "frames-1.json").read_text())
REFUSED = json.loads((VECTORS / "refused-1.json").read_text())
PAYLOAD_BYTES_MAX = 1024


def reader(payload_bytes_max: int = PAYLOAD_BYTES_MAX) -> Reader:
    return Reader(
        payload_bytes_max=payload_bytes_max,
        services=frozenset(Service),
        versions=frozenset({VERSION, VERSION_B}),
    )


def qos_of(table: dict[str, Any]) -> QoS:
    return QoS(**{name.lower(): value for name, value in table.items()})


def version_of(vector: dict[str, Any]) -> Version:
    major, minor, micro = vector.get("version", VERSION)
    return major, minor, micro


def message_of(vector: dict[str, Any]) -> Message:
    fields = vector["message"]
    dialect = Dialect[vector.get("dialect", "A")]
    ksid = UUID(fields["Key_stream_ID"]) if fields.get("Key_stream_ID") else None
    match Service[vector["service"]]:
        case Service.OPEN_CONNECT_REQUEST:
            return OpenConnectRequest(
                source=fields["source"],
                destination=fields["destination"],
                qos=qos_of(fields["QoS"]),
                ksid=ksid,
                dialect=dialect,
            )
        case Service.OPEN_CONNECT_RESPONSE:
            return OpenConnectResponse(
                status=Status(fields["status"]),
                qos=qos_of(fields["QoS"]),
                ksid=ksid,
                dialect=dialect,
            )
        case Service.GET_KEY_REQUEST:
            assert ksid
            metadata = bytes.fromhex(fields["metadata"])
            return GetKeyRequest(
                ksid=ksid,
                index=fields["index"],
                metadata=metadata,
                metadata_size=fields.get("metadata_size", len(metadata)),
            )
        case Service.GET_KEY_RESPONSE:
            return GetKeyResponse(
                status=Status(fields["status"]),
                index=fields["index"],
                key=Secret(bytes.fromhex(fields["key"])),
                metadata=bytes.fromhex(fields["metadata"]),
            )
        case Service.CLOSE_REQUEST:
            assert ksid
            return CloseRequest(ksid=ksid)
        case Service.CLOSE_RESPONSE:
            return CloseResponse(status=Status(fields["status"]))
        case Service.ERROR:
            return ErrorReply()


@pytest.mark.parametrize("vector", FRAMES, ids=lambda vector: vector["name"])
def test_a_message_is_written_as_the_vector_says(vector: dict[str, Any]) -> None:
    frame = encode(message_of(vector), version=version_of(vector))

    assert vector["frame"] == frame.hex()


@pytest.mark.parametrize("vector", FRAMES, ids=lambda vector: vector["name"])
def test_a_vector_is_read_as_its_message(vector: dict[str, Any]) -> None:
    one = reader()
    messages = list(one.feed(bytes.fromhex(vector["frame"])))

    assert [message_of(vector)] == messages
    assert version_of(vector) == one.version


def test_every_service_has_a_vector() -> None:
    assert {service.name for service in Service} == {vector["service"] for vector in FRAMES}


@pytest.mark.parametrize("vector", REFUSED, ids=lambda vector: vector["name"])
def test_a_frame_that_is_none_is_refused_by_name(vector: dict[str, Any]) -> None:
    strict = Reader(payload_bytes_max=PAYLOAD_BYTES_MAX, services=frozenset(Service))
    with pytest.raises(MessageFault) as raised:
        list(strict.feed(bytes.fromhex(vector["frame"])))

    assert vector["fault"] == raised.value.name


def test_frames_that_come_byte_by_byte_are_read_alike() -> None:
    stream = b"".join(bytes.fromhex(vector["frame"]) for vector in FRAMES)
    one = reader()
    messages = [message for octet in stream for message in one.feed(bytes([octet]))]
    one.end()

    assert [message_of(vector) for vector in FRAMES] == messages


@pytest.mark.parametrize("vector", FRAMES, ids=lambda vector: vector["name"])
def test_a_stream_that_ends_inside_a_frame_is_cut(vector: dict[str, Any]) -> None:
    frame = bytes.fromhex(vector["frame"])
    for length in range(1, len(frame)):
        one = reader()

        assert not list(one.feed(frame[:length]))

        with pytest.raises(MessageFault, match="cut"):
            one.end()


def test_a_reader_never_asks_for_a_byte_of_the_next_frame() -> None:
    frame = encode(GetKeyRequest(ksid=UUID(int=7), index=1, metadata=b"four"))
    one = reader()

    assert len(one.space()) == HEADER_BYTES

    list(one.feed(frame[:HEADER_BYTES]))

    assert len(one.space()) == len(frame) - HEADER_BYTES

    list(one.feed(frame[HEADER_BYTES:]))

    assert len(one.space()) == HEADER_BYTES


def test_an_oversized_claim_is_refused_before_anything_is_allocated() -> None:
    one = reader()
    with pytest.raises(MessageFault, match="oversized"):
        list(one.feed(bytes.fromhex("02010105ffffffff")))

    assert len(one.space()) < PAYLOAD_BYTES_MAX


def test_an_answer_is_refused_where_questions_are_expected() -> None:
    requests_only = Reader(
        payload_bytes_max=PAYLOAD_BYTES_MAX, services=frozenset({Service.CLOSE_REQUEST})
    )
    with pytest.raises(MessageFault, match="wrong-service"):
        list(requests_only.feed(encode(CloseResponse(status=Status.SUCCESS))))


def test_the_payload_with_the_key_is_wiped_once_it_is_read() -> None:
    frame = encode(
        GetKeyResponse(status=Status.SUCCESS, index=1, key=Secret(b"\x5a" * 64), metadata=b"")
    )
    one = reader()
    list(one.feed(frame[:HEADER_BYTES]))
    payload = one.space()
    payload[:] = frame[HEADER_BYTES:]
    message = one.filled(len(payload))

    assert isinstance(message, GetKeyResponse)
    assert message.key == Secret(b"\x5a" * 64)
    assert not any(payload)


def test_no_fault_and_no_repr_shows_key_bits() -> None:
    key = b"SECRETBITS" * 4
    frame = bytes(
        encode(GetKeyResponse(status=Status.SUCCESS, index=1, key=Secret(key), metadata=b"{}"))
    )
    [message] = reader().feed(frame)
    broken = frame[:4] + (len(frame) - HEADER_BYTES + 1).to_bytes(4, "big") + frame[8:] + b"S"
    with pytest.raises(MessageFault) as raised:
        list(reader().feed(broken))

    assert "SECRET" not in repr(message)
    assert "SECRET" not in repr(raised.value)


def test_the_largest_request_that_can_be_written_can_be_read() -> None:
    request = OpenConnectRequest(
        source="a" * 4096,
        destination="b" * 4096,
        qos=QoS(metadata_mimetype="c" * 255),
        ksid=UUID(int=1),
        # A mimetype of 255 characters is as long in both dialects.
        dialect=Dialect.B,
    )
    largest = GetKeyRequest(ksid=UUID(int=1), index=1, metadata=bytes(16 * 1024))
    messages = list(reader(REQUEST_PAYLOAD_BYTES_MAX).feed(encode(request) + encode(largest)))

    assert [request, largest] == messages


@pytest.mark.parametrize("length", [0, 1, 16, 254, 255])
def test_a_mimetype_of_any_length_is_read_in_both_dialects(length: int) -> None:
    qos = QoS(key_chunk_size=32, metadata_mimetype="m" * length)
    for dialect in Dialect:
        asked = OpenConnectRequest(
            source="a:b", destination="c:d", qos=qos, ksid=UUID(int=9), dialect=dialect
        )
        [read] = reader().feed(encode(asked))

        assert isinstance(read, OpenConnectRequest)
        assert (qos, asked.ksid) == (read.qos, read.ksid)
        assert encode(asked) == encode(read)
        assert length == 255 or dialect is read.dialect


@pytest.mark.parametrize("mimetype", ["", "application/json"])
def test_what_follows_the_end_of_a_mimetype_of_256_octets_is_not_looked_at(mimetype: str) -> None:
    """A program in C fills as much of its char[256] as it needs."""
    qos = QoS(key_chunk_size=32, metadata_mimetype=mimetype)
    asked = OpenConnectRequest(
        source="a:b", destination="c:d", qos=qos, ksid=None, dialect=Dialect.B
    )
    frame = bytearray(encode(asked))
    rest = 256 - len(mimetype) - 1
    frame[-16 - rest : -16] = b"x" * rest
    [read] = reader().feed(bytes(frame))

    assert asked == read


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ("0000", Selector(KeyType.SYMMETRIC, KeyRole.DEFAULT)),
        ("0110", Selector(KeyType.OBLIVIOUS, KeyRole.SENDER)),
        ("0111", Selector(KeyType.OBLIVIOUS, KeyRole.RECEIVER)),
        ("0001", Selector(KeyType.SYMMETRIC, KeyRole.ERROR)),
        ("0200", None),
        ("0102", None),
        ("", None),
        ("00", None),
        ("000000", None),
    ],
)
def test_two_octets_that_name_a_kind_of_key_are_no_buffer(
    metadata: str, expected: Selector | None
) -> None:
    asked = GetKeyRequest(ksid=UUID(int=1), index=0, metadata=bytes.fromhex(metadata))

    assert expected == selector(asked)


def test_a_size_of_two_without_a_buffer_is_a_size() -> None:
    assert selector(GetKeyRequest(ksid=UUID(int=1), index=0, metadata_size=2)) is None


def name_of_the_fault_in(data: bytes | bytearray) -> str:
    """Empty: it is read. Anything but a ``MessageFault`` fails the test."""
    try:
        list(reader().feed(data))
    except MessageFault as fault:
        return fault.name
    return ""


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_named_fault(data: bytes) -> None:
    name = name_of_the_fault_in(data)

    assert name in {"", "garbage", "wrong-version", "wrong-service", "oversized"}


@given(st.sampled_from(FRAMES), st.integers(0, 10_000), st.integers(1, 255))
def test_a_flipped_octet_never_does_more_than_a_named_fault(
    vector: dict[str, Any], place: int, flip: int
) -> None:
    frame = bytearray.fromhex(vector["frame"])
    frame[place % len(frame)] ^= flip
    name = name_of_the_fault_in(frame)

    assert name in {"", "garbage", "wrong-version", "wrong-service", "oversized", "bad-status"}
