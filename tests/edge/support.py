"""Certificates, a server with short bounds, and a client that speaks raw bytes."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import h11
import structlog
import trio

from kms.adapters.edge import (
    Answer,
    Bounds,
    Handler,
    HotRoutes,
    Reception,
    TLSSource,
    listen_tcp,
    serve,
)
from tests.edge.authority import Authority

Stream = trio.SSLStream[trio.SocketStream] | trio.SocketStream

SHORT = Bounds(
    handshake_s=0.5,
    header_s=0.3,
    receive_s=0.4,
    send_s=0.5,
    idle_s=2.0,
    linger_s=0.2,
    graceful_s=0.5,
)
"""Bounds that a test can wait for."""

PROBE = b"GET /who HTTP/1.1\r\nHost: kms\r\n\r\n"


@attrs.define
class FixedTLS:
    """A ``TLSSource`` whose context a test may replace."""

    context: ssl.SSLContext

    def server_context(self) -> ssl.SSLContext:
        return self.context


@attrs.define
class Running:
    """A server under test."""

    server: Reception
    port: int
    events: list[dict[str, Any]]
    client: ssl.SSLContext | None
    stopped: trio.Event
    cancel: Callable[[], None]
    probe: Callable[[Stream], Awaitable[bool]]
    """whether a connection is served"""

    def logged(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == name]

    @asynccontextmanager
    async def connect(self, context: ssl.SSLContext | None = None) -> AsyncIterator[Stream]:
        """A connection, with TLS if the server has it."""
        context = context or self.client
        stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        if context is None:
            async with stream:
                yield stream
            return
        tls = trio.SSLStream(stream, context, server_hostname="127.0.0.1", https_compatible=True)
        try:
            yield tls
        finally:
            await trio.aclose_forcefully(stream)

    async def answers(self) -> bool:
        """Whether another client, on a connection of its own, is served now."""
        async with self.connect() as stream:
            return await self.probe(stream)


async def served(stream: Stream) -> bool:
    """Whether HTTP is answered on this connection."""
    await stream.send_all(PROBE)
    return (await reply(stream)).startswith(b"HTTP/1.1 200")


async def reply(stream: Stream, *, seconds: float = 3.0) -> bytes:
    """One answer with Content-Length; or what came before the end of the connection."""
    data = b""
    with trio.move_on_after(seconds):
        try:
            while b"\r\n\r\n" not in data:
                more = await stream.receive_some(65536)
                if not more:
                    return data
                data += more
            head, _, body = data.partition(b"\r\n\r\n")
            length = 0
            for line in head.split(b"\r\n"):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            while len(body) < length:
                more = await stream.receive_some(65536)
                if not more:
                    break
                body += more
            return head + b"\r\n\r\n" + body
        except trio.BrokenResourceError:
            return data
    return data


async def until_closed(stream: Stream, *, seconds: float = 3.0) -> bool:
    """Whether the server closes the connection in this time."""
    with trio.move_on_after(seconds):
        try:
            while await stream.receive_some(65536):
                pass
        except trio.BrokenResourceError:
            pass
        return True
    return False


@asynccontextmanager
async def running(
    app: Callable[..., Awaitable[None]],
    *,
    authority: Authority | None,
    bounds: Bounds = SHORT,
    tls: TLSSource | None = None,
    listeners: Sequence[trio.abc.Listener[trio.SocketStream]] = (),
    hot: HotRoutes | None = None,
) -> AsyncIterator[Running]:
    """The HTTP server on loopback, until the block ends; then it is cancelled."""
    serving = partial(serve, app, bounds=bounds, hot=hot)
    async with hosted(
        serving, served, authority=authority, tls=tls, listeners=listeners
    ) as running:
        yield running


@asynccontextmanager
async def hosted(
    serving: Callable[..., Awaitable[None]],
    probe: Callable[[Stream], Awaitable[bool]],
    *,
    authority: Authority | None,
    tls: TLSSource | None = None,
    listeners: Sequence[trio.abc.Listener[trio.SocketStream]] = (),
) -> AsyncIterator[Running]:
    """Any server of the edge on loopback, until the block ends; then it is cancelled."""
    events: list[dict[str, Any]] = []

    def keep(_: Any, name: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
        events.append({**event, "level": name})
        raise structlog.DropEvent

    log = structlog.wrap_logger(
        None, processors=[keep], wrapper_class=structlog.make_filtering_bound_logger(0)
    )
    if tls is None and authority is not None:
        tls = FixedTLS(authority.server_context())
    port = 0
    if not listeners:
        listeners = tcp = await listen_tcp("127.0.0.1", 0)
        port = tcp[0].socket.getsockname()[1]
    stopped = trio.Event()
    async with trio.open_nursery() as nursery:
        whole = trio.CancelScope()

        async def run(task_status: trio.TaskStatus[Reception]) -> None:
            with whole:
                await serving(listeners=listeners, tls=tls, log=log, task_status=task_status)
            stopped.set()

        server: Reception = await nursery.start(run)
        client = authority.client_context("sae:alice.a") if authority is not None else None
        yield Running(server, port, events, client, stopped, whole.cancel, probe)
        nursery.cancel_scope.cancel()


def small_app() -> Any:
    """A Quart application: who calls, what was sent, an endless answer, a fault, a long thought."""
    from quart import request
    from quart_trio import QuartTrio

    from kms.adapters.edge import PEER_DER

    app = QuartTrio("small", static_folder=None)
    app.config["RESPONSE_TIMEOUT"] = None
    app.thinking = 0  # type: ignore[attr-defined]

    @app.get("/who")
    async def who() -> Any:
        der = request.scope["state"].get(PEER_DER)
        return {"der": der.hex() if der else None}

    @app.post("/echo")
    async def echo() -> Any:
        return {"bytes": len(await request.get_data())}

    @app.post("/early")
    async def early() -> Any:
        return {"early": True}

    @app.get("/large")
    async def large() -> Any:
        return bytes(16 * 1024 * 1024)

    @app.get("/fault")
    async def fault() -> Any:
        raise ZeroDivisionError("a mistake of ours")

    @app.get("/think")
    async def think() -> Any:
        app.thinking += 1  # type: ignore[attr-defined]
        try:
            await trio.sleep(1.0)
        finally:
            app.thinking -= 1  # type: ignore[attr-defined]
        return {"thought": True}

    return app


class SmallHot:
    """What of ``small_app`` is answered on the fast way, and some that only the fast way has. Takes
    whatever header the gate lets through."""

    def __init__(self) -> None:
        self.thinking = 0
        self._handlers: dict[bytes, Handler] = {
            b"/echo": self._echo,
            b"/think": self._think,
            b"/large": self._large,
            b"/fault": self._fault,
        }
        self.request_lines = tuple(b"POST %s HTTP/1.1\r\n" % path for path in self._handlers)

    def handler(self, request: h11.Request) -> Handler | None:
        return self._handlers.get(request.target)

    async def _echo(self, der: bytes | None, body: bytes) -> Answer:
        return _json(b'{"bytes":%d}\n' % len(body))

    async def _think(self, der: bytes | None, body: bytes) -> Answer:
        self.thinking += 1
        try:
            await trio.sleep(1.0)
        finally:
            self.thinking -= 1
        return _json(b'{"thought":true}\n')

    async def _large(self, der: bytes | None, body: bytes) -> Answer:
        return _json(bytes(16 * 1024 * 1024))

    async def _fault(self, der: bytes | None, body: bytes) -> Answer:
        raise ZeroDivisionError("a mistake of ours")


def _json(body: bytes) -> Answer:
    return Answer(status=200, headers={"content-type": "application/json"}, body=body)


async def stops_in_time(edge: Running) -> None:
    """``graceful_s`` is 0.3 and ``linger_s`` 0.2; the rest is for a loaded machine."""
    edge.server.stop()
    with trio.fail_after(2.0):
        await edge.stopped.wait()


async def until(true: Callable[[], object], *, seconds: float = 2.0) -> None:
    """It became so, in time."""
    with trio.fail_after(seconds):
        while not true():
            await trio.sleep(0.005)
