"""Which interface of a node a client asks through, by its URL.

``https://host[:port][/prefix]`` is HTTP and JSON; ``tls://host[:port]`` is ETSI's binary framing.
An ``Interface`` is a table of functions without sockets, so that both faces of the client speak
both and neither knows which. ETSI GS QKD 014 is HTTP too: who asks for keys with IDs says so by the
class it uses (``keys_at``).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol
from urllib.parse import urlsplit
from uuid import UUID

import attrs

from kms.adapters.tls import HTTP_1_1
from kms.client import etsi004, etsi014, frames
from kms.client.exchange import Address, Call, Exchange
from kms.client.key import Key
from kms.client.outcome import Opened
from kms.domain.status import QoS

# ETSI's reference library listens here.
PORT: Final = 25575


class Connected(Protocol):
    """What is said over one connection, in bytes. After an error it is of no further use."""

    used: bool
    """an answer has come over it"""

    def request(self, call: Call[Any, object]) -> bytes:
        """The bytes to send."""
        ...

    def receive(self, data: bytes | bytearray) -> object | None:
        """The answer once these bytes, empty at the end of the connection, complete it. Raises
        ``AnswerLost`` or ``BadAnswer``."""
        ...

    def again(self) -> bool:
        """The connection is ready for another request; or not, and is to be closed."""
        ...


@attrs.frozen(kw_only=True)
class Endpoint:
    """Where a node is, and what is spoken there."""

    host: str
    port: int
    alpn: tuple[str, ...]
    connected: Callable[[], Connected]
    """of a new connection"""


@attrs.frozen(kw_only=True)
class Interface(Endpoint):
    """One of the two of ETSI GS QKD 004, and how it is asked."""

    open_connect: Callable[[str, str, QoS | None, UUID | None], Call[Any, Opened]]
    get_key: Callable[[UUID, QoS, int | None, int | None], Call[Any, Key]]
    close: Callable[[UUID, QoS], Call[Any, None]]


def interface_at(url: str) -> Interface:
    """The interface that the URL names. Raises ``ValueError``."""
    if urlsplit(url).scheme == "tls":
        return _frames(url)
    address = Address.parse(url)
    return Interface(
        host=address.host,
        port=address.port,
        alpn=HTTP_1_1,
        connected=partial(Exchange, address),
        open_connect=etsi004.open_connect,
        get_key=etsi004.get_key,
        close=etsi004.close,
    )


def keys_at(url: str) -> Endpoint:
    """ETSI GS QKD 014 at ``https://host[:port][/prefix]``; the standard's own ``/api/v1/keys`` may
    be at its end. Raises ``ValueError``."""
    address = Address.parse(url)
    address = attrs.evolve(address, prefix=address.prefix.removesuffix(etsi014.PATH))
    return Endpoint(
        host=address.host, port=address.port, alpn=HTTP_1_1, connected=partial(Exchange, address)
    )


def _frames(url: str) -> Interface:
    parts = urlsplit(url)
    wrong = parts.path or parts.query or parts.fragment or parts.username or parts.password
    if not parts.hostname or wrong or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"{url!r} is not tls://host[:port]")
    return Interface(
        host=parts.hostname,
        port=PORT if parts.port is None else parts.port,
        alpn=(),
        connected=frames.FrameExchange,
        open_connect=frames.open_connect,
        get_key=frames.get_key,
        close=frames.close,
    )
