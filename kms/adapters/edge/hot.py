"""The fast way: requests that a connection's own task answers, past hypercorn (docs/adr/0015).

Rules. A request is hot when a route of the application takes its header, and when the connection
holds that request, whole, and no byte more. Every other request goes to h11 and hypercorn, from its
first byte on, as it came. What a header means h11 alone says, on both ways: no two parsers ever see
one connection.

Theory of operation. A client repeats itself. What h11 made of a header, and what the routes made of
that, is remembered by the header's bytes, for this connection. So the gate finds the end of a
header, looks its bytes up, and counts; it reads nothing. A header with a line end that h11 takes
for the end of it (it is lenient about bare line feeds) leaves bytes over when h11 reads it, and is
not hot.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

import attrs
import h11

# Clients send some 300 bytes; longer ones are rare enough to go the slow way.
HEAD_BYTES_MAX: Final = 2048
# Headers of one connection differ in Content-Length, and hardly else; past it, all are read anew.
HEADS_MAX: Final = 16
# What makes a request more than a header and so many bytes.
_NOT_PLAIN: Final = frozenset({b"transfer-encoding", b"expect", b"upgrade", b"trailer", b"te"})
_END: Final = b"\r\n\r\n"


@attrs.frozen(kw_only=True)
class Answer:
    """An HTTP answer, whole."""

    status: int
    headers: Mapping[str, str]
    """without Content-Length, Date and Connection, which are the edge's"""
    body: bytes = attrs.field(repr=False)

    def encoded(self, *, date: str, last: bool) -> bytes:
        """As hypercorn and h11 write it, to the byte. ``last``: the connection ends after it."""
        lines = [f"HTTP/1.1 {self.status} "]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        lines += [f"content-length: {len(self.body)}", f"date: {date}"]
        if last:
            lines.append("connection: close")
        return "\r\n".join([*lines, "\r\n"]).encode("latin-1") + self.body


Handler = Callable[[bytes | None, bytes], Awaitable[Answer]]
"""the client's certificate in DER, and the request's body, become an answer"""


class HotRoutes(Protocol):
    """What an application answers on the fast way."""

    @property
    def request_lines(self) -> tuple[bytes, ...]:
        """How its requests begin; others are not looked at."""
        ...

    def handler(self, request: h11.Request) -> Handler | None:
        """Who answers a request with this header, which says how long its body is and comes from a
        client that keeps its connection. None: the slow way. The answer must not depend on
        anything else, as it is remembered."""
        ...


@attrs.frozen
class Head:
    """The header of a hot request."""

    head_bytes: int
    whole_bytes: int
    """with the body"""
    handler: Handler


class Gate:
    """One connection's: says which requests are hot."""

    def __init__(self, routes: HotRoutes, *, body_bytes_max: int) -> None:
        self._routes = routes
        self._body_bytes_max = body_bytes_max
        self._lines = routes.request_lines
        self._known: dict[bytes, Head] = {}

    def look(self, data: bytes) -> Head | None:
        """The header with which ``data``, the first bytes of a request, begins; None if the request
        is not hot: then these bytes, and all until it is answered, are hypercorn's."""
        if not data.startswith(self._lines):
            return None
        size = data.find(_END, 0, HEAD_BYTES_MAX) + len(_END)
        if size < len(_END):
            return None
        raw = data[:size]
        head = self._known.get(raw)
        if head is None and (head := self._read(raw)) is not None:
            if len(self._known) >= HEADS_MAX:
                self._known.clear()
            self._known[raw] = head
        return head

    def _read(self, raw: bytes) -> Head | None:
        """What h11 makes of it, as the first bytes of a connection."""
        connection = h11.Connection(h11.SERVER)
        try:
            connection.receive_data(raw)
            request = connection.next_event()
        except h11.RemoteProtocolError:
            return None
        if not isinstance(request, h11.Request) or connection.trailing_data[0]:
            return None
        headers = dict(request.headers)
        lengths = [value for name, value in request.headers if name == b"content-length"]
        if len(lengths) > 1 or not _NOT_PLAIN.isdisjoint(headers) or request.http_version != b"1.1":
            return None
        if headers.get(b"connection", b"keep-alive").lower() != b"keep-alive":
            return None
        # Without a length, and in no chunks, a request has no body (RFC 9112 6.3).
        body_bytes = int(lengths[0]) if lengths else 0
        handler = self._routes.handler(request)
        if handler is None or body_bytes > self._body_bytes_max:
            return None
        return Head(len(raw), len(raw) + body_bytes, handler)
