"""Strangers at the binary interface: only their own connections suffer (I10)."""

import ssl
from contextlib import suppress
from typing import Any

import attrs
import pytest
import trio

from kms.adapters.etsi004_binary import (
    Dialect,
    GetKeyRequest,
    OpenConnectRequest,
    OpenConnectResponse,
    encode,
)
from kms.adapters.memory.northbound import MemoryNorthbound
from kms.domain.names import SAEId
from kms.domain.requests import GetKey, KeyReply
from kms.domain.status import QoS, Status
from tests.edge.authority import Authority
from tests.edge.binary import (
    ALICE,
    BOB,
    ERROR,
    OPENINGS,
    PROBE,
    PROBED,
    UNKNOWN,
    BinaryClient,
    answers,
    received,
    running_binary,
    try_opening,
)
from tests.edge.support import SHORT, FixedTLS, stops_in_time, until, until_closed

AUTHORITY = Authority()
STRANGER = Authority()
# For a GET_KEY that waits, or an OPEN_CONNECT that waits for its peer.
WAITING = bytes(
    encode(OpenConnectRequest(source=ALICE, destination=BOB, qos=QoS(timeout=5000), ksid=UNKNOWN))
)


@pytest.mark.parametrize("opening", OPENINGS, ids=[one["name"] for one in OPENINGS])
async def test_a_hostile_opening_ends_at_most_its_own_connection(opening: dict[str, Any]) -> None:
    async with running_binary(MemoryNorthbound(), authority=AUTHORITY) as edge:
        assert await try_opening(edge, opening) == []
        assert await edge.answers()
        assert edge.server.statistics().contained == 0
        assert edge.logged("edge_contained") == []


def test_no_opening_is_listed_twice() -> None:
    names = [one["name"] for one in OPENINGS]

    assert sorted(set(names)) == sorted(names)


async def test_a_frame_cut_at_every_octet_hurts_nobody() -> None:
    async with running_binary(MemoryNorthbound(), authority=AUTHORITY) as edge:
        for length in range(len(PROBE)):
            async with edge.connect() as stream:
                await stream.send_all(PROBE[:length])
        assert await edge.answers()
        await until(lambda: edge.server.statistics().connections == 0)
        assert edge.server.statistics().contained == 0


async def test_a_request_may_be_cut_anywhere_and_is_answered() -> None:
    async with (
        running_binary(MemoryNorthbound(), authority=AUTHORITY) as edge,
        edge.connect() as stream,
    ):
        for length in range(1, len(PROBE)):
            await stream.send_all(PROBE[:length])
            await stream.send_all(PROBE[length:])

            assert await received(stream, len(PROBED)) == PROBED


async def test_a_mimetype_field_that_was_not_cleared_is_read_up_to_its_nul() -> None:
    """As a program in C sends its char[256]; the connection goes on."""
    order = OpenConnectRequest(
        source=ALICE, destination=BOB, qos=QoS(key_chunk_size=32), ksid=None, dialect=Dialect.B
    )
    frame = bytearray(encode(order))
    frame[-16 - 255 : -16] = b"\xff" * 255
    async with (
        running_binary(MemoryNorthbound(), authority=AUTHORITY) as edge,
        edge.connect() as stream,
    ):
        await stream.send_all(frame)
        opened = await received(stream, 8 + 4 + 28 + 256 + 16)

        assert (0x03, Status.PEER_NOT_CONNECTED_YET) == (opened[3], opened[11])
        assert await answers(stream)


# ---- who may come in ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("context", "reason"),
    [
        (AUTHORITY.client_context(certificate=False), "PEER_DID_NOT_RETURN_A_CERTIFICATE"),
        (STRANGER.client_context(ALICE, trusts=AUTHORITY), "unable to get local issuer"),
    ],
    ids=["no_certificate", "foreign_authority"],
)
async def test_without_a_certificate_of_ours_nothing_is_answered(
    context: ssl.SSLContext, reason: str
) -> None:
    async with running_binary(MemoryNorthbound(), authority=AUTHORITY) as edge:
        async with edge.connect(context) as stream:
            assert not await answers(stream)
        assert await edge.answers()
        assert edge.server.statistics().handshakes_failed == 1
        assert reason in edge.logged("edge_handshake_failed")[0]["reason"]


@pytest.mark.parametrize(
    "opening",
    [PROBE, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b""],
    ids=["frames_without_tls", "half_a_client_hello", "silence"],
)
async def test_what_is_no_handshake_ends_within_its_deadline(opening: bytes) -> None:
    async with running_binary(MemoryNorthbound(), authority=AUTHORITY) as edge:
        async with await trio.open_tcp_stream("127.0.0.1", edge.port) as raw:
            if opening:
                await raw.send_all(opening)

            assert await until_closed(raw, seconds=5)
        assert await edge.answers()
        assert edge.server.statistics().handshakes_failed == 1


async def test_one_certificate_has_so_many_connections_and_another_is_served() -> None:
    bounds = attrs.evolve(SHORT, connections_per_identity_max=2)
    async with running_binary(MemoryNorthbound(), authority=AUTHORITY, bounds=bounds) as edge:
        greedy = AUTHORITY.client_context("sae:greedy.a")
        async with edge.connect(greedy) as one, edge.connect(greedy) as two:
            assert [await answers(stream) for stream in (one, two)] == [True, True]
            async with edge.connect(greedy) as three:
                assert not await answers(three)
            assert await edge.answers()
        assert edge.server.statistics().refused == 1


async def test_a_full_house_refuses_at_once_and_serves_when_somebody_left() -> None:
    bounds = attrs.evolve(SHORT, connections_max=2)
    async with running_binary(MemoryNorthbound(), authority=AUTHORITY, bounds=bounds) as edge:
        async with edge.connect() as one, edge.connect() as two:
            assert [await answers(stream) for stream in (one, two)] == [True, True]
            async with edge.connect() as three:
                assert not await answers(three)
        await until(lambda: edge.server.statistics().connections == 0)

        assert await edge.answers()


async def test_a_connection_of_replaced_certificates_ends_after_its_answer() -> None:
    tls = FixedTLS(AUTHORITY.server_context())
    async with running_binary(MemoryNorthbound(), authority=AUTHORITY, tls=tls) as edge:
        async with edge.connect() as stream:
            assert await answers(stream)
            tls.context = STRANGER.server_context()

            assert await answers(stream)
            assert await until_closed(stream)
        async with edge.connect() as stream:
            assert not await answers(stream)


async def test_a_connection_ends_after_its_last_request_and_the_answer_arrives() -> None:
    bounds = attrs.evolve(SHORT, requests_per_connection_max=3)
    async with (
        running_binary(MemoryNorthbound(), authority=AUTHORITY, bounds=bounds) as edge,
        edge.connect() as stream,
    ):
        assert [await answers(stream) for _ in range(3)] == [True] * 3
        assert await until_closed(stream)


async def test_an_idle_connection_is_closed() -> None:
    bounds = attrs.evolve(SHORT, idle_s=0.1)
    async with (
        running_binary(MemoryNorthbound(), authority=AUTHORITY, bounds=bounds) as edge,
        edge.connect() as stream,
    ):
        assert await answers(stream)
        assert await until_closed(stream)


# ---- waiting, hanging up, not reading, stopping -----------------------------------------------


class Thinking(MemoryNorthbound):
    """GET_KEY takes its time; ``thinking`` says how many do."""

    def __init__(self, seconds: float = 1.0) -> None:
        super().__init__()
        self.thinking = 0
        self._seconds = seconds

    async def get_key(self, caller: SAEId, request: GetKey) -> KeyReply:
        self.thinking += 1
        try:
            await trio.sleep(self._seconds)
        finally:
            self.thinking -= 1
        return await super().get_key(caller, request)


@pytest.mark.parametrize("requests", [1, 2, 3])
async def test_a_client_that_hangs_up_ends_its_wait_and_nothing_else(requests: int) -> None:
    """However many it had sent at once: the next one must not keep its end from being seen."""
    counter = Thinking(30)
    async with running_binary(counter, authority=AUTHORITY) as edge:
        async with edge.connect() as stream:
            await stream.send_all(PROBE * requests)
            await until(lambda: counter.thinking == 1)
        await until(lambda: counter.thinking == 0)
        assert edge.server.statistics().contained == 0


@pytest.mark.slow
async def test_the_node_may_think_longer_than_any_deadline_of_the_edge() -> None:
    bounds = attrs.evolve(SHORT, idle_s=0.2, receive_s=0.2)
    async with running_binary(Thinking(1.0), authority=AUTHORITY, bounds=bounds) as edge:
        assert await edge.answers()


async def test_a_second_request_waits_for_the_answer_to_the_first() -> None:
    counter = Thinking(0.05)
    async with running_binary(counter, authority=AUTHORITY) as edge, edge.connect() as stream:
        await stream.send_all(PROBE * 3)
        await until(lambda: counter.thinking == 1)

        assert await received(stream, 3 * len(PROBED)) == 3 * PROBED


@pytest.mark.slow
async def test_a_client_that_does_not_read_is_cut_after_the_send_deadline() -> None:
    async with running_binary(MemoryNorthbound(), authority=AUTHORITY) as edge:
        async with edge.connect() as stream, edge.connect(AUTHORITY.client_context(BOB)) as peer:
            ksid = await _opened(BinaryClient(stream), BinaryClient(peer))
            asked = b"".join(
                bytes(encode(GetKeyRequest(ksid=ksid, index=index))) for index in range(2000)
            )
            with trio.move_on_after(5):
                with suppress(trio.BrokenResourceError):
                    await stream.send_all(asked)
            await until(lambda: edge.server.statistics().connections <= 1, seconds=5)
        assert await edge.answers()
        assert edge.server.statistics().contained == 0


async def test_stopping_lets_the_request_under_way_finish_and_closes_idle_connections() -> None:
    counter = Thinking(0.3)
    bounds = attrs.evolve(SHORT, graceful_s=3.0)
    async with running_binary(counter, authority=AUTHORITY, bounds=bounds) as edge:
        async with edge.connect() as busy, edge.connect() as idle:
            assert await answers(idle)
            await busy.send_all(PROBE)
            await until(lambda: counter.thinking == 1)
            edge.server.stop()

            assert await until_closed(idle)
            assert await received(busy, len(PROBED)) == PROBED
            assert await until_closed(busy)
        with trio.fail_after(2):
            await edge.stopped.wait()


@pytest.mark.parametrize("held", ["half_frame", "half_tls", "thinking", "waiting"])
async def test_stopping_ends_in_time_whatever_clients_do(held: str) -> None:
    """``graceful_s`` is 0.3 and ``linger_s`` 0.2; the rest is for a loaded machine."""
    bounds = attrs.evolve(SHORT, send_s=30.0, receive_s=30.0, handshake_s=30.0, graceful_s=0.3)
    counter: MemoryNorthbound = Thinking(30) if held == "thinking" else MemoryNorthbound()
    async with running_binary(counter, authority=AUTHORITY, bounds=bounds) as edge:
        if held == "half_tls":
            async with await trio.open_tcp_stream("127.0.0.1", edge.port) as raw:
                await raw.send_all(b"\x16\x03\x01")
                await stops_in_time(edge)
            return
        async with edge.connect() as stream:
            sent = {"half_frame": PROBE[:12], "thinking": PROBE, "waiting": WAITING}
            await stream.send_all(sent[held])
            await trio.sleep(0.1)
            await stops_in_time(edge)


async def test_a_mistake_of_ours_ends_one_connection_and_is_logged() -> None:
    class Broken(MemoryNorthbound):
        async def get_key(self, caller: SAEId, request: GetKey) -> KeyReply:
            raise ZeroDivisionError("a mistake of ours")

    async with running_binary(Broken(), authority=AUTHORITY) as edge:
        async with edge.connect() as stream:
            await stream.send_all(PROBE)

            assert await received(stream, len(ERROR)) == b""
        assert edge.server.statistics().contained == 1
        assert "test_binary.py" in edge.logged("edge_contained")[0]["at"]


async def _opened(one: BinaryClient, other: BinaryClient, chunk: int = 16_000) -> Any:
    first = await one.call(
        OpenConnectRequest(source=ALICE, destination=BOB, qos=QoS(key_chunk_size=chunk), ksid=None)
    )
    assert isinstance(first, OpenConnectResponse)
    second = await other.call(
        OpenConnectRequest(source=ALICE, destination=BOB, qos=QoS(), ksid=first.ksid)
    )
    assert isinstance(second, OpenConnectResponse)
    assert second.status is Status.SUCCESS
    return first.ksid
