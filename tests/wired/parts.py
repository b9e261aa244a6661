"""Parts of a node that a test can hurt: each is the fake of ``kms/adapters/memory`` behind a gate.

A gate that is shut hangs whoever comes, as a disk or a neighbour does that never answers; a test
sees what leaves the node meanwhile. What passes is written into the node's ``Trace``.
"""

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Never

import attrs
import trio

from kms.adapters.memory.journal import MemoryJournal
from kms.adapters.memory.peer import MemoryPeerLinks
from kms.adapters.memory.storage import MemoryStorage
from kms.domain.audit import AuditEntry, AuditRecord
from kms.domain.effects import Save, StoreMaterial, Stretch, Write
from kms.domain.moment import Moment
from kms.domain.names import DeviceId, LinkId, MaterialId
from kms.domain.records import Record
from kms.domain.secret import Secret
from kms.ports.device import DeviceBlock, DeviceStatistics, Intake
from kms.ports.journal import JournalHead
from kms.ports.northbound import Northbound
from kms.ports.peer import PeerInbox, PeerStatistics
from kms.ports.storage import StorageStatistics
from kms.shell.running import Front

WALL_MS = 1_700_000_000_000


class TrioClock:
    """The nodes' clock is trio's, real or mocked."""

    def now(self) -> Moment:
        mono_ms = int(trio.current_time() * 1000)
        return Moment(mono_ms=mono_ms, wall_ms=WALL_MS + mono_ms)


class Trace:
    """What happened, in order, without key bits: equal traces are equal runs."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, node: str, what: str, *details: object) -> None:
        self.lines.append(f"{trio.current_time():.6f} {node} {what} {details}")

    def hash(self) -> str:
        return hashlib.sha256("\n".join(self.lines).encode()).hexdigest()


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

    async def passed(self, *, shield: bool = False) -> None:
        """``shield``: as a thread, which cannot be cancelled."""
        if not self._open.is_set():
            self.waiting.set()
        with trio.CancelScope(shield=shield):
            await self._open.wait()


@attrs.define
class Gates:
    """Of one node; they outlive its restarts."""

    open_journal: Gate = attrs.Factory(Gate)
    open_storage: Gate = attrs.Factory(Gate)
    open_peers: Gate = attrs.Factory(Gate)
    commit: Gate = attrs.Factory(Gate)
    read: Gate = attrs.Factory(Gate)
    append: Gate = attrs.Factory(Gate)
    close_storage: Gate = attrs.Factory(Gate)
    close_journal: Gate = attrs.Factory(Gate)
    network: Gate = attrs.Factory(Gate)
    inbox: Gate = attrs.Factory(Gate)
    """frames of neighbours, on their way into the node"""

    def all(self) -> Iterable[Gate]:
        return (getattr(self, field.name) for field in attrs.fields(Gates))


class GatedStorage:
    """A store with gates before commits, reads and its closing."""

    def __init__(self, node: str, storage: MemoryStorage, gates: Gates, trace: Trace) -> None:
        self._node, self._storage, self._gates, self._trace = node, storage, gates, trace
        self.commits_begun = 0
        self.committing: Callable[[Sequence[Write]], None] = lambda writes: None
        """told of each commit when it is durable"""

    def load(self) -> Iterable[Record]:
        return self._storage.load()

    async def commit(self, writes: Sequence[Write]) -> None:
        self.commits_begun += 1
        # Copied at the call, as the port says: the caller may be cancelled, and wipe its own.
        writes = [
            attrs.evolve(each, bits=Secret(each.bits.expose()))
            if isinstance(each, StoreMaterial)
            else each
            for each in writes
        ]
        await self._gates.commit.passed()
        await self._storage.commit(writes)
        for each in writes:
            told = each.record if isinstance(each, Save) else _place(each)
            self._trace.add(self._node, "write", type(each).__name__, told)
        self.committing(writes)

    async def take(self, material: MaterialId, offset: int, length: int) -> Secret:
        await self._gates.read.passed()
        self._trace.add(self._node, "take", material, offset, length)
        return await self._storage.take(material, offset, length)

    def at_hand(self, material: MaterialId, offset: int, length: int) -> Secret | None:
        return self._storage.at_hand(material, offset, length)

    async def read(self, material: MaterialId, offset: int, length: int) -> Secret:
        await self._gates.read.passed()
        self._trace.add(self._node, "read", material, offset, length)
        return await self._storage.read(material, offset, length)

    async def read_all(self, stretches: Sequence[Stretch]) -> Secret:
        await self._gates.read.passed()
        self._trace.add(self._node, "read_all", stretches)
        return await self._storage.read_all(stretches)

    def statistics(self) -> StorageStatistics:
        return self._storage.statistics()

    async def aclose(self) -> None:
        await self._gates.close_storage.passed()
        await self._storage.aclose()


def _place(write: Write) -> object:
    if isinstance(write, StoreMaterial):
        return (write.material, len(write.bits), write.unit_bytes)
    return write


class GatedJournal(MemoryJournal):
    """A journal with gates; ``appends`` has the events of each append."""

    def __init__(self, node: str, records: list[AuditRecord], gates: Gates, trace: Trace) -> None:
        super().__init__()
        self.records = records
        self._node, self._gates, self._trace = node, gates, trace
        self.appends: list[list[str]] = []

    async def append(self, entries: Sequence[AuditEntry]) -> JournalHead:
        await self._gates.append.passed()
        self.appends.append([entry.event for entry in entries])
        head = await super().append(entries)
        for entry in entries:
            self._trace.add(self._node, "journal", entry)
        return head

    async def aclose(self) -> None:
        await self._gates.close_journal.passed()
        await super().aclose()


class SpiedPeers:
    """Neighbours, and the frames that left for them. Frames that come in pass a gate."""

    def __init__(self, node: str, peers: MemoryPeerLinks, gates: Gates, trace: Trace) -> None:
        self._node, self._peers, self._gates, self._trace = node, peers, gates, trace
        self.disconnect = peers.disconnect
        self.sent: list[bytes] = []
        self.sending: Callable[[LinkId, bytes], None] = lambda link, data: None
        """told of each frame before it leaves"""

    async def run(self, inbox: PeerInbox) -> Never:
        await self._peers.run(_GatedInbox(inbox, self._gates.inbox))

    def send(self, link: LinkId, session: int, data: bytes) -> None:
        self.sending(link, data)
        self.sent.append(data)
        digest = hashlib.sha256(data).hexdigest()
        self._trace.add(self._node, "frame", link, session, len(data), digest)
        self._peers.send(link, session, data)

    def statistics(self) -> tuple[PeerStatistics, ...]:
        return self._peers.statistics()


class _GatedInbox:
    """Implements ``ports.peer.PeerInbox``."""

    def __init__(self, inbox: PeerInbox, gate: Gate) -> None:
        self._inbox, self._gate = inbox, gate

    async def connected(self, link: LinkId, session: int) -> None:
        await self._inbox.connected(link, session)

    async def frame(self, link: LinkId, session: int, data: bytes) -> None:
        await self._gate.passed()
        await self._inbox.frame(link, session, data)

    async def lost(self, link: LinkId, session: int, reason: str) -> None:
        await self._inbox.lost(link, session, reason)


class GivenDevice:
    """A device that is given blocks while it runs, and takes up after a restart where it was: a
    block is given until the node says that it is stored."""

    def __init__(self, device_id: DeviceId) -> None:
        self._device_id = device_id
        self._blocks: list[tuple[DeviceBlock, bytes]] = []
        self._more = trio.Event()
        self.stored = 0

    @property
    def device_id(self) -> DeviceId:
        return self._device_id

    def give(self, blocks: Iterable[DeviceBlock]) -> None:
        self._blocks += [(each, bytes(each.bits.expose())) for each in blocks]
        self._more.set()

    async def run(self, intake: Intake) -> Never:
        intake.up()
        while True:
            while self.stored < len(self._blocks):
                block, bits = self._blocks[self.stored]
                await intake.room(len(bits))
                await intake.block(attrs.evolve(block, bits=Secret(bits)))
                self.stored += 1
            self._more = trio.Event()
            await self._more.wait()

    def statistics(self) -> DeviceStatistics:
        return DeviceStatistics(
            device=self._device_id,
            connected=True,
            blocks=self.stored,
            bytes=0,
            connects=1,
            faults={},
        )


class MemoryFront:
    """The applications' interface without a socket: each request is a task of its own, which ends
    with the grace at a stop, as the edge's do."""

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._stopping = trio.Event()
        self._nursery: trio.Nursery | None = None
        self.deaf = False
        """it does not heed its grace: a fault of the edge"""

    async def serve(self, counter: Northbound, *, task_status: trio.TaskStatus[Front]) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started(self)
            try:
                await self._stopping.wait()
            finally:
                self._stopping.set()
            if not self.deaf:
                nursery.cancel_scope.deadline = trio.current_time() + self._grace_s

    def stop(self) -> None:
        self._stopping.set()

    def start_request(self, request: Callable[[], Awaitable[object]]) -> trio.CancelScope:
        """The request is under way, unless the front has stopped; cancelling the scope is the
        client that hangs up."""
        assert self._nursery is not None, "the front serves"
        scope = trio.CancelScope()
        if self._stopping.is_set():
            return scope

        async def handle() -> None:
            with scope:
                await request()

        self._nursery.start_soon(handle)
        return scope
