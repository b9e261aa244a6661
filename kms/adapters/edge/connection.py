"""One client's connection: handshake, deadlines, and an end that is always the same.

Rules. The reader's task owns the connection. It answers hot requests itself (``hot``) and gives
every other byte to hypercorn. ``_due`` says until when what is awaited now may take: a header, a
body, the next request, or for ever while a handler thinks; the server looks at it many times a
second (``watch``), which costs less than a timer that is moved at each step. Whoever wants the
connection to end calls ``end``; the reader then stops, the request's task is cancelled, and the
stream is closed, each within a bound. The certificate comes from the TLS layer into the scope's
state, which no header can set.
"""

import socket
import struct
import time
from functools import lru_cache
from math import inf
from wsgiref.handlers import format_date_time

import attrs
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState, LifespanState
from hypercorn.utils import parse_socket_addr

from kms.adapters.edge.accepted import Accepted
from kms.adapters.edge.bounds import Bounds
from kms.adapters.edge.hot import Gate, Head, HotRoutes
from kms.adapters.edge.protocol import OneProtocol

PEER_DER = "kms.peer_der"
"""``scope["state"]``: the client's certificate in DER, on TLS listeners"""
PEER_UID = "kms.peer_uid"
"""``scope["state"]``: the client's user id, on unix sockets"""


@attrs.define
class Served:
    """What the connections of one server count together."""

    hot: int = 0
    """requests answered on the fast way"""


class Connection:
    """One accepted stream, until it is closed: what hypercorn's ``TCPServer`` would be."""

    def __init__(
        self,
        app: AppWrapper,
        config: Config,
        context: WorkerContext,
        state: LifespanState,
        accepted: Accepted,
        *,
        bounds: Bounds,
        hot: HotRoutes | None,
        served: Served,
    ) -> None:
        self.body_bytes_max = bounds.body_bytes_max
        self._app = app
        self._config = config
        self._context = context
        self._state = state
        self._accepted = accepted
        self._bounds = bounds
        self._http: OneProtocol
        self._gate = hot and Gate(hot, body_bytes_max=bounds.body_bytes_max)
        self._served = served
        self._sending = trio.Lock()
        self._reading = trio.CancelScope()
        self._due = self._send_until = inf
        self._idle = True
        self._answering = False
        """nobody reads what the client sends: an answer is awaited"""
        self._early = False
        self._told_to_retire = False
        self._ended = False

    @property
    def peer_der(self) -> bytes | None:
        return self._accepted.peer_der

    async def handshake(self) -> None:
        """TLS is up and ``peer_der`` is known. Raises ``HandshakeFailed``."""
        await self._accepted.handshake()

    async def run(self) -> None:
        """The connection is over. Raises what a protocol's or our own mistake raises; the server
        contains it."""
        try:
            with trio.CancelScope() as whole:
                async with TaskGroup() as task_group:
                    self._http = self._speak(task_group)
                    await self._read()
                    whole.cancel()
        finally:
            await self._accepted.close(last_word=self._early)

    def retire(self) -> None:
        """The connection ends now if it is idle, else after the answer under way."""
        self._told_to_retire = True
        if self._idle:
            self.end()

    def end(self) -> None:
        """The connection ends now. Never blocks; may be called twice, from any task."""
        self._ended = True
        self._reading.cancel()

    def watch(self, now: float) -> None:
        """Called many times a second: what takes too long is over, and so is a request whose client
        hung up while nobody read."""
        if now >= self._due or (self._answering and self._accepted.hung_up()):
            self.end()

    def received(self) -> None:
        """The request is whole: the handler may think as long as its own rules allow."""
        self._due = inf
        # A "100 Continue" was no part of the answer.
        self._send_until = inf

    def retiring(self) -> bool:
        """Whether this connection should take no further request."""
        return (
            self._told_to_retire
            or self._accepted.outlived()
            or self._http.keep_alive_requests >= self._bounds.requests_per_connection_max
        )

    async def handle(self, event: Event) -> None:
        """What the protocol wants done with the socket. Sends are whole, or the connection ends."""
        if isinstance(event, RawData):
            await self._send(memoryview(event.data))
        elif isinstance(event, Updated):
            now = trio.current_time()
            self._idle = event.idle
            self._send_until = inf
            if event.idle and self._told_to_retire:
                self.end()
            elif event.idle:
                self._due = min(now + self._bounds.idle_s, self._accepted.retire_at)
            else:
                self._due = now + self._bounds.receive_s
        elif isinstance(event, Closed):
            self._early = True
            self.end()

    async def _send(self, data: memoryview) -> None:
        async with self._sending:
            # The whole answer has one deadline, from its first byte on.
            self._send_until = min(self._send_until, trio.current_time() + self._bounds.send_s)
            whole = await self._accepted.send(data, deadline=self._send_until)
        if not whole:
            self.end()

    async def _read(self) -> None:
        """Returns when the client is gone, too slow, or the connection was ended."""
        self._due = trio.current_time() + self._bounds.header_s
        with self._reading:
            while not self._ended:
                data = await self._accepted.receive()
                if self._idle and data:
                    self._idle = False
                    self._due = trio.current_time() + self._bounds.header_s
                    head = self._gate and self._http.untouched() and self._gate.look(data)
                    if head:
                        data = await self._whole(head, data)
                        if len(data) == head.whole_bytes:
                            await self._answer(head, data)
                            continue
                # While a request is under way, hypercorn makes the bytes of the next one wait.
                self._answering = True
                await self._http.handle(RawData(data))
                self._answering = False
                if not data:
                    return

    async def _whole(self, head: Head, data: bytes) -> bytes:
        """The request, perhaps with more behind it; or less of it, if the client is gone."""
        if len(data) < head.whole_bytes:
            self._due = trio.current_time() + self._bounds.receive_s
        while len(data) < head.whole_bytes and (more := await self._accepted.receive()):
            data += more
        return data

    async def _answer(self, head: Head, request: bytes) -> None:
        """A hot request is answered, and the connection awaits the next one."""
        self.received()
        self._answering = True
        answer = await head.handler(self.peer_der, request[head.head_bytes :])
        self._answering = False
        self._http.keep_alive_requests += 1
        self._served.hot += 1
        last = self.retiring()
        data = memoryview(answer.encoded(date=_date(int(time.time())), last=last))
        # Nobody else sends meanwhile, and most answers fit the kernel's buffer.
        if rest := self._accepted.send_now(data):
            await self._send(rest)
        if last:
            self._early = True
            self.end()
        else:
            await self.handle(Updated(idle=True))

    def _speak(self, task_group: TaskGroup) -> OneProtocol:
        peer = self._accepted.socket
        state = {**self._state}
        if self.peer_der is not None:
            state[PEER_DER] = self.peer_der
        if peer.family == socket.AF_UNIX:
            credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            state[PEER_UID] = struct.unpack("3i", credentials)[1]
        protocol = OneProtocol(
            self._app,
            self._config,
            self._context,
            task_group,
            ConnectionState(state),
            self._accepted.secured,
            _address(peer, peer.getpeername()),
            _address(peer, peer.getsockname()),
            self.handle,
        )
        protocol.owner = self
        return protocol


def _address(peer: socket.socket, name: tuple[str, int]) -> tuple[str, int] | None:
    return parse_socket_addr(peer.family, name)


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return format_date_time(second)
