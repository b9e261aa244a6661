"""The fast way beside the slow one: who answers which request, and that nobody can tell."""

import random

import attrs
import h11
import pytest
import trio

from kms.adapters.edge.hot import HEADS_MAX, Gate
from tests.edge.authority import Authority
from tests.edge.support import (
    PROBE,
    SHORT,
    Running,
    SmallHot,
    Stream,
    reply,
    running,
    small_app,
    until,
    until_closed,
)

AUTHORITY = Authority()
CLIENT = AUTHORITY.client_context("sae:alice.a")
ECHO = b"POST /echo HTTP/1.1\r\nHost: k\r\nContent-Length: 4\r\n\r\nabcd"
THINK = b"POST /think HTTP/1.1\r\nHost: k\r\nContent-Length: 0\r\n\r\n"
LARGE = b"POST /large HTTP/1.1\r\nHost: k\r\nContent-Length: 0\r\n\r\n"

PATIENT = attrs.evolve(SHORT, send_s=5.0, header_s=5.0, receive_s=5.0, idle_s=5.0, linger_s=1.0)
"""Bounds that a busy machine does not run into while a test sends piece by piece."""

_LENGTH = b"Content-Length: 4\r\n"
_CHUNKED = b"Transfer-Encoding: chunked\r\n"
_FOUR = _LENGTH + b"\r\nabcd"
SMUGGLED = [
    # name, bytes, statuses; the body of the first is the second's request line for somebody
    ("two_lengths", b"Content-Length: 4\r\nContent-Length: 40\r\n\r\nabcd", ["400"]),
    ("one_length_twice", b"Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd", ["200"]),
    ("list_of_lengths", b"Content-Length: 4, 4\r\n\r\nabcd", ["200"]),
    ("length_and_chunked", _LENGTH + _CHUNKED + b"\r\n0\r\n\r\n", ["400"]),
    ("chunked_and_length", _CHUNKED + _LENGTH + b"\r\n0\r\n\r\n", ["400"]),
    ("chunked", b"Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n", ["200"]),
    ("coding_unknown", b"Transfer-Encoding: xchunked\r\nContent-Length: 4\r\n\r\nabcd", ["501"]),
    ("space_before_colon", b"Content-Length : 4\r\n\r\nabcd", ["400"]),
    ("folded_length", b"Content-Length:\r\n 4\r\n\r\nabcd", ["200"]),
    ("length_in_other_case", b"CONTENT-length: 4\r\n\r\nabcd", ["200"]),
    ("length_with_plus", b"Content-Length: +4\r\n\r\nabcd", ["400"]),
    ("length_in_hex", b"Content-Length: 0x4\r\n\r\nabcd", ["400"]),
    ("length_with_zeros", b"Content-Length: 0004\r\n\r\nabcd", ["200"]),
    ("bare_line_feeds", b"Content-Length: 4\n\nabcd", ["200"]),
    ("header_ends_early", b"Content-Length: 4\n\nabcd" + PROBE, ["200", "200"]),
    ("carriage_return_alone", b"X: a\rContent-Length: 4\r\n\r\nabcd", ["400"]),
    ("zero_byte", b"X: a\x00b\r\nContent-Length: 4\r\n\r\nabcd", ["400"]),
    ("longer_than_its_length", ECHO.partition(b"k\r\n")[2] + b"X", ["200"]),
    ("expects", b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\nabcd", ["100", "200"]),
    ("no_length", b"\r\n", ["200"]),
    ("no_length_but_bytes", b"\r\nabcd", ["200", "400"]),
    ("upgrades", b"Connection: upgrade\r\nUpgrade: h2c\r\n" + _FOUR, ["200"]),
]  # fmt: skip


# What the server has not understood to its end by now, this ends.
_THE_END = b"\r\n\r\nGET /end HTTP/1.1\r\nHost: k\r\nConnection: close\r\n\r\n"


async def _conversation(edge: Running, pieces: list[bytes]) -> bytes:
    """All that the server says to these bytes, until it has nothing more to say; dates are cut."""
    heard = b""

    async def listen() -> None:
        nonlocal heard
        try:
            while data := await stream.receive_some(65536):
                heard += data
        except trio.BrokenResourceError:
            pass

    async with edge.connect(CLIENT) as stream, trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        try:
            for piece in pieces:
                await stream.send_all(piece)
            # What the server has not understood to its end, this ends.
            await stream.send_all(
                b"\r\n\r\nGET /end HTTP/1.1\r\nHost: k\r\nConnection: close\r\n\r\n"
            )
        except trio.BrokenResourceError:
            pass
    return b"\r\n".join(line for line in heard.split(b"\r\n") if not line.startswith(b"date: "))


def _statuses(heard: bytes) -> list[str]:
    return [part[:3].decode() for part in heard.split(b"HTTP/1.1 ")[1:]]


# ---- which way ------------------------------------------------------------------------------


async def test_hot_and_cold_requests_take_turns_on_one_connection() -> None:
    async with (
        running(small_app(), authority=AUTHORITY, hot=SmallHot()) as edge,
        edge.connect() as stream,
    ):
        for request in 3 * (ECHO, PROBE, ECHO):
            await stream.send_all(request)

            assert (await reply(stream)).startswith(b"HTTP/1.1 200")
        assert edge.server.statistics().hot == 6


async def test_a_server_without_hot_routes_has_no_fast_way() -> None:
    async with running(small_app(), authority=AUTHORITY) as edge, edge.connect() as stream:
        await stream.send_all(ECHO)

        assert (await reply(stream)).startswith(b"HTTP/1.1 200")
        assert edge.server.statistics().hot == 0


@pytest.mark.parametrize("transport", ["tls", "plain"])
async def test_a_request_split_at_any_byte_has_one_answer(transport: str) -> None:
    authority = AUTHORITY if transport == "tls" else None
    async with (
        running(small_app(), authority=authority, hot=SmallHot(), bounds=PATIENT) as edge,
        edge.connect() as stream,
    ):
        for at in range(1, len(ECHO)):
            await stream.send_all(ECHO[:at])
            # In a piece of its own also where the kernel would join them.
            await trio.sleep(0.002)
            await stream.send_all(ECHO[at:])

            assert b'{"bytes":4}' in await reply(stream), at
        hot = edge.server.statistics().hot

    # Whole headers, with or without some of the body, are waited for; half ones are h11's.
    assert hot >= 4


@pytest.mark.parametrize(
    ("header", "statuses"), [case[1:] for case in SMUGGLED], ids=[case[0] for case in SMUGGLED]
)
async def test_the_length_of_a_request_is_the_same_on_both_ways(
    header: bytes, statuses: list[str]
) -> None:
    request = b"POST /echo HTTP/1.1\r\nHost: k\r\n" + header
    heard = []
    for hot in (SmallHot(), None):
        async with running(small_app(), authority=AUTHORITY, hot=hot, bounds=PATIENT) as edge:
            heard.append(await _conversation(edge, [ECHO, request]))

    assert heard[0] == heard[1]
    assert ["200", *statuses] == _statuses(heard[0])[: 1 + len(statuses)]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
async def test_nobody_can_tell_the_ways_apart(seed: int) -> None:
    """Hot and cold requests, some of them bent, in pieces that begin and end anywhere."""
    choice = random.Random(seed)
    strange = [b"POST /echo HTTP/1.1\r\nHost: k\r\n" + case[1] for case in SMUGGLED]
    parts = choice.choices([ECHO, ECHO, PROBE, *strange], k=6)
    data = bytearray(b"".join(parts))
    for _ in range(choice.choice([0, 0, 1, 2])):
        data[choice.randrange(len(data))] = choice.randrange(256)
    cuts = sorted(choice.sample(range(1, len(data)), 8))
    pieces = [bytes(data[a:b]) for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    heard = []
    for hot in (SmallHot(), None):
        async with running(small_app(), authority=AUTHORITY, hot=hot, bounds=PATIENT) as edge:
            heard.append(await _conversation(edge, pieces))

    assert heard[0] == heard[1]


async def test_headers_that_differ_each_time_are_served_and_forgotten() -> None:
    gate = Gate(SmallHot(), body_bytes_max=100)
    for number in range(5 * HEADS_MAX):
        head = b"POST /echo HTTP/1.1\r\nHost: k\r\nX: %d\r\nContent-Length: 4\r\n\r\n" % number

        assert gate.look(head) is gate.look(head)
        assert len(gate._known) <= HEADS_MAX


def test_a_route_is_not_asked_about_a_header_that_it_has_seen() -> None:
    asked = []

    class Counting(SmallHot):
        def handler(self, request: h11.Request) -> None:
            asked.append(request.target)

    gate = Gate(Counting(), body_bytes_max=100)

    assert gate.look(ECHO) is None
    assert gate.look(PROBE) is None
    assert [b"/echo"] == asked


async def test_a_request_without_a_length_is_hot_and_has_no_body() -> None:
    async with (
        running(small_app(), authority=AUTHORITY, hot=SmallHot()) as edge,
        edge.connect() as stream,
    ):
        for _ in range(2):
            assert b'{"bytes":0}' in await _asked(stream, b"POST /echo HTTP/1.1\r\nHost: k\r\n\r\n")
        assert edge.server.statistics().hot == 2


@pytest.mark.parametrize("value", [b"close", b"keep-alive, close", b"Close"])
async def test_a_client_that_wants_the_connection_closed_goes_the_slow_way(value: bytes) -> None:
    request = b"POST /echo HTTP/1.1\r\nHost: k\r\nConnection: %s\r\n" % value + _FOUR
    async with (
        running(small_app(), authority=AUTHORITY, hot=SmallHot()) as edge,
        edge.connect() as stream,
    ):
        answer = await _asked(stream, request)

        assert answer.startswith(b"HTTP/1.1 200")
        assert await until_closed(stream)
        assert edge.server.statistics().hot == 0


# ---- deadlines, hang-ups, stopping ----------------------------------------------------------


async def test_a_body_that_does_not_come_ends_the_connection() -> None:
    async with running(small_app(), authority=AUTHORITY, hot=SmallHot()) as edge:
        async with edge.connect() as stream:
            await stream.send_all(ECHO[:-1])

            assert await reply(stream) == b""
        assert await edge.answers()


async def test_a_client_that_hangs_up_cancels_its_hot_request() -> None:
    hot = SmallHot()
    async with running(small_app(), authority=AUTHORITY, hot=hot) as edge:
        async with edge.connect() as stream:
            await stream.send_all(THINK)
            await until(lambda: hot.thinking == 1)
        await until(lambda: hot.thinking == 0, seconds=0.8)
        assert await edge.answers()


async def test_hanging_up_ends_a_hot_wait_whatever_was_sent_after_the_request() -> None:
    hot = SmallHot()
    async with running(small_app(), authority=AUTHORITY, hot=hot) as edge:
        async with edge.connect() as stream:
            await stream.send_all(THINK)
            await until(lambda: hot.thinking == 1)
            await stream.send_all(ECHO * 2)
        await until(lambda: edge.server.statistics().connections == 0, seconds=0.8)

        assert (hot.thinking, edge.server.statistics().hot) == (0, 0)


@pytest.mark.slow
async def test_a_hot_handler_may_think_longer_than_any_deadline_of_the_edge() -> None:
    bounds = attrs.evolve(SHORT, idle_s=0.2)
    async with (
        running(small_app(), authority=AUTHORITY, bounds=bounds, hot=SmallHot()) as edge,
        edge.connect() as stream,
    ):
        await stream.send_all(THINK)

        assert (await reply(stream)).startswith(b"HTTP/1.1 200")


@pytest.mark.slow
async def test_a_client_that_does_not_read_its_hot_answer_is_cut() -> None:
    async with running(small_app(), authority=AUTHORITY, hot=SmallHot()) as edge:
        async with edge.connect() as stream:
            await stream.send_all(LARGE)
            await until(lambda: edge.server.statistics().connections == 1)
            await until(lambda: edge.server.statistics().connections == 0, seconds=3)
        assert edge.server.statistics().contained == 0


async def test_a_large_hot_answer_comes_whole() -> None:
    async with (
        running(small_app(), authority=AUTHORITY, hot=SmallHot(), bounds=PATIENT) as edge,
        edge.connect() as stream,
    ):
        await stream.send_all(LARGE)

        assert len((await reply(stream, seconds=8.0)).partition(b"\r\n\r\n")[2]) == 16 * 1024 * 1024


async def test_a_hot_handler_that_raises_ends_its_connection_and_no_other() -> None:
    async with running(small_app(), authority=AUTHORITY, hot=SmallHot()) as edge:
        async with edge.connect() as stream:
            await stream.send_all(b"POST /fault HTTP/1.1\r\nHost: k\r\nContent-Length: 0\r\n\r\n")

            assert await until_closed(stream)
        assert await edge.answers()
        assert edge.server.statistics().contained == 1


@pytest.mark.slow
async def test_stopping_lets_a_hot_request_finish_and_says_that_it_was_the_last() -> None:
    hot = SmallHot()
    bounds = attrs.evolve(SHORT, graceful_s=3.0)
    async with running(small_app(), authority=AUTHORITY, bounds=bounds, hot=hot) as edge:
        async with edge.connect() as stream:
            await stream.send_all(THINK)
            await until(lambda: hot.thinking == 1)
            edge.server.stop()
            answer = await reply(stream)

            assert answer.startswith(b"HTTP/1.1 200")
            assert b"connection: close" in answer
            assert await until_closed(stream)
        with trio.fail_after(1):
            await edge.stopped.wait()


async def test_hot_requests_count_towards_those_of_a_connection() -> None:
    bounds = attrs.evolve(SHORT, requests_per_connection_max=3)
    async with (
        running(small_app(), authority=AUTHORITY, bounds=bounds, hot=SmallHot()) as edge,
        edge.connect() as stream,
    ):
        answers = [await _asked(stream, request) for request in (ECHO, PROBE, ECHO)]

        assert [False, False, True] == [b"connection: close" in answer for answer in answers]
        assert await until_closed(stream)


async def test_a_client_that_sends_without_end_is_not_the_only_one_served() -> None:
    """Plain TCP, where the next request is always there already."""

    async def send_and_send(stream: Stream) -> None:
        while True:
            await stream.send_all(ECHO)
            await reply(stream)

    async with (
        running(small_app(), authority=None, hot=SmallHot()) as edge,
        edge.connect() as greedy,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(send_and_send, greedy)
        for _ in range(5):
            assert await edge.answers()
        nursery.cancel_scope.cancel()


async def _asked(stream: Stream, request: bytes) -> bytes:
    await stream.send_all(request)
    return await reply(stream)
