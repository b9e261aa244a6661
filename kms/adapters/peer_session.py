"""One connection between two nodes, from the greeting to the last byte: frames over a stream.

Rules: a frame is a 32-bit big-endian length and that many bytes, 1 to ``FRAME_BYTES_MAX``, and
the length is checked before anything is kept for it. Two lengths are words of the adapters among
themselves: 0 is a heartbeat, all ones is the goodbye. What waits to leave is bounded in bytes;
past it the session ends, because a frame must not be left out.

Theory of operation: a reader and a writer, each a task. The writer takes what has gathered since
its last write, so small frames share a TLS record and a system call when there are many and wait
for nothing when there are few. An idle writer sends a heartbeat; a reader that hears nothing at
all for ``silence`` gives up. Time in which our own node is busy does not count as silence.

A session that we end says goodbye after what was queued, and then reads on and discards until the
neighbour closes: a socket closed over unread bytes resets the connection, which can destroy the
frames that were to arrive. Nothing here knows of TLS or of links.
"""

import math
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import attrs
import trio

from kms.domain import limits

HEARTBEAT: Final = struct.pack(">I", 0)
_GOODBYE_LENGTH: Final = 2**32 - 1
GOODBYE: Final = struct.pack(">I", _GOODBYE_LENGTH)

_HEADER: Final = struct.Struct(">I")
# One TLS record, which is what a read gives at most; Python makes room for all that is asked for.
_RECEIVE_BYTES: Final = 16 * limits.KIB

Deliver = Callable[[bytes], Awaitable[None]]


@attrs.frozen(kw_only=True)
class Timing:
    """How long a session waits, in seconds."""

    heartbeat_s: float = limits.PEER_HEARTBEAT_MS / 1000
    silence_s: float = limits.PEER_SILENCE_MAX_MS / 1000
    linger_s: float = limits.PEER_LINGER_MS / 1000
    handshake_s: float = limits.PEER_HANDSHAKE_TIMEOUT_MS / 1000
    backoff_min_s: float = limits.PEER_BACKOFF_MIN_MS / 1000
    backoff_max_s: float = limits.PEER_BACKOFF_MAX_MS / 1000


@attrs.define
class Traffic:
    """What has passed, over all sessions of a link."""

    frames_in: int = 0
    frames_out: int = 0
    """given to the connection"""
    bytes_in: int = 0
    bytes_out: int = 0
    """of frames, headers not counted"""
    oversized: int = 0


class NotGreeted(Exception):
    """The other end answered something else than a node's greeting."""


async def greet(stream: trio.abc.Stream) -> None:
    """The other end has accepted us, and knows that we accepted it.

    In TLS 1.3 a client is done before the server has looked at its certificate, so without this
    the refused would take itself for connected. Raises ``NotGreeted``, or what the stream raises.
    """
    await stream.send_all(HEARTBEAT)
    heard = b""
    while len(heard) < len(HEARTBEAT):
        chunk = await stream.receive_some(len(HEARTBEAT) - len(heard))
        if not chunk:
            raise NotGreeted("closed before the greeting")
        heard += chunk
    if heard != HEARTBEAT:
        raise NotGreeted("not a node's greeting")


class Session:
    """A greeted stream, carrying frames until either end, the network or silence ends it."""

    def __init__(
        self, number: int, stream: trio.abc.Stream, *, traffic: Traffic, timing: Timing
    ) -> None:
        self.number = number
        self._stream = stream
        self._traffic = traffic
        self._timing = timing
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._wake = trio.Event()
        self._scope = trio.CancelScope()
        self._reason = ""
        self._leaving = False
        self._listening_since = math.inf
        """when the reader began to wait for what it waits for; never, while it delivers"""

    def send(self, data: bytes) -> None:
        """The frame is queued; or, with no room left for it, the session ends."""
        assert 0 < len(data) <= limits.FRAME_BYTES_MAX, "a frame of a length that none may have"
        if self._leaving or self._reason:
            return
        if self._queued_bytes + len(data) > limits.PEER_OUTGOING_BYTES_MAX:
            self.abandon("the neighbour reads too slowly: outgoing queue full")
            return
        self._queue.append(data)
        self._queued_bytes += len(data)
        self._wake.set()

    def leave(self, reason: str) -> None:
        """The session ends once what was queued has gone, or after ``linger``. Nothing that
        arrives from now on is delivered."""
        if self._leaving or self._reason:
            return
        self._leaving = True
        self._reason = reason
        self._scope.deadline = trio.current_time() + self._timing.linger_s
        self._wake.set()

    def abandon(self, reason: str) -> None:
        """The session ends now; what was queued is dropped."""
        self._reason = self._reason or reason
        self._scope.cancel()

    async def run(self, deliver: Deliver) -> str:
        """The session has ended, for the reason returned; the stream is still to be closed.

        Frames are delivered whole, in order, one at a time. Ending the session cancels a delivery
        under way: that frame counts as lost. Raises only what ``deliver`` raises.
        """
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                nursery.start_soon(self._watch)
                await self._read(deliver)
                nursery.cancel_scope.cancel()
        return self._reason

    async def _write(self) -> None:
        try:
            while True:
                if not self._queue and not self._leaving:
                    self._wake = trio.Event()
                    with trio.move_on_after(self._timing.heartbeat_s):
                        await self._wake.wait()
                if self._queue:
                    await self._stream.send_all(self._batch())
                elif self._leaving:
                    await self._stream.send_all(GOODBYE)
                    return
                else:
                    await self._stream.send_all(HEARTBEAT)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            # The reader sees it too, after the frames that did arrive.
            return

    def _batch(self) -> bytes:
        parts: list[bytes] = []
        size = 0
        while self._queue:
            data = self._queue[0]
            if parts and size + len(data) > limits.PEER_COALESCE_BYTES:
                break
            self._queue.popleft()
            parts += (_HEADER.pack(len(data)), data)
            size += len(data)
            self._traffic.frames_out += 1
        self._queued_bytes -= size
        self._traffic.bytes_out += size
        return b"".join(parts)

    async def _read(self, deliver: Deliver) -> None:
        """Returns when the session is over, with the reason noted."""
        buffer = bytearray()
        while True:
            while len(buffer) >= _HEADER.size:
                (length,) = _HEADER.unpack_from(buffer)
                if length == _GOODBYE_LENGTH:
                    return self._over("the neighbour ended the session")
                if length > limits.FRAME_BYTES_MAX:
                    self._traffic.oversized += 1
                    return self._over(f"a frame of {length} bytes, more than any may have")
                end = _HEADER.size + length
                if len(buffer) < end:
                    break
                data = bytes(memoryview(buffer)[_HEADER.size : end])
                del buffer[:end]
                if data and not self._leaving:
                    self._traffic.frames_in += 1
                    self._traffic.bytes_in += length
                    await deliver(data)
            self._listening_since = trio.current_time()
            try:
                chunk = await self._stream.receive_some(_RECEIVE_BYTES)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return self._over("the connection broke")
            if not chunk:
                return self._over("the neighbour closed the connection")
            self._listening_since = math.inf
            buffer += chunk

    async def _watch(self) -> None:
        # A task of its own: a deadline around each read is a quarter of the read's cost.
        while True:
            silent_s = max(0.0, trio.current_time() - self._listening_since)
            if silent_s >= self._timing.silence_s:
                return self.abandon(f"silent for {self._timing.silence_s:g} s")
            await trio.sleep(self._timing.silence_s - silent_s)

    def _over(self, reason: str) -> None:
        self._reason = self._reason or reason
