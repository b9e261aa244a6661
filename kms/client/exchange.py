"""HTTP/1.1 for both faces of the client: bytes in, bytes out, no sockets.

Rules: one request at a time; an answer is bounded before it is kept; redirections are not
followed; a request is never sent twice, because a second GET_KEY is another key. Reading HTTP is
h11's work (docs/adr/0007).
"""

from collections.abc import Callable
from typing import Final, Generic, TypeVar
from urllib.parse import urlsplit

import attrs
import h11

from kms.client.errors import AnswerLost, BadAnswer
from kms.domain import limits
from kms.domain.secret import zero

# A chunk in base64, and metadata twice its size; or 1,024 keys with IDs of 4 KiB each in base64.
ANSWER_BYTES_MAX: Final = 8 * limits.CHUNK_BYTES_MAX
# One TLS record, which is what a read gives at most. Python makes room for all that is asked for:
# 256 KiB made keys of 1 MiB a third slower.
RECEIVE_BYTES: Final = 16 * limits.KIB
# To reach the node, TLS included.
CONNECT_S: Final = 10.0
# Beyond the stream's Timeout, for the way there and back.
MARGIN_S: Final = 5.0
# The node closes an idle connection after 60 s; ours are gone well before, so that no request
# meets the closing half-way.
IDLE_S: Final = 30.0
# Of one client; the node's edge gives one certificate at most 32.
CONNECTIONS_MAX: Final = 8

OCTETS: Final = "application/octet-stream"
JSON: Final = "application/json"

A_contra = TypeVar("A_contra", contravariant=True)
T_co = TypeVar("T_co", covariant=True)


@attrs.frozen(kw_only=True)
class Address:
    """Where a node serves its applications."""

    host: str
    port: int
    prefix: str

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Of ``https://host[:port][/prefix]``. Raises ``ValueError``."""
        parts = urlsplit(url)
        wrong = parts.query or parts.fragment or parts.username or parts.password
        if parts.scheme != "https" or not parts.hostname or wrong:
            raise ValueError(f"{url!r} is not https://host[:port][/prefix]")
        if not url.isascii() or not url.isprintable() or " " in url:
            raise ValueError(f"{url!r} has characters that a URL has not")
        return cls(
            host=parts.hostname,
            port=443 if parts.port is None else parts.port,
            prefix=parts.path.rstrip("/"),
        )

    @property
    def authority(self) -> str:
        """As the Host header wants it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@attrs.define(repr=False, eq=False)
class Answer:
    """An HTTP answer, whole. The body may be a key."""

    http_status: int
    headers: dict[str, str]
    """names in lower case"""
    body: bytearray

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def wipe(self) -> None:
        """The body is zero; its length stays."""
        zero(self.body)


@attrs.frozen(kw_only=True, repr=False)
class Call(Generic[A_contra, T_co]):
    """One function: what to send, how long to wait, how to read the answer."""

    function: str
    body: bytes
    patience_s: float
    read: Callable[[A_contra], T_co]
    accept: str = JSON
    """of HTTP: media types"""
    method: str = "POST"
    """of HTTP; a GET has no body"""
    path: str = ""
    """of HTTP: after the address's prefix"""


def ended(*, used: bool) -> AnswerLost:
    """What to raise when the connection ends before the answer does. ``used``: an answer, or a
    part of one, has come over it."""
    if used:
        return AnswerLost("the connection ended before the answer did")
    # A node that refuses a certificate closes, and in TLS 1.3 only now. We cannot tell.
    return AnswerLost("closed without an answer; perhaps our certificate is not accepted")


class Exchange:
    """The HTTP of one connection. After an error it is of no further use."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._http = h11.Connection(h11.CLIENT)
        self._answer: Answer | None = None
        self.used = False
        """an answer has come over it"""

    def request(self, call: Call[Answer, object]) -> bytes:
        """The bytes to send."""
        self._answer = None
        headers = [("Host", self._address.authority), ("Accept", call.accept)]
        if call.method != "GET":
            headers += [("Content-Type", JSON), ("Content-Length", str(len(call.body)))]
        head = h11.Request(
            method=call.method, target=f"{self._address.prefix}{call.path}", headers=headers
        )
        parts = (
            self._http.send(head),
            self._http.send(h11.Data(call.body)),
            self._http.send(h11.EndOfMessage()),
        )
        return b"".join(part for part in parts if part)

    def receive(self, data: bytes | bytearray) -> Answer | None:
        """The answer once these bytes, empty at the end of the connection, complete it.

        Raises ``AnswerLost`` or ``BadAnswer``.
        """
        try:
            self._http.receive_data(bytes(data) if isinstance(data, bytearray) else data)
            while True:
                event = self._http.next_event()
                if event is h11.NEED_DATA:
                    return None
                if isinstance(event, h11.EndOfMessage):
                    return self._complete()
                if isinstance(event, h11.Event):
                    self._take(event)
                elif event is h11.PAUSED:
                    raise BadAnswer("bytes after the answer")
        except h11.RemoteProtocolError as error:
            if not data:
                raise ended(used=self.used or self._answer is not None) from error
            raise BadAnswer(f"not HTTP: {error}") from error

    def _take(self, event: h11.Event) -> None:
        if isinstance(event, h11.Response):
            headers = {
                name.decode("ascii"): value.decode("latin-1") for name, value in event.headers
            }
            self._answer = Answer(event.status_code, headers, bytearray())
            length = headers.get("content-length", "0")
            if int(length) > ANSWER_BYTES_MAX:
                raise BadAnswer(f"an answer of {length} bytes")
        elif isinstance(event, h11.Data):
            assert self._answer is not None, "h11 gives the head first"
            self._answer.body += event.data
            if len(self._answer.body) > ANSWER_BYTES_MAX:
                raise BadAnswer(f"an answer of more than {ANSWER_BYTES_MAX} bytes")
        elif not isinstance(event, h11.InformationalResponse):
            raise ended(used=self.used or self._answer is not None)

    def _complete(self) -> Answer:
        assert self._answer is not None, "h11 gives the head first"
        self.used = True
        return self._answer

    def again(self) -> bool:
        """The connection is ready for another request; or not, and is to be closed."""
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        if self._http.trailing_data[0]:
            return False
        self._http.start_next_cycle()
        return True
