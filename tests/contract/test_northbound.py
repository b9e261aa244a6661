"""What every counter must do (ports/northbound.py), fake or real node.

A counter under test is a ``Pair``: the counter at each end of one association, and three
applications that policy knows. The fake plays both ends with one object; the application interfaces
have it behind them (``counters``). To run the suite on another counter, add its maker there.
"""

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import attrs
import pytest
import trio

from kms.domain.names import KSID, SAEId
from kms.domain.policy import Policy, Rule
from kms.domain.requests import Close, GetKey, KeyReply, OpenConnect
from kms.domain.status import QoS, Status
from kms.ports.northbound import Forbidden, Northbound
from tests.contract.counters import COUNTERS

ALICE = SAEId("sae:alice.a")
BOB = SAEId("sae:bob.b")
STRANGER = SAEId("sae:stranger.a")
"""allowed to talk with Bob, but not on Alice's streams"""
NOBODY = SAEId("sae:nobody.a")
"""no rule names it"""
REVOKED = "ab" * 32

POLICY = Policy(
    rules=(Rule(one=ALICE, other=BOB), Rule(one=STRANGER, other=BOB)),
    revoked=frozenset({REVOKED}),
)
PREDEFINED = KSID(UUID("550e8400-e29b-41d4-a716-446655440000"))
QOS = QoS(key_chunk_size=32, timeout=1000, ttl=600, metadata_mimetype="application/json")


@attrs.frozen(kw_only=True)
class Pair:
    """Both ends; ``here`` serves Alice and the stranger, ``there`` Bob."""

    here: Northbound
    there: Northbound

    async def open(self, qos: QoS = QOS) -> KSID:
        """An open stream of Alice and Bob."""
        first = await self.here.open_connect(
            ALICE, OpenConnect(source=ALICE, destination=BOB, qos=qos)
        )
        assert first.ksid is not None
        second = await self.there.open_connect(
            BOB, OpenConnect(source=BOB, destination=ALICE, qos=QoS(), ksid=first.ksid)
        )
        assert second.status == Status.SUCCESS
        return first.ksid

    async def heard(self) -> None:
        """What one end did is known at the other."""


@pytest.fixture(params=list(COUNTERS))
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    async with COUNTERS[request.param](POLICY) as made:
        yield Pair(here=made, there=made)


# ---- OPEN_CONNECT ---------------------------------------------------------------------------


async def test_opening_without_a_ksid_returns_at_once_with_a_new_one_and_a_whole_qos(
    pair: Pair,
) -> None:
    reply = await pair.here.open_connect(
        ALICE, OpenConnect(source=ALICE, destination=BOB, qos=QoS())
    )

    assert reply.status in (Status.SUCCESS, Status.PEER_NOT_CONNECTED_YET)
    assert reply.ksid is not None
    assert reply.ksid.version == 4
    assert reply.qos.key_chunk_size > 0
    assert reply.qos.timeout > 0
    assert reply.qos.ttl > 0


async def test_every_opening_without_a_ksid_is_a_stream_of_its_own(pair: Pair) -> None:
    order = OpenConnect(source=ALICE, destination=BOB, qos=QOS)
    one = await pair.here.open_connect(ALICE, order)
    two = await pair.here.open_connect(ALICE, order)

    assert one.ksid != two.ksid


async def test_the_peer_gets_the_qos_of_the_stream_whatever_it_asks_for(pair: Pair) -> None:
    first = await pair.here.open_connect(ALICE, OpenConnect(source=ALICE, destination=BOB, qos=QOS))
    second = await pair.there.open_connect(
        BOB,
        OpenConnect(source=BOB, destination=ALICE, qos=QoS(key_chunk_size=64), ksid=first.ksid),
    )

    assert second.status == Status.SUCCESS
    assert second.qos == first.qos


async def test_a_predefined_ksid_waits_for_the_peer_at_both_ends(pair: Pair) -> None:
    statuses: list[Status] = []

    async def one_end(counter: Northbound, caller: SAEId, peer: SAEId) -> None:
        order = OpenConnect(source=caller, destination=peer, qos=QOS, ksid=PREDEFINED)
        statuses.append((await counter.open_connect(caller, order)).status)

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one_end, pair.here, ALICE, BOB)
            nursery.start_soon(one_end, pair.there, BOB, ALICE)

    assert statuses == [Status.SUCCESS, Status.SUCCESS]


@pytest.mark.parametrize("first", [ALICE, BOB])
async def test_either_end_may_open_a_predefined_ksid_first(pair: Pair, first: SAEId) -> None:
    statuses: list[Status] = []
    patient = attrs.evolve(QOS, timeout=4000)

    async def one_end(counter: Northbound, caller: SAEId, peer: SAEId) -> None:
        order = OpenConnect(source=caller, destination=peer, qos=patient, ksid=PREDEFINED)
        statuses.append((await counter.open_connect(caller, order)).status)

    ends = [(pair.here, ALICE, BOB), (pair.there, BOB, ALICE)]
    if first == BOB:
        ends.reverse()
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one_end, *ends[0])
            await trio.sleep(0.1)
            nursery.start_soon(one_end, *ends[1])

    assert statuses == [Status.SUCCESS, Status.SUCCESS]


async def test_a_predefined_ksid_without_a_peer_times_out_and_leaves_nothing_behind(
    pair: Pair,
) -> None:
    brief = attrs.evolve(QOS, timeout=50)
    order = OpenConnect(source=ALICE, destination=BOB, qos=brief, ksid=PREDEFINED)
    with trio.fail_after(5):
        first = await pair.here.open_connect(ALICE, order)
    other = OpenConnect(source=STRANGER, destination=BOB, qos=brief, ksid=PREDEFINED)
    with trio.fail_after(5):
        second = await pair.here.open_connect(STRANGER, other)

    assert first.status == Status.TIMEOUT
    # Rolled back, so the id is free; not 5.
    assert second.status == Status.TIMEOUT


async def test_the_same_application_resumes_its_stream_and_another_is_told_it_is_in_use(
    pair: Pair,
) -> None:
    ksid = await pair.open()
    again = await pair.here.open_connect(
        ALICE, OpenConnect(source=ALICE, destination=BOB, qos=QoS(), ksid=ksid)
    )
    other = await pair.here.open_connect(
        STRANGER, OpenConnect(source=STRANGER, destination=BOB, qos=QoS(), ksid=ksid)
    )

    assert again.status == Status.SUCCESS
    assert again.qos.key_chunk_size == QOS.key_chunk_size
    assert other.status == Status.KSID_IN_USE


async def test_a_qos_that_cannot_be_met_comes_back_as_one_that_can(pair: Pair) -> None:
    greedy = attrs.evolve(QOS, min_bps=2**32 - 1)
    refused = await pair.here.open_connect(
        ALICE, OpenConnect(source=ALICE, destination=BOB, qos=greedy)
    )
    admitted = await pair.here.open_connect(
        ALICE, OpenConnect(source=ALICE, destination=BOB, qos=refused.qos)
    )

    assert refused.status == Status.QOS_NOT_MET
    assert refused.qos.min_bps < greedy.min_bps
    assert admitted.status in (Status.SUCCESS, Status.PEER_NOT_CONNECTED_YET)


@pytest.mark.parametrize(
    "asked",
    [
        {"min_bps": 2000, "max_bps": 1000},
        {"key_chunk_size": 2**32 - 1},
        {"timeout": 2**32 - 1},
        {"ttl": 2**32 - 1},
        {"min_bps": 2**32 - 1, "key_chunk_size": 2**32 - 1, "metadata_mimetype": "text/html"},
    ],
    ids=str,
)
async def test_a_qos_beyond_what_is_served_is_refused_with_one_that_is_admitted(
    pair: Pair, asked: dict[str, Any]
) -> None:
    order = OpenConnect(source=ALICE, destination=BOB, qos=attrs.evolve(QOS, **asked))
    refused = await pair.here.open_connect(ALICE, order)
    admitted = await pair.here.open_connect(ALICE, attrs.evolve(order, qos=refused.qos))

    assert (refused.status, refused.ksid) == (Status.QOS_NOT_MET, None)
    assert admitted.status == Status.PEER_NOT_CONNECTED_YET
    assert admitted.qos == refused.qos


async def test_an_application_has_as_many_streams_as_it_likes_in_either_direction(
    pair: Pair,
) -> None:
    there = await pair.open()
    opened = await pair.there.open_connect(BOB, OpenConnect(source=BOB, destination=ALICE, qos=QOS))
    assert opened.ksid is not None
    joined = await pair.here.open_connect(
        ALICE, OpenConnect(source=ALICE, destination=BOB, qos=QoS(), ksid=opened.ksid)
    )
    await pair.heard()
    keys = []
    for ksid in (there, opened.ksid):
        one = await pair.here.get_key(ALICE, GetKey(ksid=ksid, index=0))
        other = await pair.there.get_key(BOB, GetKey(ksid=ksid, index=0))
        assert one.key is not None
        assert one.key == other.key
        keys.append(bytes(one.key.expose()))

    assert joined.status == Status.SUCCESS
    assert keys[0] != keys[1]


@pytest.mark.parametrize(
    "mimetype", ["text/html", "application/json; charset=utf-8", "application", "x" * 254]
)
async def test_an_unknown_metadata_type_is_answered_with_the_one_that_is_served(
    pair: Pair, mimetype: str
) -> None:
    reply = await pair.here.open_connect(
        ALICE,
        OpenConnect(
            source=ALICE, destination=BOB, qos=attrs.evolve(QOS, metadata_mimetype=mimetype)
        ),
    )

    assert reply.status == Status.QOS_NOT_MET
    assert reply.qos.metadata_mimetype == "application/json"


async def test_whom_policy_does_not_name_is_forbidden(pair: Pair) -> None:
    with pytest.raises(Forbidden):
        await pair.here.open_connect(NOBODY, OpenConnect(source=NOBODY, destination=BOB, qos=QOS))


async def test_nobody_opens_a_stream_of_two_others(pair: Pair) -> None:
    with pytest.raises(Forbidden):
        await pair.here.open_connect(STRANGER, OpenConnect(source=ALICE, destination=BOB, qos=QOS))


# ---- GET_KEY --------------------------------------------------------------------------------


async def test_both_ends_get_the_same_key_for_the_same_index(pair: Pair) -> None:
    ksid = await pair.open()
    for index in range(3):
        one = await pair.here.get_key(ALICE, GetKey(ksid=ksid, index=index))
        other = await pair.there.get_key(BOB, GetKey(ksid=ksid, index=index))

        assert (Status.SUCCESS, index) == (one.status, one.index)
        assert (Status.SUCCESS, index) == (other.status, other.index)
        assert one.key == other.key
        assert _size(one) == QOS.key_chunk_size


async def test_two_indexes_and_two_streams_give_different_keys(pair: Pair) -> None:
    keys = []
    for _ in range(2):
        ksid = await pair.open()
        for index in range(2):
            reply = await pair.here.get_key(ALICE, GetKey(ksid=ksid, index=index))
            assert reply.key is not None
            keys.append(bytes(reply.key.expose()))

    assert len(set(keys)) == 4


@pytest.mark.parametrize("size", [1, 257, 4096])
async def test_every_key_has_the_agreed_size(pair: Pair, size: int) -> None:
    ksid = await pair.open(attrs.evolve(QOS, key_chunk_size=size))
    one = await pair.here.get_key(ALICE, GetKey(ksid=ksid))
    other = await pair.there.get_key(BOB, GetKey(ksid=ksid))

    assert (size, size) == (_size(one), _size(other))
    assert one.key == other.key


async def test_either_end_may_choose_the_index_and_leave_some_out(pair: Pair) -> None:
    ksid = await pair.open()
    chosen = await pair.here.get_key(ALICE, GetKey(ksid=ksid, index=2))
    same = await pair.there.get_key(BOB, GetKey(ksid=ksid, index=2))
    left_out = await pair.there.get_key(BOB, GetKey(ksid=ksid, index=0))

    assert (Status.SUCCESS, 2) == (chosen.status, chosen.index)
    assert chosen.key == same.key
    assert (Status.SUCCESS, 0) == (left_out.status, left_out.index)


async def test_without_an_index_each_end_reads_from_0_on(pair: Pair) -> None:
    ksid = await pair.open()
    here = [(await pair.here.get_key(ALICE, GetKey(ksid=ksid))).index for _ in range(3)]
    there = [(await pair.there.get_key(BOB, GetKey(ksid=ksid))).index for _ in range(2)]

    assert here == [0, 1, 2]
    assert there == [0, 1]


async def test_an_index_is_delivered_once_to_each_end(pair: Pair) -> None:
    ksid = await pair.open()
    first = await pair.here.get_key(ALICE, GetKey(ksid=ksid, index=0))
    second = await pair.here.get_key(ALICE, GetKey(ksid=ksid, index=0))
    other = await pair.there.get_key(BOB, GetKey(ksid=ksid, index=0))

    assert first.status == Status.SUCCESS
    assert second.status == Status.INSUFFICIENT_KEY
    assert second.key is None
    assert other.status == Status.SUCCESS


async def test_a_get_key_before_the_peer_opened_is_answered_3(pair: Pair) -> None:
    opened = await pair.here.open_connect(
        ALICE,
        OpenConnect(source=ALICE, destination=BOB, qos=attrs.evolve(QOS, timeout=50)),
    )
    assert opened.ksid is not None
    with trio.fail_after(5):
        reply = await pair.here.get_key(ALICE, GetKey(ksid=opened.ksid))

    assert reply.status == Status.PEER_NOT_CONNECTED
    assert reply.key is None


async def test_an_unknown_and_a_foreign_stream_are_not_told_apart(pair: Pair) -> None:
    ksid = await pair.open()
    foreign = await pair.here.get_key(STRANGER, GetKey(ksid=ksid))
    unknown = await pair.here.get_key(STRANGER, GetKey(ksid=PREDEFINED))

    assert foreign.status == Status.PEER_NOT_CONNECTED
    assert foreign == unknown
    assert await pair.here.close(STRANGER, Close(ksid=ksid)) == await pair.here.close(
        STRANGER, Close(ksid=PREDEFINED)
    )


async def test_metadata_that_does_not_fit_costs_no_key(pair: Pair) -> None:
    ksid = await pair.open()
    refused = await pair.here.get_key(ALICE, GetKey(ksid=ksid, index=0, metadata_size=1))
    repeated = await pair.here.get_key(
        ALICE, GetKey(ksid=ksid, index=0, metadata_size=refused.metadata_size)
    )

    assert refused.status == Status.METADATA_SIZE_INSUFFICIENT
    assert refused.key is None
    assert refused.metadata_size > 1
    assert repeated.status == Status.SUCCESS
    assert len(repeated.metadata) <= refused.metadata_size


async def test_what_a_stranger_asks_of_a_stream_changes_nothing_for_its_owners(
    pair: Pair,
) -> None:
    ksid = await pair.open()
    await pair.here.get_key(STRANGER, GetKey(ksid=ksid, index=0))
    await pair.here.close(STRANGER, Close(ksid=ksid))
    one = await pair.here.get_key(ALICE, GetKey(ksid=ksid, index=0))
    other = await pair.there.get_key(BOB, GetKey(ksid=ksid, index=0))

    assert (Status.SUCCESS, Status.SUCCESS) == (one.status, other.status)
    assert one.key == other.key


async def test_a_stream_without_a_metadata_type_has_no_metadata_whatever_is_offered(
    pair: Pair,
) -> None:
    ksid = await pair.open(attrs.evolve(QOS, metadata_mimetype=""))
    replies = [
        await pair.here.get_key(ALICE, GetKey(ksid=ksid, metadata_size=size)) for size in (0, 1, 64)
    ]

    assert [(Status.SUCCESS, b"")] * 3 == [(each.status, each.metadata) for each in replies]


async def test_metadata_is_a_json_object_with_age_and_hops(pair: Pair) -> None:
    ksid = await pair.open()
    reply = await pair.here.get_key(ALICE, GetKey(ksid=ksid))
    metadata = json.loads(reply.metadata)

    assert {"age", "hops", "link_type"} == metadata.keys()
    assert metadata["link_type"] == "PHYS"
    assert all(type(metadata[name]) is int for name in ("age", "hops"))


async def test_no_metadata_is_given_to_who_wants_none(pair: Pair) -> None:
    ksid = await pair.open()
    reply = await pair.here.get_key(ALICE, GetKey(ksid=ksid, metadata_size=0))

    assert reply.status == Status.SUCCESS
    assert reply.metadata == b""


# ---- CLOSE, policy --------------------------------------------------------------------------


async def test_a_closed_end_gets_no_key_and_its_ksid_is_not_reused(pair: Pair) -> None:
    ksid = await pair.open()
    closed = await pair.here.close(ALICE, Close(ksid=ksid))
    after = await pair.here.get_key(ALICE, GetKey(ksid=ksid))
    again = await pair.here.open_connect(
        ALICE, OpenConnect(source=ALICE, destination=BOB, qos=QOS, ksid=ksid)
    )

    assert closed.status == Status.SUCCESS
    assert after.status == Status.PEER_NOT_CONNECTED
    assert after.key is None
    assert again.status == Status.KSID_IN_USE


async def test_one_end_closes_and_the_other_reads_on_until_it_closes_too(pair: Pair) -> None:
    ksid = await pair.open()
    one = await pair.here.get_key(ALICE, GetKey(ksid=ksid, index=0))
    await pair.here.close(ALICE, Close(ksid=ksid))
    other = await pair.there.get_key(BOB, GetKey(ksid=ksid, index=0))
    closed = await pair.there.close(BOB, Close(ksid=ksid))
    after = await pair.there.get_key(BOB, GetKey(ksid=ksid))

    assert one.key is not None
    assert one.key == other.key
    assert (Status.SUCCESS, Status.PEER_NOT_CONNECTED) == (closed.status, after.status)


async def test_a_ksid_that_both_ends_closed_is_used_at_neither_again(pair: Pair) -> None:
    ksid = await pair.open()
    await pair.here.close(ALICE, Close(ksid=ksid))
    await pair.there.close(BOB, Close(ksid=ksid))
    await pair.heard()
    statuses = [
        (
            await counter.open_connect(
                caller, OpenConnect(source=ALICE, destination=BOB, qos=QOS, ksid=ksid)
            )
        ).status
        for counter, caller in ((pair.here, ALICE), (pair.there, BOB))
    ]

    assert statuses == [Status.KSID_IN_USE, Status.KSID_IN_USE]


async def test_closing_twice_is_closing_once(pair: Pair) -> None:
    ksid = await pair.open()
    statuses = [(await pair.here.close(ALICE, Close(ksid=ksid))).status for _ in range(2)]

    assert statuses == [Status.SUCCESS, Status.SUCCESS]


async def test_a_revoked_fingerprint_is_known_and_another_is_not(pair: Pair) -> None:
    assert pair.here.is_revoked(REVOKED)
    assert not pair.here.is_revoked("cd" * 32)


def _size(reply: KeyReply) -> int:
    return len(reply.key) if reply.key is not None else 0
