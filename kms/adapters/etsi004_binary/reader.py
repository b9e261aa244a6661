"""Frames out of a byte stream, however it was cut into pieces.

Rules: no byte beyond the frame in hand is asked for; the size is checked before the payload's
buffer is made; a payload is wiped once it is decoded or given up. After a fault the stream has no
known frame border: the reader is of no more use and the connection ends.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from kms.adapters.etsi004_binary.codec import decode, read_header
from kms.adapters.etsi004_binary.fault import MessageFault
from kms.adapters.etsi004_binary.messages import (
    HEADER_BYTES,
    VERSION,
    Message,
    Service,
    Version,
)
from kms.domain.secret import zero


class Reader:
    """The other side's frames, one after the other.

    ``services``: those that make sense from this other side; any other is ``wrong-service``.
    ``versions``: those of the header; any other is ``wrong-version``.
    """

    def __init__(
        self,
        *,
        payload_bytes_max: int,
        services: frozenset[Service],
        versions: frozenset[Version] = frozenset({VERSION}),
    ) -> None:
        self.version = VERSION
        """of the last header that was read"""
        self._payload_bytes_max = payload_bytes_max
        self._services = services
        self._versions = versions
        self._service: Service | None = None
        """None: the header is being read"""
        self._buffer = bytearray(HEADER_BYTES)
        self._filled = 0

    def space(self) -> memoryview:
        """Where the frame's next bytes belong; never empty, never beyond the frame."""
        return memoryview(self._buffer)[self._filled :]

    def filled(self, count: int) -> Message | None:
        """``count`` bytes of ``space`` are there; the message, if they complete it. Raises
        ``MessageFault``."""
        assert 0 < count <= len(self._buffer) - self._filled, "more than the space given"
        self._filled += count
        if self._filled < len(self._buffer):
            return None
        if self._service is None:
            service, size = self._read_header()
            if size:
                self._service, self._buffer, self._filled = service, bytearray(size), 0
                return None
            self.wipe()
            return decode(service, b"")
        with self._wiped_after():
            return decode(self._service, self._buffer)

    def feed(self, data: bytes | bytearray | memoryview) -> Iterator[Message]:
        """The messages that ``data`` completes, in order. Raises ``MessageFault``."""
        rest = memoryview(data)
        while len(rest):
            space = self.space()
            count = min(len(space), len(rest))
            space[:count] = rest[:count]
            rest = rest[count:]
            message = self.filled(count)
            if message is not None:
                yield message

    def end(self) -> None:
        """The stream ended. Raises ``MessageFault`` if that was inside a frame."""
        if self._service is not None or self._filled:
            self.wipe()
            raise MessageFault("cut", "the stream ends inside a frame")

    def wipe(self) -> None:
        """What was read of the frame in hand is zero and forgotten; a frame may begin."""
        zero(self._buffer)
        self._service, self._buffer, self._filled = None, bytearray(HEADER_BYTES), 0

    @contextmanager
    def _wiped_after(self) -> Iterator[None]:
        try:
            yield
        finally:
            self.wipe()

    def _read_header(self) -> tuple[Service, int]:
        self.version, service, size = read_header(self._buffer, self._versions)
        if service not in self._services:
            raise MessageFault("wrong-service", f"{service.name} does not come from this side")
        if size > self._payload_bytes_max:
            raise MessageFault(
                "oversized", f"a payload of {size} B, at most {self._payload_bytes_max}"
            )
        return service, size
