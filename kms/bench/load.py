"""A load: many connections that ask for a key again as soon as they have one, and little else.

Theory of operation. One thread, one epoll, sockets that never block: a request's bytes are made
before it is asked, where they can be, and of an answer only its length, its status line and a
marker of success are looked at. So a request costs the load a fraction of what it costs a node, and
the load says how much: what kept its own core busy measured itself.
"""

import selectors
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence

import attrs

_READ_BYTES = 256 * 1024
_HANDSHAKE_S = 10.0
# An address of its own: a node counts connections by address, and other clients have some.
_SOURCE = "127.0.0.2"


class BadAnswer(Exception):
    """The server said something else than a key, or nothing more."""


@attrs.frozen(kw_only=True)
class Loaded:
    """What a load got."""

    answers: int
    seconds: float
    cpu_s: float
    """of the load's own processor time"""
    waited_ms: tuple[float, ...]
    """of each answer, in order of length"""

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.answers / self.seconds

    def percentile_ms(self, percent: int) -> float:
        """So many of a hundred waited no longer."""
        return self.waited_ms[min(len(self.waited_ms) * percent // 100, len(self.waited_ms) - 1)]


class _Asking:
    """One connection."""

    def __init__(self, stream: ssl.SSLSocket, requests: Iterator[bytes], marker: bytes) -> None:
        self.stream = stream
        self._requests, self._marker = requests, marker
        self._got = bytearray()
        self._whole = 0
        self._asked_at = 0.0

    def ask(self) -> None:
        request = next(self._requests)
        self._asked_at = time.perf_counter()
        sent = self.stream.send(request)
        assert sent == len(request), "a request fits an empty socket buffer"

    def answered(self) -> float | None:
        """How long the answer took, in ms; None while it is not whole."""
        while True:
            try:
                data = self.stream.recv(_READ_BYTES)
            except ssl.SSLWantReadError:
                return None
            if not data:
                raise BadAnswer("the server closed the connection")
            self._got += data
            if not self._whole:
                self._whole = self._length()
            if self._whole and len(self._got) >= self._whole:
                self._got.clear()
                self._whole = 0
                return (time.perf_counter() - self._asked_at) * 1000

    def _length(self) -> int:
        """Of the whole answer; 0 while its header is not whole."""
        end = self._got.find(b"\r\n\r\n")
        if end < 0:
            return 0
        head = bytes(self._got[:end]).lower()
        start = head.find(b"content-length: ")
        length = int(head[start + 16 :].split(b"\r\n", 1)[0]) if start >= 0 else -1
        ok = head.startswith(b"http/1.1 200") and length >= 0
        if not ok or self._marker not in self._got:
            raise BadAnswer(bytes(self._got[:400]).decode("latin-1"))
        return end + 4 + length


def load(
    port: int,
    contexts: Sequence[ssl.SSLContext],
    requests: Sequence[Iterator[bytes]],
    *,
    marker: bytes,
    seconds: float,
    answers_max: int,
    begun: Callable[[], None] = lambda: None,
) -> Loaded:
    """A connection for each of ``requests``, which last for ``answers_max`` together, with
    ``contexts`` in turn, asks for so long, or until so many were answered. ``begun`` is called when
    all are connected. Raises ``BadAnswer`` for an answer without the ``marker``."""
    askings = [
        _Asking(_connected(port, contexts[number % len(contexts)]), each, marker)
        for number, each in enumerate(requests)
    ]
    waited: list[float] = []
    with selectors.DefaultSelector() as selector:
        for asking in askings:
            selector.register(asking.stream, selectors.EVENT_READ, asking)
        begun()
        cpu, began = time.thread_time(), time.perf_counter()
        for asking in askings:
            asking.ask()
        asked = len(askings)
        for asking, took_ms in _answers(selector, began + seconds):
            waited.append(took_ms)
            if asked < answers_max:
                asking.ask()
                asked += 1
            elif len(waited) == asked:
                break
        spent_s, cpu_s = time.perf_counter() - began, time.thread_time() - cpu
    for asking in askings:
        asking.stream.close()
    return Loaded(
        answers=len(waited), seconds=spent_s, cpu_s=cpu_s, waited_ms=tuple(sorted(waited))
    )


def _answers(selector: selectors.BaseSelector, until: float) -> Iterator[tuple[_Asking, float]]:
    while (left_s := until - time.perf_counter()) > 0:
        for key, _ in selector.select(left_s):
            took_ms = key.data.answered()
            if took_ms is not None:
                yield key.data, took_ms


def _connected(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    """Hands shaken, and never blocking from now on."""
    plain = socket.create_connection(
        ("127.0.0.1", port), timeout=_HANDSHAKE_S, source_address=(_SOURCE, 0)
    )
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream = context.wrap_socket(plain, server_hostname="127.0.0.1")
    stream.setblocking(False)
    return stream
