"""The node's listeners: three for applications, health and metrics, the operator's commands."""

from collections.abc import Iterable
from functools import partial
from typing import Protocol

import attrs
import structlog
import trio

from kms.adapters import edge, etsi004_tls
from kms.adapters.etsi004_http import HotGetKey, etsi004_app
from kms.adapters.etsi014_http import HotKeys, etsi014_app
from kms.adapters.identity import Identities
from kms.adapters.operations import ADMIN_BOUNDS, admin_app, operations_app
from kms.config import Config, Etsi014Section
from kms.domain.limits import KEYS_BODY_BYTES_MAX
from kms.ports.admin import Admin
from kms.ports.northbound import Northbound
from kms.toml_file import Address


class Front(Protocol):
    """A server that is told to stop, and then ends in its time."""

    def stop(self) -> None: ...

    def retire(self) -> None: ...


class Fronts:
    """Several that stop together."""

    def __init__(self, fronts: Iterable[Front]) -> None:
        self._fronts = tuple(fronts)

    def stop(self) -> None:
        """None of them takes anybody new."""
        for front in self._fronts:
            front.stop()

    def retire(self) -> None:
        """Connections that are open end: idle ones now, others after the answer under way."""
        for front in self._fronts:
            front.retire()


class Listeners:
    """What listens, and where; ``addresses`` by interface."""

    def __init__(self, config: Config, identities: Identities) -> None:
        self._config, self._identities = config, identities
        self._log = structlog.get_logger()
        self._applications = Fronts(())
        self.addresses: dict[str, str] = {}

    def certificates_changed(self) -> None:
        """No application goes on by what was proven under the old ones: it connects again."""
        self._applications.retire()

    async def serve_applications(
        self, tls: edge.TLSSource, counter: Northbound, *, task_status: trio.TaskStatus[Fronts]
    ) -> None:
        """ETSI GS QKD 004 over mutual TLS, in HTTP and in frames, and 014, until told to stop."""
        async with trio.open_nursery() as nursery:
            fronts: list[Front] = [
                await nursery.start(partial(self._serve_http, tls, counter)),
            ]
            if self._config.etsi004_tls.enabled:
                fronts.append(await nursery.start(partial(self._serve_frames, tls, counter)))
            if (section := self._config.etsi014) is not None:
                fronts.append(await nursery.start(partial(self._serve_014, section, tls, counter)))
            self._applications = Fronts(fronts)
            task_status.started(self._applications)

    async def _serve_http(
        self,
        tls: edge.TLSSource,
        counter: Northbound,
        *,
        task_status: trio.TaskStatus[edge.Server],
    ) -> None:
        listeners = await self._bound("etsi004", self._config.etsi004.listen)
        await edge.serve(
            etsi004_app(counter, self._log, self._identities),
            listeners=listeners,
            tls=tls,
            log=self._log,
            bounds=self._application_bounds(),
            hot=HotGetKey(counter, self._log, self._identities),
            task_status=task_status,
        )

    async def _serve_frames(
        self,
        tls: edge.TLSSource,
        counter: Northbound,
        *,
        task_status: trio.TaskStatus[etsi004_tls.BinaryServer],
    ) -> None:
        listeners = await self._bound("etsi004_tls", self._config.etsi004_tls.listen)
        await etsi004_tls.serve(
            counter,
            listeners=listeners,
            tls=tls,
            log=self._log,
            bounds=self._application_bounds(),
            identities=self._identities,
            task_status=task_status,
        )

    async def _serve_014(
        self,
        section: Etsi014Section,
        tls: edge.TLSSource,
        counter: Northbound,
        *,
        task_status: trio.TaskStatus[edge.Server],
    ) -> None:
        name = self._config.node.name
        await edge.serve(
            etsi014_app(counter, name, self._log, self._identities),
            listeners=await self._bound("etsi014", section.listen),
            tls=tls,
            log=self._log,
            bounds=attrs.evolve(self._application_bounds(), body_bytes_max=KEYS_BODY_BYTES_MAX),
            hot=HotKeys(counter, name, self._log, self._identities),
            task_status=task_status,
        )

    async def _bound(self, interface: str, listen: Address) -> list[trio.SocketListener]:
        """Connections are taken there, and ``addresses`` says where."""
        listeners = await edge.listen_tcp(listen.host, listen.port)
        host, port = listeners[0].socket.getsockname()[:2]
        self.addresses[interface] = f"{host}:{port}"
        return listeners

    def _application_bounds(self) -> edge.Bounds:
        return edge.Bounds(graceful_s=max(0.1, self._config.stop.grace_s))

    async def serve_operations(
        self, admin: Admin, *, task_status: trio.TaskStatus[edge.Server]
    ) -> None:
        """Health and metrics, plain HTTP, until cancelled."""
        listeners = await self._bound("operations", self._config.operations.listen)
        await edge.serve(
            operations_app(admin),
            listeners=listeners,
            tls=None,
            log=self._log,
            task_status=task_status,
        )

    async def serve_admin(self, admin: Admin, *, task_status: trio.TaskStatus[edge.Server]) -> None:
        """The operator's commands on a unix socket that only its owner opens, until cancelled."""
        path = self._config.admin_socket
        listener = edge.listen_unix(path)  # not ours to remove if this fails
        try:
            await edge.serve(
                admin_app(admin),
                listeners=[listener],
                tls=None,
                log=self._log,
                bounds=ADMIN_BOUNDS,
                task_status=task_status,
            )
        finally:
            path.unlink(missing_ok=True)
