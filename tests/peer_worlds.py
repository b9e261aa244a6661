"""Two worlds that join nodes, real and in memory, and an inbox that remembers what it was told."""

import random
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from kms.adapters.memory.peer import MemoryHub
from kms.adapters.neighbour import Neighbour
from kms.adapters.peer_session import Timing
from kms.adapters.peer_tls import TLSPeerLinks
from kms.adapters.pki import create_ca, issue
from kms.adapters.tls import Checks, CurrentTLS
from kms.domain.names import LinkId, NodeId, link_id
from kms.ports.peer import PeerInbox, PeerLinks

Call = tuple[str, LinkId, int, object]

QUICK = Timing(
    heartbeat_s=0.05,
    silence_s=5,
    linger_s=5,
    handshake_s=5,
    backoff_min_s=0.005,
    backoff_max_s=0.02,
)


class Inbox(PeerInbox):
    """Remembers every call; ``hold`` makes ``frame`` wait, as a busy node does."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._changed = trio.Event()
        self._open = trio.Event()
        self._open.set()

    def hold(self) -> None:
        if self._open.is_set():
            self._open = trio.Event()

    def release(self) -> None:
        self._open.set()

    async def connected(self, link: LinkId, session: int) -> None:
        await trio.lowlevel.checkpoint()
        self._note(("connected", link, session, None))

    async def frame(self, link: LinkId, session: int, data: bytes) -> None:
        self._note(("arrives", link, session, data))
        await self._open.wait()
        self._note(("frame", link, session, data))

    async def lost(self, link: LinkId, session: int, reason: str) -> None:
        await trio.lowlevel.checkpoint()
        self._note(("lost", link, session, reason))

    def named(self, name: str, link: LinkId | None = None) -> list[Call]:
        return [c for c in self.calls if c[0] == name and link in (None, c[1])]

    def frames(self, link: LinkId | None = None) -> list[object]:
        return [data for _, _, _, data in self.named("frame", link)]

    def session(self, link: LinkId) -> int:
        """The number of the newest session."""
        return self.named("connected", link)[-1][2]

    async def until(self, condition: Callable[[], bool]) -> None:
        with trio.fail_after(10):
            while not condition():
                self._changed = trio.Event()
                await self._changed.wait()

    async def until_connected(self, link: LinkId, times: int = 1) -> int:
        """Counted over all the inbox's life; the number of that session."""
        await self.until(lambda: len(self.named("connected", link)) >= times)
        return self.named("connected", link)[times - 1][2]

    async def until_lost(self, link: LinkId, times: int = 1) -> str:
        await self.until(lambda: len(self.named("lost", link)) >= times)
        return str(self.named("lost", link)[times - 1][3])

    async def until_frames(self, count: int, link: LinkId | None = None) -> list[object]:
        await self.until(lambda: len(self.frames(link)) >= count)
        return self.frames(link)

    def _note(self, call: Call) -> None:
        self.calls.append(call)
        self._changed.set()


@attrs.define(eq=False)
class Running:
    """A node whose links run."""

    links: PeerLinks
    inbox: Inbox
    scope: trio.CancelScope
    done: trio.Event = attrs.Factory(trio.Event)

    async def stop(self) -> None:
        self.scope.cancel()
        await self.done.wait()


class World(ABC):
    """Makes nodes and lets them run."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    async def start(self, node: str, *neighbours: str) -> Running:
        """The node runs, with links to these neighbours; smaller names last, since they dial."""
        links = await self.links(NodeId(node), [NodeId(name) for name in neighbours])
        running = Running(links, Inbox(), trio.CancelScope())
        self._nursery.start_soon(self._run, running)
        return running

    @staticmethod
    async def _run(running: Running) -> None:
        with running.scope:
            await running.links.run(running.inbox)
        running.done.set()

    @abstractmethod
    async def links(self, node: NodeId, neighbours: list[NodeId]) -> PeerLinks: ...

    @abstractmethod
    def add(self, running: Running, neighbour: NodeId) -> None: ...

    @abstractmethod
    def remove(self, running: Running, neighbour: NodeId) -> None: ...


class MemoryWorld(World):
    def __init__(self, nursery: trio.Nursery) -> None:
        super().__init__(nursery)
        self.hub = MemoryHub()

    async def links(self, node: NodeId, neighbours: list[NodeId]) -> PeerLinks:
        return self.hub.node(node, *neighbours)

    def add(self, running: Running, neighbour: NodeId) -> None:
        running.links.add(neighbour)  # type: ignore[attr-defined]

    def remove(self, running: Running, neighbour: NodeId) -> None:
        running.links.remove(neighbour)  # type: ignore[attr-defined]


class TLSWorld(World):
    """Nodes on loopback. A node started again listens on its old port."""

    def __init__(self, nursery: trio.Nursery, directory: Path) -> None:
        super().__init__(nursery)
        self._directory = directory
        self._ports: dict[NodeId, int] = {}
        self.timing = QUICK
        create_ca(directory)

    def tls(self, uri: str) -> CurrentTLS:
        return CurrentTLS(issue(self._directory, uri), checks=Checks.URI)

    def neighbour(self, node: NodeId) -> Neighbour:
        return Neighbour(node=node, host="127.0.0.1", port=self._ports.get(node, 0))

    def port(self, node: str) -> int:
        return self._ports[NodeId(node)]

    async def links(self, node: NodeId, neighbours: list[NodeId]) -> TLSPeerLinks:
        links = TLSPeerLinks(
            node=node, tls=self.tls(f"kms:{node}"), jitter=random.Random(1), timing=self.timing
        )
        self._ports[node] = await links.listen("127.0.0.1", self._ports.get(node, 0))
        for neighbour in neighbours:
            links.add(self.neighbour(neighbour))
        return links

    def add(self, running: Running, neighbour: NodeId) -> None:
        assert isinstance(running.links, TLSPeerLinks)
        running.links.add(self.neighbour(neighbour))

    def remove(self, running: Running, neighbour: NodeId) -> None:
        assert isinstance(running.links, TLSPeerLinks)
        running.links.remove(neighbour)


def between(one: str, other: str) -> LinkId:
    return link_id(NodeId(one), NodeId(other))


@asynccontextmanager
async def tls_world(directory: Path) -> AsyncIterator[TLSWorld]:
    async with trio.open_nursery() as nursery:
        yield TLSWorld(nursery, directory)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def memory_world() -> AsyncIterator[MemoryWorld]:
    async with trio.open_nursery() as nursery:
        yield MemoryWorld(nursery)
        nursery.cancel_scope.cancel()
