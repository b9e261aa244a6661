"""ETSI GS QKD 014, before one of two nodes with keys: those that the caller asks for, and those
that applications of the other node made for it.

schemathesis puts a header of its own into every request, for which the fast way would pass it on.
Here it is taken out again before the fast way looks, and what that answers is counted.
"""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch
from uuid import UUID

import attrs
import h11
import trio

from kms.adapters.edge import Bounds, Handler
from kms.adapters.etsi014_http import HotKeys, etsi014_app
from kms.adapters.etsi014_http.routes import OPENAPI
from kms.domain import limits
from kms.domain.keyids import ID_BYTES
from kms.domain.keyrequests import (
    DecKeys,
    EncKeys,
    KeysReply,
    Outcome,
    PairStatus,
    PairStatusReply,
)
from kms.domain.names import NodeId, SAEId
from kms.domain.policy import Policy, Rule
from kms.ports.northbound import Forbidden, Northbound
from tests.api.interface import APP, EXAMPLE, OTHER, Interface, Seen, Served, log_into
from tests.edge.authority import Authority
from tests.edge.support import running
from tests.wired.nodes import Wired, network, wired
from tests.world import ALICE, BOB

MORE: Final = [SAEId("sae:second.site-b"), SAEId("sae:app.third-site")]
"""slaves beside the first; one of them is the document's example"""
FAR: Final = SAEId("sae:far.site-c")
"""lives at a node that no link leads to"""
# Of the dictionary in etsi014.toml: each has its stock before the first request comes.
SIZES_BITS: Final = (64, 256, 1024)
# A request for more than there is must not hold the test up.
TIMEOUT_MS: Final = 100
KEYS_FOR_US: Final = 1024
KEYS_FOR_OTHERS: Final = 100
# 64 KiB each: more than all requests take.
BLOCKS: Final = 200
FAST: Final = ("way", "fast")
MULTICAST: Final = "enc_keys for several"
_THEIR_HEADER: Final = b"x-schemathesis-testcaseid"


@asynccontextmanager
async def _serving(authority: Authority, *, fast: bool) -> AsyncIterator[Served]:
    # Names without a scheme are refused, all others are allowed and mostly unknown.
    rules = tuple(Rule(one=one, other="sae:*") for one in (APP, OTHER))
    directory = {APP: ALICE, OTHER: ALICE, EXAMPLE: BOB, FAR: NodeId("carol")}
    view = network(Policy(rules=rules), directory | dict.fromkeys(MORE, BOB))
    faults: list[dict[str, Any]] = []
    log = log_into(faults)
    bounds = attrs.evolve(Bounds(), body_bytes_max=limits.KEYS_BODY_BYTES_MAX)
    async with wired(view=view, blocks=BLOCKS) as nodes:
        ours, others = await _made(nodes)
        counter = _Counted(nodes.alice.counter)
        app = etsi014_app(counter, ALICE, log)
        hot = _Bared(HotKeys(counter, ALICE, log), counter.seen) if fast else None
        with patch.object(limits, "KEYS_TIMEOUT_MS", TIMEOUT_MS):
            async with running(app, authority=authority, bounds=bounds, hot=hot) as edge:
                names = [str(UUID(bytes=one)) for one in (*ours, *others)]
                yield Served(
                    edge=edge,
                    seen=counter.seen,
                    faults=faults,
                    dictionaries=f"[dictionaries.key_ids]\nvalues = {names}\n",
                )


def _interface(*, fast: bool) -> Interface:
    answered: Counter[Seen] = Counter(
        {
            ("enc_keys", Outcome.DELIVERED): 120,
            (MULTICAST, Outcome.DELIVERED): 40,
            ("dec_keys", Outcome.DELIVERED): 50,
            ("dec_keys", Outcome.NOT_ENTITLED): 1,
            ("status", Outcome.DELIVERED): 50,
            ("enc_keys", Outcome.BAD_REQUEST): 1,
            ("dec_keys", Outcome.BAD_REQUEST): 20,
            ("enc_keys", Forbidden): 1,
            ("status", Forbidden): 1,
        }
    )
    return Interface(
        path=OPENAPI,
        settings=Path(__file__).with_name("etsi014.toml"),
        serving=partial(_serving, fast=fast),
        answered=answered | Counter({FAST: 1000 if fast else 0}),
        # The slow way with fewer: only what brings a request to the desk is another.
        cases_at_least=1500 if fast else 800,
        examples=250 if fast else 125,
    )


FAST_WAY: Final = _interface(fast=True)
SLOW_WAY: Final = _interface(fast=False)


class _Counted:
    """A counter whose answers are counted."""

    def __init__(self, counter: Northbound) -> None:
        self._counter = counter
        self.seen: Counter[Seen] = Counter()

    async def enc_keys(self, caller: SAEId, request: EncKeys) -> KeysReply:
        name = MULTICAST if request.additional_slaves else "enc_keys"
        with self._refusals(name):
            reply = await self._counter.enc_keys(caller, request)
        self.seen[name, reply.outcome] += 1
        return reply

    async def dec_keys(self, caller: SAEId, request: DecKeys) -> KeysReply:
        with self._refusals("dec_keys"):
            reply = await self._counter.dec_keys(caller, request)
        self.seen["dec_keys", reply.outcome] += 1
        return reply

    async def pair_status(self, caller: SAEId, request: PairStatus) -> PairStatusReply:
        with self._refusals("status"):
            reply = await self._counter.pair_status(caller, request)
        self.seen["status", reply.outcome] += 1
        return reply

    def is_revoked(self, fingerprint: str) -> bool:
        return self._counter.is_revoked(fingerprint)

    @contextmanager
    def _refusals(self, name: str) -> Iterator[None]:
        try:
            yield
        except Forbidden:
            self.seen[name, Forbidden] += 1
            raise


class _Bared:
    """Hot routes that do not see the header of schemathesis."""

    def __init__(self, routes: HotKeys, seen: Counter[Seen]) -> None:
        self._routes = routes
        self._seen = seen
        self.request_lines = routes.request_lines

    def handler(self, request: h11.Request) -> Handler | None:
        headers = [each for each in request.headers if each[0] != _THEIR_HEADER]
        bare = h11.Request(method=request.method, target=request.target, headers=headers)
        handler = self._routes.handler(bare)
        self._seen[FAST] += handler is not None
        return handler


async def _made(nodes: Wired) -> tuple[list[bytes], list[bytes]]:
    """IDs of keys that the caller may fetch, and of keys that were made for another."""
    for bits in SIZES_BITS:
        await _asked(
            nodes.alice.counter, APP, EncKeys(slave=EXAMPLE, number=1, key_bytes=bits // 8)
        )
    ids = []
    for slave, number in ((APP, KEYS_FOR_US), (OTHER, KEYS_FOR_OTHERS)):
        order = EncKeys(slave=slave, number=number, key_bytes=32)
        reply = await _asked(nodes.bob.counter, EXAMPLE, order)
        ids.append([reply.key_ids[at : at + ID_BYTES] for at in range(0, 16 * number, ID_BYTES)])
    return ids[0], ids[1]


async def _asked(counter: Northbound, caller: SAEId, order: EncKeys) -> KeysReply:
    """As often as it takes until there is so much key."""
    with trio.fail_after(60):
        while True:
            reply = await counter.enc_keys(caller, order)
            if reply.outcome is Outcome.DELIVERED:
                return reply
            await trio.sleep(0.05)
