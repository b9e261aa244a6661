"""ETSI GS QKD 004 over HTTP, before one of two nodes with a stream that both ends have opened.

schemathesis puts a header of its own into every request, so the fast way passes all of them on:
that both ways answer alike is shown elsewhere.
"""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from kms.adapters.edge import Bounds
from kms.adapters.etsi004_http import HotGetKey, etsi004_app
from kms.adapters.etsi004_http.openapi import PREFIX
from kms.domain.names import KSID, SAEId, ksid
from kms.domain.policy import Policy, Rule
from kms.domain.requests import Close, CloseReply, GetKey, KeyReply, OpenConnect, OpenReply
from kms.domain.status import QoS, Status
from kms.ports.northbound import Northbound
from tests.api.interface import APP, OTHER, PEER, Interface, Seen, Served, log_into
from tests.edge.authority import Authority
from tests.edge.support import running
from tests.wired.nodes import Wired, network, wired
from tests.world import ALICE, BOB

OPEN: Final[KSID] = ksid("11111111-1111-4111-8111-111111111111")
"""a stream of ours, so that keys are given"""
# A predefined stream whose peer never comes must not hold the test up.
TIMEOUT_MS: Final = 20


@asynccontextmanager
async def _serving(authority: Authority) -> AsyncIterator[Served]:
    # Applications of one node may talk, and learn that there is no key between them.
    rules = (Rule(one=APP, other="*"),)
    view = network(Policy(rules=rules), {APP: ALICE, OTHER: ALICE, PEER: BOB})
    faults: list[dict[str, Any]] = []
    log = log_into(faults)
    async with wired(view=view) as nodes:
        await _open(nodes)
        counter = _Hurried(nodes.alice.counter)
        app, hot = etsi004_app(counter, log), HotGetKey(counter, log)
        async with running(app, authority=authority, bounds=Bounds(), hot=hot) as edge:
            yield Served(edge=edge, seen=counter.seen, faults=faults)


ETSI_004: Final = Interface(
    path=f"{PREFIX}/openapi.json",
    settings=Path(__file__).with_name("etsi004.toml"),
    serving=_serving,
    # Each at least once. 8 is too rare to wait for: what is generated seldom has a Metadata_size.
    answered=Counter(
        {("OPEN_CONNECT", Status(number)) for number in (0, 1, 4, 5, 6, 7)}
        | {("GET_KEY", Status(number)) for number in (0, 2, 3)}
        | {("CLOSE", Status.PEER_NOT_CONNECTED)}
    ),
    cases_at_least=2000,
    examples=650,
)


class _Hurried:
    """A counter on which nobody waits for long; what it answered is counted."""

    def __init__(self, counter: Northbound) -> None:
        self._counter = counter
        self.seen: Counter[Seen] = Counter()

    async def open_connect(self, caller: SAEId, request: OpenConnect) -> OpenReply:
        asked = request.qos
        short = attrs.evolve(asked, timeout=min(asked.timeout or TIMEOUT_MS, TIMEOUT_MS))
        reply = await self._counter.open_connect(caller, attrs.evolve(request, qos=short))
        self.seen["OPEN_CONNECT", reply.status] += 1
        return reply

    async def get_key(self, caller: SAEId, request: GetKey) -> KeyReply:
        reply = await self._counter.get_key(caller, request)
        self.seen["GET_KEY", reply.status] += 1
        return reply

    async def close(self, caller: SAEId, request: Close) -> CloseReply:
        if request.ksid == OPEN:
            # Or no key would be given any more.
            return CloseReply(status=Status.SUCCESS, message="left open, for the test")
        reply = await self._counter.close(caller, request)
        self.seen["CLOSE", reply.status] += 1
        return reply

    def is_revoked(self, fingerprint: str) -> bool:
        return self._counter.is_revoked(fingerprint)


async def _open(nodes: Wired) -> None:
    """With a Timeout that a busy machine may miss: then again."""
    qos = QoS(timeout=TIMEOUT_MS, metadata_mimetype="application/json")
    order = OpenConnect(source=APP, destination=PEER, qos=qos, ksid=OPEN)
    ends = ((nodes.alice.counter, APP), (nodes.bob.counter, PEER))
    answered: list[Status] = []

    async def opens(counter: Northbound, caller: SAEId) -> None:
        answered.append((await counter.open_connect(caller, order)).status)

    with trio.fail_after(60):
        while answered != [Status.SUCCESS, Status.SUCCESS]:
            answered.clear()
            async with trio.open_nursery() as nursery:
                for counter, caller in ends:
                    nursery.start_soon(opens, counter, caller)
