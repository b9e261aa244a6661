"""Who gets a key: every answer of two nodes held against a model of the policy (I3).

Theory of operation. Two whole nodes in one process, each with the real edge, the real TLS contexts,
the real interfaces and the real counter; only store and link are in memory. Streams of two pairs of
applications stand. Each case is drawn by the seed: somebody (``people``) with some certificate
connects to one of the nodes, by one of its interfaces (``interfaces``), and asks for something.
``entitled`` says what must come of it. A key in any other answer is a leak.

One case in ten revokes the caller's certificate between two requests on one connection.
"""

import random
import tempfile
import time
from collections import Counter as Tally
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final

import attrs
import structlog
import trio
from cryptography import x509
from structlog.testing import capture_logs

from kms.adapters.etsi004_http import HotGetKey, etsi004_app
from kms.adapters.etsi014_http import HotKeys, etsi014_app
from kms.adapters.tls import HTTP_1_1, Credentials, CurrentTLS
from kms.domain.names import NodeId
from kms.domain.policy import Policy, Rule
from kms.domain.requests import OpenConnect
from kms.domain.status import QoS
from kms.shell.counter import Counter
from tests.edge.authority import Authority
from tests.edge.binary import running_binary
from tests.edge.support import SHORT, Running, Stream, running
from tests.proof.entitled import (
    FAST_004,
    FAST_014,
    FRAMES_004,
    INTERFACES,
    SLOW_004,
    SLOW_014,
    STREAMS,
    WITH_ID,
    Case,
    Cases,
)
from tests.proof.interfaces import ask
from tests.proof.people import (
    ANN,
    BEN,
    CAT,
    DAN,
    DIRECTORY,
    FORBIDDEN,
    RULES,
    Certificate,
    certificates,
    pem,
    uri,
)
from tests.proof.report import PartReport, Tell
from tests.wired.nodes import BLOCK_BYTES, WiredNode, network, wired
from tests.world import ALICE, BOB

# Each kind of refusal is tried at least once in so many cases.
CASES_PER_KIND: Final = 60
KEY_BYTES: Final = 32
_AT_ONCE: Final = 8
# A machine that does other things takes its time; nobody here is slow on purpose.
_BOUNDS: Final = attrs.evolve(SHORT, handshake_s=10.0, header_s=10.0, receive_s=10.0, send_s=10.0)


@attrs.define
class _Run:
    """What was tried, and what was wrong."""

    tell: Tell
    cases: int = 0
    refused: Tally[str] = attrs.Factory(Tally)
    revoked_under_way: int = 0
    fast: int = 0
    delivered: defaultdict[tuple[object, object], dict[NodeId, bytes]] = attrs.field(
        factory=partial(defaultdict, dict), repr=False
    )
    checks: int = 0
    violations: list[str] = attrs.Factory(list)

    def check(self, holds: bool, words: str) -> None:
        self.checks += 1
        if not holds:
            self.violations.append(f"I3 {words}")


def run(amount: float, seed: int, tell: Tell) -> PartReport:
    """So many identity cases, each on a connection of its own."""
    began = time.monotonic()
    tried = _Run(tell)
    # The nodes log as nodes do; whoever looks at the proof does not want to read it.
    with capture_logs(), tempfile.TemporaryDirectory(prefix="kms-identities-") as directory:
        trio.run(_all, tried, int(amount), random.Random(seed), Path(directory))
    both = [ends for ends in tried.delivered.values() if len(ends) == 2]
    for ends in both:
        tried.check(len(set(ends.values())) == 1, "two keys under one index or ID (I2)")
    again = f"; again: tests.proof.identities.run({amount:g}, {seed}, print)"
    return PartReport(
        part="identities",
        invariants=("I3",),
        seed=seed,
        made={
            "identity cases": tried.cases,
            "keys delivered": sum(map(len, tried.delivered.values())),
            "key pairs compared": len(both),
            "answers on the fast way": tried.fast,
        },
        checks=tried.checks,
        faults={**dict(sorted(tried.refused.items())), _UNDER_WAY: tried.revoked_under_way},
        faults_min=int(amount // CASES_PER_KIND),
        violations=tuple(each + again for each in tried.violations),
        seconds=time.monotonic() - began,
    )


_UNDER_WAY: Final = "revoked under way"


# ---- the nodes ------------------------------------------------------------------------------


@attrs.define
class World:
    """Both nodes' servers by interface, and who is revoked now."""

    servers: dict[tuple[NodeId, str], Running]
    revoked: set[str]

    def connect(self, case: Case) -> Any:
        return self.servers[case.node, case.interface].connect(case.certificate.context)


@asynccontextmanager
async def _world(cases: int, ours: Authority, directory: Path) -> AsyncIterator[World]:
    """Two nodes that serve applications, with a stream of each pair that both have opened."""
    certificate, key = ours.issue([uri("kms:node"), x509.IPAddress(IPv4Address("127.0.0.1"))])
    path, ca = directory / "node.pem", directory / "ca.pem"
    path.write_bytes(pem(certificate, key))
    ca.write_text(ours.ca_pem)
    tls = CurrentTLS(Credentials(certificate=path, key=path, ca=ca), alpn=HTTP_1_1)
    policy = Policy(rules=tuple(Rule(one=one, other=other) for one, other in RULES))
    revoked: set[str] = set()
    # Half of each pad for either direction, and twice what can be asked for.
    blocks = 8 + 4 * cases * KEY_BYTES // BLOCK_BYTES
    async with (
        wired(view=network(policy, dict(DIRECTORY)), blocks=blocks) as nodes,
        AsyncExitStack() as stack,
    ):
        servers, counters = {}, {}
        for node in nodes.nodes:
            counters[node.name] = counter = _counter(node, revoked)
            for interface, serving in _servers(node.name, counter, tls, ours).items():
                servers[node.name, interface] = await stack.enter_async_context(serving)
            servers[node.name, SLOW_004] = servers[node.name, FAST_004]
            servers[node.name, SLOW_014] = servers[node.name, FAST_014]
        for ksid, (one, other) in zip(STREAMS, RULES, strict=True):
            qos = QoS(key_chunk_size=KEY_BYTES, timeout=10_000)
            asked = OpenConnect(source=one, destination=other, ksid=ksid, qos=qos)
            async with trio.open_nursery() as both:
                both.start_soon(counters[ALICE].open_connect, one, asked)
                both.start_soon(counters[BOB].open_connect, other, asked)
        yield World(servers, revoked)


def _servers(name: NodeId, counter: Counter, tls: CurrentTLS, ours: Authority) -> dict[str, Any]:
    """One of each kind, for one node."""
    log = structlog.wrap_logger(None, processors=[_drop])
    return {
        FAST_004: running(
            etsi004_app(counter, log),
            authority=None,
            tls=tls,
            bounds=_BOUNDS,
            hot=HotGetKey(counter, log),
        ),
        FAST_014: running(
            etsi014_app(counter, name, log),
            authority=None,
            tls=tls,
            bounds=_BOUNDS,
            hot=HotKeys(counter, name, log),
        ),
        FRAMES_004: running_binary(counter, authority=ours, tls=tls, bounds=_BOUNDS),
    }


def _counter(node: WiredNode, revoked: set[str]) -> Counter:
    return Counter(
        node.pump,
        entropy=node.entropy,
        is_revoked=lambda print_: print_ in revoked,
    )


def _drop(*_: Any) -> Any:
    raise structlog.DropEvent


# ---- trying ---------------------------------------------------------------------------------


async def _all(tried: _Run, amount: int, choice: random.Random, directory: Path) -> None:
    ours = Authority()
    somebody = certificates(directory, ours)
    kinds = [each.kind for each in somebody if each.refused]
    tried.refused.update(dict.fromkeys((*kinds, *map(_over, INTERFACES)), 0))
    async with _world(amount, ours, directory) as world:
        cases = Cases(choice, somebody)
        world.revoked |= {each.print for each in somebody if each.kind == "revoked"}
        # Only these are revoked under way: each by one task at a time.
        movable = [each for each in somebody if each.name in (ANN, BEN, CAT, DAN)]
        slots = trio.CapacityLimiter(_AT_ONCE)

        async def one(case: Case) -> None:
            async with slots, world.connect(case) as stream:
                await _try(tried, cases, case, stream)

        while tried.cases < amount:
            async with trio.open_nursery() as nursery:
                for _ in range(min(50, amount - tried.cases)):
                    nursery.start_soon(one, cases.draw())
                    tried.cases += 1
            for _ in range(min(5, amount - tried.cases)):
                await _revoked_under_way(tried, world, cases, choice.choice(movable))
                tried.cases += 1
            tried.tell(f"{tried.cases} cases of {amount}")
        both_ways = {id(each): each for each in world.servers.values()}.values()
        tried.fast = sum(each.server.statistics().hot for each in both_ways)


async def _revoked_under_way(
    tried: _Run, world: World, cases: Cases, certificate: Certificate
) -> None:
    """Served, revoked, and refused on the connection that stands; then trusted again."""
    interface = cases.choice.choice(INTERFACES)
    first = cases.own_key(certificate, interface)
    second = cases.own_key(certificate, interface)
    refused = attrs.evolve(second, expected=FORBIDDEN, key=None)
    async with world.connect(first) as stream:
        await _try(tried, cases, first, stream)
        world.revoked.add(certificate.print)
        await _try(tried, cases, refused, stream)
        world.revoked.discard(certificate.print)
        await _try(tried, cases, second, stream)
    tried.revoked_under_way += 1


def _over(interface: str) -> str:
    return f"no key, {interface}"


async def _try(tried: _Run, cases: Cases, case: Case, stream: Stream) -> None:
    """The request was made, and its answer is as the model says."""
    answered = await ask(case, stream)
    if case.certificate.refused:
        tried.refused[case.certificate.kind] += 1
    right = answered.outcome == case.expected
    tried.check(right, f"{case}: {answered.outcome}, not {case.expected} {answered.words}")
    if case.key is None:
        tried.refused[_over(case.interface)] += 1
        tried.check(not answered.key, f"{case}: a key was answered")
        return
    tried.check(len(answered.key) == KEY_BYTES, f"{case}: {len(answered.key)} bytes of key")
    source, name = case.key
    if name is not None:
        tried.check(answered.name == name, f"{case}: {answered.name} is answered")
    key = (source, answered.name)
    tried.check(case.node not in tried.delivered[key], f"{case}: delivered twice (I2)")
    tried.delivered[key][case.node] = answered.key
    if source == WITH_ID and answered.key:
        cases.answered(case, str(answered.name))
