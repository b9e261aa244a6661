"""One accepted stream, whatever is spoken over it: TLS, whole sends, its age, its end.

Rules. The certificate comes from the TLS layer and from nowhere else. A send is whole or the last
one. No request begins after the certificate's end, after ``connection_s``, or on a connection whose
certificates were replaced. The socket is closed within a bound, however it ends.
"""

import ssl
import time
from typing import Final, Protocol

import trio

from kms.adapters.edge.bounds import Bounds

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
        self.transport = transport
        self.peer_der: bytes | None = None
        """the client's certificate, once the handshake is through"""
        self.retire_at = trio.current_time() + bounds.connection_s
        """no request begins after this"""
        self._bounds = bounds
        self._tls = tls
        self._tls_context = tls.server_context() if tls is not None else None
        self._stream: trio.SSLStream[trio.SocketStream] | trio.SocketStream = transport
        if self._tls_context is not None:
            # https_compatible: a client that just closes is no fault; lengths are explicit.
            self._stream = trio.SSLStream(
                transport, self._tls_context, server_side=True, https_compatible=True
            )
        self._broken = False

    @property
    def secured(self) -> bool:
        """It speaks TLS."""
        return self._tls is not None

    async def handshake(self) -> None:
        """TLS is up and ``peer_der`` is known. Raises ``HandshakeFailed``."""
        if not isinstance(self._stream, trio.SSLStream):
            return
        try:
            with trio.fail_after(self._bounds.handshake_s):
                await self._stream.do_handshake()
        except (trio.BrokenResourceError, trio.TooSlowError) as error:
            raise HandshakeFailed(_reason(error)) from error
        self.peer_der = self._stream.getpeercert(binary_form=True)
        expires = (self._stream.getpeercert() or {}).get("notAfter")
        if isinstance(expires, str):
            # No request begins after the certificate's end, on connections kept open either.
            left_s = ssl.cert_time_to_seconds(expires) - time.time()
            self.retire_at = min(self.retire_at, trio.current_time() + left_s)

    def outlived(self) -> bool:
        """Whether it should carry no further request: too old, or of certificates replaced."""
        return trio.current_time() >= self.retire_at or (
            self._tls is not None and self._tls.server_context() is not self._tls_context
        )

    async def receive(self, bytes_max: int = READ_BYTES) -> bytes:
        """What comes next; empty when the client is gone."""
        try:
            return bytes(await self._stream.receive_some(bytes_max))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return b""

    async def send(self, data: bytes | bytearray, *, deadline: float) -> bool:
        """Whether all of it left by the deadline; if not, nothing more can be sent."""
        if self._broken:
            return False
        # Until it is proven whole: a send that is cut short leaves half a TLS record.
        self._broken = True
        try:
            with trio.CancelScope(deadline=deadline):
                await self._stream.send_all(data)
                self._broken = False
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        return not self._broken

    async def close(self, *, last_word: bool) -> None:
        """The socket is closed, within ``linger_s``, also when cancelled. ``last_word``: an answer
        that ends the connection was sent, and the client should get to read it."""
        try:
            with trio.move_on_after(self._bounds.linger_s):
                if last_word and not self._broken:
                    await self._linger()
        finally:
            await trio.aclose_forcefully(self.transport)

    async def _linger(self) -> None:
        """The client has had time to read our answer.

        Closing with unread bytes makes the kernel send a reset, which takes the answer away
        before the client has read it.
        """
        try:
            await self.transport.send_eof()
            left = self._bounds.linger_bytes_max
            while left > 0:
                data = await self.transport.receive_some(READ_BYTES)
                if not data:
                    return
                left -= len(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
            return


def _reason(error: BaseException) -> str:
    """Why a handshake failed, in OpenSSL's words if it has any."""
    cause = error.__cause__
    if isinstance(error, trio.TooSlowError):
        return "too slow"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return cause.verify_message
    if isinstance(cause, ssl.SSLError):
        return cause.reason or "not TLS"
    return "the client hung up"
