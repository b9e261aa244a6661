"""ETSI GS QKD 004 as an application meets it: two real nodes, each behind each of the interfaces.

Statuses are those of table 2, sequences those of clause 6.2 (V2.1.1). The clock is the real one:
there are sockets and TLS between the application and its node.
"""

from collections.abc import AsyncIterator

import attrs
import pytest
import trio

from kms.domain.names import KSID, SAEId, ksid
from kms.domain.policy import Policy, Rule
from kms.domain.requests import Close, GetKey, KeyReply, OpenConnect
from kms.domain.status import QoS, Status
from kms.ports.northbound import Forbidden, Northbound
from tests.contract.counters import INTERFACES
from tests.wired.nodes import Wired, network, wired
from tests.world import ALICE, BOB, LINK

ANN, BEN, EVE = SAEId("sae:ann.a"), SAEId("sae:ben.b"), SAEId("sae:eve.a")
# The Timeout is what a busy machine may need for one answer.
QOS = QoS(key_chunk_size=32, timeout=2000, ttl=600, metadata_mimetype="application/json")
BRIEF = attrs.evolve(QOS, timeout=200)
PREDEFINED: KSID = ksid("550e8400-e29b-41d4-a716-446655440000")
UNKNOWN: KSID = ksid("00000000-0000-4000-8000-000000000001")
# Within what may be asked for ahead, and beyond it.
NOT_MADE, FAR_AHEAD = 60_000, 2**32 - 2


@attrs.frozen(kw_only=True)
class Site:
    """Two nodes; ``ann`` and ``ben`` are what their applications call."""

    nodes: Wired
    ann: Northbound
    ben: Northbound

    async def opens(self, name: KSID | None = None, qos: QoS = QOS) -> tuple[Status, KSID | None]:
        """Ann opens."""
        order = OpenConnect(source=ANN, destination=BEN, qos=qos, ksid=name)
        reply = await self.ann.open_connect(ANN, order)
        return reply.status, reply.ksid

    async def joins(self, name: KSID, qos: QoS | None = None) -> tuple[Status, QoS]:
        """Ben opens what Ann told him of; Ann's node hears of it."""
        order = OpenConnect(source=ANN, destination=BEN, qos=qos or QoS(), ksid=name)
        reply = await self.ben.open_connect(BEN, order)
        return reply.status, reply.qos

    async def established(self, qos: QoS = QOS) -> KSID:
        """A stream of both, of which both have read index 0."""
        _, name = await self.opens(qos=qos)
        assert name is not None
        await self.joins(name)
        one, other = await self.both(name, 0)
        assert one.key == other.key
        assert (one.status, other.status) == (Status.SUCCESS, Status.SUCCESS)
        return name

    async def both(self, name: KSID, index: int | None) -> tuple[KeyReply, KeyReply]:
        """GET_KEY at both ends, at once."""
        replies: dict[SAEId, KeyReply] = {}

        async def one(counter: Northbound, caller: SAEId) -> None:
            replies[caller] = await counter.get_key(caller, GetKey(ksid=name, index=index))

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one, self.ann, ANN)
                nursery.start_soon(one, self.ben, BEN)
        return replies[ANN], replies[BEN]

    async def get(self, name: KSID, index: int | None = None, size: int | None = None) -> Status:
        """Ann's GET_KEY."""
        request = GetKey(ksid=name, index=index, metadata_size=size)
        return (await self.ann.get_key(ANN, request)).status


@pytest.fixture(params=list(INTERFACES))
async def site(request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    interface = INTERFACES[request.param]
    rules = (Rule(one=ANN, other=BEN), Rule(one=EVE, other=BEN))
    view = network(Policy(rules=rules), {ANN: ALICE, EVE: ALICE, BEN: BOB})
    async with (
        wired(view=view) as nodes,
        interface(nodes.alice.counter) as ann,
        interface(nodes.bob.counter) as ben,
    ):
        yield Site(nodes=nodes, ann=ann, ben=ben)


async def test_every_status_of_the_standard_is_met(site: Site) -> None:
    """In the order of an application's life; each line is one answer and its status."""
    opened, name = await site.opens()
    assert name is not None
    met = [
        ("without a KSID", opened),
        ("a key before the peer came", await site.get(name)),
        ("the peer joins", (await site.joins(name))[0]),
        ("a key", (await site.both(name, 0))[0].status),
        ("no room for metadata", await site.get(name, 1, size=1)),
        ("the same key with room", await site.get(name, 1)),
        ("a key that was read", await site.get(name, 1)),
        ("a key that is far ahead", await site.get(name, FAR_AHEAD)),
        ("nobody's stream", await site.get(UNKNOWN)),
        ("another application with the KSID", await _eve_opens(site, name)),
        ("more than the link has", (await site.opens(qos=_greedy()))[0]),
        ("predefined, and the peer never comes", (await site.opens(PREDEFINED, BRIEF))[0]),
        ("closed", (await site.ann.close(ANN, Close(ksid=name))).status),
        ("a key of a closed stream", await site.get(name)),
        ("a closed KSID", (await site.opens(name))[0]),
    ]
    site.nodes.hub.cut(LINK)
    met.append(("without a link", await _opens_without_a_link(site)))

    assert [status for _, status in met] == [1, 3, 0, 0, 8, 0, 2, 2, 3, 5, 7, 6, 0, 3, 5, 4], met


async def test_sequence_1_an_undefined_ksid(site: Site) -> None:
    """Clause 6.2: A opens without a KSID, tells B, B opens with it and no QoS; both read; both
    close. As in sequence 5, B's node knows whom the KSID is for before B comes."""
    opened, name = await site.opens()
    assert name is not None
    joined, qos = await site.joins(name)
    pairs = [await site.both(name, index) for index in range(5)]
    by_turns = [await site.both(name, None) for _ in range(5)]
    closed = [
        (await counter.close(caller, Close(ksid=name))).status
        for counter, caller in ((site.ann, ANN), (site.ben, BEN))
    ]

    assert (Status.PEER_NOT_CONNECTED_YET, Status.SUCCESS) == (opened, joined)
    assert (QOS.key_chunk_size, QOS.timeout, QOS.ttl) == (qos.key_chunk_size, qos.timeout, qos.ttl)
    assert [(one.index, other.index) for one, other in pairs + by_turns] == [
        (index, index) for index in range(10)
    ]
    assert all(one.key is not None and one.key == other.key for one, other in pairs + by_turns)
    assert closed == [Status.SUCCESS, Status.SUCCESS]


async def test_sequence_2_both_applications_get_6_when_the_nodes_cannot_meet(site: Site) -> None:
    """Within the Timeout, at both ends, and nothing is lost by it."""
    name = await site.established()
    site.nodes.hub.cut(LINK)
    late = await site.both(name, NOT_MADE)
    site.nodes.hub.heal(LINK)
    await _healed(site)
    after = await site.both(name, 1)

    assert [reply.status for reply in late] == [Status.TIMEOUT, Status.TIMEOUT]
    assert [reply.status for reply in after] == [Status.SUCCESS, Status.SUCCESS]
    assert after[0].key == after[1].key


@pytest.mark.parametrize("first", [ANN, BEN])
async def test_sequence_3_a_predefined_ksid_whoever_comes_first(site: Site, first: SAEId) -> None:
    """Both say the QoS; the stream has one, and both are told which."""
    asked = {ANN: QOS, BEN: attrs.evolve(QOS, key_chunk_size=64)}
    told: dict[SAEId, tuple[Status, QoS]] = {}

    async def opens(counter: Northbound, caller: SAEId) -> None:
        order = OpenConnect(
            source=ANN,
            destination=BEN,
            qos=attrs.evolve(asked[caller], timeout=10_000),
            ksid=PREDEFINED,
        )
        reply = await counter.open_connect(caller, order)
        told[caller] = reply.status, reply.qos

    ends = {ANN: site.ann, BEN: site.ben}
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(opens, ends[first], first)
            await trio.sleep(0.3)
            (second,) = {ANN, BEN} - {first}
            nursery.start_soon(opens, ends[second], second)
    one, other = await site.both(PREDEFINED, 0)

    assert told[ANN] == told[BEN]
    assert told[ANN][0] == Status.SUCCESS
    assert told[ANN][1].key_chunk_size == asked[first].key_chunk_size
    assert one.key is not None
    assert one.key == other.key


async def test_sequence_4_a_predefined_ksid_and_keys_that_do_not_come(site: Site) -> None:
    """As sequence 3, then 6 at both ends."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(site.opens, PREDEFINED)
        await trio.sleep(0.05)
        joined, _ = await site.joins(PREDEFINED, QOS)
    site.nodes.hub.cut(LINK)
    late = await site.both(PREDEFINED, NOT_MADE)

    assert joined == Status.SUCCESS
    assert [reply.status for reply in late] == [Status.TIMEOUT, Status.TIMEOUT]


async def _eve_opens(site: Site, name: KSID) -> Status:
    order = OpenConnect(source=EVE, destination=BEN, qos=QOS, ksid=name)
    return (await site.ann.open_connect(EVE, order)).status


async def _opens_without_a_link(site: Site) -> Status:
    try:
        return (await site.opens())[0]
    except Forbidden:
        # What the frames' client makes of 4.
        return Status.NO_QKD_CONNECTION


def _greedy() -> QoS:
    return attrs.evolve(QOS, min_bps=2**32 - 1)


async def _healed(site: Site) -> None:
    with trio.fail_after(20):
        for node in site.nodes.nodes:
            await node.up(1)
