"""Two nodes in one process: the real pump, counter and intakes; everything else in memory.

Under a ``MockClock`` with ``autojump_threshold=0`` a second costs nothing: the nodes' clock is
trio's. Each node has parts that a test can hurt: ``disk``, ``journal``, ``peers``; disk and journal
can be held at a gate, so that a test sees what leaves before they return.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from uuid import UUID

import attrs
import trio

from kms.adapters.memory.device import ScriptedDevice
from kms.adapters.memory.entropy import SeededEntropy
from kms.adapters.memory.journal import MemoryJournal
from kms.adapters.memory.peer import MemoryHub, MemoryPeerLinks
from kms.adapters.memory.sdn import MemorySDN
from kms.adapters.memory.storage import MemoryDisk, MemoryStorage
from kms.domain import limits
from kms.domain.audit import AuditEntry
from kms.domain.effects import Write
from kms.domain.events import NetworkChanged, SecretCarried, Started
from kms.domain.linkmemory import LinkSettings
from kms.domain.moment import Moment
from kms.domain.names import BlockId, DeviceId, LinkId, NodeId, SAEId, SecretId
from kms.domain.node import Node
from kms.domain.policy import Policy, Rule
from kms.domain.secret import Secret
from kms.ports.device import DeviceBlock
from kms.ports.journal import JournalHead
from kms.ports.sdn import Network
from kms.shell.counter import Counter
from kms.shell.intake import NodeIntake
from kms.shell.pump import Fields, Pump
from tests.world import ALICE, ANN, BEN, BOB, LINK, block_bits

BLOCK_BYTES = 64 * limits.KIB
SETTINGS = LinkSettings(pool_bytes_max=64 * limits.MIB, qber_max=0.11, block_expiry_ms=60_000)
WALL_MS = 1_700_000_000_000


class TrioClock:
    """The nodes' clock is trio's, real or mocked."""

    def now(self) -> Moment:
        mono_ms = int(trio.current_time() * 1000)
        return Moment(mono_ms=mono_ms, wall_ms=WALL_MS + mono_ms)


class Gate:
    """Open until ``shut``; then whoever comes waits, and ``waiting`` is set."""

    def __init__(self) -> None:
        self._open = trio.Event()
        self._open.set()
        self.waiting = trio.Event()

    def shut(self) -> None:
        self._open, self.waiting = trio.Event(), trio.Event()

    def open(self) -> None:
        self._open.set()

    async def passed(self) -> None:
        if not self._open.is_set():
            self.waiting.set()
        await self._open.wait()


class GatedStorage(MemoryStorage):
    """Commits go through the gate first."""

    def __init__(self, disk: MemoryDisk) -> None:
        super().__init__(disk)
        self.gate = Gate()

    async def commit(self, writes: Sequence[Write]) -> None:
        await self.gate.passed()
        await super().commit(writes)


class GatedJournal(MemoryJournal):
    """Appends go through the gate first; ``appends`` has the events of each."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate()
        self.appends: list[list[str]] = []

    async def append(self, entries: Sequence[AuditEntry]) -> JournalHead:
        await self.gate.passed()
        self.appends.append([entry.event for entry in entries])
        return await super().append(entries)


class SpiedPeers:
    """The real fake, and a list of the frames that left through it."""

    def __init__(self, peers: MemoryPeerLinks) -> None:
        self._peers = peers
        self.run, self.disconnect = peers.run, peers.disconnect
        self.statistics = peers.statistics
        self.sent: list[bytes] = []

    def send(self, link: LinkId, session: int, data: bytes) -> None:
        self.sent.append(data)
        self._peers.send(link, session, data)


class Told:
    """A ``Watcher`` that remembers."""

    def __init__(self) -> None:
        self.alarms: list[str] = []
        self.notes: list[str] = []

    def noted(self, name: str, fields: Fields) -> None:
        self.notes.append(name)

    def alarmed(self, kind: str, link: LinkId | None, detail: str) -> None:
        self.alarms.append(f"{kind}: {detail}")


class WiredNode:
    """One node as ``kms.app`` wires it, on parts that can be hurt."""

    def __init__(
        self, name: NodeId, hub: MemoryHub, network: Network, settings: LinkSettings
    ) -> None:
        self.name, self._network = name, network
        (peer,) = {ALICE, BOB} - {name}
        self.disk = MemoryDisk(name)
        self.storage = GatedStorage(self.disk)
        self.journal = GatedJournal()
        self.told = Told()
        self.peers = SpiedPeers(hub.node(name, peer))
        self.sdn = MemorySDN(network)
        self.entropy = SeededEntropy(len(name))
        clock = TrioClock()
        self.pump = Pump(
            Node(name, {peer: settings}, self.storage.load()),
            storage=self.storage,
            journal=self.journal,
            peers=self.peers,
            clock=clock,
            watcher=self.told,
        )
        self.counter = Counter(
            self.pump,
            clock=clock,
            entropy=self.entropy,
            is_revoked=lambda fingerprint: fingerprint in network.policy.revoked,
        )
        self.devices: list[ScriptedDevice] = []

    async def run(
        self,
        blocks: Iterable[DeviceBlock],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Until cancelled, or until the pump raises; started when it has its secret."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.pump.run)
            await self.pump.handled(Started())
            network = await self.sdn.network()
            await self.pump.handled(
                NetworkChanged(
                    neighbours=frozenset({ALICE, BOB} - {self.name}),
                    directory=network.directory,
                    policy=network.policy,
                )
            )
            bits = Secret(block_bits(999, limits.SECRET_BYTES))
            await self.pump.handled(
                SecretCarried(link=LINK, secret_id=SecretId("a" * 32), bits=bits)
            )
            nursery.start_soon(self.peers.run, self.pump)
            nursery.start_soon(self.feed, blocks)
            task_status.started()
            await trio.sleep_forever()

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

    def level(self) -> int:
        """Agreed bytes that nobody used, both directions."""
        memory = self.pump.node.links[LINK].memory
        return sum(pad.extents.end - pad.mark for pad in memory.pads)


@attrs.frozen(kw_only=True)
class Wired:
    """Both nodes, up."""

    alice: WiredNode
    bob: WiredNode
    hub: MemoryHub
    nursery: trio.Nursery

    @property
    def nodes(self) -> tuple[WiredNode, WiredNode]:
        return (self.alice, self.bob)


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


@asynccontextmanager
async def wired(
    *, view: Network | None = None, blocks: int = 8, settings: LinkSettings = SETTINGS
) -> AsyncIterator[Wired]:
    """Both nodes run, their link is up and the blocks are agreed; all ends with the block."""
    hub = MemoryHub()
    alice, bob = (WiredNode(name, hub, view or network(), settings) for name in (ALICE, BOB))
    async with trio.open_nursery() as nursery:
        for node in (alice, bob):
            await nursery.start(partial(node.run, device_blocks(blocks)))
        for node in (alice, bob):
            with trio.fail_after(60):
                await node.pump.until(partial(node.has, blocks))
        yield Wired(alice=alice, bob=bob, hub=hub, nursery=nursery)
        nursery.cancel_scope.cancel()
