"""Who gets a key: every answer of two nodes held against a model of the policy (I3).

Theory of operation. Two whole nodes in one process, each with the real edge, the real TLS contexts,
the real ETSI GS QKD 004 interface and the real counter; only store and link are in memory. Streams
of two pairs of applications stand. Each case is drawn by the seed: somebody with some certificate
connects to one of the nodes and asks for something. ``expected`` says from the tables below, not
from the nodes' code, what must come of it: no answer at all, an HTTP status, or a status of the
standard; and whether a key may be in it. A key in any other answer is a leak.

One case in ten revokes the caller's certificate between two requests on one connection.
"""

import base64
import json
import random
import ssl
import tempfile
import time
from collections import Counter as Tally
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import attrs
import structlog
import trio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from structlog.testing import capture_logs

from kms.adapters.etsi004_http import etsi004_app
from kms.adapters.tls import HTTP_1_1, Credentials, CurrentTLS, fingerprint
from kms.domain.names import KSID, NodeId, SAEId
from kms.domain.policy import Policy, Rule
from kms.domain.requests import OpenConnect
from kms.domain.status import QoS, Status
from kms.shell.counter import Counter
from tests.edge.authority import HOUR, Authority
from tests.edge.support import Running, Stream, reply, running
from tests.proof.report import PartReport, Tell
from tests.wired.nodes import BLOCK_BYTES, WiredNode, network, wired
from tests.world import ALICE, BOB

# ---- the world, as tables -------------------------------------------------------------------

ANN, CAT, EVE = SAEId("sae:ann"), SAEId("sae:cat"), SAEId("sae:eve")
BEN, DAN = SAEId("sae:ben"), SAEId("sae:dan")
FAY = SAEId("sae:fay")
DIRECTORY: Final = {ANN: ALICE, CAT: ALICE, EVE: ALICE, BEN: BOB, DAN: BOB}
RULES: Final = ((ANN, BEN), (CAT, DAN))
"""the pairs that may share streams; each pair has one"""
PAIRS: Final = tuple(frozenset(pair) for pair in RULES)
NAMES: Final = (ANN, BEN, CAT, DAN, EVE, FAY)
# Each kind of refusal is tried at least once in so many cases.
CASES_PER_KIND: Final = 60
_CHUNK_BYTES: Final = 32
_AT_ONCE: Final = 8
_STREAMS: Final = (
    KSID(UUID("0c7d2c66-3f10-4f0e-8d0b-0f5a2d3f1b01")),
    KSID(UUID("1b1f6a52-8c34-4a9d-a7c5-5f8e0c9d2b02")),
)
_NOWHERE: Final = KSID(UUID("6a9c2b51-3a0e-4a53-9d10-6a4f2f0b7c11"))


@attrs.frozen(kw_only=True)
class Certificate:
    """What somebody shows, and whom a node may take him for."""

    kind: str
    context: ssl.SSLContext
    print: str = ""
    """its fingerprint"""
    name: SAEId | None = None
    """the application that it proves"""
    refused: int | None = None
    """HTTP status whatever is asked; 0: no answer, the handshake fails"""


@attrs.frozen(kw_only=True)
class Case:
    """One request of somebody, and what must come of it."""

    certificate: Certificate
    node: NodeId
    function: str
    body: dict[str, object]
    octets: bool
    http: int
    statuses: frozenset[int]
    """of the standard, in an answer 200"""
    key: tuple[int, int] | None = None
    """the (pair, index) that is to be delivered"""


@attrs.define
class _Run:
    """What was tried, and what was wrong."""

    tell: Tell
    cases: int = 0
    refused: Tally[str] = attrs.Factory(Tally)
    revoked_under_way: int = 0
    delivered: defaultdict[tuple[int, int], dict[NodeId, bytes]] = attrs.field(
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
        tried.check(len(set(ends.values())) == 1, "two keys under one index (I2)")
    again = f"; again: tests.proof.identities.run({amount:g}, {seed}, print)"
    return PartReport(
        part="identities",
        invariants=("I3",),
        seed=seed,
        made={
            "identity cases": tried.cases,
            "keys delivered": sum(map(len, tried.delivered.values())),
            "key pairs compared": len(both),
        },
        checks=tried.checks,
        faults={
            **dict(sorted(tried.refused.items())),
            "revoked under way": tried.revoked_under_way,
        },
        faults_min=int(amount // CASES_PER_KIND),
        violations=tuple(each + again for each in tried.violations),
        seconds=time.monotonic() - began,
    )


# ---- certificates ---------------------------------------------------------------------------


def certificates(directory: Path, ours: Authority) -> tuple[Certificate, ...]:
    """Everybody who may come."""
    foreign = Authority()

    def make(
        kind: str,
        *names: x509.GeneralName,
        name: SAEId | None = None,
        refused: int | None = None,
        issuer: Authority = ours,
        life: tuple[timedelta, timedelta] = (-HOUR, 24 * HOUR),
    ) -> Certificate:
        certificate, key = issuer.issue(names, *life)
        path = directory / f"{len(list(directory.iterdir()))}.pem"
        path.write_bytes(_pem(certificate, key))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=ours.ca_pem)
        context.load_cert_chain(path)
        print_ = fingerprint(certificate.public_bytes(Encoding.DER))
        return Certificate(kind=kind, context=context, print=print_, name=name, refused=refused)

    ann, cat = _uri(ANN), _uri(CAT)
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nobody.load_verify_locations(cadata=ours.ca_pem)
    return (
        *(make(f"of {name}", _uri(name), name=name) for name in NAMES),
        make("of sae:ann, a second one", ann, name=ANN),
        make("of sae:ann and a host name", ann, x509.DNSName("ann.example"), name=ANN),
        make("revoked", ann, refused=403),
        make("two names", ann, cat, refused=403),
        make("no name", refused=403),
        make("a host name only", x509.DNSName("sae.ann"), refused=403),
        make("a mail address", x509.RFC822Name("ann@example.org"), refused=403),
        make("an address", x509.IPAddress(IPv4Address("127.0.0.1")), refused=403),
        make("a node's", _uri("kms:alice"), refused=403),
        make("another scheme", _uri("https://ann"), refused=403),
        make("upper case", _uri("SAE:ann"), refused=403),
        make("an empty name", _uri("sae:"), refused=403),
        make("a name and more", _uri("sae:ann sae:cat"), refused=403),
        make("expired", ann, refused=0, life=(-2 * HOUR, -HOUR)),
        make("not yet valid", ann, refused=0, life=(HOUR, 2 * HOUR)),
        make("another authority's", ann, refused=0, issuer=foreign),
        Certificate(kind="none", context=nobody, refused=0),
    )


def _uri(text: str) -> x509.UniformResourceIdentifier:
    return x509.UniformResourceIdentifier(text)


def _pem(certificate: x509.Certificate, key: Any) -> bytes:
    secret: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return secret + certificate.public_bytes(Encoding.PEM)


# ---- cases ----------------------------------------------------------------------------------


@attrs.define
class Cases:
    """Draws cases."""

    choice: random.Random
    certificates: Sequence[Certificate]
    _next: Tally[tuple[int, NodeId]] = attrs.Factory(Tally)

    def draw(self, certificate: Certificate | None = None) -> Case:
        certificate = certificate or self._somebody()
        node = self.choice.choice((ALICE, BOB))
        if certificate.name in DIRECTORY and self.choice.random() < 0.5:
            node = DIRECTORY[certificate.name]
        function = self.choice.choices(("get_key", "open_connect", "close"), (6, 3, 1))[0]
        return getattr(self, f"_{function}")(certificate, node)  # type: ignore[no-any-return]

    def own_key(self, certificate: Certificate) -> Case:
        """The next key of the caller's own stream, at his own node."""
        assert certificate.name is not None, "somebody who is known"
        pair = next(n for n, names in enumerate(PAIRS) if certificate.name in names)
        return self._key_of(certificate, DIRECTORY[certificate.name], pair)

    def _somebody(self) -> Certificate:
        return self.choice.choice(self.certificates)

    def _get_key(self, certificate: Certificate, node: NodeId) -> Case:
        pair = self.choice.choice((0, 1, None))
        if pair is None:
            nowhere: dict[str, object] = {"Key_stream_ID": str(_NOWHERE)}
            return self._case(
                certificate, node, "get_key", nowhere, 200, {Status.PEER_NOT_CONNECTED}
            )
        return self._key_of(certificate, node, pair)

    def _key_of(self, certificate: Certificate, node: NodeId, pair: int) -> Case:
        name = certificate.name
        body: dict[str, object] = {"Key_stream_ID": str(_STREAMS[pair])}
        own = name in PAIRS[pair] and DIRECTORY.get(name or FAY) == node
        if not own:
            # With an index and without one.
            body |= self.choice.choice(({}, {"index": self._next[pair, node] + 1}))
            return self._case(certificate, node, "get_key", body, 200, {Status.PEER_NOT_CONNECTED})
        index = self._next[pair, node]
        self._next[pair, node] += 1
        return self._case(
            certificate,
            node,
            "get_key",
            body | {"index": index},
            200,
            {Status.SUCCESS},
            key=(pair, index),
        )

    def _open_connect(self, certificate: Certificate, node: NodeId) -> Case:
        """Joining a stream again, or opening one that nobody is to have."""
        source, destination = self.choice.sample(NAMES, 2)
        pair = self.choice.choice((0, 1))
        if self.choice.random() < 0.5:
            source, destination = self.choice.choice((RULES[pair], RULES[pair][::-1]))
        body: dict[str, object] = {
            "source": source,
            "destination": destination,
            "Key_stream_ID": str(_STREAMS[pair]),
        }
        name = certificate.name
        here = name is not None and DIRECTORY.get(name) == node
        named, asked = name in (source, destination), frozenset((source, destination))
        if not (here and named and asked in PAIRS):
            return self._case(certificate, node, "open_connect", body, 403, set())
        status = Status.SUCCESS if asked == PAIRS[pair] else Status.KSID_IN_USE
        return self._case(certificate, node, "open_connect", body, 200, {status})

    def _close(self, certificate: Certificate, node: NodeId) -> Case:
        """Of a stream of somebody else, or of nobody."""
        mine = [n for n, names in enumerate(PAIRS) if certificate.name in names]
        foreign = [ksid for n, ksid in enumerate(_STREAMS) if n not in mine]
        body: dict[str, object] = {"Key_stream_ID": str(self.choice.choice([*foreign, _NOWHERE]))}
        return self._case(certificate, node, "close", body, 200, {Status.PEER_NOT_CONNECTED})

    def _case(
        self,
        certificate: Certificate,
        node: NodeId,
        function: str,
        body: dict[str, object],
        http: int,
        statuses: set[Status],
        key: tuple[int, int] | None = None,
    ) -> Case:
        refused = certificate.refused
        if refused is not None:
            http, statuses, key = refused, set(), None
        return Case(
            certificate=certificate,
            node=node,
            function=function,
            body=body,
            octets=function == "get_key" and self.choice.random() < 0.5,
            http=http,
            statuses=frozenset(int(status) for status in statuses),
            key=key,
        )


# ---- the nodes ------------------------------------------------------------------------------


@attrs.define
class World:
    """Both nodes' edges, and who is revoked now."""

    edges: dict[NodeId, Running]
    revoked: set[str]


@asynccontextmanager
async def _world(cases: int, ours: Authority, directory: Path) -> AsyncIterator[World]:
    """Two nodes that serve applications, with a stream of each pair that both have opened."""
    certificate, key = ours.issue([_uri("kms:node"), x509.IPAddress(IPv4Address("127.0.0.1"))])
    pem, ca = directory / "node.pem", directory / "ca.pem"
    pem.write_bytes(_pem(certificate, key))
    ca.write_text(ours.ca_pem)
    tls = CurrentTLS(Credentials(certificate=pem, key=pem, ca=ca), alpn=HTTP_1_1)
    policy = Policy(rules=tuple(Rule(one=one, other=other) for one, other in RULES))
    revoked: set[str] = set()
    # Half of each pad for either direction, and twice what can be asked for.
    blocks = 8 + 4 * cases * _CHUNK_BYTES // BLOCK_BYTES
    log = structlog.wrap_logger(None, processors=[_drop])
    async with (
        wired(view=network(policy, dict(DIRECTORY)), blocks=blocks) as nodes,
        AsyncExitStack() as stack,
    ):
        edges, counters = {}, {}
        for node in nodes.nodes:
            counters[node.name] = _counter(node, revoked)
            app = etsi004_app(counters[node.name], log)
            edges[node.name] = await stack.enter_async_context(
                running(app, authority=None, tls=tls)
            )
        for ksid, (one, other) in zip(_STREAMS, RULES, strict=True):
            qos = QoS(key_chunk_size=_CHUNK_BYTES, timeout=10_000)
            asked = OpenConnect(source=one, destination=other, ksid=ksid, qos=qos)
            async with trio.open_nursery() as both:
                both.start_soon(counters[ALICE].open_connect, one, asked)
                both.start_soon(counters[BOB].open_connect, other, asked)
        yield World(edges, revoked)


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
    async with _world(amount, ours, directory) as world:
        cases = Cases(choice, somebody)
        world.revoked |= {each.print for each in somebody if each.kind == "revoked"}
        # Only these are revoked under way: each by one task at a time.
        movable = [each for each in somebody if each.name in (ANN, BEN, CAT, DAN)]
        slots = trio.CapacityLimiter(_AT_ONCE)
        with_care = trio.Lock()

        async def one(case: Case) -> None:
            async with slots, world.edges[case.node].connect(case.certificate.context) as stream:
                await _try(tried, case, stream)

        while tried.cases < amount:
            async with trio.open_nursery() as nursery:
                for _ in range(min(100, amount - tried.cases)):
                    nursery.start_soon(one, cases.draw())
                    tried.cases += 1
            async with with_care:
                for _ in range(min(10, amount - tried.cases)):
                    await _revoked_under_way(tried, world, cases, choice.choice(movable))
                    tried.cases += 1
            tried.tell(f"{tried.cases} cases of {amount}")


async def _revoked_under_way(
    tried: _Run, world: World, cases: Cases, certificate: Certificate
) -> None:
    """Served, revoked, and refused on the connection that stands; then trusted again."""
    first, second = cases.own_key(certificate), cases.own_key(certificate)
    refused = attrs.evolve(second, http=403, statuses=frozenset(), key=None)
    async with world.edges[first.node].connect(certificate.context) as stream:
        await _try(tried, first, stream)
        world.revoked.add(certificate.print)
        await _try(tried, refused, stream)
        world.revoked.discard(certificate.print)
        await _try(tried, second, stream)
    tried.revoked_under_way += 1


async def _try(tried: _Run, case: Case, stream: Stream) -> None:
    """The request was made, and its answer is as the model says."""
    who = f"{case.certificate.kind} at {case.node} asks {case.function} {case.body}"
    answer = b""
    try:
        await stream.send_all(_request(case))
        answer = await reply(stream, seconds=20)
    except trio.BrokenResourceError:
        pass
    http, headers, body = _parsed(answer)
    if case.certificate.refused is not None:
        tried.refused[case.certificate.kind] += 1
    tried.check(http == case.http, f"{who}: {http}, not {case.http}: {body[:200]!r}")
    octets = headers.get("content-type", "").startswith("application/octet-stream")
    members: dict[str, Any] = json.loads(body) if body and not octets else {}
    key = body if octets else base64.b64decode(members.get("Key_buffer", ""))
    status = int(headers["kms-status"]) if octets else members.get("status")
    if http == case.http == 200:
        right = status in case.statuses
        tried.check(right, f"{who}: status {status}, not {sorted(case.statuses)}")
    if case.key is None:
        tried.check(not key, f"{who}: a key was answered")
        return
    tried.check(len(key) == _CHUNK_BYTES, f"{who}: {len(key)} bytes of key")
    index = int(headers["kms-index"]) if octets else members.get("index")
    tried.check(index == case.key[1], f"{who}: index {index}")
    tried.check(case.node not in tried.delivered[case.key], f"{who}: delivered twice (I2)")
    tried.delivered[case.key][case.node] = key


def _request(case: Case) -> bytes:
    body = json.dumps(case.body).encode()
    accept = "application/octet-stream" if case.octets else "application/json"
    return (
        f"POST /etsi004/v2.1.1/{case.function} HTTP/1.1\r\nHost: node\r\nAccept: {accept}\r\n"
        # What a body or a header says of its sender carries no weight.
        f"X-SSL-Client-SAN: URI:{ANN}\r\nX-Forwarded-User: {ANN}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def _parsed(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    """HTTP status (0 without an answer), headers in lower case, body."""
    if not answer.startswith(b"HTTP/1.1 "):
        return 0, {}, b""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(":") for line in lines[1:])
    }
    return int(lines[0].split(" ")[1]), headers, body
