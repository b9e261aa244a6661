"""The one-time-pad tunnel between two nodes: real frames, real pads, the real peer connection.

Each part is sealed with its own bytes of an opened window, crosses mutual TLS to another process,
is verified and decrypted there with the same bytes, and both ends destroy what they used. The
far end says how far it has got, as a node's grants do, so that no more than a window is under way.
"""

import os
import random
import struct
import time
from hashlib import shake_256
from multiprocessing.connection import Connection
from typing import Never

import trio

from kms.adapters.neighbour import Neighbour
from kms.adapters.peer_tls import TLSPeerLinks
from kms.adapters.tls import Checks, Credentials, CurrentTLS
from kms.bench.figures import Figure, mbit_s
from kms.domain import frame, limits
from kms.domain.direction import Direction
from kms.domain.limits import KIB, MIB
from kms.domain.names import LinkId, NodeId, SecretId, link_id
from kms.domain.secret import Secret
from kms.domain.window import Window

NAME = "tunnel"
PUBLISHED_MBIT_S = 185.0
PART_BYTES = 64 * KIB
ALICE, BOB = NodeId("alice"), NodeId("bob")
LINK = link_id(ALICE, BOB)

_OWN_BYTES = frame.overhead(PART_BYTES)
_CONTEXT = frame.context(LINK, SecretId("bench"), Direction.FROM_LEADER)
# At most so many parts on their way: half of what the connection's queue holds.
_UNDER_WAY = limits.PEER_OUTGOING_BYTES_MAX // 2 // PART_BYTES
_SAY_EVERY = 8
_NUMBER = struct.Struct(">Q")


def opened_window(seed: bytes, parts: int) -> Window:
    """Pad for so many parts, as a node's opened units: the same at both ends."""
    window, unit = Window(), MIB
    for start in range(0, parts * _OWN_BYTES, unit):
        bits = shake_256(seed + _NUMBER.pack(start)).digest(unit)
        window.add(start, Secret(bits))
    return window


def receive(connection: Connection, credentials: Credentials, seed: bytes, parts: int) -> None:
    """A process: the node at the far end."""

    async def run() -> None:
        links = TLSPeerLinks(
            node=BOB,
            tls=CurrentTLS(credentials, checks=Checks.URI),
            jitter=random.SystemRandom(),
            neighbours=[Neighbour(node=ALICE)],
        )
        port = await links.listen("127.0.0.1", 0)
        end = _FarEnd(links, opened_window(seed, parts))
        connection.send(port)
        await links.run(end)

    trio.run(run)


class _FarEnd:
    """Opens what comes, and says how much it was. A ``PeerInbox``."""

    def __init__(self, links: TLSPeerLinks, window: Window) -> None:
        self._links, self._window = links, window
        self._got = 0

    async def connected(self, link: LinkId, session: int) -> None:
        pass

    async def frame(self, link: LinkId, session: int, data: bytes) -> None:
        header = frame.read_header(data)
        own = frame.overhead(header.secret_bytes)
        pad = self._window.peek(header.offset, own)
        assert pad is not None, "I1 the frame's own bytes are still unspent"
        part = frame.unseal(_CONTEXT, header, data, pad)
        pad.wipe()
        self._window.advance(header.offset + own, used=own)
        part[:] = bytes(len(part))
        self._got += 1
        if self._got % _SAY_EVERY == 0:
            self._links.send(link, session, _NUMBER.pack(self._got))

    async def lost(self, link: LinkId, session: int, reason: str) -> None:
        pass


class _NearEnd:
    """Hears how far the other end is. A ``PeerInbox``."""

    def __init__(self) -> None:
        self.got = 0
        self.session = 0
        self.news = trio.Event()

    def _tell(self) -> None:
        news, self.news = self.news, trio.Event()
        news.set()

    async def connected(self, link: LinkId, session: int) -> None:
        self.session = session
        self._tell()

    async def frame(self, link: LinkId, session: int, data: bytes) -> None:
        (self.got,) = _NUMBER.unpack(data)
        self._tell()

    async def lost(self, link: LinkId, session: int, reason: str) -> Never:
        raise AssertionError(f"the tunnel broke: {reason}")


async def tunnel_mbit_s(port: int, credentials: Credentials, seed: bytes, parts: int) -> float:
    """Secret bytes through the tunnel to ``receive``, opened at its other end; ``parts`` is a
    multiple of 8."""
    assert parts % _SAY_EVERY == 0, "the far end says it after every eighth"
    links = TLSPeerLinks(
        node=ALICE,
        tls=CurrentTLS(credentials, checks=Checks.URI),
        jitter=random.SystemRandom(),
        neighbours=[Neighbour(node=BOB, host="127.0.0.1", port=port)],
    )
    end, window = _NearEnd(), opened_window(seed, parts)
    secret = os.urandom(PART_BYTES)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(links.run, end)
        while not end.session:
            await end.news.wait()
        began = time.perf_counter()
        for number in range(parts):
            while number - end.got >= _UNDER_WAY:
                await end.news.wait()
            offset, pad = window.take(_OWN_BYTES)
            data = frame.seal(_CONTEXT, 1, offset, pad, secret)
            pad.wipe()
            links.send(LINK, end.session, data)
            await trio.lowlevel.checkpoint()
        while end.got < parts:
            await end.news.wait()
        seconds = time.perf_counter() - began
        nursery.cancel_scope.cancel()
    return mbit_s(parts * PART_BYTES, seconds)


def figure(measured: float, floor: float) -> Figure:
    """The row."""
    return Figure(
        name=NAME,
        what="one-time-pad tunnel, parts of 64 KiB",
        measured=measured,
        unit="Mbit/s",
        floor=floor,
        floor_what="a bare TLS socket, 64 KiB at a time",
        published=PUBLISHED_MBIT_S,
    )
