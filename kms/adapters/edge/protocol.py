"""HTTP/1.1 and nothing else, with every refusal in one place.

Rules. No protocol is switched: no HTTP/2 by preface or upgrade, no WebSocket; an upgrade that is
asked for is ignored, as RFC 9110 7.8 allows. A request whose length is said twice is refused. An
answer that comes before the whole request ends the connection (RFC 9112 9.3), as the rest of the
body could only be thrown away. What must happen to the connection is decided in synchronous code,
before the application hears that its answer is out: hypercorn decides afterwards, in a task that
its own message may have cancelled (docs/adr/0006).
"""

from http import HTTPStatus
from typing import Protocol

import h11
from hypercorn.events import Closed, RawData, Updated
from hypercorn.protocol.events import (
    Body,
    EndBody,
    Event,
    Request,
    Response,
    StreamClosed,
)
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.protocol.http_stream import ASGIHTTPState, HTTPStream
from hypercorn.typing import ASGISendEvent

_METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})
_VERSIONS = frozenset({b"1.0", b"1.1"})


class Owner(Protocol):
    """The connection, as its protocol sees it."""

    body_bytes_max: int

    def received(self) -> None:
        """The whole request is here."""

    def retiring(self) -> bool:
        """Whether the connection should end after this answer."""
        ...


class Exchange(HTTPStream):
    """One request and its answer: hypercorn's, with a bound on the body."""

    protocol: "OneProtocol"
    _body_bytes = 0

    async def handle(self, event: Event) -> None:
        """As hypercorn's; a body above the bound is refused, or dropped if the answer is out."""
        if isinstance(event, Body):
            self._body_bytes += len(event.data)
            if self._body_bytes > self.protocol.owner.body_bytes_max:
                if self.state is ASGIHTTPState.REQUEST and not self.closed:
                    self.closed = True
                    await self.protocol.refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
                return
        elif isinstance(event, EndBody):
            self.protocol.owner.received()
        await super().handle(event)

    async def app_send(self, message: ASGISendEvent | None) -> None:
        """As hypercorn's; what an application says after its request was refused is dropped."""
        if not self.closed:
            await super().app_send(message)


class OneProtocol(H11Protocol):
    """One connection's HTTP/1.1. Set ``owner`` before the first byte."""

    owner: Owner
    connection: h11.Connection
    _head = b""
    """of an answer, kept until its first body bytes: one TLS record less"""

    def untouched(self) -> bool:
        """No request is under way, and no byte of the next one is here."""
        return self.connection.their_state is h11.IDLE and not self.connection.trailing_data[0]

    async def refuse(self, status: HTTPStatus) -> None:
        """The client has been told, and the connection ends."""
        await self._send_error_response(status)
        await self.send(Closed())

    async def stream_send(self, event: Event) -> None:
        """An answer's parts, in order, go to the client."""
        if isinstance(event, Response):
            headers = [*event.headers, *self.config.response_headers("h11")]
            # An answer before the whole request is the last one: say so.
            if self.owner.retiring() or self.connection.their_state is not h11.DONE:
                headers.append((b"connection", b"close"))
            self._head = self._encoded(h11.Response(headers=headers, status_code=event.status_code))
        elif isinstance(event, Body):
            await self._flush(self._encoded(h11.Data(data=event.data)))
        elif isinstance(event, EndBody):
            await self._flush(self._encoded(h11.EndOfMessage()))
        elif isinstance(event, StreamClosed):
            await self._maybe_recycle()

    def _encoded(self, event: h11.Event) -> bytes:
        """The bytes of an answer's part; none if the client broke the protocol meanwhile."""
        try:
            return self.connection.send(event) or b""
        except h11.LocalProtocolError:
            if self.connection.their_state is not h11.ERROR:
                raise
            return b""

    async def _flush(self, data: bytes) -> None:
        data, self._head = self._head + data, b""
        if data:
            await self.send(RawData(data=data))

    async def _check_protocol(self, event: h11.Request) -> None:
        """No protocol is switched (docs/adr/0006)."""

    async def _create_stream(self, request: h11.Request) -> None:
        refusal = self._refusal(request)
        if refusal is not None:
            await self.refuse(refusal)
            return
        self.stream = Exchange(
            self.app,
            self.config,
            self.context,
            self.task_group,
            self.ssl,
            self.client,
            self.server,
            self.stream_send,
            STREAM_ID,
        )
        self.stream.protocol = self
        self.keep_alive_requests += 1
        await self.stream.handle(
            Request(
                stream_id=STREAM_ID,
                headers=list(request.headers),
                http_version=request.http_version.decode("ascii"),
                method=request.method.decode("ascii"),
                raw_path=request.target,
                state=self.connection_state,
            )
        )

    def _refusal(self, request: h11.Request) -> HTTPStatus | None:
        if request.http_version not in _VERSIONS:
            return HTTPStatus.HTTP_VERSION_NOT_SUPPORTED
        if request.method not in _METHODS:
            return HTTPStatus.NOT_IMPLEMENTED
        # Absolute and authority forms are for proxies, which we are not.
        if not request.target.startswith(b"/"):
            return HTTPStatus.BAD_REQUEST
        lengths = [value for name, value in request.headers if name == b"content-length"]
        codings = [value for name, value in request.headers if name == b"transfer-encoding"]
        # RFC 9112 6.3: two lengths are an attempt to smuggle, whoever sends them.
        if len(lengths) + len(codings) > 1:
            return HTTPStatus.BAD_REQUEST
        if lengths and int(lengths[0]) > self.owner.body_bytes_max:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        return None

    async def _send_error_response(self, status_code: int) -> None:
        body = b'{"message": "%s"}' % HTTPStatus(status_code).phrase.encode("ascii")
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
            (b"connection", b"close"),
            *self.config.response_headers("h11"),
        ]
        data = self._encoded(h11.Response(status_code=status_code, headers=headers))
        data += self._encoded(h11.Data(data=body))
        data += self._encoded(h11.EndOfMessage())
        if data:
            await self.send(RawData(data=data))

    async def _maybe_recycle(self) -> None:
        stream, self.stream = self.stream, None
        whole = self.connection.our_state is h11.DONE and self.connection.their_state is h11.DONE
        if whole:
            self.connection.start_next_cycle()
            await self.send(Updated(idle=True))
        else:
            await self.send(Closed())
        await self.can_read.set()
        if stream is not None:
            await stream.handle(StreamClosed(stream_id=STREAM_ID))
