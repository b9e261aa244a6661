"""One accepted stream, whatever is spoken over it: TLS, whole sends, its age, its end.

Rules. The certificate comes from the TLS layer and from nowhere else. A send is whole or the last
one. No request begins after the certificate's end, after ``connection_s``, or on a connection whose
certificates were replaced. The socket is closed within a bound, however it ends.
"""

import socket
import ssl
import time
from typing import Final, Protocol

import trio

from kms.adapters.edge.bounds import Bounds
from kms.adapters.edge.stream import Broken, Stream

READ_BYTES: Final = 64 * 1024


class TLSSource(Protocol):
    """Where the contexts come from; asked at each connection, so that a reload acts at once."""

    def server_context(self) -> ssl.SSLContext: ...


class HandshakeFailed(Exception):
    """No TLS, no certificate of our authority, or too slow; the words are OpenSSL's."""


class Accepted:
    """A client's stream from ``accept`` to ``close``."""

    def __init__(
        self, transport: trio.SocketStream, *, bounds: Bounds, tls: TLSSource | None
    ) -> None:
        """``tls`` None: plain, for loopback and unix sockets only."""
        self._stream = Stream(transport)
        self.peer_der: bytes | None = None
        """the client's certificate, once the handshake is through"""
        self.retire_at = trio.current_time() + bounds.connection_s
        """no request begins after this"""
        self._bounds = bounds
        self._tls = tls
        self._tls_context = tls.server_context() if tls is not None else None
        self._broken = False

    @property
    def socket(self) -> socket.socket:
        """For what it says of its two ends."""
        return self._stream.socket

    @property
    def secured(self) -> bool:
        """It speaks TLS."""
        return self._tls is not None

    async def handshake(self) -> None:
        """TLS is up and ``peer_der`` is known. Raises ``HandshakeFailed``."""
        if self._tls_context is None:
            return
        try:
            with trio.fail_after(self._bounds.handshake_s):
                self.peer_der, ends = await self._stream.handshake(self._tls_context)
        except (Broken, trio.TooSlowError) as error:
            raise HandshakeFailed(_reason(error)) from error
        if ends:
            # No request begins after the certificate's end, on connections kept open either.
            left_s = ssl.cert_time_to_seconds(ends) - time.time()
            self.retire_at = min(self.retire_at, trio.current_time() + left_s)

    def outlived(self) -> bool:
        """Whether it should carry no further request: too old, or of certificates replaced."""
        return trio.current_time() >= self.retire_at or (
            self._tls is not None and self._tls.server_context() is not self._tls_context
        )

    async def receive(self, bytes_max: int = READ_BYTES) -> bytes:
        """What comes next; empty when the client is gone."""
        try:
            return await self._stream.receive(bytes_max)
        except Broken:
            return b""

    def send_now(self, data: memoryview) -> memoryview:
        """What of the data the kernel does not take at once: for ``send``. Nobody else may be
        sending."""
        try:
            return data[self._stream.send_now(data) :]
        except Broken:
            self._broken = True
            return data

    async def send(self, data: bytes | bytearray | memoryview, *, deadline: float) -> bool:
        """Whether all of it left by the deadline; if not, nothing more can be sent."""
        if self._broken:
            return False
        # Until it is proven whole: a send that is cut short leaves half a TLS record.
        self._broken = True
        try:
            with trio.CancelScope(deadline=deadline):
                await self._stream.send(memoryview(data))
                self._broken = False
        except Broken:
            pass
        return not self._broken

    def hung_up(self) -> bool:
        """Whether the client has closed its side, though nobody reads what it sends."""
        return self._stream.hung_up()

    async def close(self, *, last_word: bool) -> None:
        """The socket is closed, within ``linger_s``, also when cancelled. ``last_word``: an answer
        that ends the connection was sent, and the client should get to read it."""
        try:
            with trio.move_on_after(self._bounds.linger_s):
                if last_word and not self._broken:
                    await self._stream.linger(self._bounds.linger_bytes_max)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """The socket is closed, whatever was under way. Twice is no error."""
        self._stream.close()


def _reason(error: BaseException) -> str:
    """Why a handshake failed, in OpenSSL's words if it has any."""
    cause = error.__cause__
    if isinstance(error, trio.TooSlowError):
        return "too slow"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return cause.verify_message
    if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError):
        return cause.reason or "not TLS"
    return "the client hung up"
