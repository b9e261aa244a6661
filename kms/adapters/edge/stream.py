"""One client's bytes: a socket that never blocks, with TLS or without.

Reason: trio's SSLStream copies through memory and gives way five times a request; that was half of
what the listener cost (docs/adr/0015). Here OpenSSL reads and writes the socket itself, and the
event loop is asked only to wait.

Rules. One task reads and one writes at a time. Whatever the client does, breaking TLS too, comes
out as the end of its bytes or as ``Broken``.
"""

import select
import socket
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import trio
from trio.lowlevel import wait_readable, wait_writable

T = TypeVar("T")

_HANG_UP = select.POLLRDHUP | select.POLLHUP | select.POLLERR


class Broken(Exception):
    """The client is gone, or does not speak TLS; the cause is the system's or OpenSSL's error."""


class Stream:
    """An accepted connection."""

    def __init__(self, accepted: trio.SocketStream) -> None:
        """Takes the socket over."""
        self.socket = socket.socket(fileno=accepted.socket.detach())
        self.socket.setblocking(False)
        self._decrypted: Callable[[], int] = int
        """bytes that OpenSSL holds and the kernel does not know of"""

    async def handshake(self, tls: ssl.SSLContext) -> tuple[bytes | None, str]:
        """TLS is up. The client's certificate in DER, and when it ends. Raises ``Broken``."""
        try:
            self.socket = secure = tls.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )
        except OSError as error:
            raise Broken from error
        self._decrypted = secure.pending
        await self._ready(secure.do_handshake, wait_readable)
        ends = (secure.getpeercert() or {}).get("notAfter", "")
        assert isinstance(ends, str), "a certificate has one end"
        return secure.getpeercert(binary_form=True), ends

    async def receive(self, most: int) -> bytes:
        """What has come, or comes first; nothing at the end. Raises ``Broken``. Gives way: a client
        that sends and sends is not the only one.

        The kernel is asked before OpenSSL: who answers the last request has no next one yet, and a
        read in vain costs a system call and an exception."""
        if self._decrypted():
            await trio.lowlevel.checkpoint()
        else:
            await wait_readable(self.socket)
        return await self._ready(partial(self.socket.recv, most), wait_readable)

    def send_now(self, data: memoryview) -> int:
        """As many of the bytes as the kernel takes at once are its own. Raises ``Broken``."""
        sent = 0
        try:
            while sent < len(data):
                sent += self.socket.send(data[sent:])
        except (BlockingIOError, ssl.SSLWantWriteError):
            pass
        except OSError as error:
            raise Broken from error
        return sent

    async def send(self, data: memoryview) -> None:
        """All of it is the kernel's. Cancelled or ``Broken``: some of it, perhaps half a record."""
        while data := data[self.send_now(data) :]:
            await wait_writable(self.socket)

    def hung_up(self) -> bool:
        """Whether the client has closed its side, whatever it sent before and we did not read."""
        poll = select.poll()
        poll.register(self.socket, _HANG_UP)
        return bool(poll.poll(0))

    async def linger(self, most: int) -> None:
        """Our side is closed, and the client's last ``most`` bytes are read and dropped: closing
        with unread bytes makes the kernel send a reset, which takes our answer away before the
        client has read it."""
        try:
            self.socket.shutdown(socket.SHUT_WR)
            while most > 0 and (data := await self.receive(most)):
                most -= len(data)
        except (Broken, OSError):
            return

    def close(self) -> None:
        """At once. Twice is no error."""
        if self.socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self.socket)
        self.socket.close()

    async def _ready(
        self, call: Callable[[], T], wait: Callable[[socket.socket], Awaitable[None]]
    ) -> T:
        """What ``call`` returns as soon as it need not wait. OpenSSL says itself what it needs."""
        while True:
            try:
                return call()
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
                needs = wait
                if isinstance(error, ssl.SSLError):
                    reads = isinstance(error, ssl.SSLWantReadError)
                    needs = wait_readable if reads else wait_writable
            except OSError as error:
                raise Broken from error
            await needs(self.socket)
