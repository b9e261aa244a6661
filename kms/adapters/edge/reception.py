"""What every server for strangers does, whatever is spoken inside: accept, count, contain, stop.

Rules. What one connection raises is logged and ends that connection only (docs/adr/0006). A refused
or failed connection costs one throttled log line, whatever their number. Stopping takes
``graceful_s`` plus ``linger_s`` at the most, whatever clients do; cancelling takes no time.
"""

import errno
import resource
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, Protocol, Self, TypeVar

import attrs
import trio
from structlog.typing import FilteringBoundLogger

from kms.adapters.edge.accepted import Accepted, HandshakeFailed, TLSSource
from kms.adapters.edge.bounds import Bounds
from kms.adapters.edge.door import Door, Full
from kms.adapters.edge.quiet import QuietLog

Listener = trio.abc.Listener[trio.SocketStream]

# The kernel is out of something; accepting again at once would only spin.
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_EXHAUSTED_PAUSE_S = 0.1


@attrs.frozen(kw_only=True)
class EdgeStatistics:
    """What one server has seen since its start."""

    connections: int
    """open now"""
    accepted: int
    """connections that came through the caps"""
    refused: int
    """closed at once, because a cap was reached"""
    handshakes_failed: int
    """no, wrong or expired certificate, no TLS, or too slow"""
    contained: int
    """connections that ended by an exception; each is a fault of ours or of a library"""
    exhausted: int
    """times the kernel had no file descriptor or memory for a connection"""
    hot: int = 0
    """requests answered on the fast way"""


class Visitor(Protocol):
    """One client's connection, as the reception sees it."""

    @property
    def peer_der(self) -> bytes | None:
        """The client's certificate, after the handshake."""
        ...

    async def handshake(self) -> None:
        """The client is known. Raises ``HandshakeFailed``."""
        ...

    async def run(self) -> None:
        """The connection is over. What it raises is contained."""
        ...

    def retire(self) -> None:
        """The connection ends now if it is idle, else after the answer under way."""
        ...


V = TypeVar("V", bound=Visitor)


class Reception(ABC, Generic[V]):
    """A server on some listeners; what it speaks is its subclass's."""

    def __init__(
        self,
        *,
        listeners: Sequence[Listener],
        tls: TLSSource | None,
        bounds: Bounds,
        log: FilteringBoundLogger,
    ) -> None:
        """``tls`` None: plain, for loopback and unix sockets only."""
        self._listeners = tuple(listeners)
        self._tls = tls
        self._bounds = bounds
        self._log = QuietLog(log)
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._door = Door(bounds, connections_max=min(bounds.connections_max, descriptors // 2))
        self._live: set[V] = set()
        self._stopping = trio.Event()
        self._accepted = self._refused = self._handshakes_failed = 0
        self._contained = self._exhausted = 0

    @abstractmethod
    def welcome(self, accepted: Accepted) -> V:
        """The connection over this stream; nothing is read yet."""

    def stop(self) -> None:
        """No new connection is accepted; ``run`` returns when those open are done, or at the
        latest after ``graceful_s`` plus ``linger_s``."""
        self._stopping.set()

    def retire(self) -> None:
        """Every connection that is open now ends: at once if it is idle, else after the answer
        under way. New ones are accepted."""
        for visitor in tuple(self._live):
            visitor.retire()

    def statistics(self) -> EdgeStatistics:
        return EdgeStatistics(
            connections=self._door.inside,
            accepted=self._accepted,
            refused=self._refused,
            handshakes_failed=self._handshakes_failed,
            contained=self._contained,
            exhausted=self._exhausted,
        )

    async def run(self, *, task_status: "trio.TaskStatus[Self]" = trio.TASK_STATUS_IGNORED) -> None:
        """Serves until ``stop`` or cancellation; then the listeners are closed."""
        try:
            async with trio.open_nursery() as connections:
                async with trio.open_nursery() as acceptors:
                    for listener in self._listeners:
                        acceptors.start_soon(self._accept, listener, connections)
                    task_status.started(self)
                    await self._stopping.wait()
                    acceptors.cancel_scope.cancel()
                await self._close_listeners()
                self.retire()
                connections.cancel_scope.deadline = trio.current_time() + self._bounds.graceful_s
        finally:
            await self._close_listeners()

    async def _close_listeners(self) -> None:
        for listener in self._listeners:
            await trio.aclose_forcefully(listener)

    async def _accept(self, listener: Listener, connections: trio.Nursery) -> None:
        while True:
            try:
                transport = await listener.accept()
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                self._exhausted += 1
                self._log.fault("edge_exhausted", error)
                await trio.sleep(_EXHAUSTED_PAUSE_S)
            else:
                connections.start_soon(self._contain, transport)

    async def _contain(self, transport: trio.SocketStream) -> None:
        """The connection is over and closed, and nobody else noticed."""
        try:
            await self._receive(transport)
        except* Full as group:
            self._refused += 1
            self._log.event("edge_refused", reason=str(group.exceptions[0]))
        except* HandshakeFailed as group:
            self._handshakes_failed += 1
            self._log.event("edge_handshake_failed", reason=str(group.exceptions[0]))
        except* Exception as group:  # noqa: BLE001
            # The one broad catch of the edge: a connection's mistake is that connection's (I10).
            self._contained += 1
            self._log.fault("edge_contained", group)
        finally:
            await trio.aclose_forcefully(transport)

    async def _receive(self, transport: trio.SocketStream) -> None:
        try:
            name = transport.socket.getpeername()
        except OSError:
            return  # Gone before we looked.
        address = name[0] if isinstance(name, tuple) else None
        with self._door.admit(address):
            self._accepted += 1
            accepted = Accepted(transport, bounds=self._bounds, tls=self._tls)
            visitor = self.welcome(accepted)
            self._live.add(visitor)
            try:
                await visitor.handshake()
                with self._door.identify(visitor.peer_der):
                    await visitor.run()
            finally:
                accepted.abandon()
                self._live.discard(visitor)
