"""The server: a reception where ETSI GS QKD 004 is spoken in frames."""

from collections.abc import Sequence

import trio
from structlog.typing import FilteringBoundLogger

from kms.adapters.edge import Accepted, Bounds, Listener, Reception, TLSSource
from kms.adapters.etsi004_tls.answering import Answering
from kms.adapters.etsi004_tls.conversation import Conversation
from kms.adapters.identity import Identities
from kms.ports.northbound import Northbound


class BinaryServer(Reception[Conversation]):
    """One node's counter on some listeners."""

    def __init__(
        self,
        northbound: Northbound,
        *,
        listeners: Sequence[Listener],
        tls: TLSSource,
        bounds: Bounds,
        log: FilteringBoundLogger,
        identities: Identities | None = None,
    ) -> None:
        super().__init__(listeners=listeners, tls=tls, bounds=bounds, log=log)
        self._answering = Answering(northbound, identities)

    def welcome(self, accepted: Accepted) -> Conversation:
        return Conversation(accepted, self._answering, bounds=self._bounds, log=self._log)


async def serve(
    northbound: Northbound,
    *,
    listeners: Sequence[Listener],
    tls: TLSSource,
    log: FilteringBoundLogger,
    bounds: Bounds | None = None,
    identities: Identities | None = None,
    task_status: trio.TaskStatus[BinaryServer] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves until ``BinaryServer.stop`` or cancellation. Reports the server when it listens."""
    server = BinaryServer(
        northbound,
        listeners=listeners,
        tls=tls,
        bounds=bounds or Bounds(),
        log=log,
        identities=identities,
    )
    await server.run(task_status=task_status)
