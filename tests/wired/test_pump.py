"""The pump's promises: one commit for many, nothing out before it is durable, a bound everywhere.

Every test runs two whole nodes on a clock that jumps (pytest-trio takes it from the test's own
arguments); only what the pump touches is hurt.
"""

from collections.abc import AsyncIterator
from functools import partial
from uuid import UUID

import attrs
import pytest
import trio

from kms.domain import limits
from kms.domain.errors import JournalFault, LocalFault, StoreFault
from kms.domain.names import KSID, BlockId, DeviceId
from kms.domain.requests import Close, GetKey, KeyReply, OpenConnect
from kms.domain.status import QoS, Status
from kms.ports.device import DeviceBlock
from kms.ports.northbound import Overloaded
from kms.shell.intake import NodeIntake
from tests.wired.ledger import deliveries
from tests.wired.nodes import BLOCK_BYTES, SETTINGS, Wired, device_blocks, wired
from tests.world import ANN, BEN, LINK

QOS = QoS(key_chunk_size=32, timeout=2_000)


@pytest.fixture
async def nodes() -> AsyncIterator[Wired]:
    async with wired() as both:
        yield both


async def _stream(nodes: Wired, qos: QoS = QOS) -> KSID:
    """An established stream with a stock of keys, at rest."""
    order = OpenConnect(source=ANN, destination=BEN, qos=qos)
    opened = await nodes.alice.counter.open_connect(ANN, order)
    assert opened.ksid is not None
    order = OpenConnect(source=BEN, destination=ANN, qos=qos, ksid=opened.ksid)
    await nodes.bob.counter.open_connect(BEN, order)
    await trio.sleep(1)
    return opened.ksid


async def _gets(nodes: Wired, ksid: KSID, count: int, into: list[KeyReply]) -> None:
    async def one() -> None:
        into.append(await nodes.alice.counter.get_key(ANN, GetKey(ksid=ksid)))

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(one)


async def test_requests_that_come_together_share_one_commit(
    nodes: Wired, autojump_clock: object
) -> None:
    ksid = await _stream(nodes)
    alice, replies = nodes.alice, list[KeyReply]()
    alice.gates.commit.shut()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_gets, nodes, ksid, 1, replies)
        await alice.gates.commit.waiting.wait()
        nursery.start_soon(_gets, nodes, ksid, 3, replies)
        await trio.sleep(0.01)
        alice.gates.commit.open()
    lines = [record.entry for record in alice.journal.records if deliveries(record.entry)]

    # The one that was under way, and one for all that gathered behind it.
    assert [range(1), range(1, 4)] == [deliveries(line) for line in lines]
    assert sum("key-delivered" in batch for batch in alice.journal.appends) == 2
    assert sorted(reply.index for reply in replies) == list(range(4))


@pytest.mark.parametrize("what", ["storage", "journal"])
async def test_no_answer_and_no_frame_leaves_before_it_is_durable_and_journalled(
    nodes: Wired, what: str, autojump_clock: object
) -> None:
    ksid = await _stream(nodes)
    gate = nodes.alice.gates.commit if what == "storage" else nodes.alice.gates.append
    replies = list[KeyReply]()
    gate.shut()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_gets, nodes, ksid, 5, replies)
        await gate.waiting.wait()
        sent = len(nodes.alice.peers.sent)
        await trio.sleep(0.5)
        meanwhile = (list(replies), len(nodes.alice.peers.sent) - sent)
        gate.open()

    assert ([], 0) == meanwhile
    assert {Status.SUCCESS} == {reply.status for reply in replies}


async def _failing(kind: str) -> tuple[BaseExceptionGroup, list[KeyReply]]:
    """What ends the node, and what it answered, when its disk or journal fails."""
    replies = list[KeyReply]()
    with pytest.RaisesGroup(
        JournalFault if kind == "journal" else StoreFault, flatten_subgroups=True
    ) as raised:
        async with wired() as nodes:
            ksid = await _stream(nodes)
            if kind == "journal":
                nodes.alice.journal.fail()
            else:
                nodes.alice.disk.failing = "no space left"
            with trio.fail_after(30):
                await _gets(nodes, ksid, 3, replies)
    return raised.value, replies


@pytest.mark.parametrize("kind", ["journal", "store"])
async def test_a_journal_or_store_that_fails_stops_the_node_and_no_key_leaves(
    autojump_clock: object, kind: str
) -> None:
    _, replies = await _failing(kind)

    assert replies == []


async def test_a_caller_that_is_cancelled_while_it_waits_leaves_no_waiter(
    nodes: Wired, autojump_clock: object
) -> None:
    """No key comes at this index for a while, and then it is still there."""
    ksid = await _stream(nodes, QoS(key_chunk_size=32, timeout=60_000, max_bps=256))
    for _ in range(10):
        with trio.move_on_after(0.1) as patience:
            await nodes.alice.counter.get_key(ANN, GetKey(ksid=ksid, index=60))
        assert patience.cancelled_caught
    await trio.sleep(1)
    (status,) = nodes.alice.pump.node.streams.statistics(10)
    reply = await nodes.alice.counter.get_key(ANN, GetKey(ksid=ksid))

    assert (0, 0) == (status.waiting, status.delivered)
    assert nodes.alice.pump.statistics().waiters == 0
    assert (Status.SUCCESS, 0) == (reply.status, reply.index)


async def test_a_caller_cancelled_behind_the_commit_loses_that_index_at_its_end_only(
    nodes: Wired,
    autojump_clock: object,
) -> None:
    ksid = await _stream(nodes)
    alice = nodes.alice
    alice.gates.commit.shut()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_gets, nodes, ksid, 1, [])
        await alice.gates.commit.waiting.wait()
        nursery.cancel_scope.cancel()
    alice.gates.commit.open()
    await trio.sleep(0.5)
    again = await alice.counter.get_key(ANN, GetKey(ksid=ksid, index=0))
    here = await alice.counter.get_key(ANN, GetKey(ksid=ksid))
    there = [await nodes.bob.counter.get_key(BEN, GetKey(ksid=ksid)) for _ in range(2)]

    assert (Status.INSUFFICIENT_KEY, None) == (again.status, again.key)
    assert here.index == 1
    assert [reply.index for reply in there] == [0, 1]
    assert here.key == there[1].key
    assert alice.pump.statistics().waiters == 0


async def test_a_full_inbox_refuses_applications_and_serves_them_again_afterwards(
    nodes: Wired, monkeypatch: pytest.MonkeyPatch, autojump_clock: object
) -> None:
    ksid = await _stream(nodes)
    gate = nodes.alice.gates.commit
    refused, answered = [], list[KeyReply]()

    async def one() -> None:
        try:
            answered.append(await nodes.alice.counter.get_key(ANN, GetKey(ksid=ksid)))
        except Overloaded as fault:
            refused.append(fault)

    gate.shut()
    crowd = limits.INBOX_EVENTS_MAX + 2 * limits.BATCH_EVENTS_MAX + 100
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one)
        await gate.waiting.wait()
        for _ in range(crowd):
            nursery.start_soon(one)
        await trio.sleep(0.5)
        held = nodes.alice.pump.statistics()
        gate.open()
    reply = await nodes.alice.counter.get_key(ANN, GetKey(ksid=ksid))

    assert refused
    assert held.events_waiting <= limits.INBOX_EVENTS_MAX + limits.BATCH_EVENTS_MAX
    assert len(answered) + len(refused) == crowd + 1
    assert reply.status is Status.SUCCESS
    assert nodes.alice.pump.statistics().waiters == 0


async def test_too_many_requests_at_the_counter_are_refused_before_the_node_hears_of_them(
    nodes: Wired, monkeypatch: pytest.MonkeyPatch, autojump_clock: object
) -> None:
    monkeypatch.setattr(limits, "REQUESTS_WAITING_MAX", 3)
    ksid = await _stream(nodes, QoS(key_chunk_size=32, timeout=60_000, max_bps=256))
    async with trio.open_nursery() as nursery:
        for index in range(3):
            order = GetKey(ksid=ksid, index=60 + index)
            nursery.start_soon(nodes.alice.counter.get_key, ANN, order)
        await trio.sleep(0.1)
        events = nodes.alice.pump.events
        with pytest.raises(Overloaded):
            await nodes.alice.counter.get_key(ANN, GetKey(ksid=ksid))
        unheard = nodes.alice.pump.events == events
        nursery.cancel_scope.cancel()

    assert unheard


async def test_a_full_pool_holds_the_device_back_until_key_is_used(autojump_clock: object) -> None:
    """Thirty blocks are there; the pool takes what fits, and more once some was read."""
    pool = 4 * BLOCK_BYTES + limits.SECRET_BYTES
    async with wired(blocks=0, settings=attrs.evolve(SETTINGS, pool_bytes_max=pool)) as nodes:
        await trio.sleep(1)
        for node in nodes.nodes:
            nodes.nursery.start_soon(partial(node.feed, device_blocks(30)))
        await trio.sleep(20)
        full = [node.devices[-1].statistics().blocks for node in nodes.nodes]
        levels = [node.level() for node in nodes.nodes]
        ksid = await _stream(nodes, QoS(key_chunk_size=16 * limits.KIB, timeout=2_000))
        for _ in range(20):
            for node, caller in ((nodes.alice, ANN), (nodes.bob, BEN)):
                await node.counter.get_key(caller, GetKey(ksid=ksid))
        await trio.sleep(20)
        later = [node.devices[-1].statistics().blocks for node in nodes.nodes]

    assert full == [full[0]] * 2
    assert 0 < full[0] < 30
    assert max(levels) <= pool + BLOCK_BYTES
    assert min(later) > full[0]


async def test_a_cut_link_meets_again_and_goes_on_with_equal_keys(
    nodes: Wired, autojump_clock: object
) -> None:
    ksid = await _stream(nodes)
    got: list[tuple[KeyReply, KeyReply]] = []
    for _ in range(3):
        nodes.hub.lose_in_flight(LINK)
        await trio.sleep(2)
        here = await nodes.alice.counter.get_key(ANN, GetKey(ksid=ksid))
        there = await nodes.bob.counter.get_key(BEN, GetKey(ksid=ksid, index=here.index))
        got.append((here, there))

    assert [here.status for here, _ in got] == [Status.SUCCESS] * 3
    assert [here.key for here, _ in got] == [there.key for _, there in got]
    assert [node.alarms() for node in nodes.nodes] == [[], []]


async def test_randomness_that_fails_costs_the_caller_an_error_and_the_streams_nothing(
    nodes: Wired, autojump_clock: object
) -> None:
    """It costs a new stream its name; what stands is served and can be closed."""
    ksid = await _stream(nodes)
    nodes.alice.entropy.fail()
    with pytest.raises(LocalFault):
        await nodes.alice.counter.open_connect(
            ANN, OpenConnect(source=ANN, destination=BEN, qos=QOS)
        )
    key = await nodes.alice.counter.get_key(ANN, GetKey(ksid=ksid))
    closed = await nodes.alice.counter.close(ANN, Close(ksid=ksid))

    assert nodes.alice.pump.statistics().waiters == 0
    assert [key.status, closed.status] == [Status.SUCCESS] * 2


async def test_a_caller_that_hangs_up_before_its_turn_costs_no_key_and_waits_for_nobody(
    nodes: Wired, autojump_clock: object
) -> None:
    """Its request is still in line, behind a commit that takes its time."""
    ksid = await _stream(nodes)
    alice = nodes.alice
    alice.gates.commit.shut()
    async with trio.open_nursery() as first:
        first.start_soon(_gets, nodes, ksid, 1, [])
        await alice.gates.commit.waiting.wait()
        async with trio.open_nursery() as second:
            second.start_soon(_gets, nodes, ksid, 20, [])
            await trio.sleep(0.01)
            second.cancel_scope.cancel()
        alice.gates.commit.open()
    next_one = await alice.counter.get_key(ANN, GetKey(ksid=ksid))
    (status,) = alice.pump.node.streams.statistics(10)

    assert next_one.index == 1
    assert status.waiting == 0


async def test_a_close_is_carried_out_also_for_a_caller_that_hung_up_before_its_turn(
    nodes: Wired, autojump_clock: object
) -> None:
    ksid = await _stream(nodes)
    alice = nodes.alice
    alice.gates.commit.shut()
    async with trio.open_nursery() as first:
        first.start_soon(_gets, nodes, ksid, 1, [])
        await alice.gates.commit.waiting.wait()
        async with trio.open_nursery() as second:
            second.start_soon(alice.counter.close, ANN, Close(ksid=ksid))
            await trio.sleep(0.01)
            second.cancel_scope.cancel()
        alice.gates.commit.open()
    await trio.sleep(1)
    reply = await alice.counter.get_key(ANN, GetKey(ksid=ksid))

    assert reply.status is Status.PEER_NOT_CONNECTED


async def test_a_device_that_gives_one_block_twice_at_once_is_answered_twice(
    nodes: Wired, autojump_clock: object
) -> None:
    """The second giving may begin between the answer to the first and its caller's turn, or the
    first may be cancelled while the second waits: neither waits for ever."""
    alice = nodes.alice
    intake = NodeIntake(alice.pump, DeviceId("twice"), LINK)

    def block(number: int) -> DeviceBlock:
        (made,) = device_blocks(1, first=number)
        return made

    async def again_at_once(number: int) -> None:
        """Runs when the first giving's answer is there, before or after its caller."""
        await intake.block(block(number))

    with trio.fail_after(30):
        for number in range(900, 920):
            stored = alice.pump.expect_stored(DeviceId("twice"), BlockId(UUID(int=number)))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(intake.block, block(number))
                await stored.wait()
                nursery.start_soon(again_at_once, number)
        alice.gates.commit.shut()
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()

            async def given_up() -> None:
                with scope:
                    await intake.block(block(950))

            nursery.start_soon(given_up)
            nursery.start_soon(intake.block, block(950))
            await trio.sleep(0.01)
            scope.cancel()
            await trio.sleep(0.01)
            alice.gates.commit.open()


@pytest.mark.parametrize("kind", ["journal", "store"])
async def test_what_failed_is_never_tried_again_and_no_frame_or_answer_follows_it(
    kind: str, autojump_clock: object
) -> None:
    """The node ends at once, and its store is free for the next process, which goes on."""
    answers = list[KeyReply]()
    async with wired() as nodes:
        ksid = await _stream(nodes)
        alice = nodes.alice
        alice.stop.set()
        await alice.ended.wait()

        async def until_it_fails() -> None:
            fault = JournalFault if kind == "journal" else StoreFault
            with pytest.RaisesGroup(fault, flatten_subgroups=True):
                await alice.run()

        async def ask() -> None:
            answers.append(await alice.counter.get_key(ANN, GetKey(ksid=ksid)))

        nodes.nursery.start_soon(until_it_fails)
        await trio.sleep(1)
        frames, begun = len(alice.peers.sent), alice.storage.commits_begun
        if kind == "journal":
            alice.journal.fail()
        else:
            alice.disk.failing = "Input/output error"
        for _ in range(5):
            alice.front.start_request(ask)
        with trio.fail_after(1):
            await alice.ended.wait()
        tried, left = alice.storage.commits_begun - begun, len(alice.peers.sent) - frames
        alice.disk.failing = ""
        await nodes.nursery.start(alice.run)
        await trio.sleep(1)
        reply = await alice.counter.get_key(ANN, GetKey(ksid=ksid))

    assert (1, 0, []) == (tried, left, answers)
    assert reply.status is Status.SUCCESS
