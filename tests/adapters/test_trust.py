"""What is believed of certificates, with real ones over real TLS, on every way into a node: HTTP
past hypercorn, HTTP through it, for streams and for keys with IDs, and frames."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import attrs
import pytest
import trio
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from kms import config as configuration
from kms.adapters.etsi004_binary import GetKeyRequest, GetKeyResponse
from kms.adapters.memory.northbound import MemoryNorthbound
from kms.adapters.pki import create_ca, issue
from kms.adapters.tls import HTTP_1_1, client_context, fingerprint
from kms.domain.errors import LocalFault
from kms.domain.names import SAEId
from kms.domain.policy import Policy
from kms.domain.requests import OpenConnect
from kms.domain.status import QoS
from kms.wiring.listeners import Fronts, Listeners
from kms.wiring.trust import Trust
from tests.adapters.etsi004_http_client import Client
from tests.config import site as files
from tests.edge.authority import Authority
from tests.edge.binary import BinaryClient
from tests.edge.support import Stream, reply, until_closed

FOREIGN = Authority()
ALICE, BOB, CONSUMER = SAEId("sae:alice.a"), SAEId("sae:bob.b"), SAEId("consumer-1")
CONFIG = """\
[identity]
sources = ["uri", "cn"]

[[identity.name]]
cn = "Consumer 1"
sae = "consumer-1"

[etsi004]
listen = "127.0.0.1:0"

[etsi004_tls]
listen = "127.0.0.1:0"

[etsi014]
listen = "127.0.0.1:0"

"""
WAYS = ("fast", "slow", "frames", "014 fast", "014 slow")
Ask = Callable[[Stream, UUID], Awaitable[str]]


async def _over_http(stream: Stream, ksid: UUID, headers: dict[str, str]) -> str:
    answer = await Client(stream).post("get_key", {"Key_stream_ID": str(ksid)}, headers=headers)
    return "key" if answer.status == 200 and answer.json["status"] == 0 else str(answer.status)


async def _in_frames(stream: Stream, ksid: UUID) -> str:
    answer = await BinaryClient(stream).call(GetKeyRequest(ksid=ksid, index=2**32 - 1))
    assert isinstance(answer, GetKeyResponse)
    return "key" if answer.status == 0 else {4: "403"}.get(answer.status, str(answer.status))


async def _for_keys(stream: Stream, header: str) -> str:
    """A fresh key for the caller and somebody; ETSI GS QKD 014 says 401 where 004 says 403."""
    target = "/api/v1/keys/sae%3Asomebody.b/enc_keys"
    await stream.send_all(f"GET {target} HTTP/1.1\r\nHost: kms\r\n{header}\r\n".encode())
    status = (await reply(stream)).split(b" ")[1].decode()
    return {"200": "key", "401": "403"}.get(status, status)


ASK: dict[str, Ask] = {
    "fast": lambda stream, ksid: _over_http(stream, ksid, {}),
    # A header that the fast way does not know.
    "slow": lambda stream, ksid: _over_http(stream, ksid, {"X-Way": "slow"}),
    "frames": _in_frames,
    "014 fast": lambda stream, _: _for_keys(stream, ""),
    "014 slow": lambda stream, _: _for_keys(stream, "X-Way: slow\r\n"),
}
AT = {way: "etsi014" if way.startswith("014") else "etsi004" for way in WAYS}
AT["frames"] = "etsi004_tls"


@attrs.define
class Node:
    """The applications' listeners of a node, as ``kms run`` wires them, over a fake counter."""

    path: Path
    trust: Trust
    listeners: Listeners
    counter: MemoryNorthbound
    hot: Callable[[], int]

    @property
    def pki(self) -> Path:
        return self.path.parent / "pki"

    def reload(self, now_ms: int | None = None) -> bool:
        """As ``kms reload`` does; whether certificates changed."""
        now_ms = now_ms or round(datetime.now(UTC).timestamp() * 1000)
        renewed = self.trust.prepare(configuration.load(self.path), now_ms=now_ms)()
        if renewed:
            self.listeners.certificates_changed()
        return renewed

    @asynccontextmanager
    async def connect(self, way: str, context: ssl.SSLContext) -> AsyncIterator[Stream]:
        at = self.listeners.addresses[AT[way]]
        transport = await trio.open_tcp_stream("127.0.0.1", int(at.rpartition(":")[2]))
        try:
            stream = trio.SSLStream(
                transport, context, server_hostname="127.0.0.1", https_compatible=True
            )
            await stream.do_handshake()
            yield stream
        finally:
            await trio.aclose_forcefully(transport)

    @asynccontextmanager
    async def everywhere(self, context: ssl.SSLContext) -> AsyncIterator[dict[str, Stream]]:
        async with AsyncExitStack() as stack:
            yield {way: await stack.enter_async_context(self.connect(way, context)) for way in WAYS}

    async def stream(self, one: SAEId, other: SAEId) -> UUID:
        """A stream that both have opened."""
        first = await self.counter.open_connect(
            one, OpenConnect(source=one, destination=other, qos=QoS())
        )
        assert first.ksid is not None
        again = OpenConnect(source=one, destination=other, qos=QoS(), ksid=first.ksid)
        await self.counter.open_connect(other, again)
        return first.ksid


@asynccontextmanager
async def serving(directory: Path) -> AsyncIterator[Node]:
    path = files.build(directory)
    create_ca(directory / "pki")
    install(directory)
    path.write_text(CONFIG + path.read_text())
    config = configuration.load(path)
    trust, counter = Trust(config), MemoryNorthbound()
    listeners = Listeners(config, trust.identities)
    async with trio.open_nursery() as nursery:
        fronts: Fronts = await nursery.start(
            listeners.serve_applications, trust.applications, counter
        )
        http = fronts._fronts[0]
        yield Node(path, trust, listeners, counter, lambda: http.statistics().hot)  # type: ignore[attr-defined]
        nursery.cancel_scope.cancel()


def install(directory: Path, uri: str = "kms:A", days: float = 7) -> None:
    """The node's certificate is a new one, where the configuration has it; both authorities are
    trusted."""
    made = issue(directory / "pki", uri, ["127.0.0.1"], days=days)
    (directory / "node.pem").write_bytes(made.certificate.read_bytes())
    files.private(directory / "node.key", made.key.read_text())
    (directory / "ca.pem").write_text(made.ca.read_text() + FOREIGN.ca_pem)


def own(node: Node, uri: str = ALICE) -> ssl.SSLContext:
    return client_context(issue(node.pki, uri), alpn=HTTP_1_1)


def foreign(node: Node, *common: str) -> ssl.SSLContext:
    """A client of the other authority, with no alternative name at all."""
    certificate, key = FOREIGN.issue((), common=common)
    path = node.path.parent / "foreign.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(secret + certificate.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(node.pki / "ca.pem")
    context.load_cert_chain(path)
    return context


async def told(streams: dict[str, Stream], ksid: UUID) -> dict[str, str]:
    """What each way answers to GET_KEY on the connections that there are."""
    return {way: await ASK[way](stream, ksid) for way, stream in streams.items()}


def all_ways(answer: str) -> dict[str, str]:
    return dict.fromkeys(WAYS, answer)


# ---- identity ------------------------------------------------------------------------------------


async def test_a_foreign_certificate_is_the_same_application_on_every_way(tmp_path: Path) -> None:
    async with serving(tmp_path) as node:
        ksid, others = await node.stream(CONSUMER, BOB), await node.stream(ALICE, BOB)
        async with node.everywhere(foreign(node, "Consumer 1")) as streams:
            mine, not_mine = await told(streams, ksid), await told(streams, others)
        hot = node.hot()

    assert mine == all_ways("key")
    assert not_mine == {**all_ways("key"), "fast": "200", "slow": "200", "frames": "3"}
    assert hot == 2, "one of the two ways is the fast one"


@pytest.mark.parametrize(
    "common", [("Consumer 2",), (ALICE,), ("Consumer 1", "Consumer 1"), ("kms:A",), ()]
)
async def test_a_foreign_certificate_of_another_name_is_nobodys_on_every_way(
    tmp_path: Path, common: tuple[str, ...]
) -> None:
    async with serving(tmp_path) as node:
        ksid = await node.stream(ALICE, BOB)
        async with node.everywhere(foreign(node, *common)) as streams:
            answers = await told(streams, ksid)

    assert answers == all_ways("403")


async def test_names_taken_from_the_configuration_are_refused_at_the_next_request(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path) as node:
        ksid = await node.stream(CONSUMER, BOB)
        async with node.everywhere(foreign(node, "Consumer 1")) as streams:
            before = await told(streams, ksid)
            node.path.write_text(node.path.read_text().replace("Consumer 1", "Consumer 3"))
            renewed = node.reload()
            after = await told(streams, ksid)

    assert not renewed
    assert (before, after) == (all_ways("key"), all_ways("403"))


# ---- revocation ----------------------------------------------------------------------------------


async def test_a_fingerprint_revoked_is_refused_at_the_next_request_on_open_connections(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path) as node:
        ksid = await node.stream(ALICE, BOB)
        alice, bob = own(node), own(node, BOB)
        der = ssl.PEM_cert_to_DER_cert((node.pki / "sae-alice.a.pem").read_text())
        async with node.everywhere(alice) as hers, node.everywhere(bob) as his:
            before = await told(hers, ksid)
            rules = node.counter.policy.rules
            node.counter.policy = Policy(rules=rules, revoked=frozenset({fingerprint(der)}))
            after, bystander = await told(hers, ksid), await told(his, ksid)
            node.counter.policy = Policy(rules=rules)
            again = await told(hers, ksid)

    assert (before, after, again) == (all_ways("key"), all_ways("403"), all_ways("key"))
    assert bystander == all_ways("key")


# ---- reload --------------------------------------------------------------------------------------


def shown(stream: Stream) -> bytes:
    """The node's certificate on this connection."""
    der = stream.getpeercert(binary_form=True)  # type: ignore[union-attr]
    assert isinstance(der, bytes)
    return der


async def test_new_certificates_are_shown_to_new_connections_and_idle_ones_end(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path) as node:
        ksid, alice = await node.stream(ALICE, BOB), own(node)
        async with node.everywhere(alice) as old:
            await told(old, ksid)
            before = {way: shown(stream) for way, stream in old.items()}
            install(tmp_path, days=6)
            renewed = node.reload()
            ended = [await until_closed(stream) for stream in old.values()]
            async with node.everywhere(alice) as new:
                answers = await told(new, ksid)
                others = [shown(new[way]) != before[way] for way in WAYS]

    assert renewed
    assert ended == [True] * len(WAYS)
    assert answers == all_ways("key")
    assert others == [True] * len(WAYS)


async def test_files_that_hold_what_they_held_end_no_connection(tmp_path: Path) -> None:
    async with serving(tmp_path) as node:
        ksid = await node.stream(ALICE, BOB)
        async with node.everywhere(own(node)) as streams:
            for name in ("node.pem", "ca.pem"):
                (tmp_path / name).touch()
            renewed = node.reload()
            answers = [await told(streams, ksid) for _ in range(2)]

    assert not renewed
    assert answers == [all_ways("key")] * 2


async def test_an_authority_that_is_withdrawn_serves_nobody_any_more(tmp_path: Path) -> None:
    async with serving(tmp_path) as node:
        ksid, stranger = await node.stream(CONSUMER, BOB), foreign(node, "Consumer 1")
        refused = 0
        async with node.everywhere(stranger) as streams:
            before = await told(streams, ksid)
            (tmp_path / "ca.pem").write_bytes((node.pki / "ca.pem").read_bytes())
            node.reload()
            ended = [await until_closed(stream) for stream in streams.values()]
        for way in WAYS:
            try:
                async with node.connect(way, stranger) as stream:
                    await ASK[way](stream, ksid)
            except (trio.BrokenResourceError, AssertionError, ValueError, IndexError):
                refused += 1

    assert before == all_ways("key")
    assert (ended, refused) == ([True] * len(WAYS), len(WAYS))


def _garbled_key(directory: Path) -> None:
    files.private(directory / "node.key", "-----BEGIN PRIVATE KEY-----\n")


def _other_key(directory: Path) -> None:
    files.private(directory / "node.key", issue(directory / "pki", "kms:B").key.read_text())


def _other_node(directory: Path) -> None:
    install(directory, "kms:B")


def _applications(directory: Path) -> None:
    install(directory, ALICE)


def _no_authority(directory: Path) -> None:
    (directory / "ca.pem").write_text("")


def _no_certificate(directory: Path) -> None:
    (directory / "node.pem").write_text("nothing\n")


SPOILT = [
    (_garbled_key, "node.pem"),
    (_other_key, "node.pem"),
    (_other_node, "node.pem: the certificate is of B, not of A"),
    (_applications, "node.pem: the certificate is of no node"),
    (_no_authority, "ca.pem"),
    (_no_certificate, "node.pem: not a certificate"),
]


@pytest.mark.parametrize(("spoil", "names"), SPOILT, ids=[spoil.__name__ for spoil, _ in SPOILT])
async def test_a_bad_file_is_named_and_changes_nothing(
    tmp_path: Path, spoil: Callable[[Path], None], names: str
) -> None:
    async with serving(tmp_path) as node:
        ksid, alice = await node.stream(ALICE, BOB), own(node)
        in_force = node.trust.applications.server_context(), node.trust.peers.client_context()
        async with node.everywhere(alice) as old:
            node.path.write_text(node.path.read_text().replace("Consumer 1", "Consumer 3"))
            spoil(tmp_path)
            with pytest.raises(LocalFault) as refusal:
                node.reload()
            answers = await told(old, ksid)
            async with node.everywhere(alice) as new:
                answers_new = await told(new, ksid)
        named = node.trust.identities.mapping.entries[0].value

    assert names in refusal.value.reason
    assert (answers, answers_new) == (all_ways("key"), all_ways("key"))
    assert in_force == (
        node.trust.applications.server_context(),
        node.trust.peers.client_context(),
    )
    assert named == "Consumer 1"


@pytest.mark.parametrize("days", [-1, 8])
async def test_a_certificate_that_is_not_in_force_is_refused_before_it_is_used(
    tmp_path: Path, days: int
) -> None:
    async with serving(tmp_path) as node:
        install(tmp_path)
        when = datetime.now(UTC) + timedelta(days=days)
        with pytest.raises(LocalFault, match="in force from") as refusal:
            node.reload(round(when.timestamp() * 1000))

    assert str(tmp_path / "node.pem") in refusal.value.reason
