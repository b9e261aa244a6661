"""What the client makes of answers that no node should give, and of connections that end."""

from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import pytest
import trio
import trio.testing

from kms.adapters.pki import create_ca, issue
from kms.adapters.tls import Credentials
from kms.client import (
    AnswerLost,
    BadAnswer,
    Client,
    ClientError,
    Key,
    Malformed,
    QoS,
    Refused,
    Unavailable,
    etsi004,
    exchange,
    outcome,
)
from kms.client.exchange import ANSWER_BYTES_MAX, Address, Answer
from tests.client.faces import FACES, Face, Script, http, read_request, says, scripted

A, B = "sae:app.a", "sae:app.b"
KSID = UUID("7b7b2a53-5c6b-4a70-8b7c-0f4d5f3f3f3f")
BITS = bytes(range(32))
KEY_HEADERS = "Content-Type: application/octet-stream\r\nKMS-Status: 0\r\nKMS-Index: 0\r\n"


@pytest.fixture
def node(tmp_path: Path) -> Credentials:
    create_ca(tmp_path)
    return issue(tmp_path, "kms:alice", ["127.0.0.1"])


@pytest.fixture(params=list(FACES))
def face(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@asynccontextmanager
async def facing(
    script: Script, node: Credentials, face: str, tmp_path: Path
) -> AsyncIterator[Face]:
    async with scripted(node, script) as port:
        client = FACES[face](f"https://127.0.0.1:{port}", issue(tmp_path, A))
        yield client
        await client.aclose()


def answer(body: bytes, http_status: int = 200, /, **headers: str) -> Answer:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Answer(http_status, named, bytearray(body))


OCTETS = {"content_type": "application/octet-stream", "kms_status": "0", "kms_index": "0"}


def get(reply: Answer, *, index: int | None = None, chunk: int = 32) -> Key:
    return etsi004.get_key(KSID, QoS(key_chunk_size=chunk), index, None).read(reply)


def opened(reply: Answer, ksid: UUID | None = None) -> etsi004.Opened:
    return etsi004.open_connect(A, B, None, ksid).read(reply)


# ---- reading answers ------------------------------------------------------------------------


def test_a_key_in_octets_reads() -> None:
    key = get(answer(BITS, **OCTETS, kms_metadata=b64encode(b'{"age":1}').decode()))

    assert (key.index, bytes(key), key.details()) == (0, BITS, {"age": 1})


def test_a_key_in_json_reads() -> None:
    body = b'{"status":0,"index":3,"Key_buffer":"%s","later":1}' % b64encode(BITS)

    key = get(answer(body, content_type="application/json"), index=3)

    assert (key.index, bytes(key)) == (3, BITS)


@pytest.mark.parametrize(
    "headers",
    [
        {"kms_index": "-1"},
        {"kms_index": ""},
        {"kms_index": "4294967296"},
        {"kms_index": "9" * 5000},
        {"kms_index": "\u0661"},
        {"kms_status": "2"},
        {"kms_status": "x"},
        {"kms_metadata": "not base64!"},
        {"kms_metadata": "\u00e9"},
    ],
)
def test_headers_that_do_not_read_give_no_key(headers: dict[str, str]) -> None:
    with pytest.raises(BadAnswer):
        get(answer(BITS, **{**OCTETS, **headers}))


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_of_another_length_than_agreed_is_no_key(size: int) -> None:
    reply = answer(bytes([7]) * size, **OCTETS)

    with pytest.raises(BadAnswer):
        get(reply)
    assert reply.body == bytes(size)  # wiped


def test_an_empty_key_is_no_key_even_where_no_length_was_agreed() -> None:
    with pytest.raises(BadAnswer):
        get(answer(b"", **OCTETS), chunk=0)


def test_a_key_of_another_index_is_no_key() -> None:
    reply = answer(BITS, **OCTETS)

    with pytest.raises(BadAnswer, match="index 5"):
        get(reply, index=5)
    assert reply.body == bytes(32)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'{"status":0}',
        b'{"status":"0"}',
        b'{"status":-1}',
        b'{"status":true}',
        b'{"status":4294967296}',
        b'{"status":9,"message":"later edition"}',
        b'{"status":0,"Key_buffer":"!"}',
        b'{"status":0,"index":0,"Key_buffer":"AAAA"}',
        b'{"status":0,"index":0.5,"Key_buffer":"AAAA"}',
        b"[" * 100_000,
        b"\xff\xfe",
        b'{"status":0,"message":"\xff"}',
    ],
)
def test_json_that_is_no_answer_gives_no_key(body: bytes) -> None:
    with pytest.raises(BadAnswer):
        get(answer(body, content_type="application/json"))


def test_what_does_not_read_is_not_shown_for_it_may_be_a_key() -> None:
    body = b'{"status":0,"index":0,"Key_buffer":"c2VjcmV0%%"'

    with pytest.raises(BadAnswer) as raised:
        get(answer(body))
    assert "c2VjcmV0" not in repr(raised.value)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize(
    "body",
    [
        b'{"status":0}',
        b'{"status":0,"Key_stream_ID":"x"}',
        b'{"status":0,"Key_stream_ID":null}',
        b'{"status":0,"Key_stream_ID":"7b7b2a53-5c6b-4a70-8b7c-0f4d5f3f3f3f","QoS":{"TTL":-1}}',
    ],
)
def test_an_opening_without_a_stream_is_no_opening(body: bytes) -> None:
    with pytest.raises(BadAnswer):
        opened(answer(body))


def test_an_opening_of_another_stream_is_no_opening() -> None:
    body = b'{"status":0,"Key_stream_ID":"00000000-0000-4000-8000-000000000000"}'

    with pytest.raises(BadAnswer):
        opened(answer(body), KSID)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (301, BadAnswer),
        (400, Malformed),
        (401, Refused),
        (403, Refused),
        (404, Malformed),
        (413, Malformed),
        (429, Unavailable),
        (500, BadAnswer),
        (502, BadAnswer),
        (503, Unavailable),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html>", b'{"message":"because"}', b'{"message":1}'])
def test_every_http_status_has_its_error(
    status: int, expected: type[ClientError], body: bytes
) -> None:
    with pytest.raises(expected) as raised:
        get(answer(body, status, content_type="text/html"))
    assert type(raised.value) is expected
    assert raised.value.message


@pytest.mark.parametrize(
    ("text", "expected"),
    [("7", 7.0), ("", 1.0), ("-1", 1.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 1.0), ("9" * 9, 3600.0)],
)
def test_a_wait_is_a_sensible_number_of_seconds(text: str, expected: float) -> None:
    with pytest.raises(Unavailable) as raised:
        get(answer(b"", 503, retry_after=text))

    assert raised.value.retry_after_s == expected


def test_a_nodes_words_are_cut() -> None:
    body = b'{"message":"%s"}' % (b"x" * 100_000)

    with pytest.raises(Refused) as raised:
        get(answer(body, 403))
    assert len(str(raised.value)) == 500


def test_a_key_does_not_show_its_bits() -> None:
    key = Key(index=1, bits=bytearray(BITS))

    assert repr(key) == "Key(index=1, 32 B)"
    with key:
        pass
    assert key.bits == bytes(32)


@pytest.mark.parametrize("metadata", [b"[]", b"x", b"\xff", b"[" * 100_000])
def test_metadata_that_does_not_read_spoils_no_key(metadata: bytes) -> None:
    key = Key(index=0, bits=bytearray(BITS), metadata=metadata)

    with pytest.raises(BadAnswer):
        key.details()
    assert bytes(key) == BITS


# ---- addresses ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://node",
        "node:8443",
        "https://",
        "https://node:x",
        "https://node:70000",
        "https://a@node",
        "https://a:b@node",
        "https://node?x=1",
        "https://node#x",
        "https://node/a b",
        "https://node/\r\nHost: x",
        "https://n\u00f6de",
    ],
)
def test_what_is_no_address_of_a_node_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"not https|characters|Port|port"):
        Address.parse(url)


def test_an_address_reads() -> None:
    address = Address.parse("https://[::1]:8443/site/")

    assert (
        address.host,
        address.port,
        address.prefix,
        address.authority,
    ) == ("::1", 8443, "/site", "[::1]:8443")
    assert Address.parse("https://node").port == 443


# ---- over the wire --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        http(b'{"status":0}')[:-1],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
    ],
)
async def test_an_answer_cut_off_is_lost(
    node: Credentials, face: str, tmp_path: Path, said: bytes
) -> None:
    async def script(stream: trio.SSLStream[trio.SocketStream]) -> None:
        await read_request(stream)
        if said:
            await stream.send_all(said)

    async with facing(script, node, face, tmp_path) as client:
        with pytest.raises(AnswerLost):
            await client.open(A, B)


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (ANSWER_BYTES_MAX + 1),
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        http(b"", status="302 Found", headers="Location: https://127.0.0.1:1/\r\n"),
    ],
)
async def test_what_is_no_answer_is_told_and_never_kept(
    node: Credentials, face: str, tmp_path: Path, said: bytes
) -> None:
    async with facing(says(said), node, face, tmp_path) as client:
        with pytest.raises(ClientError) as raised:
            await client.open(A, B)
        assert isinstance(raised.value, BadAnswer | AnswerLost)


async def test_an_endless_answer_is_cut(node: Credentials, face: str, tmp_path: Path) -> None:
    async def script(stream: trio.SSLStream[trio.SocketStream]) -> None:
        await read_request(stream)
        await stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(2 * ANSWER_BYTES_MAX // 65536):
            await stream.send_all(b"10000\r\n" + bytes(65536) + b"\r\n")

    async with facing(script, node, face, tmp_path) as client:
        with pytest.raises(BadAnswer, match="more than"):
            await client.open(A, B)


async def test_an_answer_may_come_in_small_pieces(
    node: Credentials, face: str, tmp_path: Path
) -> None:
    body = b'{"status":1,"Key_stream_ID":"%s"}' % str(KSID).encode()

    async def script(stream: trio.SSLStream[trio.SocketStream]) -> None:
        await read_request(stream)
        for byte in b"HTTP/1.1 100 Continue\r\n\r\n" + http(body):
            await stream.send_all(bytes([byte]))
        await stream.receive_some(1)

    async with facing(script, node, face, tmp_path) as client:
        assert await client.open(A, B) == KSID


async def test_an_answer_that_does_not_come_is_given_up(
    node: Credentials, face: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcome, "MARGIN_S", 0.1)
    monkeypatch.setattr(outcome, "TIMEOUT_MAX_MS", 50)

    async def script(stream: trio.SSLStream[trio.SocketStream]) -> None:
        await read_request(stream)
        await trio.sleep_forever()

    async with facing(script, node, face, tmp_path) as client:
        with pytest.raises(AnswerLost, match="no answer within"):
            await client.open(A, B)


async def test_a_trickle_does_not_hold_the_client_for_ever(
    node: Credentials, face: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcome, "MARGIN_S", 0.3)
    monkeypatch.setattr(outcome, "TIMEOUT_MAX_MS", 50)

    async def script(stream: trio.SSLStream[trio.SocketStream]) -> None:
        await read_request(stream)
        await stream.send_all(b"HTTP/1.1 200 OK\r\n")
        while True:
            await stream.send_all(b"X: y\r\n")
            await trio.sleep(0.05)

    async with facing(script, node, face, tmp_path) as client:
        with pytest.raises(AnswerLost, match="no answer within"):
            await client.open(A, B)


async def test_bytes_after_an_answer_spoil_the_connection_not_the_next_answer(
    node: Credentials, face: str, tmp_path: Path
) -> None:
    """An answer said ahead would be taken for the answer to the next request: another key."""
    good = http(b'{"status":1,"Key_stream_ID":"%s"}' % str(KSID).encode())
    connections = 0

    async def script(stream: trio.SSLStream[trio.SocketStream]) -> None:
        nonlocal connections
        connections += 1
        while await read_request(stream):
            await stream.send_all(good + http(b'{"status":4}'))

    async with facing(script, node, face, tmp_path) as client:
        for _ in range(3):
            assert await client.open(A, B) == KSID
        assert connections == 3


async def test_a_cancelled_request_leaves_no_connection_behind(
    node: Credentials, tmp_path: Path
) -> None:
    """Its answer would be taken for the next request's."""
    good = http(b'{"status":1,"Key_stream_ID":"%s"}' % str(KSID).encode())
    asked, connections = trio.Event(), 0

    async def script(stream: trio.SSLStream[trio.SocketStream]) -> None:
        nonlocal connections
        connections += 1
        await read_request(stream)
        if connections == 1:
            asked.set()
            await read_request(stream)
        await stream.send_all(good)
        await read_request(stream)

    async with (
        scripted(node, script) as port,
        Client(f"https://127.0.0.1:{port}", issue(tmp_path, A)) as client,
    ):
        async with trio.open_nursery() as nursery:

            async def hang_up() -> None:
                await client.open(source=A, destination=B)

            nursery.start_soon(hang_up)
            await asked.wait()
            nursery.cancel_scope.cancel()

        stream = await client.open(source=A, destination=B)

        assert stream.ksid == KSID
        assert connections == 2


async def test_the_client_sends_no_more_at_once_than_it_may(
    node: Credentials, tmp_path: Path
) -> None:
    open_now = most = 0

    async def script(stream: trio.SSLStream[trio.SocketStream]) -> None:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        while await read_request(stream):
            await trio.sleep(0.01)
            await stream.send_all(http(b'{"status":4}'))
        open_now -= 1

    async with scripted(node, script) as port:
        url = f"https://127.0.0.1:{port}"
        async with Client(url, issue(tmp_path, A), connections_max=3) as client:

            async def ask() -> None:
                with pytest.raises(ClientError):
                    await client.open(source=A, destination=B)

            async with trio.open_nursery() as nursery:
                for _ in range(12):
                    nursery.start_soon(ask)

    assert most == 3


async def test_an_old_idle_connection_is_not_used(
    node: Credentials, face: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = {"trio": "kms.client.trio_connections", "sync": "kms.client.sync_connections"}[face]
    monkeypatch.setattr(f"{module}.IDLE_S", -1.0)
    connections = 0

    async def script(stream: trio.SSLStream[trio.SocketStream]) -> None:
        nonlocal connections
        connections += 1
        await says(http(b'{"status":1,"Key_stream_ID":"%s"}' % str(KSID).encode()))(stream)

    async with facing(script, node, face, tmp_path) as client:
        await client.open(A, B)
        await client.open(A, B)

        assert connections == 2
        assert exchange.IDLE_S > 0
