"""The documents that are served are true: requests made from them find nothing else.

schemathesis reads a document as a client's programmer would, over mutual TLS from the edge, and
makes requests that it allows and requests that it forbids. Every answer has to be one of the
document: its status, media type, headers and body; what is forbidden is refused, what is allowed is
not, and nothing is a fault of ours. Behind the interface are two nodes with a link and key.

``INTERFACES`` has an entry for each document. schemathesis puts a header of its own into every
request, so the fast way passes all of them on: that both ways answer alike is shown elsewhere.
"""

import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import structlog
import trio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from kms.adapters.edge import Bounds
from kms.adapters.etsi004_http import HotGetKey, etsi004_app
from kms.adapters.etsi004_http.openapi import PREFIX
from kms.domain.names import KSID, SAEId, ksid
from kms.domain.policy import Policy, Rule
from kms.domain.requests import Close, CloseReply, GetKey, KeyReply, OpenConnect, OpenReply
from kms.domain.status import QoS, Status
from kms.ports.northbound import Northbound
from tests.edge.authority import Authority
from tests.edge.support import Running, running
from tests.wired.nodes import Wired, network, wired
from tests.world import ALICE, BOB

SETTINGS = Path(__file__).with_name("schemathesis.toml")
APP, PEER, OTHER = SAEId("sae:app.site-a"), SAEId("sae:app.site-b"), SAEId("sae:other.site-a")
OPEN: KSID = ksid("11111111-1111-4111-8111-111111111111")
"""a stream of ours, so that keys are given"""
# A predefined stream whose peer never comes must not hold the test up.
TIMEOUT_MS = 20


@attrs.frozen(kw_only=True)
class Interface:
    """One document: where it is, and what serves it."""

    path: str
    serving: Callable[[Northbound, Authority], AbstractAsyncContextManager[Running]]
    answered: frozenset[tuple[type, Status]]
    """what has to be among the answers of the node: else nothing but refusals was tried"""
    cases_at_least: int
    examples: int
    """of each operation, beside those of the ends of every field"""


def _etsi004(counter: Northbound, authority: Authority) -> AbstractAsyncContextManager[Running]:
    log = structlog.wrap_logger(None, processors=[_drop])
    hot = HotGetKey(counter, log)
    return running(etsi004_app(counter, log), authority=authority, bounds=Bounds(), hot=hot)


INTERFACES = {
    "ETSI 004": Interface(
        path=f"{PREFIX}/openapi.json",
        serving=_etsi004,
        # 8 is too rare to wait for: what is generated seldom has a Metadata_size.
        answered=frozenset(
            {(OpenConnect, Status(number)) for number in (0, 1, 4, 5, 6, 7)}
            | {(GetKey, Status(number)) for number in (0, 2, 3)}
            | {(Close, Status.PEER_NOT_CONNECTED)}
        ),
        cases_at_least=2000,
        examples=650,
    ),
}


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", INTERFACES)
async def test_no_request_made_from_a_served_document_gets_an_answer_that_is_not_in_it(
    name: str, tmp_path: Path
) -> None:
    interface, authority = INTERFACES[name], Authority()
    async with _nodes() as counter, interface.serving(counter, authority) as edge:
        report = await _tried(interface, edge, authority, tmp_path)

    assert report["failures"] == []
    assert report["errors"] == []
    assert report["complete"]
    assert report["test_cases"]["generated"] >= interface.cases_at_least
    assert interface.answered - counter.seen == set()
    assert edge.logged("edge_contained") + edge.logged("edge_application_failed") == []


async def _tried(interface: Interface, edge: Running, authority: Authority, directory: Path) -> Any:
    """What schemathesis found, as a client with a certificate of ours."""
    certificate, authorities = directory / "client.pem", directory / "ca.pem"
    issued, key = authority.issue([x509.UniformResourceIdentifier(APP)])
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    certificate.write_bytes(secret + issued.public_bytes(Encoding.PEM))
    authorities.write_text(authority.ca_pem)
    told = directory / "report.json"
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(SETTINGS)),
        *("run", f"https://127.0.0.1:{edge.port}{interface.path}"),
        *("--tls-verify", str(authorities), "--request-cert", str(certificate)),
        *("--max-examples", str(interface.examples)),
        *("--report", "json", "--report-json-path", str(told)),
    ]
    done = await trio.run_process(
        command, check=False, capture_stdout=True, capture_stderr=True, cwd=directory
    )
    # Shown if the test fails: how to ask again for what was wrong.
    print(done.stdout.decode(), done.stderr.decode())
    assert told.exists(), "schemathesis did not run"
    return json.loads(told.read_text())


# ---- what is behind the interface -----------------------------------------------------------


class _Hurried:
    """A counter on which nobody waits for long; what it answered is kept."""

    def __init__(self, counter: Northbound) -> None:
        self._counter = counter
        self.seen: set[tuple[type, Status]] = set()

    async def open_connect(self, caller: SAEId, request: OpenConnect) -> OpenReply:
        asked = request.qos
        short = attrs.evolve(asked, timeout=min(asked.timeout or TIMEOUT_MS, TIMEOUT_MS))
        reply = await self._counter.open_connect(caller, attrs.evolve(request, qos=short))
        self.seen.add((OpenConnect, reply.status))
        return reply

    async def get_key(self, caller: SAEId, request: GetKey) -> KeyReply:
        reply = await self._counter.get_key(caller, request)
        self.seen.add((GetKey, reply.status))
        return reply

    async def close(self, caller: SAEId, request: Close) -> CloseReply:
        if request.ksid == OPEN:
            # Or no key would be given any more.
            return CloseReply(status=Status.SUCCESS, message="left open, for the test")
        reply = await self._counter.close(caller, request)
        self.seen.add((Close, reply.status))
        return reply

    def is_revoked(self, fingerprint: str) -> bool:
        return self._counter.is_revoked(fingerprint)


@asynccontextmanager
async def _nodes() -> AsyncIterator[_Hurried]:
    """The counter of one of two nodes, with a stream that both applications have opened."""
    # Applications of one node may talk, and learn that there is no key between them.
    rules = (Rule(one=APP, other="*"),)
    view = network(Policy(rules=rules), {APP: ALICE, OTHER: ALICE, PEER: BOB})
    async with wired(view=view) as nodes:
        await _open(nodes)
        yield _Hurried(nodes.alice.counter)


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


def _drop(*_: Any) -> Any:
    raise structlog.DropEvent
