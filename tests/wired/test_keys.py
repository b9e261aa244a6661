"""Keys with IDs, through the counters of two whole nodes: every answer goes through the ledger."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import pytest
import trio

from kms.domain.errors import KMSError, StoreFault
from kms.domain.keyrequests import (
    DecKeys,
    EncKeys,
    KeysReply,
    Outcome,
    PairStatus,
    PairStatusReply,
)
from kms.domain.names import SAEId
from kms.domain.secret import Secret
from kms.ports.northbound import Forbidden, Overloaded
from kms.shell.counter import SPARE_USES
from tests.wired.client import dec, enc, next_keys
from tests.wired.nodes import Wired, WiredNode, wired
from tests.wired.steps import at_step
from tests.world import ANN, BEN

# A commit takes this long: requests and frames arrive while it is under way.
DISK_S = 0.003
STRIDE = int(os.environ.get("KMS_STEPS", "4"))


@pytest.fixture
async def nodes() -> AsyncIterator[Wired]:
    async with wired() as both:
        yield both


async def test_both_applications_get_the_same_keys_once_and_the_counters_count_them(
    nodes: Wired, autojump_clock: object
) -> None:
    found = await next_keys(nodes, 100)
    again = await dec(nodes.bob, found.key_ids)

    assert found.keys is not None
    assert 3200 == len(found.keys)
    assert (Outcome.BAD_REQUEST, None) == (again.outcome, again.keys)
    assert [(100, 3200)] * 2 == [
        (each.counter.delivered, each.counter.delivered_bytes) for each in nodes.nodes
    ]
    assert [1, 2] == [each.counter.latencies.statistics().count for each in nodes.nodes]


@pytest.mark.parametrize("at_hand", [True, False])
async def test_keys_come_from_memory_or_from_the_store_in_one_piece(
    nodes: Wired, at_hand: bool, autojump_clock: object
) -> None:
    for node in nodes.nodes:
        node.disk.keeps = at_hand
    for number in (1, 5, 40):
        await next_keys(nodes, number)

    assert 46 == nodes.ledger.compare()


async def test_keys_that_cannot_be_read_are_an_alarm_and_no_key_leaves(
    nodes: Wired, autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await next_keys(nodes, 1)
    here = await enc(nodes.alice, 3)
    assert nodes.bob.storage is not None
    monkeypatch.setattr(nodes.bob.storage, "read_all", _unreadable)
    lost = await dec(nodes.bob, here.key_ids)
    monkeypatch.undo()
    after = await dec(nodes.bob, here.key_ids)

    assert found.key_ids != here.key_ids
    assert (Outcome.UNAVAILABLE, None, b"") == (lost.outcome, lost.keys, lost.key_ids)
    assert "the master SAE asks for new ones" in lost.message
    assert ["chunk-unreadable: rotten"] == nodes.bob.alarms()
    assert Outcome.BAD_REQUEST is after.outcome


async def _unreadable(*what: object) -> Secret:
    raise StoreFault("rotten", hint="none")


async def test_the_status_says_who_serves_the_slave_and_how_much_there_is(
    nodes: Wired, autojump_clock: object
) -> None:
    before = await nodes.alice.counter.pair_status(ANN, PairStatus(slave=BEN))
    await next_keys(nodes, 10)
    after = await nodes.alice.counter.pair_status(ANN, PairStatus(slave=BEN))

    assert isinstance(before, PairStatusReply)
    assert ("bob", 32) == (before.slave_node, before.key_bytes)
    assert 0 < after.stored_keys < before.stored_keys <= before.stored_keys_max


async def test_policy_refuses_by_name_and_a_node_that_is_overloaded_by_another(
    nodes: Wired, autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = nodes.alice.counter
    with pytest.raises(Forbidden):
        await counter.enc_keys(ANN, EncKeys(slave=SAEId("sae:eve.bob"), number=1, key_bytes=32))
    with pytest.raises(Forbidden):
        await counter.pair_status(BEN, PairStatus(slave=ANN))
    with pytest.raises(Forbidden):
        await counter.dec_keys(BEN, DecKeys(master=ANN, key_ids=bytes(16)))
    monkeypatch.setattr("kms.domain.limits.REQUESTS_WAITING_MAX", 0)
    with pytest.raises(Overloaded):
        await counter.enc_keys(ANN, EncKeys(slave=BEN, number=1, key_bytes=32))

    assert 0 == nodes.alice.pump.statistics().waiters


async def test_randomness_that_fails_costs_the_first_keys_of_a_pair_and_no_others(
    nodes: Wired, autojump_clock: object
) -> None:
    await next_keys(nodes)
    nodes.alice.entropy.fail()
    # What was drawn before it failed is good for so many requests.
    stands = [await enc(nodes.alice) for _ in range(SPARE_USES)]
    other = await enc(nodes.alice, key_bytes=16)

    assert {Outcome.DELIVERED} == {each.outcome for each in stands}
    assert Outcome.UNAVAILABLE is other.outcome
    assert "no randomness" in other.message


async def test_many_masters_requests_at_once_are_served_in_turn_with_different_keys(
    nodes: Wired, autojump_clock: object
) -> None:
    replies: list[KeysReply] = []

    async def one(number: int) -> None:
        replies.append(await enc(nodes.alice, number))

    async with trio.open_nursery() as nursery:
        for number in range(1, 21):
            nursery.start_soon(one, number)
    for each in replies:
        await dec(nodes.bob, each.key_ids)

    assert {Outcome.DELIVERED} == {each.outcome for each in replies}
    assert 210 == nodes.ledger.compare()


# ---- cancelled and killed at every step ---------------------------------------------------------


async def _disturbed(node: WiredNode, k: int, act: Callable[[], Awaitable[object]]) -> bool:
    """``act`` as a request of an application that hangs up after step ``k``; whether it did."""
    done = trio.Event()

    async def request() -> None:
        try:
            await act()
        finally:
            done.set()

    scope = node.front.start_request(request)
    with trio.fail_after(30), at_step(k, scope.cancel) as steps:
        await done.wait()
    return steps.acted


@pytest.mark.parametrize("first", [True, False], ids=["first keys", "later keys"])
async def test_a_caller_that_hangs_up_at_any_step_loses_its_own_keys_at_most(
    first: bool, autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kms.domain.limits.PAIR_SIZES_MAX", 1000)
    hung_up = 0
    async with wired() as nodes:
        for node in nodes.nodes:
            node.disk.latency_s = DISK_S
        if not first:
            await next_keys(nodes)
        for k in range(1, 10_000):
            # Each first request is of another size, for which no stream is there yet.
            size = 32 + k if first else 32
            if not await _disturbed(nodes.alice, k, partial(enc, nodes.alice, 3, size)):
                break
            hung_up += 1
            await trio.sleep(0.5)
            waiting = [each.waiting for each in nodes.alice.pump.node.streams.statistics(100)]
            assert {0} == {nodes.alice.pump.statistics().waiters, *waiting}
            await next_keys(nodes, 2)

    assert hung_up >= 10


class Mortal:
    """A node whose process can be killed, and is started again."""

    def __init__(self, nodes: Wired, node: WiredNode) -> None:
        self.nodes, self.node = nodes, node
        self._scope = trio.CancelScope()

    async def start(self) -> None:
        self._scope = trio.CancelScope()
        await self.nodes.nursery.start(self._run)
        await self.node.up(blocks=0)

    def kill(self) -> None:
        self.node.disk.crash()
        self._scope.cancel()

    async def _run(self, *, task_status: trio.TaskStatus[None]) -> None:
        with self._scope:
            try:
                await self.node.run(task_status=task_status)
            except* KMSError:
                # What a process says that loses its disk under it; only then.
                assert self._scope.cancel_called, "not before it is killed"


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["alice", "bob"])
async def test_a_node_killed_at_any_step_has_given_no_key_that_the_other_cannot_give(
    victim: str, autojump_clock: object
) -> None:
    """I2, I5: what the master was answered its slave fetches, after the restart too."""
    killed = 0
    async with wired(blocks=16) as nodes:
        await next_keys(nodes)
        node: WiredNode = getattr(nodes, victim)
        node.stop.set()
        await node.ended.wait()
        mortal = Mortal(nodes, node)
        for each in nodes.nodes:
            each.disk.latency_s = DISK_S
        for k in range(1, 10_000, STRIDE):
            await mortal.start()
            replies = await _killed_at(nodes, mortal, k)
            if replies is None:
                break
            killed += 1
            await mortal.start()
            for reply in replies:
                if reply.outcome is Outcome.DELIVERED:
                    there = await dec(nodes.bob, reply.key_ids)
                    assert there.keys == reply.keys, there.message
            await next_keys(nodes)
            nodes.give(1)
            node.stop.set()
            await node.ended.wait()

    assert killed >= 10


async def _killed_at(nodes: Wired, mortal: Mortal, k: int) -> list[KeysReply] | None:
    """What a master is answered until a process is killed after step ``k``; None: it was not."""
    replies: list[KeysReply] = []
    done = trio.Event()

    async def work() -> None:
        try:
            for number in (3, 30, 5):
                replies.append(await enc(nodes.alice, number))
        finally:
            done.set()

    with trio.fail_after(60), at_step(k, mortal.kill) as steps:
        nodes.alice.front.start_request(work)
        await done.wait()
    if not steps.acted:
        return None
    with trio.fail_after(30):
        await mortal.node.ended.wait()
    return replies
