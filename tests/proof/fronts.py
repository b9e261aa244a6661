"""What strangers can knock at: each listener of applications with its openings and its bystander.

A server of HTTP with and without TLS, the interface of keys with IDs over both of its ways, the
binary interface of ETSI GS QKD 004. Each is served as the node serves it, before a counter in
memory; its ``probe`` is what a bystander asks and must be answered.
"""

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, Final

import attrs

from kms.adapters.edge import Bounds
from kms.adapters.memory.northbound import MemoryNorthbound
from kms.domain.limits import KEYS_BODY_BYTES_MAX
from tests.adapters.etsi014_http_client import site
from tests.edge import binary
from tests.edge.authority import Authority
from tests.edge.binary import running_binary, try_opening
from tests.edge.hostile import KEYS_OPENINGS, KEYS_PIECES, OPENINGS, PIECES, bent, try_listed
from tests.edge.support import Running, SmallHot, running, small_app

Serving = Callable[[Authority, Bounds], AbstractAsyncContextManager[Running]]


@attrs.frozen(kw_only=True)
class Front:
    """One listener."""

    name: str
    serving: Serving
    listed: list[dict[str, Any]] = attrs.field(repr=False)
    tries: Callable[[Running, dict[str, Any]], Awaitable[list[str]]]
    """makes a listed opening; what was wrong with its answer or its end"""
    pieces: Sequence[bytes] = attrs.field(repr=False)
    """of which openings are bent"""

    def bent(self, choice: random.Random) -> bytes:
        return bent(choice, self.pieces)


@asynccontextmanager
async def _small(tls: bool, authority: Authority, bounds: Bounds) -> AsyncIterator[Running]:
    app = small_app()
    app.logger.disabled = True  # it has an opening that asks for a fault
    offered = authority if tls else None
    async with running(app, authority=offered, bounds=bounds, hot=SmallHot()) as edge:
        yield edge


@asynccontextmanager
async def _keys(way: str, authority: Authority, bounds: Bounds) -> AsyncIterator[Running]:
    bounds = attrs.evolve(bounds, body_bytes_max=KEYS_BODY_BYTES_MAX)
    async with site(way, authority=authority, bounds=bounds) as here:
        yield here.edge


@asynccontextmanager
async def _binary(authority: Authority, bounds: Bounds) -> AsyncIterator[Running]:
    async with running_binary(MemoryNorthbound(), authority=authority, bounds=bounds) as edge:
        yield edge


def _http(name: str, serving: Serving) -> Front:
    return Front(name=name, serving=serving, listed=OPENINGS, tries=try_listed, pieces=PIECES)


def _with_ids(name: str, serving: Serving) -> Front:
    return Front(
        name=name, serving=serving, listed=KEYS_OPENINGS, tries=try_listed, pieces=KEYS_PIECES
    )


FRONTS: Final = (
    _http("HTTP over TLS", partial(_small, True)),
    _http("HTTP over TCP", partial(_small, False)),
    _with_ids("ETSI 014, fast way", partial(_keys, "fast")),
    _with_ids("ETSI 014, slow way", partial(_keys, "slow")),
    Front(
        name="ETSI 004, binary",
        serving=_binary,
        listed=binary.OPENINGS,
        tries=try_opening,
        pieces=binary.PIECES,
    ),
)
LISTED: Final = sum(len(front.listed) for front in FRONTS)
