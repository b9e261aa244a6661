"""Neighbour nodes in one process: ``PeerLinks`` without sockets, with a network that can be hurt.

Rules: the same contract as the real adapter (tests/contract/test_peer.py). Order within a link is
exact and nothing depends on time, so that a test decides what arrives. A hub joins the nodes;
``cut``, ``heal`` and ``lose_in_flight`` act on one link, at once, without awaiting.

Theory of operation: both ends of a link meet when both run, neither is in a session, and the link
is not cut. Each then has a half: what it is still to be given, and why it ends once that is given.
"""

import itertools
from collections import deque
from typing import Never

import attrs
import trio

from kms.domain import limits
from kms.domain.names import LinkId, NodeId, link_id
from kms.ports.peer import PeerInbox, PeerStatistics

_BROKE = "the connection broke"


@attrs.define(eq=False)
class _Half:
    """One end of a session: frames on their way to it, then the reason of its end."""

    number: int
    queue: deque[bytes] = attrs.Factory(deque)
    queued_bytes: int = 0
    reason: str = ""
    left: bool = False
    """our own word ended it"""
    far: "_Half | None" = None
    changed: trio.Event = attrs.Factory(trio.Event)
    delivery: trio.CancelScope = attrs.Factory(trio.CancelScope)

    def give(self, data: bytes) -> None:
        self.queue.append(data)
        self.queued_bytes += len(data)
        self.changed.set()

    def finish(self, reason: str) -> None:
        """The half ends after what is on its way."""
        self.reason = self.reason or reason
        self.changed.set()

    def drop(self, reason: str) -> None:
        """The half ends, and what was on its way is gone."""
        self.queue.clear()
        self.queued_bytes = 0
        self.delivery.cancel()
        self.finish(reason)


@attrs.define(eq=False)
class _End:
    """One node's end of a link."""

    link: LinkId
    half: _Half | None = None
    ready: bool = False
    removed: bool = False
    met: trio.Event = attrs.Factory(trio.Event)
    connects: int = 0
    last: int = 0
    frames_in: int = 0
    frames_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


class MemoryHub:
    """The network between the nodes of one test."""

    def __init__(self) -> None:
        self._ends: dict[LinkId, dict[NodeId, _End]] = {}
        self._cut: set[LinkId] = set()

    def node(self, node: NodeId, *neighbours: NodeId) -> "MemoryPeerLinks":
        """A node's ``PeerLinks``. Asking again for a node is that node started anew."""
        links = MemoryPeerLinks(self, node)
        for neighbour in neighbours:
            links.add(neighbour)
        return links

    def cut(self, link: LinkId) -> None:
        """What is on its way still arrives, then both ends lose the session, until ``heal``."""
        self._cut.add(link)
        for end in self._ends.get(link, {}).values():
            if end.half is not None:
                end.half.finish(_BROKE)

    def heal(self, link: LinkId) -> None:
        """The ends may meet again."""
        self._cut.discard(link)
        self.meet(link)

    def lose_in_flight(self, link: LinkId) -> None:
        """What is on its way is gone, and the session with it; the ends meet again unless cut."""
        for end in self._ends.get(link, {}).values():
            if end.half is not None:
                end.half.drop(_BROKE)

    def attach(self, node: NodeId, end: _End) -> None:
        """The end is the node's end of its link."""
        self._ends.setdefault(end.link, {})[node] = end

    def meet(self, link: LinkId) -> None:
        """Both ends have a new session if both are ready and nothing is cut."""
        ends = list(self._ends.get(link, {}).values())
        if link in self._cut or len(ends) < 2 or not all(end.ready for end in ends):
            return
        one, other = ends
        one.half, other.half = _Half(0), _Half(0)
        one.half.far, other.half.far = other.half, one.half
        for end in ends:
            end.ready = False
            end.met.set()


class MemoryPeerLinks:
    """``PeerLinks`` of one node, joined to others by a hub."""

    def __init__(self, hub: MemoryHub, node: NodeId) -> None:
        self._hub = hub
        self._node = node
        self._ends: dict[LinkId, _End] = {}
        self._numbers = itertools.count(1)
        self._running: tuple[trio.Nursery, PeerInbox] | None = None

    def add(self, neighbour: NodeId) -> None:
        """There is a link to the neighbour; at once if ``run`` runs."""
        link = link_id(self._node, neighbour)
        if link in self._ends:
            self._ends[link].removed = False
            return
        end = self._ends[link] = _End(link)
        self._hub.attach(self._node, end)
        if self._running is not None:
            self._running[0].start_soon(self._keep, end, self._running[1])

    def remove(self, node: NodeId) -> None:
        """The node is no neighbour: the session ends, ``lost`` follows."""
        end = self._ends.get(link_id(self._node, node))
        if end is None:
            return
        end.removed = True
        end.met.set()
        self._break(end, "no longer a neighbour")
        if self._running is None:
            del self._ends[end.link]

    async def run(self, inbox: PeerInbox) -> Never:
        """As the port says."""
        try:
            async with trio.open_nursery() as nursery:
                self._running = (nursery, inbox)
                for end in self._ends.values():
                    nursery.start_soon(self._keep, end, inbox)
                await trio.sleep_forever()
        finally:
            self._running = None
        raise AssertionError("unreachable")

    def send(self, link: LinkId, session: int, data: bytes) -> None:
        """As the port says."""
        assert 0 < len(data) <= limits.FRAME_BYTES_MAX, "a frame of a length that none may have"
        end, half = self._standing(link, session)
        if end is None or half is None or half.reason or half.far is None:
            return
        if half.far.queued_bytes + len(data) > limits.PEER_OUTGOING_BYTES_MAX:
            self._break(end, "the neighbour reads too slowly: outgoing queue full")
            return
        end.frames_out += 1
        end.bytes_out += len(data)
        if not half.far.reason:
            half.far.give(data)

    def disconnect(self, link: LinkId, session: int, reason: str) -> None:
        """As the port says."""
        _, half = self._standing(link, session)
        if half is None or half.left or half.delivery.cancel_called or half.far is None:
            return
        half.left = True
        half.queue.clear()
        half.reason = reason
        half.changed.set()
        half.far.finish("the neighbour ended the session")

    def statistics(self) -> tuple[PeerStatistics, ...]:
        return tuple(
            PeerStatistics(
                link=end.link,
                connected=end.half is not None,
                session=end.last,
                connects=end.connects,
                frames_in=end.frames_in,
                frames_out=end.frames_out,
                bytes_in=end.bytes_in,
                bytes_out=end.bytes_out,
                refused=0,
            )
            for end in self._ends.values()
            if not end.removed
        )

    def _standing(self, link: LinkId, session: int) -> tuple[_End | None, _Half | None]:
        end = self._ends.get(link)
        if end is None or end.half is None or end.half.number != session:
            return None, None
        return end, end.half

    def _break(self, end: _End, reason: str) -> None:
        """Both halves end; what was on its way is gone."""
        if end.half is not None:
            end.half.drop(reason)
            if end.half.far is not None:
                end.half.far.drop(_BROKE)

    async def _keep(self, end: _End, inbox: PeerInbox) -> None:
        try:
            while not end.removed:
                end.met = trio.Event()
                end.ready = True
                self._hub.meet(end.link)
                await end.met.wait()
                end.ready = False
                if end.half is not None:
                    await self._serve(end, end.half, inbox)
            del self._ends[end.link]
        finally:
            end.ready = False
            self._break(end, _BROKE)
            end.half = None

    async def _serve(self, end: _End, half: _Half, inbox: PeerInbox) -> None:
        half.number = end.last = next(self._numbers)
        end.connects += 1
        await inbox.connected(end.link, half.number)
        while half.queue or not half.reason:
            if not half.queue:
                half.changed = trio.Event()
                await half.changed.wait()
                continue
            data = half.queue.popleft()
            half.queued_bytes -= len(data)
            end.frames_in += 1
            end.bytes_in += len(data)
            with half.delivery:
                await inbox.frame(end.link, half.number, data)
            if half.delivery.cancel_called:
                break
            half.delivery = trio.CancelScope()
        end.half = None
        await inbox.lost(end.link, half.number, half.reason)
