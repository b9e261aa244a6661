"""Nobody waits for ever: each part that hangs, what it holds up, and when that ends.

Seconds are virtual. Stopping while a part hangs is in ``test_start_stop.py``.
"""

from collections.abc import AsyncIterator

import attrs
import pytest
import trio

from kms.domain import limits
from kms.domain.errors import StoreFault
from kms.domain.names import DeviceId
from kms.domain.requests import KeyReply
from kms.domain.status import QoS, Status
from kms.shell.intake import NodeIntake
from tests.wired.client import QOS, get, next_pair, open_stream, stream
from tests.wired.nodes import BLOCK_BYTES, SETTINGS, Wired, wired
from tests.wired.parts import Gates
from tests.wired.test_start_stop import HANGS
from tests.world import LINK

# What agrees a Timeout is answered by the tick that follows it.
TICK_S = 2 * limits.TICK_MS / 1000


@pytest.fixture
async def nodes() -> AsyncIterator[Wired]:
    async with wired() as both:
        yield both


@pytest.mark.parametrize("gate", ["commit", "append", "read"])
async def test_a_disk_that_answers_nothing_ends_the_node_and_nothing_has_left(
    gate: str, autojump_clock: object
) -> None:
    """It is a fault of the disk like any other: named, not tried again, and after a restart the
    node goes on."""
    answers = list[KeyReply]()
    async with wired() as nodes:
        ksid = await stream(nodes)
        alice = nodes.alice
        alice.stop.set()
        await alice.ended.wait()
        faults = list[BaseException]()

        async def until_it_ends() -> None:
            try:
                await alice.run()
            except ExceptionGroup as group:
                faults.extend(_leaves(group))

        async def ask() -> None:
            answers.append(await get(alice, ksid))

        nodes.nursery.start_soon(until_it_ends)
        await trio.sleep(1)
        await next_pair(nodes, ksid)
        getattr(alice.gates, gate).shut()
        before = len(alice.peers.sent)
        for _ in range(3):
            alice.front.start_request(ask)
        with trio.fail_after(1):
            await getattr(alice.gates, gate).waiting.wait()
        frames = len(alice.peers.sent) - before
        began = alice.storage.commits_begun
        await trio.sleep(limits.DISK_ANSWER_MS / 1000 - 2)
        while_it_waits = (alice.ended.is_set(), list(answers))
        with trio.fail_after(20):
            await alice.ended.wait()
        tried_again = alice.storage.commits_begun - began
        left = len(alice.peers.sent) - before
        getattr(alice.gates, gate).open()
        await nodes.nursery.start(alice.run)
        await next_pair(nodes, ksid)

    assert while_it_waits == (False, [])
    assert answers == []
    assert [type(each) for each in faults] == [StoreFault]
    assert "has not answered" in str(faults[0])
    if gate != "read":  # deliveries wait; frames of a durable batch do not
        assert (0, 0) == (tried_again, left - frames)


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found = list[BaseException]()
    for each in group.exceptions:
        found += _leaves(each) if isinstance(each, BaseExceptionGroup) else [each]
    return found


async def test_while_a_neighbour_reads_nothing_openings_and_keys_end_with_their_timeout(
    nodes: Wired, autojump_clock: object
) -> None:
    """Key that both ends hold is served; then each request waits as long as was agreed."""
    ksid = await stream(nodes, QoS(key_chunk_size=limits.KIB, timeout=2_000, max_bps=80_000))
    nodes.bob.gates.inbox.shut()
    ready = 0
    while (await get(nodes.alice, ksid)).status is Status.SUCCESS:
        ready += 1
    began = trio.current_time()
    replies = [await get(nodes.alice, ksid) for _ in range(2)]
    took_s = trio.current_time() - began
    opened_at = trio.current_time()
    opening = await open_stream(nodes.alice, qos=QOS)
    opening_s = trio.current_time() - opened_at
    nodes.bob.gates.inbox.open()
    await trio.sleep(1)
    await next_pair(nodes, ksid)

    assert ready > 0
    assert [reply.status for reply in replies] == [Status.TIMEOUT] * 2
    assert 4.0 <= took_s <= 4.0 + 2 * TICK_S
    assert opening.status in (Status.TIMEOUT, Status.PEER_NOT_CONNECTED_YET)
    assert opening_s <= QOS.timeout / 1000 + TICK_S


async def test_a_neighbour_that_never_reads_costs_its_session_not_our_memory(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: object
) -> None:
    async with wired() as nodes:
        ksid = await stream(nodes)
        monkeypatch.setattr(limits, "PEER_OUTGOING_BYTES_MAX", 4 * limits.KIB)
        nodes.bob.gates.inbox.shut()
        sessions = nodes.alice.peers.statistics()[0].connects
        before = sum(map(len, nodes.alice.peers.sent))
        nodes.give(120)
        await trio.sleep(20)
        sent = sum(map(len, nodes.alice.peers.sent)) - before
        nodes.bob.gates.inbox.open()
        await trio.sleep(20)
        again = nodes.alice.peers.statistics()[0].connects
        await next_pair(nodes, ksid)

    assert sent > limits.PEER_OUTGOING_BYTES_MAX
    assert again > sessions


async def test_devices_wait_while_the_disk_does_and_no_block_is_lost(
    nodes: Wired, autojump_clock: object
) -> None:
    """Back-pressure ends at the device: it has one block under way, and hands on when the disk
    does."""
    await trio.sleep(1)
    before = [node.device.stored for node in nodes.nodes]
    nodes.alice.gates.commit.shut()
    nodes.give(10)
    await trio.sleep(30)
    held = [node.device.stored for node in nodes.nodes]
    nodes.alice.gates.commit.open()
    for node in nodes.nodes:
        await node.up(blocks=18)
    await trio.sleep(1)

    assert held[0] == before[0]
    assert [node.device.stored for node in nodes.nodes] == [each + 10 for each in before]


async def test_a_device_that_waits_for_room_can_be_stopped_and_has_reserved_nothing(
    autojump_clock: object,
) -> None:
    pool = 2 * BLOCK_BYTES + limits.SECRET_BYTES
    async with wired(blocks=0, settings=attrs.evolve(SETTINGS, pool_bytes_max=pool)) as nodes:
        nodes.give(8)
        await trio.sleep(10)
        full = nodes.alice.device.stored
        intake = NodeIntake(nodes.alice.pump, DeviceId("another"), LINK)
        with trio.move_on_after(5) as patience:
            await intake.room(BLOCK_BYTES)
        nodes.alice.stop.set()
        with trio.fail_after(1):
            await nodes.alice.ended.wait()

    assert full < 8
    assert patience.cancelled_caught


async def test_frames_wait_in_the_neighbour_while_the_line_is_full_and_none_is_lost(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: object
) -> None:
    """Alice's disk hangs and her line fills; Bob's frames wait before it, and all are heard."""
    monkeypatch.setattr(limits, "INBOX_EVENTS_MAX", 4)
    monkeypatch.setattr(limits, "BATCH_EVENTS_MAX", 4)
    async with wired() as nodes:
        alice, bob = nodes.nodes
        ksid = await stream(nodes)
        alice.gates.commit.shut()
        nodes.give(40)
        sent = len(bob.peers.sent)
        await trio.sleep(20)
        came = len(bob.peers.sent) - sent
        held = alice.pump.statistics().events_waiting
        alice.gates.commit.open()
        for node in nodes.nodes:
            await node.up(blocks=48)
        await next_pair(nodes, ksid)
        sessions = alice.peers.statistics()[0].connects

    assert came > 16
    # The line, the batch that gathers, and the device that came up.
    assert held <= 4 + 4 + 1
    assert sessions == 1


def test_every_gate_is_tried() -> None:
    """A gate that no test shuts is a part that was not tried to hang."""
    tried = {*HANGS, "open_journal", "open_storage", "open_peers"}

    assert {field.name for field in attrs.fields(Gates)} == tried
