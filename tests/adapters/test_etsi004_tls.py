"""ETSI GS QKD 004 in frames: the vectors' conversation, statuses, identity, faults."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import attrs
import pytest

from kms.adapters.edge import Bounds
from kms.adapters.etsi004_binary import (
    INDEX_ANY,
    CloseRequest,
    CloseResponse,
    GetKeyRequest,
    GetKeyResponse,
    Message,
    OpenConnectRequest,
    OpenConnectResponse,
    Request,
    encode,
)
from kms.adapters.etsi004_tls import CHUNK_BYTES_MAX, FRAME_BYTES_MAX
from kms.adapters.memory.northbound import MemoryNorthbound
from kms.adapters.tls import fingerprint
from kms.domain.errors import KMSError, LocalFault, Sealed
from kms.domain.names import KSID, SAEId
from kms.domain.policy import Policy, Rule
from kms.domain.requests import GetKey, KeyReply, OpenConnect
from kms.domain.secret import Secret
from kms.domain.status import QoS, Status
from kms.ports.northbound import Overloaded
from tests.edge.authority import Authority
from tests.edge.binary import ALICE, BOB, ERROR, EVE, UNKNOWN, BinaryClient, received
from tests.edge.binary import running_binary as running
from tests.edge.support import Running, until_closed

AUTHORITY = Authority()
CONTEXTS = {name: AUTHORITY.client_context(name) for name in (ALICE, BOB, EVE)}
VECTORS = Path(__file__).parent.parent / "vectors" / "etsi004-binary"
EXCHANGES = json.loads((VECTORS / "exchanges-1.json").read_text())
NOT_VERSION_4 = UUID("11111111-2222-1333-8444-555555555555")


@attrs.define
class Site:
    """The adapter behind the edge, with the fake counter; one connection for each application."""

    edge: Running
    counter: MemoryNorthbound
    alice: BinaryClient
    bob: BinaryClient
    eve: BinaryClient

    async def open(self, **qos: Any) -> UUID:
        """A stream of Alice and Bob."""
        first = await self.alice.call(opening(QoS(**qos)))
        assert isinstance(first, OpenConnectResponse)
        assert first.ksid is not None, first
        second = await self.bob.call(opening(ksid=first.ksid))
        assert isinstance(second, OpenConnectResponse)
        assert second.status is Status.SUCCESS
        return first.ksid


@asynccontextmanager
async def site(counter: MemoryNorthbound | None = None) -> AsyncIterator[Site]:
    counter = counter or MemoryNorthbound()
    async with (
        running(counter, authority=AUTHORITY, bounds=Bounds()) as edge,
        AsyncExitStack() as stack,
    ):
        clients = [
            BinaryClient(await stack.enter_async_context(edge.connect(CONTEXTS[name])))
            for name in (ALICE, BOB, EVE)
        ]
        yield Site(edge, counter, *clients)


def opening(
    qos: QoS = QoS(),  # noqa: B008 - frozen
    ksid: UUID | None = None,
    source: str = ALICE,
    destination: str = BOB,
) -> OpenConnectRequest:
    return OpenConnectRequest(source=source, destination=destination, qos=qos, ksid=ksid)


async def test_the_conversation_of_the_vectors_is_spoken_octet_by_octet() -> None:
    async with running(
        MemoryNorthbound(seed="vectors"), authority=AUTHORITY, bounds=Bounds()
    ) as edge:
        for exchange in EXCHANGES:
            async with edge.connect(CONTEXTS[exchange["caller"]]) as stream:
                await stream.send_all(bytes.fromhex(exchange["request"]))
                wanted = bytes.fromhex(exchange["response"])
                answer = await received(stream, len(wanted))

                assert (exchange["name"], wanted.hex()) == (exchange["name"], answer.hex())


# ---- what fits ------------------------------------------------------------------------------


async def test_the_largest_chunk_and_its_metadata_come_in_one_frame_of_one_record() -> None:
    async with site() as here:
        ksid = await here.open(key_chunk_size=CHUNK_BYTES_MAX, metadata_mimetype="application/json")
        answer = await here.alice.call(GetKeyRequest(ksid=ksid, index=0, metadata=bytes(64)))

    assert isinstance(answer, GetKeyResponse)
    assert len(answer.key) == CHUNK_BYTES_MAX
    assert answer.metadata
    assert len(encode(answer)) <= FRAME_BYTES_MAX


@pytest.mark.parametrize("size", [CHUNK_BYTES_MAX + 1, 65_536, 2**20, 2**32 - 1])
async def test_a_chunk_too_large_is_answered_with_one_that_is_admitted(size: int) -> None:
    async with site() as here:
        refused = await here.alice.call(opening(QoS(key_chunk_size=size, timeout=700)))
        assert isinstance(refused, OpenConnectResponse)
        admitted = await here.alice.call(opening(refused.qos))
        assert isinstance(admitted, OpenConnectResponse)

    assert (Status.QOS_NOT_MET, None) == (refused.status, refused.ksid)
    assert (CHUNK_BYTES_MAX, 700) == (refused.qos.key_chunk_size, refused.qos.timeout)
    assert Status.PEER_NOT_CONNECTED_YET is admitted.status
    assert refused.qos == admitted.qos


async def test_who_joins_may_ask_for_any_chunk_and_gets_the_streams() -> None:
    async with site() as here:
        first = await here.alice.call(opening(QoS(key_chunk_size=48)))
        assert isinstance(first, OpenConnectResponse)
        joined = await here.bob.call(opening(QoS(key_chunk_size=65_536), first.ksid))

    assert isinstance(joined, OpenConnectResponse)
    assert (Status.SUCCESS, first.qos) == (joined.status, joined.qos)


async def test_a_refusal_for_another_reason_shows_the_qos_as_it_was_asked_for() -> None:
    asked = QoS(key_chunk_size=65_536, priority=3)
    async with site() as here:
        answer = await here.eve.call(opening(asked))

    assert isinstance(answer, OpenConnectResponse)
    assert (Status.NO_QKD_CONNECTION, asked) == (answer.status, answer.qos)


async def test_a_stream_of_larger_chunks_opened_elsewhere_is_refused_and_loses_nothing() -> None:
    async with site() as here:
        order = OpenConnect(
            source=SAEId(ALICE), destination=SAEId(BOB), qos=QoS(key_chunk_size=65_536)
        )
        elsewhere = await here.counter.open_connect(SAEId(ALICE), order)
        joined = await here.bob.call(opening(ksid=elsewhere.ksid))
        answer = await here.bob.call(GetKeyRequest(ksid=elsewhere.ksid, index=0))
        still = await here.counter.get_key(SAEId(BOB), GetKey(ksid=elsewhere.ksid, index=0))

    assert isinstance(joined, OpenConnectResponse)
    assert (Status.SUCCESS, 65_536) == (joined.status, joined.qos.key_chunk_size)
    assert GetKeyResponse(status=Status.NO_QKD_CONNECTION, index=0, key=Secret(b"")) == answer
    assert Status.SUCCESS is still.status


async def test_the_kms_chooses_the_index_where_none_is_said() -> None:
    async with site() as here:
        ksid = await here.open()
        answers = [
            await here.alice.call(GetKeyRequest(ksid=ksid, index=INDEX_ANY)) for _ in range(3)
        ]

    assert [0, 1, 2] == [each.index for each in answers if isinstance(each, GetKeyResponse)]


async def test_the_key_is_wiped_when_its_frame_has_left() -> None:
    given: list[Secret] = []

    class Watched(MemoryNorthbound):
        async def get_key(self, caller: SAEId, request: GetKey) -> KeyReply:
            reply = await super().get_key(caller, request)
            if reply.key is not None:
                given.append(reply.key)
            return reply

    async with site(Watched()) as here:
        ksid = await here.open()
        await here.alice.call(GetKeyRequest(ksid=ksid, index=0))
        await here.alice.call(CloseRequest(ksid=ksid))

    assert [Secret(bytes(32))] == given


# ---- who asks, and for what -------------------------------------------------------------------


async def test_an_unknown_and_a_foreign_stream_get_the_same_answer() -> None:
    async with site() as here:
        ksid = await here.open()
        for request in (GetKeyRequest, CloseRequest):
            more = {"index": 0} if request is GetKeyRequest else {}
            foreign = await here.eve.call(request(ksid=ksid, **more))
            unknown = await here.eve.call(request(ksid=UNKNOWN, **more))

            assert foreign == unknown
            assert foreign.status is Status.PEER_NOT_CONNECTED  # type: ignore[union-attr]


async def test_a_ksid_that_can_be_no_streams_is_5_to_open_and_3_afterwards() -> None:
    async with site() as here:
        for ksid in (NOT_VERSION_4, UUID(int=1)):
            opened = await here.alice.call(opening(ksid=ksid))
            got = await here.alice.call(GetKeyRequest(ksid=ksid, index=4))
            closed = await here.alice.call(CloseRequest(ksid=ksid))

            assert isinstance(opened, OpenConnectResponse)
            assert (Status.KSID_IN_USE, ksid) == (opened.status, opened.ksid)
            assert GetKeyResponse(status=Status.PEER_NOT_CONNECTED, index=4, key=Secret(b"")) == got
            assert CloseResponse(status=Status.PEER_NOT_CONNECTED) == closed


@pytest.mark.parametrize(
    ("source", "destination"),
    [("alice", BOB), (ALICE, "a" * 65 + ":x"), (ALICE, ""), ("sae:x.y", "sae:z.y")],
    ids=["no_uri", "too_long", "empty", "others"],
)
async def test_names_that_the_caller_may_not_give_are_4(source: str, destination: str) -> None:
    async with site() as here:
        answer = await here.alice.call(opening(source=source, destination=destination))

    assert isinstance(answer, OpenConnectResponse)
    assert Status.NO_QKD_CONNECTION is answer.status


async def test_policy_forbids_with_4() -> None:
    counter = MemoryNorthbound(policy=Policy(rules=(Rule(one="sae:x", other="sae:y"),)))
    async with site(counter) as here:
        answer = await here.alice.call(opening())

    assert isinstance(answer, OpenConnectResponse)
    assert Status.NO_QKD_CONNECTION is answer.status


async def test_a_revoked_certificate_is_refused_on_the_connection_it_has() -> None:
    async with site() as here:
        ksid = await here.open()
        der = next(
            visitor.peer_der
            for visitor in here.edge.server._live
            if visitor.peer_der is not None and ALICE.encode() in visitor.peer_der
        )
        here.counter.policy = Policy(
            rules=here.counter.policy.rules, revoked=frozenset({fingerprint(der)})
        )
        refused = await here.alice.call(GetKeyRequest(ksid=ksid, index=0))
        served = await here.bob.call(GetKeyRequest(ksid=ksid, index=0))

    assert isinstance(refused, GetKeyResponse)
    assert isinstance(served, GetKeyResponse)
    assert (Status.NO_QKD_CONNECTION, 0) == (refused.status, len(refused.key))
    assert Status.SUCCESS is served.status
    assert [(SAEId(BOB), KSID(ksid), 0)] == here.counter.delivered


async def test_a_certificate_with_two_names_is_nobodys() -> None:
    context = AUTHORITY.client_context(ALICE, BOB)
    async with (
        running(MemoryNorthbound(), authority=AUTHORITY) as edge,
        edge.connect(context) as stream,
    ):
        answer = await BinaryClient(stream).call(opening())

    assert isinstance(answer, OpenConnectResponse)
    assert Status.NO_QKD_CONNECTION is answer.status


# ---- faults -----------------------------------------------------------------------------------

REQUESTS: tuple[Request, ...] = (
    opening(QoS(key_chunk_size=16, timeout=10)),
    GetKeyRequest(ksid=UNKNOWN, index=7),
    CloseRequest(ksid=UNKNOWN),
)


def told(status: Status) -> list[Message]:
    """The full layout of each function."""
    return [
        OpenConnectResponse(status=status, qos=QoS(key_chunk_size=16, timeout=10), ksid=None),
        GetKeyResponse(status=status, index=7, key=Secret(b"")),
        CloseResponse(status=status),
    ]


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Overloaded("too many requests wait", hint="try later"), Status.TIMEOUT),
        (Sealed(), Status.NO_QKD_CONNECTION),
    ],
    ids=["overloaded", "sealed"],
)
async def test_what_the_node_cannot_do_now_is_a_status_with_the_full_layout(
    fault: KMSError, status: Status
) -> None:
    async with site() as here:
        here.counter.fault = fault
        answers = [await here.alice.call(request) for request in REQUESTS]
        here.counter.fault = None
        after = await here.alice.call(CloseRequest(ksid=UNKNOWN))

    assert told(status) == answers
    assert CloseResponse(status=Status.PEER_NOT_CONNECTED) == after


async def test_our_own_fault_is_an_error_without_its_words_and_ends_the_connection() -> None:
    async with site() as here:
        here.counter.fault = LocalFault("disk at /secret/path", hint="look")
        await here.alice.stream.send_all(encode(REQUESTS[1]))
        answer = await received(here.alice.stream, len(ERROR))
        ended = await until_closed(here.alice.stream)
        here.counter.fault = None

        assert (ERROR, True) == (answer, ended)
        assert isinstance(await here.bob.call(REQUESTS[1]), GetKeyResponse)
        assert len(here.edge.logged("etsi004_tls_failed")) == 1
        assert here.edge.server.statistics().contained == 0
