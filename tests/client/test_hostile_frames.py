"""What the client makes of frames that no node should answer, and of URLs that name none."""

import itertools
from pathlib import Path
from uuid import UUID

import pytest
import trio

from kms.adapters.etsi004_binary import (
    CloseResponse,
    ErrorReply,
    GetKeyResponse,
    Message,
    OpenConnectResponse,
    encode,
)
from kms.adapters.pki import create_ca, issue
from kms.client import AnswerLost, BadAnswer, Key, Malformed, MetadataTooSmall, QoS, frames
from kms.client.frames import FrameExchange
from kms.client.interface import PORT, interface_at
from kms.domain.secret import Secret
from kms.domain.status import Status
from tests.client.faces import FACES, scripted

A, B = "sae:app.a", "sae:app.b"
KSID = UUID("7b7b2a53-5c6b-4a70-8b7c-0f4d5f3f3f3f")
BITS = bytes(range(32))
KEY = GetKeyResponse(status=Status.SUCCESS, index=0, key=Secret(BITS), metadata=b'{"age":1}')


def exchanged(*pieces: bytes) -> Message:
    """The answer to a GET_KEY that came in these pieces."""
    exchange = FrameExchange()
    exchange.request(frames.get_key(KSID, QoS(), None, None))
    for piece in pieces:
        answer = exchange.receive(piece)
        if answer is not None:
            return answer
    raise AssertionError("no answer")


def get(answer: Message, *, index: int | None = None, chunk: int = 32) -> Key:
    return frames.get_key(KSID, QoS(key_chunk_size=chunk), index, None).read(answer)


def test_a_key_reads_in_whatever_pieces_it_comes() -> None:
    frame = bytes(encode(KEY))
    for cut in range(1, len(frame)):
        key = get(exchanged(frame[:cut], frame[cut:]))

        assert (key.index, bytes(key), key.details()) == (0, BITS, {"age": 1})


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        bytes(encode(CloseResponse(status=Status.SUCCESS))),
        bytes(encode(KEY)) * 2,
        bytes(encode(KEY)) + b"\0",
        bytes.fromhex("02010105ffffffff"),
        bytes.fromhex("0201010500000000"),
        bytes.fromhex("030101050000001000000000000000000000000000000000"),
        bytes.fromhex("02010105000000100000000900000000" + "00" * 8),
        bytes.fromhex("020101050000001000000000000000000000002000000000"),
    ],
    ids=itertools.count(),
)
def test_what_is_no_answer_is_told_and_never_kept(data: bytes) -> None:
    with pytest.raises(BadAnswer) as raised:
        exchanged(data)

    assert BITS.hex() not in str(raised.value)


def test_an_end_before_the_answer_is_a_lost_answer() -> None:
    frame = bytes(encode(KEY))
    for cut in (0, 1, 8, len(frame) - 1):
        exchange = FrameExchange()
        exchange.request(frames.get_key(KSID, QoS(), None, None))
        if cut:
            exchange.receive(frame[:cut])
        with pytest.raises(AnswerLost):
            exchange.receive(b"")


def test_an_error_frame_is_no_answer() -> None:
    with pytest.raises(BadAnswer, match="ERROR"):
        get(ErrorReply())


@pytest.mark.parametrize(("index", "chunk"), [(5, 32), (None, 31), (None, 33)])
def test_a_key_of_another_index_or_length_is_no_key(index: int | None, chunk: int) -> None:
    with pytest.raises(BadAnswer):
        get(exchanged(bytes(encode(KEY))), index=index, chunk=chunk)


def test_an_empty_key_is_no_key_even_where_no_length_was_agreed() -> None:
    empty = GetKeyResponse(status=Status.SUCCESS, index=0, key=Secret(b""))
    with pytest.raises(BadAnswer):
        get(empty, chunk=0)


def test_what_is_needed_for_metadata_is_told() -> None:
    lacking = GetKeyResponse(
        status=Status.METADATA_SIZE_INSUFFICIENT, index=0, key=Secret(b""), metadata=bytes(33)
    )
    with pytest.raises(MetadataTooSmall) as raised:
        get(lacking)

    assert raised.value.needed == 33


@pytest.mark.parametrize("ksid", [None, UUID(int=KSID.int ^ 1)])
def test_an_opening_of_no_or_another_stream_is_no_opening(ksid: UUID | None) -> None:
    answer = OpenConnectResponse(status=Status.SUCCESS, qos=QoS(), ksid=ksid)
    with pytest.raises(BadAnswer, match="Key_stream_ID"):
        frames.open_connect(A, B, None, KSID).read(answer)


@pytest.mark.parametrize(
    ("source", "qos", "field"),
    [
        ("no uri", QoS(), "source"),
        ("sae:é", QoS(), "source"),
        ("a" * 5000, QoS(), "source"),
        (A, QoS(min_bps=2**32), "min_bps"),
        (A, QoS(timeout=-1), "timeout"),
        (A, QoS(metadata_mimetype="x" * 256), "metadata_mimetype"),
    ],
)
def test_what_no_frame_can_carry_is_not_sent(source: str, qos: QoS, field: str) -> None:
    with pytest.raises(Malformed) as raised:
        frames.open_connect(source, B, qos, None)

    assert raised.value.field == field


@pytest.mark.parametrize("index", [-1, 2**32 - 1, 2**32])
def test_an_index_that_is_none_is_not_sent(index: int) -> None:
    with pytest.raises(Malformed):
        frames.get_key(KSID, QoS(), index, None)


@pytest.mark.parametrize(
    "url",
    ["tls://", "tls:///x", "tls://node/x", "tls://u@node", "tls://node?x", "tls://no de", "tls:n"],
)
def test_what_is_no_address_of_frames_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"tls://host\[:port\]"):
        interface_at(url)


@pytest.mark.parametrize(
    "url", ["tls://node:99999", "http://node", "node:25575", "127.0.0.1:25575"]
)
def test_what_names_no_interface_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"https://|[Pp]ort"):
        interface_at(url)


def test_an_address_of_frames_reads() -> None:
    assert (interface_at("tls://node").host, interface_at("tls://node").port) == ("node", PORT)
    assert (interface_at("tls://[::1]:7").host, interface_at("tls://[::1]:7").port) == ("::1", 7)


@pytest.mark.parametrize("face", list(FACES))
async def test_a_node_that_answers_garbage_is_not_asked_again_on_that_connection(
    face: str, tmp_path: Path
) -> None:
    create_ca(tmp_path)
    connections = 0

    async def script(stream: trio.SSLStream[trio.SocketStream]) -> None:
        nonlocal connections
        connections += 1
        while await stream.receive_some(65536):
            await stream.send_all(b"no frame at all!")

    async with scripted(issue(tmp_path, "kms:alice", ["127.0.0.1"]), script) as port:
        client = FACES[face](f"tls://127.0.0.1:{port}", issue(tmp_path, A))
        for _ in range(2):
            with pytest.raises(BadAnswer):
                await client.open(A, B)
        await client.aclose()

    assert connections == 2
