"""The server: accepts, counts, contains, stops.

Rules. What one connection raises is logged and ends that connection only (docs/adr/0006). A refused
or failed connection costs one throttled log line, whatever their number. Stopping takes
``graceful_s`` plus ``linger_s`` at the most, whatever clients do; cancelling takes no time.
"""

import errno
import resource
from collections.abc import Sequence

import attrs
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework, LifespanState
from hypercorn.utils import LifespanFailureError, LifespanTimeoutError
from structlog.typing import FilteringBoundLogger

from kms.adapters.edge.bounds import Bounds
from kms.adapters.edge.connection import Connection, HandshakeFailed, TLSSource
from kms.adapters.edge.door import Door, Full
from kms.adapters.edge.hot import HotRoutes
from kms.adapters.edge.quiet import HypercornLog, QuietLog
from kms.domain.errors import LocalFault

Listener = trio.abc.Listener[trio.SocketStream]

# The kernel is out of something; accepting again at once would only spin.
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_EXHAUSTED_PAUSE_S = 0.1
# How late a deadline may be: some thousand looks a second at the most connections there may be.
_WATCH_S = 0.05
# Time for the application's own start-up and shut-down hooks.
_LIFESPAN_S = 5.0


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
    hot: int
    """requests answered on the fast way"""


class Server:
    """One application on some listeners."""

    def __init__(
        self,
        app: ASGIFramework,
        *,
        listeners: Sequence[Listener],
        tls: TLSSource | None,
        bounds: Bounds,
        log: FilteringBoundLogger,
        hot: HotRoutes | None = None,
    ) -> None:
        """``tls`` None: plain HTTP, for loopback and unix sockets only. ``hot``: what of the
        application is answered on the fast way."""
        self._hot = hot
        self._listeners = tuple(listeners)
        self._tls = tls
        self._bounds = bounds
        self._log = QuietLog(log)
        self._app = ASGIWrapper(app)
        self._config = _config(bounds, self._log)
        self._context = WorkerContext(None)
        self._state: LifespanState = {}
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._door = Door(bounds, connections_max=min(bounds.connections_max, descriptors // 2))
        self._live: set[Connection] = set()
        self._stopping = trio.Event()
        self._accepted = self._refused = self._handshakes_failed = 0
        self._contained = self._exhausted = self._hot_answers = 0

    def stop(self) -> None:
        """No new connection is accepted; ``run`` returns when those open are done, or at the
        latest after ``graceful_s`` plus ``linger_s``."""
        self._stopping.set()

    def statistics(self) -> EdgeStatistics:
        return EdgeStatistics(
            connections=self._door.inside,
            accepted=self._accepted,
            refused=self._refused,
            handshakes_failed=self._handshakes_failed,
            contained=self._contained,
            exhausted=self._exhausted,
            hot=self._hot_answers + sum(each.hot for each in self._live),
        )

    async def run(
        self, *, task_status: "trio.TaskStatus[Server]" = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serves until ``stop`` or cancellation; then the listeners are closed. Raises
        ``LocalFault`` if the application does not start."""
        lifespan = Lifespan(self._app, self._config, self._state)
        try:
            async with trio.open_nursery() as hooks:
                await hooks.start(lifespan.handle_lifespan)
                await lifespan.wait_for_startup()
                hooks.start_soon(self._watch)
                async with trio.open_nursery() as connections:
                    async with trio.open_nursery() as acceptors:
                        for listener in self._listeners:
                            acceptors.start_soon(self._accept, listener, connections)
                        task_status.started(self)
                        await self._stopping.wait()
                        acceptors.cancel_scope.cancel()
                    await self._close_listeners()
                    for connection in tuple(self._live):
                        connection.retire()
                    connections.cancel_scope.deadline = (
                        trio.current_time() + self._bounds.graceful_s
                    )
                await lifespan.wait_for_shutdown()
                hooks.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            hooks_failed, rest = group.split((LifespanFailureError, LifespanTimeoutError))
            if hooks_failed is None or rest is not None:
                raise
            raise LocalFault(
                "the application's own start or stop failed",
                hint="this is a fault of the program; see the log",
            ) from group
        finally:
            await self._close_listeners()

    async def _close_listeners(self) -> None:
        for listener in self._listeners:
            await trio.aclose_forcefully(listener)

    async def _watch(self) -> None:
        """No connection awaits anything for longer than it may."""
        while True:
            await trio.sleep(_WATCH_S)
            now = trio.current_time()
            for connection in self._live:
                connection.watch(now)

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
            await self._connection(transport)
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

    async def _connection(self, transport: trio.SocketStream) -> None:
        try:
            name = transport.socket.getpeername()
        except OSError:
            return  # Gone before we looked.
        address = name[0] if isinstance(name, tuple) else None
        with self._door.admit(address):
            self._accepted += 1
            connection = Connection(
                self._app,
                self._config,
                self._context,
                self._state,
                transport,
                bounds=self._bounds,
                tls=self._tls,
                hot=self._hot,
            )
            self._live.add(connection)
            try:
                await connection.handshake()
                with self._door.identify(connection.peer_der):
                    await connection.run()
            finally:
                connection.close()
                self._live.discard(connection)
                self._hot_answers += connection.hot


async def serve(
    app: ASGIFramework,
    *,
    listeners: Sequence[Listener],
    tls: TLSSource | None,
    log: FilteringBoundLogger,
    bounds: Bounds | None = None,
    hot: HotRoutes | None = None,
    task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves until ``Server.stop`` or cancellation. Reports the ``Server`` when it listens."""
    server = Server(app, listeners=listeners, tls=tls, bounds=bounds or Bounds(), log=log, hot=hot)
    await server.run(task_status=task_status)


def _config(bounds: Bounds, log: QuietLog) -> Config:
    """The few settings of hypercorn that are still read; everything else is ours."""
    config = Config()
    config._log = HypercornLog(log)  # type: ignore[assignment]
    config.include_server_header = False
    config.h11_max_incomplete_size = bounds.header_bytes_max
    config.startup_timeout = config.shutdown_timeout = _LIFESPAN_S
    return config
