"""Caps, containment, deadlines on sending, stopping."""

import errno
import os
from pathlib import Path
from typing import Any

import attrs
import pytest
import structlog
import trio

from kms.adapters.edge import PEER_UID, Server, listen_tcp, listen_unix
from kms.adapters.edge.protocol import OneProtocol
from kms.domain.errors import LocalFault
from tests.edge.authority import Authority
from tests.edge.support import (
    PROBE,
    SHORT,
    reply,
    running,
    small_app,
    stops_in_time,
    until,
    until_closed,
)

AUTHORITY = Authority()
LARGE = b"GET /large HTTP/1.1\r\nHost: k\r\n\r\n"
THINK = b"GET /think HTTP/1.1\r\nHost: k\r\n\r\n"


@attrs.define
class Exhausted(trio.abc.Listener[trio.SocketStream]):
    """Fails some times, as the kernel does at EMFILE, then accepts."""

    listener: trio.SocketListener
    failures: int = 3

    async def accept(self) -> trio.SocketStream:
        if self.failures:
            self.failures -= 1
            await trio.lowlevel.checkpoint()
            raise OSError(errno.EMFILE, "Too many open files")
        return await self.listener.accept()

    async def aclose(self) -> None:
        await self.listener.aclose()


# ---- containment ----------------------------------------------------------------------------


async def test_an_exception_of_one_connection_is_logged_and_ends_only_that_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handle = OneProtocol.handle

    async def failing(self: OneProtocol, event: Any) -> None:
        if b"poison" in getattr(event, "data", b""):
            raise ZeroDivisionError("a mistake of the library")
        await handle(self, event)

    monkeypatch.setattr(OneProtocol, "handle", failing)
    async with running(small_app(), authority=AUTHORITY) as edge:
        async with edge.connect() as bystander, edge.connect() as stream:
            await bystander.send_all(PROBE)
            await reply(bystander)
            await stream.send_all(b"poison")

            assert await until_closed(stream)
            await bystander.send_all(PROBE)

            assert (await reply(bystander)).startswith(b"HTTP/1.1 200")
        assert edge.server.statistics().contained == 1
        assert edge.logged("edge_contained")[0]["error"] == "ExceptionGroup"
        assert "test_server.py" in edge.logged("edge_contained")[0]["at"]


async def test_an_application_that_raises_costs_its_client_a_500_and_nobody_else() -> None:
    async def bare(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError
        if scope["path"] == "/fault":
            raise ZeroDivisionError("a mistake of ours")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async with running(bare, authority=AUTHORITY) as edge:
        async with edge.connect() as stream:
            await stream.send_all(b"GET /fault HTTP/1.1\r\nHost: k\r\n\r\n")

            assert (await reply(stream)).startswith(b"HTTP/1.1 500")
        assert await edge.answers()
        assert edge.logged("edge_application_failed")[0]["error"] == "ZeroDivisionError"


async def test_a_flood_of_failures_is_one_line_in_the_log() -> None:
    async with running(small_app(), authority=AUTHORITY) as edge:
        for _ in range(20):
            async with await trio.open_tcp_stream("127.0.0.1", edge.port) as raw:
                await raw.send_all(b"no tls\r\n\r\n")
                await until_closed(raw)

        assert edge.server.statistics().handshakes_failed == 20
        assert len(edge.logged("edge_handshake_failed")) == 1


async def test_no_answer_names_the_server_and_no_request_line_is_logged() -> None:
    async with running(small_app(), authority=AUTHORITY) as edge, edge.connect() as stream:
        await stream.send_all(b"GET /who?key_ID=secret-name HTTP/1.1\r\nHost: k\r\n\r\n")
        answer = await reply(stream)

        assert b"server:" not in answer.lower()
        assert "secret-name" not in repr(edge.events)


# ---- caps -----------------------------------------------------------------------------------


async def test_one_certificate_has_so_many_connections_and_another_is_served() -> None:
    bounds = attrs.evolve(SHORT, connections_per_identity_max=2)
    async with running(small_app(), authority=AUTHORITY, bounds=bounds) as edge:
        greedy = AUTHORITY.client_context("sae:greedy.a")
        async with edge.connect(greedy) as one, edge.connect(greedy) as two:
            for stream in (one, two):
                await stream.send_all(PROBE)
                assert (await reply(stream)).startswith(b"HTTP/1.1 200")
            async with edge.connect(greedy) as three:
                await three.send_all(PROBE)

                assert await reply(three) == b""
            assert await edge.answers()
        assert edge.server.statistics().refused == 1
        await until(lambda: edge.server.statistics().connections == 0)
        async with edge.connect(greedy) as again:
            await again.send_all(PROBE)

            assert (await reply(again)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("cap", ["connections_per_address_max", "connections_max"])
async def test_a_full_house_refuses_at_once_and_serves_when_somebody_left(cap: str) -> None:
    bounds = attrs.evolve(SHORT, **{cap: 2})
    async with running(small_app(), authority=None, bounds=bounds) as edge:
        async with edge.connect() as one, edge.connect() as two:
            for stream in (one, two):
                await stream.send_all(PROBE)
                assert (await reply(stream)).startswith(b"HTTP/1.1 200")
            async with edge.connect() as three:
                assert await until_closed(three, seconds=0.5)
        await until(lambda: edge.server.statistics().connections == 0)

        assert await edge.answers()
        assert edge.server.statistics().refused == 1


async def test_a_kernel_out_of_descriptors_costs_a_pause_and_one_line() -> None:
    (tcp,) = await listen_tcp("127.0.0.1", 0)
    port = tcp.socket.getsockname()[1]
    async with running(small_app(), authority=None, listeners=[Exhausted(tcp)]) as edge:
        edge.port = port
        assert await edge.answers()
        assert edge.server.statistics().exhausted == 3
        assert len(edge.logged("edge_exhausted")) == 1


# ---- slow readers, hang-ups, stopping -------------------------------------------------------


@pytest.mark.slow
async def test_a_client_that_does_not_read_is_cut_after_the_send_deadline() -> None:
    async with running(small_app(), authority=AUTHORITY) as edge:
        async with edge.connect() as stream:
            await stream.send_all(LARGE)
            await until(lambda: edge.server.statistics().connections == 1)
            await until(lambda: edge.server.statistics().connections == 0, seconds=3)
        assert await edge.answers()
        assert edge.server.statistics().contained == 0


@pytest.mark.parametrize("requests", [1, 2, 3])
async def test_a_client_that_hangs_up_cancels_its_handler(requests: int) -> None:
    """However many it had sent at once: the next one must not keep its end from being seen."""
    app = small_app()
    async with running(app, authority=AUTHORITY) as edge:
        async with edge.connect() as stream:
            await stream.send_all(THINK * requests)
            await until(lambda: app.thinking == 1)
        await until(lambda: app.thinking == 0, seconds=0.8)
        assert await edge.answers()


async def test_two_requests_in_one_write_are_both_answered_to_who_stays() -> None:
    async with running(small_app(), authority=AUTHORITY) as edge, edge.connect() as stream:
        await stream.send_all(THINK + PROBE)

        assert b"thought" in await reply(stream)
        assert b"der" in await reply(stream)


@pytest.mark.slow
async def test_a_handler_may_think_longer_than_any_deadline_of_the_edge() -> None:
    bounds = attrs.evolve(SHORT, idle_s=0.2)
    async with (
        running(small_app(), authority=AUTHORITY, bounds=bounds) as edge,
        edge.connect() as stream,
    ):
        await stream.send_all(THINK)

        assert (await reply(stream)).startswith(b"HTTP/1.1 200")


@pytest.mark.slow
async def test_the_time_to_send_begins_with_the_answer_not_with_100_continue() -> None:
    bounds = attrs.evolve(SHORT, send_s=0.4)
    patient = b"GET /think HTTP/1.1\r\nHost: k\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    async with (
        running(small_app(), authority=AUTHORITY, bounds=bounds) as edge,
        edge.connect() as stream,
    ):
        await stream.send_all(patient)
        assert (await reply(stream)).startswith(b"HTTP/1.1 100")
        await stream.send_all(b"{}")

        assert (await reply(stream)).startswith(b"HTTP/1.1 200")


async def test_an_answer_before_the_whole_request_says_that_it_is_the_last() -> None:
    async with running(small_app(), authority=AUTHORITY) as edge, edge.connect() as stream:
        await stream.send_all(b"POST /early HTTP/1.1\r\nHost: k\r\nContent-Length: 9\r\n\r\na")

        assert b"connection: close" in await reply(stream)


async def test_an_early_answer_ends_with_an_end_of_file_and_not_with_a_reset() -> None:
    """A reset would make some clients' kernels drop the answer before it is read."""
    head = b"POST /early HTTP/1.1\r\nHost: k\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"400\r\n" + bytes(1024) + b"\r\n"

    async def go_on_sending(stream: Any) -> None:
        for _ in range(100):
            await stream.send_all(chunk)

    async with running(small_app(), authority=None) as edge, edge.connect() as stream:
        await stream.send_all(head)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(go_on_sending, stream)
            answer = await reply(stream)
        end = await stream.receive_some()

        assert answer.startswith(b"HTTP/1.1 200")
        assert end == b""


@pytest.mark.slow
async def test_stopping_lets_the_request_under_way_finish_and_closes_idle_connections() -> None:
    app = small_app()
    bounds = attrs.evolve(SHORT, graceful_s=3.0)
    async with running(app, authority=AUTHORITY, bounds=bounds) as edge:
        async with edge.connect() as busy, edge.connect() as idle:
            await idle.send_all(PROBE)
            await reply(idle)
            await busy.send_all(THINK)
            await until(lambda: app.thinking == 1)
            edge.server.stop()

            assert await until_closed(idle, seconds=0.5)
            answer = await reply(busy)

            assert answer.startswith(b"HTTP/1.1 200")
            assert b"connection: close" in answer
            assert await until_closed(busy)
        with trio.fail_after(1):
            await edge.stopped.wait()
        with pytest.raises(OSError, match="connect"):
            await trio.open_tcp_stream("127.0.0.1", edge.port)


@pytest.mark.parametrize("held", ["slow_reader", "half_request", "half_tls", "thinking"])
@pytest.mark.slow
async def test_stopping_ends_in_time_whatever_clients_do(held: str) -> None:
    bounds = attrs.evolve(SHORT, send_s=30.0, receive_s=30.0, handshake_s=30.0, graceful_s=0.3)
    app = small_app()
    async with running(app, authority=AUTHORITY, bounds=bounds) as edge:
        if held == "half_tls":
            raw = await trio.open_tcp_stream("127.0.0.1", edge.port)
            async with raw:
                await raw.send_all(b"\x16\x03\x01")
                await stops_in_time(edge)
            return
        async with edge.connect() as stream:
            sent = {
                "slow_reader": LARGE,
                "half_request": b"POST /echo HTTP/1.1\r\nHost: k\r\nContent-Length: 9\r\n\r\na",
                "thinking": THINK,
            }
            await stream.send_all(sent[held])
            await trio.sleep(0.1)
            await stops_in_time(edge)


async def test_cancelling_the_server_takes_no_time() -> None:
    bounds = attrs.evolve(SHORT, send_s=30.0, graceful_s=30.0, linger_s=30.0)
    async with (
        running(small_app(), authority=AUTHORITY, bounds=bounds) as edge,
        edge.connect() as stream,
    ):
        await stream.send_all(LARGE)
        await trio.sleep(0.1)
        with trio.fail_after(0.5):
            edge.cancel()
            await edge.stopped.wait()


# ---- other listeners ------------------------------------------------------------------------


async def test_a_unix_socket_says_which_user_calls_and_has_no_cap_by_address(
    tmp_path: Path,
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError
        uid = str(scope["state"][PEER_UID]).encode()
        headers = [(b"content-length", b"%d" % len(uid))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": uid, "more_body": False})

    path = tmp_path / "admin.socket"
    bounds = attrs.evolve(SHORT, connections_per_address_max=1)
    async with running(app, authority=None, bounds=bounds, listeners=[listen_unix(path)]):
        one = await trio.open_unix_socket(path)
        async with one, await trio.open_unix_socket(path) as two:
            for stream in (one, two):
                await stream.send_all(PROBE)

                assert (await reply(stream)).endswith(b"\r\n\r\n%d" % os.getuid())
        assert oct(path.stat().st_mode & 0o777) == "0o600"


async def test_a_socket_file_of_a_dead_process_is_replaced_and_a_live_one_is_not(
    tmp_path: Path,
) -> None:
    path = tmp_path / "admin.socket"
    await listen_unix(path).aclose()
    listener = listen_unix(path)
    with pytest.raises(LocalFault, match="in use"):
        listen_unix(path)
    await listener.aclose()
    (tmp_path / "notes").write_text("keep me")
    with pytest.raises(LocalFault, match="not a socket"):
        listen_unix(tmp_path / "notes")

    assert (tmp_path / "notes").read_text() == "keep me"


async def test_an_address_in_use_is_our_fault_and_named() -> None:
    (listener,) = await listen_tcp("127.0.0.1", 0)
    port = listener.socket.getsockname()[1]
    with pytest.raises(LocalFault, match=str(port)):
        await listen_tcp("127.0.0.1", port)
    await listener.aclose()


async def test_an_application_that_does_not_start_is_a_local_fault() -> None:
    app = small_app()

    async def broken() -> None:
        raise RuntimeError("no")

    app.before_serving(broken)
    with pytest.raises(LocalFault, match="start"):
        await _bare_run(app)


async def _bare_run(app: Any) -> None:
    listeners = await listen_tcp("127.0.0.1", 0)
    log = structlog.wrap_logger(None, processors=[_drop])
    await Server(app, listeners=listeners, tls=None, bounds=SHORT, log=log).run()


def _drop(*_: Any) -> Any:
    raise structlog.DropEvent
