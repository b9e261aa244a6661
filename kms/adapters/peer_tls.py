"""Connections to the neighbour nodes: mutual TLS 1.3 over TCP, one per link.

Rules: the smaller node name dials, the other listens; one listener serves all neighbours. A
certificate must carry exactly one ``kms:<node>`` and both ends check it: the listener that it is
a neighbour who should dial us, the dialler that it reached the very node it wanted. Host names
only say where to dial. A new connection from a neighbour ends the old one: the neighbour knows
better than we do whether its old one is dead. Whatever a neighbour or a stranger does, it costs a
counter and its own connection.

Theory of operation: each link is one task, and only that task calls the inbox for its link. So
the order connected, frames, lost holds by construction: ending a session, for whatever reason,
cancels what runs *between* the two calls and never the calls themselves. The listener's tasks
prove who is there, then hand the stream over and wait until the link is done with it.

After a session the dialler waits, twice as long each time up to a bound, less a random share, and
begins anew after a session that lasted. When ``run`` is cancelled no more calls are made: the
process is stopping, and the neighbour notices by itself.
"""

import itertools
import random
import ssl
from collections.abc import Callable, Iterable
from typing import Never

import attrs
import structlog
import trio

from kms.adapters.neighbour import Neighbour, peer_node
from kms.adapters.peer_session import NotGreeted, Session, Timing, Traffic, greet
from kms.adapters.tls import CurrentTLS, fingerprint
from kms.domain import limits
from kms.domain.errors import LocalFault
from kms.domain.names import LinkId, NodeId, leader_of, link_id
from kms.ports.peer import PeerInbox, PeerStatistics

_log = structlog.get_logger("kms.peer")

TLSStream = trio.SSLStream[trio.SocketStream]


class _Refused(Exception):
    """The other end is not who it should be, or did not get through the handshake."""


@attrs.define
class _Arrival:
    """A proven stream from the neighbour, and the word that we are done with it."""

    stream: TLSStream
    certificate: str
    done: trio.Event = attrs.Factory(trio.Event)


@attrs.define(eq=False)
class _Link:
    """One neighbour: its session, or the wait for the next."""

    link: LinkId
    neighbour: Neighbour
    dials: bool
    traffic: Traffic = attrs.Factory(Traffic)
    session: Session | None = None
    certificate: str = ""
    connects: int = 0
    refused: int = 0
    last: int = 0
    """number of the newest session"""
    removed: bool = False
    unreachable: str = ""
    """why the last attempt reached nobody, as it was logged"""
    waiting: _Arrival | None = None
    arrived: trio.Event = attrs.Factory(trio.Event)
    idle: trio.CancelScope = attrs.Factory(trio.CancelScope)
    """what runs while there is no session"""

    def offer(self, arrival: _Arrival) -> None:
        """The link takes the stream up; what it had, or was to take up, ends."""
        if self.waiting is not None:
            self.waiting.done.set()
        self.waiting = arrival
        self.arrived.set()
        self.end("a new connection from the neighbour")

    def end(self, reason: str) -> None:
        if self.session is not None:
            self.session.abandon(reason)

    def found_unreachable(self, reason: str) -> None:
        """Said once: a neighbour that is away for a day is dialled some hundred thousand times."""
        if reason != self.unreachable:
            self.unreachable = reason
            _log.info("peer-unreachable", link=self.link, reason=reason)

    def remove(self) -> None:
        self.removed = True
        if self.waiting is not None:
            self.waiting.done.set()
            self.waiting = None
        self.end("no longer a neighbour")
        self.idle.cancel()


class TLSPeerLinks:
    """``PeerLinks`` over TCP. ``listen`` first where any neighbour dials us, then ``run``."""

    def __init__(
        self,
        *,
        node: NodeId,
        tls: CurrentTLS,
        jitter: random.Random,
        neighbours: Iterable[Neighbour] = (),
        is_revoked: Callable[[str], bool] = lambda fingerprint: False,
        timing: Timing | None = None,
    ) -> None:
        """``tls`` checks URIs. ``is_revoked``: asked with the fingerprint of each certificate."""
        assert not tls.client_context().check_hostname, "peers are known by URI: Checks.URI"
        self._node = node
        self._tls = tls
        self._jitter = jitter
        self._is_revoked = is_revoked
        self._timing = timing or Timing()
        self._links: dict[LinkId, _Link] = {}
        self._listeners: list[trio.SocketListener] = []
        self._numbers = itertools.count(1)
        self._handshakes: dict[trio.CancelScope, None] = {}
        self._strangers = 0
        self._running: tuple[trio.Nursery, PeerInbox] | None = None
        for neighbour in neighbours:
            self.add(neighbour)

    async def listen(self, host: str, port: int) -> int:
        """Neighbours can connect, and are served from ``run`` on; the port, chosen if 0 was
        given. Raises ``LocalFault``."""
        try:
            self._listeners += await trio.open_tcp_listeners(port, host=host)
        except OSError as error:
            raise LocalFault(
                f"cannot listen for neighbours on {host}:{port}: {error.strerror or error}",
                hint="the address must be one of this machine's, and no other process on the port",
            ) from error
        chosen: int = self._listeners[-1].socket.getsockname()[1]
        return chosen

    @property
    def strangers(self) -> int:
        """Connections refused that named no neighbour of ours."""
        return self._strangers

    def add(self, neighbour: Neighbour) -> None:
        """There is a link to the neighbour; at once if ``run`` runs. A neighbour that is there
        already gets its new address at the next attempt. Raises ``LocalFault``."""
        link = link_id(self._node, neighbour.node)
        dials = leader_of(link) == self._node
        if dials and not (neighbour.host and 0 < neighbour.port < 2**16):
            raise LocalFault(
                f"no address for neighbour {neighbour.node}",
                hint="give host and port: the node with the smaller name dials",
            )
        if link in self._links:
            # Perhaps removed, its ``lost`` not yet taken: the same task goes on, in order.
            self._links[link].removed = False
            self._links[link].neighbour = neighbour
            return
        self._links[link] = _Link(link=link, neighbour=neighbour, dials=dials)
        if self._running is not None:
            self._running[0].start_soon(self._keep, self._links[link], self._running[1])

    def remove(self, node: NodeId) -> None:
        """The node is no neighbour: its session ends, ``lost`` follows, and it is refused."""
        link = self._links.get(link_id(self._node, node))
        if link is None:
            return
        link.remove()
        if self._running is None:
            del self._links[link.link]

    def recheck(self) -> None:
        """No session stands on a certificate that is revoked. Call when policy changed."""
        for link in self._links.values():
            if self._is_revoked(link.certificate):
                link.end("the certificate is revoked")

    async def run(self, inbox: PeerInbox) -> Never:
        """As the port says."""
        try:
            async with trio.open_nursery() as nursery:
                self._running = (nursery, inbox)
                for link in self._links.values():
                    link.waiting = None  # of an earlier run
                    nursery.start_soon(self._keep, link, inbox)
                if self._listeners:
                    nursery.start_soon(trio.serve_listeners, self._accept, self._listeners)
                await trio.sleep_forever()
        finally:
            self._running = None
            self._listeners = []  # closed
        raise AssertionError("unreachable")

    def send(self, link: LinkId, session: int, data: bytes) -> None:
        """As the port says."""
        standing = self._standing(link, session)
        if standing is not None:
            standing.send(data)

    def disconnect(self, link: LinkId, session: int, reason: str) -> None:
        """As the port says."""
        standing = self._standing(link, session)
        if standing is not None:
            standing.leave(reason)

    def statistics(self) -> tuple[PeerStatistics, ...]:
        return tuple(
            PeerStatistics(
                link=link.link,
                connected=link.session is not None,
                session=link.last,
                connects=link.connects,
                frames_in=link.traffic.frames_in,
                frames_out=link.traffic.frames_out,
                bytes_in=link.traffic.bytes_in,
                bytes_out=link.traffic.bytes_out,
                refused=link.refused + link.traffic.oversized,
            )
            for link in self._links.values()
            if not link.removed
        )

    def _standing(self, link: LinkId, session: int) -> Session | None:
        found = self._links.get(link)
        if found is None or found.session is None or found.session.number != session:
            return None
        return found.session

    # ---- one link ---------------------------------------------------------------------------

    async def _keep(self, link: _Link, inbox: PeerInbox) -> None:
        """Session after session until the link is removed."""
        attempt = 0
        while not link.removed:
            arrival: _Arrival | None = None
            with trio.CancelScope() as link.idle:
                arrival = await (self._dial(link) if link.dials else self._taken(link))
            began = trio.current_time()
            if arrival is not None:
                try:
                    await self._serve(link, arrival, inbox)
                finally:
                    arrival.done.set()
                    await trio.aclose_forcefully(arrival.stream)
            if link.dials and not link.removed:
                lasted = trio.current_time() - began >= self._timing.backoff_max_s
                attempt = 0 if lasted else attempt + 1
                with trio.CancelScope() as link.idle:
                    await trio.sleep(self._pause_s(attempt))
        del self._links[link.link]

    async def _serve(self, link: _Link, arrival: _Arrival, inbox: PeerInbox) -> None:
        number = link.last = next(self._numbers)
        session = Session(number, arrival.stream, traffic=link.traffic, timing=self._timing)
        link.session, link.certificate = session, arrival.certificate
        link.connects += 1
        if self._is_revoked(arrival.certificate):  # between the handshake and now
            session.abandon("the certificate is revoked")
        try:
            _log.info("peer-connected", link=link.link, session=number)
            await inbox.connected(link.link, number)

            async def deliver(data: bytes) -> None:
                await inbox.frame(link.link, number, data)

            reason = await session.run(deliver)
        finally:
            link.session = None
        _log.info("peer-lost", link=link.link, session=number, reason=reason)
        await inbox.lost(link.link, number, reason)

    def _pause_s(self, attempt: int) -> float:
        ceiling = self._timing.backoff_min_s * 2.0 ** min(attempt, 30)
        return min(ceiling, self._timing.backoff_max_s) * self._jitter.uniform(0.5, 1.0)

    # ---- dialling ---------------------------------------------------------------------------

    async def _dial(self, link: _Link) -> _Arrival | None:
        """A greeted stream to the very node, or None and the reason is logged."""
        wanted = link.neighbour
        try:
            with trio.fail_after(self._timing.handshake_s):
                transport = await trio.open_tcp_stream(wanted.host, wanted.port)
                try:
                    arrival = await self._dialled(link, transport)
                    link.unreachable = ""
                    return arrival
                except BaseException:  # whatever it is, Cancelled too: not ours any more
                    await trio.aclose_forcefully(transport)
                    raise
        except _Refused as refusal:
            link.refused += 1
            _log.warning("peer-refused", link=link.link, reason=str(refusal))
        except (
            trio.TooSlowError,
            trio.BrokenResourceError,
            NotGreeted,
            OSError,
            UnicodeError,  # a host name that no resolver takes
        ) as error:
            link.refused += isinstance(error.__cause__, ssl.SSLCertVerificationError)
            link.found_unreachable(_words(error))
        return None

    async def _dialled(self, link: _Link, transport: trio.SocketStream) -> _Arrival:
        stream: TLSStream = trio.SSLStream(transport, self._tls.client_context())
        await stream.do_handshake()
        der = stream.getpeercert(binary_form=True) or b""
        reached = peer_node(der)
        if reached != link.neighbour.node:
            raise _Refused(f"wanted {link.neighbour.node}, reached {reached or 'no node'}")
        certificate = fingerprint(der)
        if self._is_revoked(certificate):
            raise _Refused("the certificate is revoked")
        await greet(stream)
        return _Arrival(stream, certificate)

    # ---- listening --------------------------------------------------------------------------

    async def _taken(self, link: _Link) -> _Arrival | None:
        """The stream that the listener handed over last."""
        await link.arrived.wait()
        arrival, link.waiting = link.waiting, None
        link.arrived = trio.Event()
        return arrival

    async def _accept(self, transport: trio.SocketStream) -> None:
        """One connection from whoever it is, until its link is done with it."""
        try:
            proven = await self._prove(transport)
        except _Refused as refusal:
            _log.warning("peer-refused", reason=str(refusal))
            return
        if proven is None:
            self._strangers += 1
            _log.info("peer-refused", reason="no handshake")
            return
        link, arrival = proven
        link.offer(arrival)
        await arrival.done.wait()

    async def _prove(self, transport: trio.SocketStream) -> tuple[_Link, _Arrival] | None:
        """The link whose neighbour this is; None if it did not come so far in time."""
        if len(self._handshakes) >= limits.PEER_HANDSHAKES_MAX:
            # An honest handshake takes milliseconds: the oldest is the least likely to be one.
            oldest = next(iter(self._handshakes))
            del self._handshakes[oldest]
            oldest.cancel()
        stream: TLSStream = trio.SSLStream(transport, self._tls.server_context(), server_side=True)
        with trio.move_on_after(self._timing.handshake_s) as scope:
            self._handshakes[scope] = None
            try:
                await stream.do_handshake()
                link, certificate = self._recognise(stream.getpeercert(binary_form=True))
                await greet(stream)
                return (link, _Arrival(stream, certificate)) if not link.removed else None
            except (trio.BrokenResourceError, trio.ClosedResourceError, NotGreeted):
                return None
            finally:
                self._handshakes.pop(scope, None)
        return None

    def _recognise(self, der: bytes | None) -> tuple[_Link, str]:
        node = peer_node(der)
        link = (
            self._links.get(link_id(self._node, node)) if node not in (None, self._node) else None
        )
        if der is None or node is None or link is None or link.removed:
            self._strangers += 1
            raise _Refused(f"{node or 'no node'} is no neighbour")
        certificate = fingerprint(der)
        if link.dials:
            link.refused += 1
            raise _Refused(f"{node} dialled, though our name is the smaller one")
        if self._is_revoked(certificate):
            link.refused += 1
            raise _Refused(f"the certificate of {node} is revoked")
        return link, certificate


def _words(error: BaseException) -> str:
    cause = error.__cause__
    return str(error) or str(cause) or type(error).__name__
