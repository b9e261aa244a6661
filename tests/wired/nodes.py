"""Two nodes in one process, as the real ones are wired (``kms/shell/running.py``), on adapters in
memory.

Under a ``MockClock`` with ``autojump_threshold=0`` a second costs nothing: the nodes' clock is
trio's. What survives a node's end is its ``WiredNode``: disk, journal, devices; ``run`` starts a
process on them, again and again.
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from uuid import UUID

import attrs
import trio

from kms.adapters.memory.device import ScriptedDevice
from kms.adapters.memory.entropy import SeededEntropy
from kms.adapters.memory.peer import MemoryHub
from kms.adapters.memory.sdn import MemorySDN
from kms.adapters.memory.storage import MemoryDisk
from kms.adapters.memory.witness import MemoryWitness, WitnessPlace
from kms.domain import limits
from kms.domain.audit import AuditRecord
from kms.domain.errors import LocalFault
from kms.domain.events import SecretCarried
from kms.domain.linkmemory import LinkSettings
from kms.domain.names import BlockId, DeviceId, NodeId, SAEId, SecretId
from kms.domain.policy import Policy, Rule
from kms.domain.secret import Secret
from kms.ports.device import DeviceBlock
from kms.ports.sdn import Network
from kms.shell.counter import Counter
from kms.shell.intake import NodeIntake
from kms.shell.pump import Pump
from kms.shell.running import Parts, RunningNode, run_node
from tests.wired.ledger import Ledger
from tests.wired.parts import (
    GatedJournal,
    GatedStorage,
    Gates,
    GivenDevice,
    MemoryFront,
    SpiedPeers,
    Trace,
    TrioClock,
)
from tests.world import ALICE, ANN, BEN, BOB, LINK, block_bits

BLOCK_BYTES = 64 * limits.KIB
SETTINGS = LinkSettings(pool_bytes_max=64 * limits.MIB, qber_max=0.11, block_expiry_ms=60_000)
GRACE_S = 2.0


class GatedSDN(MemorySDN):
    """The network view, behind a gate."""

    def __init__(self, view: Network, gates: Gates) -> None:
        super().__init__(view)
        self._gates = gates

    async def network(self) -> Network:
        await self._gates.network.passed()
        return await super().network()


class WiredNode:
    """One site. Implements ``shell.running.Owner`` as ``kms.app`` does."""

    def __init__(
        self,
        name: NodeId,
        hub: MemoryHub,
        view: Network,
        settings: LinkSettings,
        ledger: Ledger,
        trace: Trace,
    ) -> None:
        self.name, self._hub, self._settings = name, hub, settings
        self.ledger, self.trace = ledger, trace
        (self.peer,) = {ALICE, BOB} - {name}
        self.disk = MemoryDisk(name)
        self.audit: list[AuditRecord] = []
        self.gates = Gates()
        self.sdn = GatedSDN(view, self.gates)
        self.entropy = SeededEntropy(len(name))
        self.device = GivenDevice(DeviceId(f"device-{name}"))
        self.devices: list[ScriptedDevice] = []
        """fed beside it (``feed``)"""
        self.clock = TrioClock()
        self._policy = Policy()
        self.refusing_to_open: dict[str, LocalFault] = {}
        """``journal``, ``storage`` or ``peers``: what opening it raises"""
        self.told: list[str] = []
        self.journal_failing = ""
        """why the journal of the next process refuses everything"""
        # Of the process that runs, or ran last.
        self.stop, self.ended = trio.Event(), trio.Event()
        self.front = MemoryFront(GRACE_S)
        self.running: RunningNode
        self.witness_place = WitnessPlace()
        self.witness_failing = ""
        self.storage: GatedStorage
        self.journal: GatedJournal
        self.peers: SpiedPeers

    @property
    def pump(self) -> Pump:
        return self.running.pump

    @property
    def counter(self) -> Counter:
        return self.running.counter

    # ---- a process ------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """One process, until ``stop``; started when applications are served."""
        self.told = []
        self.stop, self.ended = trio.Event(), trio.Event()
        self.front = MemoryFront(GRACE_S)
        self._task_status = task_status
        try:
            await self._process(self.stop)
        finally:
            self.ended.set()

    async def second_process(self) -> None:
        """Another one is started on the same store."""
        await self._process(self.stop)

    async def _process(self, stop: trio.Event) -> None:
        parts = Parts(
            open_journal=self._open_journal,
            open_storage=self._open_storage,
            open_witness=self._open_witness,
            open_peers=self._open_peers,
            devices={LINK: [self.device]},
            sdn=self.sdn,
            clock=self.clock,
            entropy=self.entropy,
            is_revoked=lambda fingerprint: fingerprint in self._policy.revoked,
            serve_applications=self.front.serve,
            grace_s=GRACE_S,
        )
        links = {self.peer: self._settings}
        await run_node(self.name, links, parts=parts, owner=self, stop=stop)

    async def _open_journal(self) -> GatedJournal:
        await self._opening("journal")
        await self.gates.open_journal.passed()
        journal = GatedJournal(self.name, self.audit, self.gates, self.trace)
        if self.journal_failing:
            journal.fail(self.journal_failing)
        self._journal_opened = journal
        return journal

    async def _open_storage(self) -> GatedStorage:
        await self._opening("storage")
        await self.gates.open_storage.passed()
        opened = self.disk.open(self.name)
        self.storage = GatedStorage(self.name, opened, self.gates, self.trace)
        self.storage.committing = partial(self.ledger.committed, self.name)
        return self.storage

    async def _open_witness(self) -> MemoryWitness:
        await self._opening("witness")
        witness = self.witness_place.open(self.name)
        if self.witness_failing:
            witness.fail(self.witness_failing)
        return witness

    async def _open_peers(self) -> SpiedPeers:
        await self._opening("peers")
        await self.gates.open_peers.passed()
        links = self._hub.node(self.name, self.peer)
        self.peers = SpiedPeers(self.name, links, self.gates, self.trace)
        self.peers.sending = partial(self.ledger.frame, self.name)
        return self.peers

    async def _opening(self, what: str) -> None:
        await trio.lowlevel.checkpoint()
        if what in self.refusing_to_open:
            raise self.refusing_to_open[what]

    # ---- the owner ------------------------------------------------------------------------

    def network_seen(self, network: Network) -> None:
        self._policy = network.policy

    async def opened(self, node: RunningNode) -> None:
        self.running, self.journal = node, self._journal_opened
        self.told.append("opened")
        secret_id = SecretId("a" * 32)
        if not node.pump.node.refuses_secret(LINK, secret_id):
            bits = Secret(block_bits(999, limits.SECRET_BYTES))
            await node.pump.handled(SecretCarried(link=LINK, secret_id=secret_id, bits=bits))

    def ready(self) -> None:
        self.told.append("ready")
        self._task_status.started()

    def stopping(self) -> None:
        self.told.append("stopping")

    # ---- what a test asks -----------------------------------------------------------------

    async def feed(self, blocks: Iterable[DeviceBlock]) -> None:
        """One more device, which gives these blocks as fast as the node takes them."""
        number = len(self.devices)
        device = ScriptedDevice(DeviceId(f"device-{self.name}-{number}"), list(blocks))
        self.devices.append(device)
        await device.run(NodeIntake(self.pump, device.device_id, LINK))

    def has(self, blocks: int) -> bool:
        """Whether the link is up and so many blocks are agreed."""
        link = self.pump.node.links[LINK]
        return link.up and link.agreement.log.agreed_blocks >= blocks

    async def up(self, blocks: int) -> None:
        """The link is up, and so many blocks are agreed."""
        with trio.fail_after(60):
            await self.pump.until(partial(self.has, blocks))

    def level(self) -> int:
        """Agreed bytes that nobody used, both directions."""
        memory = self.pump.node.links[LINK].memory
        return sum(pad.extents.end - pad.mark for pad in memory.pads)

    def alarms(self) -> list[str]:
        return [f"{each.kind}: {each.detail}" for each in self.running.alarms.statistics()]


@attrs.frozen(kw_only=True)
class Wired:
    """Both nodes, up."""

    alice: WiredNode
    bob: WiredNode
    hub: MemoryHub
    nursery: trio.Nursery
    ledger: Ledger
    trace: Trace

    @property
    def nodes(self) -> tuple[WiredNode, WiredNode]:
        return (self.alice, self.bob)

    def give(self, count: int) -> None:
        """Both devices of the pair have so many blocks more."""
        first = self.ledger.blocks_given
        self.ledger.blocks_given += count
        for node in self.nodes:
            node.device.give(device_blocks(count, first=first))


def device_blocks(count: int, first: int = 0) -> list[DeviceBlock]:
    """What both devices of the pair give."""
    return [
        DeviceBlock(
            block_id=BlockId(UUID(int=number)), bits=Secret(block_bits(number, BLOCK_BYTES))
        )
        for number in range(first, first + count)
    ]


def network(policy: Policy | None = None, directory: dict[SAEId, NodeId] | None = None) -> Network:
    return Network(
        nodes=frozenset({ALICE, BOB}),
        links=frozenset({(ALICE, BOB)}),
        directory=directory or {ANN: ALICE, BEN: BOB},
        policy=policy or Policy(rules=(Rule(one=ANN, other=BEN),)),
    )


def site(
    nursery: trio.Nursery,
    *,
    view: Network | None = None,
    blocks: int = 8,
    settings: LinkSettings = SETTINGS,
) -> Wired:
    """Both nodes; no process runs yet."""
    hub, ledger, trace = MemoryHub(), Ledger(), Trace()
    alice, bob = (
        WiredNode(name, hub, view or network(), settings, ledger, trace) for name in (ALICE, BOB)
    )
    ledger.pads = {node.name: partial(_secret_id, node) for node in (alice, bob)}
    both = Wired(alice=alice, bob=bob, hub=hub, nursery=nursery, ledger=ledger, trace=trace)
    both.give(blocks)
    return both


def _secret_id(node: WiredNode) -> object:
    return node.pump.node.links[LINK].memory.secret_id


@asynccontextmanager
async def wired(
    *, view: Network | None = None, blocks: int = 8, settings: LinkSettings = SETTINGS
) -> AsyncIterator[Wired]:
    """Both nodes run, their link is up and the blocks are agreed; all ends with the block."""
    async with trio.open_nursery() as nursery:
        both = site(nursery, view=view, blocks=blocks, settings=settings)
        for node in both.nodes:
            await nursery.start(node.run)
        for node in both.nodes:
            await node.up(blocks)
        yield both
        nursery.cancel_scope.cancel()
