"""The ASGI server: a reception where HTTP/1.1 is spoken."""

from collections.abc import Sequence
from typing import Self

import attrs
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework, LifespanState
from hypercorn.utils import LifespanFailureError, LifespanTimeoutError
from structlog.typing import FilteringBoundLogger

from kms.adapters.edge.accepted import Accepted, TLSSource
from kms.adapters.edge.bounds import Bounds
from kms.adapters.edge.connection import Connection, Served
from kms.adapters.edge.hot import HotRoutes
from kms.adapters.edge.quiet import HypercornLog, QuietLog
from kms.adapters.edge.reception import EdgeStatistics, Listener, Reception
from kms.domain.errors import LocalFault

# How late a deadline may be: some thousand looks a second at the most connections there may be.
_WATCH_S = 0.05
# Time for the application's own start-up and shut-down hooks.
_LIFESPAN_S = 5.0


class Server(Reception[Connection]):
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
        super().__init__(listeners=listeners, tls=tls, bounds=bounds, log=log)
        self._app = ASGIWrapper(app)
        self._config = _config(bounds, self._log)
        self._context = WorkerContext(None)
        self._state: LifespanState = {}
        self._hot = hot
        self._served = Served()

    def welcome(self, accepted: Accepted) -> Connection:
        return Connection(
            self._app,
            self._config,
            self._context,
            self._state,
            accepted,
            bounds=self._bounds,
            hot=self._hot,
            served=self._served,
        )

    def statistics(self) -> EdgeStatistics:
        return attrs.evolve(super().statistics(), hot=self._served.hot)

    async def run(self, *, task_status: "trio.TaskStatus[Self]" = trio.TASK_STATUS_IGNORED) -> None:
        """Serves until ``stop`` or cancellation; then the listeners are closed. Raises
        ``LocalFault`` if the application does not start."""
        lifespan = Lifespan(self._app, self._config, self._state)
        try:
            async with trio.open_nursery() as hooks:
                await hooks.start(lifespan.handle_lifespan)
                await lifespan.wait_for_startup()
                hooks.start_soon(self._watch)
                await super().run(task_status=task_status)
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

    async def _watch(self) -> None:
        """No connection awaits anything for longer than it may."""
        while True:
            await trio.sleep(_WATCH_S)
            now = trio.current_time()
            for connection in self._live:
                connection.watch(now)


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
