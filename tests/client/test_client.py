"""The client's two faces against the node's own HTTP interface, over mutual TLS."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import UUID

import attrs
import pytest
import trio

from kms.adapters.edge import Bounds
from kms.adapters.etsi004_tls import CHUNK_BYTES_MAX
from kms.adapters.memory.northbound import MemoryNorthbound
from kms.adapters.pki import create_ca, issue
from kms.adapters.tls import Credentials
from kms.client import (
    AnswerLost,
    KSIDInUse,
    Malformed,
    MetadataTooSmall,
    NoConnection,
    NotEnoughKey,
    PeerNotConnected,
    QoS,
    QoSNotMet,
    Refused,
    TimedOut,
    Unavailable,
    Unreachable,
    WrongServer,
    frames,
)
from kms.domain.errors import LocalFault, Sealed
from kms.domain.names import SAEId
from kms.domain.policy import Policy
from kms.domain.requests import GetKey, KeyReply
from kms.domain.status import Status
from kms.ports.northbound import Overloaded
from tests.client.faces import FACES, INTERFACES, Counter, Face, SyncFace, TrioFace, counter

A, B = "sae:app.a", "sae:app.b"
LARGEST = {"https": 1_048_576, "tls": CHUNK_BYTES_MAX}
"""chunks, by interface"""
# A node's words do not fit into frames, and its refusals into one status only.
WORDS = {"https": "", "tls": "status [46]"}
REFUSED = {"https": Refused, "tls": NoConnection}
KSID = UUID("7b7b2a53-5c6b-4a70-8b7c-0f4d5f3f3f3f")


@attrs.define
class World:
    """A node, and applications a and b."""

    directory: Path
    northbound: MemoryNorthbound
    node: Counter
    face: type[TrioFace] | type[SyncFace]
    stack: AsyncExitStack

    def credentials(self, uri: str) -> Credentials:
        return issue(self.directory, uri)

    def app(self, uri: str, *, host: str = "127.0.0.1", **options: object) -> Face:
        face = self.face(self.node.url(host), self.credentials(uri), **options)
        self.stack.push_async_callback(face.aclose)
        return face


@pytest.fixture(params=[f"{face}-{each}" for face in FACES for each in INTERFACES])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    face, interface = request.param.split("-")
    create_ca(tmp_path)
    northbound = MemoryNorthbound()
    credentials = issue(tmp_path, "kms:alice", ["127.0.0.1"])
    async with (
        counter(northbound, credentials, interface=interface) as node,
        AsyncExitStack() as stack,
    ):
        yield World(tmp_path, northbound, node, FACES[face], stack)


async def pair(world: World, qos: QoS | None = None) -> tuple[Face, Face, UUID]:
    """Applications a and b with one stream."""
    a, b = world.app(A), world.app(B)
    ksid = await a.open(A, B, qos)
    assert ksid == await b.open(A, B, ksid=ksid)
    return a, b, ksid


async def test_both_applications_get_the_same_keys_in_the_same_order(world: World) -> None:
    a, b, ksid = await pair(world)

    ones = [await a.get(ksid) for _ in range(3)]
    others = [await b.get(ksid) for _ in range(3)]

    assert [key.index for key in ones] == [0, 1, 2]
    assert [(key.index, key.bits) for key in ones] == [(key.index, key.bits) for key in others]
    assert len({bytes(key) for key in ones}) == 3


async def test_the_stream_says_what_was_agreed_and_who_is_there(world: World) -> None:
    a, b, ksid = await pair(world, QoS(key_chunk_size=64, priority=3))

    qos, peer_connected = a.held(ksid)
    assert (qos.key_chunk_size, qos.priority) == (64, 3)
    assert not peer_connected
    assert b.held(ksid) == (qos, True)


async def test_a_key_is_fetched_by_index(world: World) -> None:
    a, b, ksid = await pair(world)

    one, other = await a.get(ksid, 7), await b.get(ksid, 7)

    assert (7, one.bits) == (one.index, other.bits)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
async def test_keys_of_every_size_arrive_whole(world: World, share: float) -> None:
    size = max(1, int(share * LARGEST[world.node.interface]))
    a, b, ksid = await pair(world, QoS(key_chunk_size=size))

    one, other = await a.get(ksid), await b.get(ksid)

    assert len(one) == size
    assert one.bits == other.bits


async def test_metadata_arrives_as_agreed(world: World) -> None:
    a, _, ksid = await pair(world, QoS(metadata_mimetype="application/json"))

    key = await a.get(ksid)

    assert key.details() == {"age": 0, "hops": 0, "link_type": "PHYS"}
    assert (await a.get(ksid, metadata_size=0)).details() == {}


async def test_metadata_that_does_not_fit_costs_no_key(world: World) -> None:
    a, _, ksid = await pair(world, QoS(metadata_mimetype="application/json"))

    with pytest.raises(MetadataTooSmall) as raised:
        await a.get(ksid, metadata_size=1)

    key = await a.get(ksid, metadata_size=raised.value.needed)
    assert key.index == 0
    assert len(key.metadata) == raised.value.needed


async def test_one_connection_carries_many_requests(world: World) -> None:
    a, _, ksid = await pair(world)

    for _ in range(10):
        await a.get(ksid)

    assert world.node.accepted == 2  # one application, one connection


async def test_requests_at_the_same_time_do_not_mix(world: World) -> None:
    a, b, ksid = await pair(world)
    keys: dict[int, bytes] = {}

    async def get(index: int) -> None:
        keys[index] = bytes(await a.get(ksid, index))

    async with trio.open_nursery() as nursery:
        for index in range(20):
            nursery.start_soon(get, index)

    for index in range(20):
        assert keys[index] == bytes(await b.get(ksid, index))
    assert world.node.accepted <= 8 + 1


async def test_a_chunk_that_frames_cannot_carry_is_refused_with_one_that_they_can(
    world: World,
) -> None:
    size = CHUNK_BYTES_MAX + 1
    if world.node.interface == "https":
        assert (await pair(world, QoS(key_chunk_size=size)))[2]
        return
    with pytest.raises(QoSNotMet) as raised:
        await pair(world, QoS(key_chunk_size=size))

    assert raised.value.qos.key_chunk_size == CHUNK_BYTES_MAX


async def test_a_stream_is_closed_once(world: World) -> None:
    a, _, ksid = await pair(world)

    await a.close_stream(ksid)

    with pytest.raises(PeerNotConnected):
        await a.get(ksid)


async def test_a_proposal_comes_with_the_refusal(world: World) -> None:
    a = world.app(A)

    with pytest.raises(QoSNotMet) as raised:
        await a.open(A, B, QoS(min_bps=4_000_000_000))

    assert raised.value.status is Status.QOS_NOT_MET
    ksid = await a.open(A, B, raised.value.qos)
    assert a.held(ksid)[0].min_bps == raised.value.qos.min_bps > 0


async def test_a_stream_of_others_is_in_use(world: World) -> None:
    _, _, ksid = await pair(world)

    with pytest.raises(KSIDInUse):
        await world.app("sae:app.c").open("sae:app.c", B, ksid=ksid)


async def test_a_peer_that_does_not_come_is_a_timeout(world: World) -> None:
    with pytest.raises(TimedOut):
        await world.app(A).open(A, B, QoS(timeout=50), ksid=KSID)


async def test_a_key_read_before_is_not_delivered_again(world: World) -> None:
    a, _, ksid = await pair(world)
    await a.get(ksid, 0)

    with pytest.raises(NotEnoughKey):
        await a.get(ksid, 0)


async def test_no_key_before_the_peer_is_there(world: World) -> None:
    a = world.app(A)
    ksid = await a.open(A, B)

    with pytest.raises(PeerNotConnected):
        await a.get(ksid)


async def test_no_connection_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    a, _, ksid = await pair(world)

    async def gone(caller: SAEId, request: GetKey) -> KeyReply:
        return KeyReply(status=Status.NO_QKD_CONNECTION, message="the link is down")

    monkeypatch.setattr(world.northbound, "get_key", gone)

    words = WORDS[world.node.interface] or "the link is down"
    with pytest.raises(NoConnection, match=words):
        await a.get(ksid)


async def test_policy_refuses(world: World) -> None:
    world.northbound.policy = Policy()

    interface = world.node.interface
    with pytest.raises(REFUSED[interface], match=WORDS[interface] or "policy"):
        await world.app(A).open(A, B)


async def test_nobody_opens_streams_of_others(world: World) -> None:
    interface = world.node.interface
    words = WORDS[interface] or "neither source nor destination"
    with pytest.raises(REFUSED[interface], match=words):
        await world.app("sae:app.c").open(A, B)


async def test_a_malformed_request_names_the_member(world: World) -> None:
    with pytest.raises(Malformed) as raised:
        await world.app(A).open(A, "no uri")

    assert raised.value.field == "destination"


@pytest.mark.parametrize(
    ("fault", "retry_after_s"),
    [(Overloaded("too many requests", hint="wait"), 1.0), (Sealed(), 30.0)],
)
async def test_a_node_that_cannot_serve_says_when_to_come_back(
    world: World, fault: Overloaded | Sealed, retry_after_s: float
) -> None:
    a, _, ksid = await pair(world)
    world.northbound.fault = fault

    with pytest.raises((Unavailable, TimedOut, NoConnection)) as raised:
        await a.get(ksid)

    if world.node.interface == "https":
        assert isinstance(raised.value, Unavailable)
        assert raised.value.retry_after_s == retry_after_s
    else:
        told = TimedOut if isinstance(fault, Overloaded) else NoConnection
        assert isinstance(raised.value, told)
    world.northbound.fault = None
    assert (await a.get(ksid)).index == 0


async def test_the_node_is_known_by_its_name_whatever_the_host(world: World) -> None:
    ksid = await world.app(A, host="localhost", node="alice").open(A, B)

    assert ksid.version == 4


async def test_another_node_is_not_asked(world: World) -> None:
    with pytest.raises(WrongServer, match="reached kms:alice"):
        await world.app(A, node="bob").open(A, B)


async def test_without_a_name_the_host_name_counts(world: World) -> None:
    with pytest.raises(WrongServer):
        await world.app(A, host="localhost").open(A, B)


async def test_another_authority_is_not_believed(world: World, tmp_path: Path) -> None:
    create_ca(tmp_path / "other")
    a = world.face(world.node.url(), issue(tmp_path / "other", A))

    with pytest.raises(WrongServer):
        await a.open(A, B)


async def test_a_certificate_that_the_node_does_not_take_is_told(
    world: World, tmp_path: Path
) -> None:
    create_ca(tmp_path / "other")
    foreign = issue(tmp_path / "other", A)
    mixed = Credentials(
        certificate=foreign.certificate, key=foreign.key, ca=world.directory / "ca.pem"
    )
    a = world.face(world.node.url(), mixed)

    # The node's alert, or a reset that overtook it.
    with pytest.raises((Unreachable, AnswerLost), match="certificate"):
        await a.open(A, B)


async def test_nobody_there_is_told(world: World) -> None:
    a = world.face("https://127.0.0.1:1", world.credentials(A))

    with pytest.raises(Unreachable, match="refused"):
        await a.open(A, B)


async def test_a_missing_file_is_named(world: World) -> None:
    credentials = world.credentials(A)
    credentials.key.unlink()

    with pytest.raises(LocalFault, match=credentials.key.name):
        world.face("https://127.0.0.1:1", credentials)


async def test_after_closing_nothing_is_asked(world: World) -> None:
    a, _, ksid = await pair(world)
    await a.aclose()

    with pytest.raises((trio.ClosedResourceError, ValueError), match="closed"):
        await a.get(ksid)


@pytest.mark.parametrize("interface", INTERFACES)
@pytest.mark.parametrize("face", list(FACES))
async def test_a_connection_that_the_node_closed_is_not_used_again(
    tmp_path: Path, face: str, interface: str
) -> None:
    create_ca(tmp_path)
    credentials = issue(tmp_path, "kms:alice", ["127.0.0.1"])
    bounds = Bounds(idle_s=0.05)
    async with counter(MemoryNorthbound(), credentials, bounds, interface) as node:
        a = FACES[face](node.url(), issue(tmp_path, A))
        await a.open(A, B)
        await trio.sleep(0.2)

        await a.open(A, B)

        assert node.accepted == 2
        await a.aclose()


@pytest.mark.parametrize("face", list(FACES))
async def test_a_connection_that_the_node_gives_up_is_followed_by_another(
    tmp_path: Path, face: str
) -> None:
    create_ca(tmp_path)
    credentials = issue(tmp_path, "kms:alice", ["127.0.0.1"])
    bounds = Bounds(requests_per_connection_max=3)
    async with counter(MemoryNorthbound(), credentials, bounds) as node:
        a = FACES[face](node.url(), issue(tmp_path, A))
        for _ in range(7):
            await a.open(A, B)

        assert node.accepted == 3
        await a.aclose()


@pytest.mark.parametrize("face", list(FACES))
async def test_where_a_node_cannot_say_so_the_client_gives_up_a_connection_before_it(
    tmp_path: Path, face: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert frames.REQUESTS_MAX < Bounds().requests_per_connection_max
    monkeypatch.setattr(frames, "REQUESTS_MAX", 3)
    create_ca(tmp_path)
    credentials = issue(tmp_path, "kms:alice", ["127.0.0.1"])
    async with counter(MemoryNorthbound(), credentials, interface="tls") as node:
        a = FACES[face](node.url(), issue(tmp_path, A))
        for _ in range(7):
            await a.open(A, B)

        assert node.accepted == 3
        await a.aclose()


async def test_new_connections_show_the_renewed_certificate(world: World) -> None:
    a = world.app(A)
    await a.open(A, B)
    issue(world.directory, A)

    a.client.reload()  # type: ignore[attr-defined]

    await a.open(A, B)
