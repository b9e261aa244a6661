"""A node that runs: in which order its parts are opened, started, stopped and closed.

Theory of operation. ``run_node`` opens journal, store and witness, rebuilds the node from its
records, and starts in one nursery: the pump, the neighbours' links, the devices, the network view
and the applications' interface. It stops in reverse: applications first, so that nobody asks any
more; then devices and neighbours; the pump; witness, store and journal. A part that raises stops
all of them. Told to stop while it still starts, it starts nothing more.

Stopping has a bound, whatever hangs: ``grace_s`` for the requests under way, ``CLOSE_S`` for the
rest of them, and as much again for each of witness, store and journal. What then still writes is a
thread that nobody waits for.

The same order runs over the real adapters (``kms/app.py``) and over those in memory (tests/wired).
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

import attrs
import structlog
import trio

from kms.domain.errors import LocalFault
from kms.domain.events import NetworkChanged, Started
from kms.domain.linkmemory import LinkSettings
from kms.domain.names import LinkId, NodeId
from kms.domain.node import Node
from kms.domain.retention import KEEP, Retention
from kms.ports.clock import Clock
from kms.ports.device import Device
from kms.ports.entropy import Entropy
from kms.ports.journal import Journal
from kms.ports.northbound import Northbound
from kms.ports.peer import PeerLinks
from kms.ports.sdn import SDN, Network
from kms.ports.storage import Storage
from kms.ports.witness import Witness
from kms.shell.counter import Counter
from kms.shell.intake import NodeIntake
from kms.shell.pump import Pump
from kms.shell.view import Alarms, RunningView

# Each for the last requests, the store and the journal: a healthy disk takes milliseconds.
CLOSE_S = 5.0


class Front(Protocol):
    """An applications' interface that serves."""

    def stop(self) -> None:
        """It takes nobody new; serving ends with the last request under way."""
        ...


class ServeApplications(Protocol):
    """Serves applications at the counter; reports the ``Front`` when it listens."""

    async def __call__(
        self, counter: Northbound, *, task_status: trio.TaskStatus[Front]
    ) -> None: ...


@attrs.frozen(kw_only=True)
class Parts:
    """What a node runs on. Four are opened in this order when it starts."""

    open_journal: Callable[[], Awaitable[Journal]]
    open_storage: Callable[[], Awaitable[Storage]]
    open_witness: Callable[[], Awaitable[Witness]]
    open_peers: Callable[[], Awaitable[PeerLinks]]
    devices: Mapping[LinkId, list[Device]]
    sdn: SDN
    clock: Clock
    entropy: Entropy
    is_revoked: Callable[[str], bool]
    """whether policy refuses the certificate with this fingerprint"""
    serve_applications: ServeApplications
    grace_s: float
    """for requests under way when the node stops"""
    retention: Retention = KEEP


class Owner(Protocol):
    """Who runs the node, and is told how far it is."""

    def network_seen(self, network: Network) -> None:
        """This view is in force."""
        ...

    async def opened(self, node: "RunningNode") -> None:
        """The node knows its records and its network; nobody has reached it yet. It goes on when
        this returns."""
        ...

    def ready(self) -> None:
        """Applications are served."""
        ...

    def stopping(self) -> None:
        """The node begins to stop."""
        ...


async def run_node(
    name: NodeId,
    links: Mapping[NodeId, LinkSettings],
    *,
    parts: Parts,
    owner: Owner,
    stop: trio.Event,
) -> None:
    """Until ``stop``. Raises ``LocalFault`` for what the operator must mend (in a group when a part
    failed while it ran); then, as always, store and journal are closed."""
    journal = await parts.open_journal()
    async with _closing("journal", journal.aclose):
        storage = await parts.open_storage()
        async with _closing("store", storage.aclose):
            witness = await parts.open_witness()
            async with _closing("witness", witness.aclose):
                node = Node(name, links, storage.load(), parts.retention)
                peers = await parts.open_peers()
                running = RunningNode(node, parts, storage, journal, witness, peers)
                await running.run(owner, stop)


@asynccontextmanager
async def _closing(name: str, close: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Closed at the end of the block, however it ends."""
    try:
        yield
    finally:
        # A cancelled node still closes its files; a disk that hangs does not keep it from ending.
        with trio.move_on_after(CLOSE_S, shield=True) as patience:
            await close()
        if patience.cancelled_caught:
            structlog.get_logger().error("not-closed", part=name, waited_s=CLOSE_S)


class RunningNode:
    """An open node and its parts, wired."""

    def __init__(
        self,
        node: Node,
        parts: Parts,
        storage: Storage,
        journal: Journal,
        witness: Witness,
        peers: PeerLinks,
    ) -> None:
        self.name = node.node
        self._parts, self._peers, self._witness = parts, peers, witness
        self._log = structlog.get_logger().bind(node=self.name)
        self.alarms = Alarms(parts.clock)
        self.pump = Pump(
            node,
            storage=storage,
            journal=journal,
            peers=peers,
            clock=parts.clock,
            watcher=self.alarms,
            witness=witness,
        )
        self.counter = Counter(self.pump, entropy=parts.entropy, is_revoked=parts.is_revoked)
        self.view = RunningView(
            self.pump,
            counter=self.counter,
            storage=storage,
            journal=journal,
            peers=peers,
            devices=parts.devices,
            alarms=self.alarms,
        )

    async def run(self, owner: Owner, stop: trio.Event) -> None:
        """Until ``stop``."""
        starting = trio.CancelScope()

        async def start_no_more() -> None:
            await stop.wait()
            starting.cancel()

        async with trio.open_nursery() as pumping:
            pumping.start_soon(start_no_more)
            pumping.start_soon(self.pump.run)
            with starting:
                await self.pump.handled(self._started())
                await self._follow_network(owner)
                await owner.opened(self)
            if not stop.is_set():
                await self._serve(owner, stop)
            pumping.cancel_scope.cancel()

    def _started(self) -> Started:
        return Started(
            watched=True,
            attestation=self._witness.attestation,
            trouble=self._witness.trouble,
            fresh=self._parts.entropy.uuid4().hex,
        )

    async def _serve(self, owner: Owner, stop: trio.Event) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_network, owner)
            nursery.start_soon(self._peers.run, self.pump)
            for link, group in self._parts.devices.items():
                for device in group:
                    nursery.start_soon(device.run, NodeIntake(self.pump, device.device_id, link))
            async with trio.open_nursery() as serving:
                front: Front = await serving.start(self._parts.serve_applications, self.counter)
                owner.ready()
                await stop.wait()
                owner.stopping()
                front.stop()
                patience_s = self._parts.grace_s + CLOSE_S
                serving.cancel_scope.deadline = trio.current_time() + patience_s
            nursery.cancel_scope.cancel()

    # ---- the network view ---------------------------------------------------------------

    async def _follow_network(self, owner: Owner) -> None:
        network = await self._parts.sdn.network()
        owner.network_seen(network)
        neighbours = {b if a == self.name else a for a, b in network.links if self.name in (a, b)}
        await self.pump.handled(
            NetworkChanged(
                neighbours=frozenset(neighbours),
                directory=network.directory,
                policy=network.policy,
            )
        )

    async def _watch_network(self, owner: Owner) -> None:
        while True:
            await self._parts.sdn.changed()
            try:
                await self._follow_network(owner)
            except LocalFault as fault:
                self._log.warning("network-file-refused", reason=fault.reason, hint=fault.hint)
            else:
                self._log.info("network-changed")
