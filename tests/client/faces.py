"""Both faces of the client behind one, and servers for them: a real edge, and a scripted one."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from uuid import UUID

import attrs
import structlog
import trio

from kms.adapters import etsi004_tls
from kms.adapters.edge import Bounds, Reception, serve
from kms.adapters.etsi004_http import etsi004_app
from kms.adapters.memory.northbound import MemoryNorthbound
from kms.adapters.tls import HTTP_1_1, Credentials, CurrentTLS, server_context
from kms.client import Client, Key, QoS, Stream, SyncClient, SyncStream


class Face(ABC):
    """A client, whichever."""

    @abstractmethod
    async def open(
        self, source: str, destination: str, qos: QoS | None = None, ksid: UUID | None = None
    ) -> UUID: ...

    @abstractmethod
    def held(self, ksid: UUID) -> tuple[QoS, bool]:
        """QoS and ``peer_connected`` of a stream opened here."""

    @abstractmethod
    async def get(
        self, ksid: UUID, index: int | None = None, metadata_size: int | None = None
    ) -> Key: ...

    @abstractmethod
    async def close_stream(self, ksid: UUID) -> None: ...

    @abstractmethod
    async def aclose(self) -> None: ...


class TrioFace(Face):
    def __init__(self, url: str, credentials: Credentials, **options: object) -> None:
        self.client = Client(url, credentials, **options)  # type: ignore[arg-type]
        self._streams: dict[UUID, Stream] = {}

    async def open(
        self, source: str, destination: str, qos: QoS | None = None, ksid: UUID | None = None
    ) -> UUID:
        stream = await self.client.open(source=source, destination=destination, qos=qos, ksid=ksid)
        self._streams[stream.ksid] = stream
        return stream.ksid

    def held(self, ksid: UUID) -> tuple[QoS, bool]:
        return self._streams[ksid].qos, self._streams[ksid].peer_connected

    async def get(
        self, ksid: UUID, index: int | None = None, metadata_size: int | None = None
    ) -> Key:
        return await self._streams[ksid].get(index, metadata_size=metadata_size)

    async def close_stream(self, ksid: UUID) -> None:
        await self._streams[ksid].close()

    async def aclose(self) -> None:
        await self.client.aclose()


class SyncFace(Face):
    """Each call in a thread, as a program without an event loop makes it."""

    def __init__(self, url: str, credentials: Credentials, **options: object) -> None:
        self.client = SyncClient(url, credentials, **options)  # type: ignore[arg-type]
        self._streams: dict[UUID, SyncStream] = {}

    async def open(
        self, source: str, destination: str, qos: QoS | None = None, ksid: UUID | None = None
    ) -> UUID:
        stream = await trio.to_thread.run_sync(
            partial(self.client.open, source=source, destination=destination, qos=qos, ksid=ksid)
        )
        self._streams[stream.ksid] = stream
        return stream.ksid

    def held(self, ksid: UUID) -> tuple[QoS, bool]:
        return self._streams[ksid].qos, self._streams[ksid].peer_connected

    async def get(
        self, ksid: UUID, index: int | None = None, metadata_size: int | None = None
    ) -> Key:
        get = partial(self._streams[ksid].get, index, metadata_size=metadata_size)
        return await trio.to_thread.run_sync(get)

    async def close_stream(self, ksid: UUID) -> None:
        await trio.to_thread.run_sync(self._streams[ksid].close)

    async def aclose(self) -> None:
        self.client.close()


FACES: dict[str, type[TrioFace] | type[SyncFace]] = {"trio": TrioFace, "sync": SyncFace}


INTERFACES = ("https", "tls")
"""by the scheme of their URLs: HTTP, and ETSI's frames"""


@attrs.frozen
class Counter:
    """One of the node's interfaces, as it runs."""

    interface: str
    port: int
    server: Reception

    def url(self, host: str = "127.0.0.1") -> str:
        return f"{self.interface}://{host}:{self.port}"

    @property
    def accepted(self) -> int:
        """Connections so far."""
        return self.server.statistics().accepted


@asynccontextmanager
async def counter(
    northbound: MemoryNorthbound,
    credentials: Credentials,
    bounds: Bounds | None = None,
    interface: str = "https",
) -> AsyncIterator[Counter]:
    """The node's real interface before a fake counter."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    log = structlog.get_logger()
    served = {
        "https": partial(serve, etsi004_app(northbound, log)),
        "tls": partial(etsi004_tls.serve, northbound),
    }
    async with trio.open_nursery() as nursery:
        server: Reception = await nursery.start(
            partial(
                served[interface],
                listeners=listeners,
                tls=CurrentTLS(credentials, alpn=HTTP_1_1),
                log=log,
                bounds=bounds,
            )
        )
        yield Counter(interface, listeners[0].socket.getsockname()[1], server)
        nursery.cancel_scope.cancel()


Script = Callable[[trio.SSLStream[trio.SocketStream]], Awaitable[None]]


@asynccontextmanager
async def scripted(credentials: Credentials, script: Script) -> AsyncIterator[int]:
    """A server that does with each connection, after the handshake, what the script says."""

    async def handle(transport: trio.SocketStream) -> None:
        stream = trio.SSLStream(
            transport,
            server_context(credentials, alpn=HTTP_1_1),
            server_side=True,
            https_compatible=True,
        )
        try:
            await stream.do_handshake()
            await script(stream)
        except trio.BrokenResourceError:
            pass

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, handle, listeners)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def read_request(stream: trio.SSLStream[trio.SocketStream]) -> bytes:
    """Head and body; empty if the client closed."""
    data = bytearray()
    while b"\r\n\r\n" not in data:
        chunk = await stream.receive_some(65536)
        if not chunk:
            return b""
        data += chunk
    head, _, body = bytes(data).partition(b"\r\n\r\n")
    lengths = (
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    )
    length = next(lengths, 0)
    while len(body) < length:
        body += await stream.receive_some(65536)
    return head + b"\r\n\r\n" + body


def says(answer: bytes) -> Script:
    """Reads a request, says this, reads the next; until the client goes."""

    async def script(stream: trio.SSLStream[trio.SocketStream]) -> None:
        while await read_request(stream):
            await stream.send_all(answer)

    return script


def http(body: bytes, *, status: str = "200 OK", headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body
