"""Cancelled at every step: a caller that hangs up, a device that is cut, a node that is stopped
hard or killed, while any task is at any await.

Each sweep disturbs the same act after its 1st, 2nd, … last step. After each: nothing hangs, nobody
is left, both applications go on with equal keys (I2), no chunk came twice and no pad byte left
twice (I1), and what was answered was durable and journalled when it was (I5, I11): the ledger
checks at every frame and every answer.

``KMS_STEPS=1`` ends whole nodes at every step; else at every fourth, for time.
"""

import os
from collections.abc import Awaitable, Callable
from functools import partial
from uuid import UUID

import attrs
import pytest
import trio

from kms.domain.errors import KMSError
from kms.domain.names import KSID, DeviceId
from kms.domain.secret import Secret
from kms.domain.status import QoS, Status
from kms.ports.device import DeviceBlock
from kms.shell.intake import NodeIntake
from tests.wired.client import close, get, next_pair, open_stream, stream
from tests.wired.ledger import deliveries
from tests.wired.nodes import Wired, WiredNode, device_blocks, wired
from tests.wired.steps import STEPS_MAX, Steps, at_step
from tests.world import LINK

# A commit takes this long: requests, frames and blocks arrive while it is under way.
DISK_S = 0.003
# Whole nodes: from one sweep step to the next.
STRIDE = int(os.environ.get("KMS_STEPS", "4"))


def _tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living


async def _no_more_than(tasks: int) -> None:
    """A task that is left is left for good; one of a commit ends with it."""
    with trio.fail_after(5):
        while _tasks() > tasks:
            await trio.sleep(0.001)


async def _disturbed(node: WiredNode, k: int, act: Callable[[], Awaitable[object]]) -> Steps:
    """``act`` as a request of an application that hangs up after step ``k``."""
    done = trio.Event()

    async def request() -> None:
        try:
            await act()
        finally:
            done.set()

    scope = node.front.start_request(request)
    with trio.fail_after(30), at_step(k, scope.cancel) as steps:
        await done.wait()
    return steps


def _nobody_is_left(node: WiredNode) -> None:
    waiting = [each.waiting for each in node.pump.node.streams.statistics(10_000)]
    assert node.pump.statistics().waiters == 0, "a waiter is left in the pump"
    assert set(waiting) <= {0}, "a request is left in the node"


async def test_a_caller_that_hangs_up_at_any_step_of_get_key_loses_one_index_at_the_most(
    autojump_clock: object,
) -> None:
    async with wired() as nodes:
        ksid = await stream(nodes)
        for node in nodes.nodes:
            node.disk.latency_s = DISK_S
        before, tasks, hung_up = await next_pair(nodes, ksid), _tasks(), 0
        for k in range(1, 10_000):
            steps = await _disturbed(nodes.alice, k, partial(get, nodes.alice, ksid))
            if not steps.acted:
                break
            hung_up += 1
            await trio.sleep(0.5)
            _nobody_is_left(nodes.alice)
            await _no_more_than(tasks)
            after = await next_pair(nodes, ksid)
            assert after - before in (1, 2), "I10 a caller that hangs up costs one index at most"
            before = after

    assert hung_up >= 10
    assert nodes.ledger.compare() >= hung_up


async def test_a_caller_that_hangs_up_at_any_step_of_waiting_for_a_key_loses_what_was_delivered(
    autojump_clock: object,
) -> None:
    """The key of this index comes in a while; the caller goes before, and finds it there later, or
    with it, and it is recorded as delivered. Now and then a new stream: a thousand keys that were
    made one by one, and are unread, are given in order only."""
    async with wired() as nodes:
        alice = nodes.alice
        for node in nodes.nodes:
            node.disk.latency_s = DISK_S
        slow = QoS(key_chunk_size=32, timeout=2_000, max_bps=25_600)
        ksid = await stream(nodes, slow)
        tasks, found = _tasks(), 0
        for turn, k in enumerate(range(1, 10_000, STRIDE), start=1):
            if turn % 10 == 0:
                for node in nodes.nodes:
                    await close(node, ksid)
                ksid = await stream(nodes, slow)
            streams = alice.pump.node.streams.statistics(100)
            (index,) = (each.next_index for each in streams if each.ksid == ksid)
            steps = await _disturbed(alice, k, partial(get, alice, ksid, index))
            if not steps.acted:
                break
            await trio.sleep(0.5)
            _nobody_is_left(alice)
            await _no_more_than(tasks)
            await next_pair(nodes, ksid)
            delivered = any(
                record.entry.subject == str(ksid) and index in deliveries(record.entry)
                for record in alice.audit
            )
            later = await get(alice, ksid, index)
            assert delivered == (later.status is Status.INSUFFICIENT_KEY), later.message
            found += not delivered

    assert found >= 5


async def test_a_caller_that_hangs_up_at_any_step_of_open_connect_can_open_that_stream_again(
    autojump_clock: object,
) -> None:
    """Both applications know the KSID beforehand; one hangs up, tries again, and they meet."""
    async with wired() as nodes:
        for node in nodes.nodes:
            node.disk.latency_s = DISK_S
        tasks, hung_up = _tasks(), 0
        for k in range(1, 10_000):
            ksid = KSID(UUID(int=(0x4000 << 64) | (0x8000 << 48) | k))

            async def both_open(ksid: KSID = ksid) -> None:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(open_stream, nodes.bob, ksid)
                    await open_stream(nodes.alice, ksid)

            steps = await _disturbed(nodes.alice, k, both_open)
            if not steps.acted:
                break
            hung_up += 1
            await trio.sleep(0.2)
            with trio.fail_after(30):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(open_stream, nodes.bob, ksid)
                    again = await open_stream(nodes.alice, ksid)
            assert again.status is Status.SUCCESS, f"step {k}: {again.message}"
            await next_pair(nodes, ksid)
            await close(nodes.alice, ksid)
            await close(nodes.bob, ksid)
            await trio.sleep(0.5)
            _nobody_is_left(nodes.alice)
            _nobody_is_left(nodes.bob)
            await _no_more_than(tasks)

    assert hung_up >= 20


async def test_a_caller_that_hangs_up_at_any_step_of_close_has_closed_or_can_again(
    autojump_clock: object,
) -> None:
    async with wired() as nodes:
        for node in nodes.nodes:
            node.disk.latency_s = DISK_S
        tasks, hung_up = _tasks(), 0
        for k in range(1, 10_000):
            ksid = await stream(nodes)
            await next_pair(nodes, ksid)
            steps = await _disturbed(nodes.alice, k, partial(close, nodes.alice, ksid))
            if not steps.acted:
                break
            hung_up += 1
            await trio.sleep(0.5)
            await close(nodes.alice, ksid)
            await trio.sleep(0.5)
            after = await get(nodes.alice, ksid)
            assert after.status is Status.PEER_NOT_CONNECTED, f"step {k}: {after.message}"
            await close(nodes.bob, ksid)
            await trio.sleep(0.5)
            _nobody_is_left(nodes.alice)
            await _no_more_than(tasks)

    assert hung_up >= 5


async def _give(intake: NodeIntake, block: DeviceBlock, bits: bytes) -> None:
    """As a device does; the node takes the bits, the next giving has its own."""
    await intake.room(len(bits))
    await intake.block(attrs.evolve(block, bits=Secret(bits)))


async def test_a_device_that_is_cut_at_any_step_gives_its_block_again_and_both_ends_agree(
    autojump_clock: object,
) -> None:
    async with wired() as nodes:
        for node in nodes.nodes:
            node.disk.latency_s = DISK_S
        intakes = [NodeIntake(each.pump, DeviceId("cut"), LINK) for each in nodes.nodes]
        agreed = nodes.alice.pump.node.links[LINK].agreement.log.agreed_blocks
        tasks, cut = _tasks(), 0
        for k in range(1, 10_000):
            (block,) = device_blocks(1, first=1_000 + k)
            bits = bytes(block.bits.expose())

            async def give(
                intake: NodeIntake, block: DeviceBlock = block, bits: bytes = bits
            ) -> None:
                await intake.room(len(bits))
                await intake.block(attrs.evolve(block, bits=Secret(bits)))

            steps = await _disturbed(nodes.alice, k, partial(give, intakes[0]))
            if not steps.acted:
                break
            cut += 1
            with trio.fail_after(60):
                for intake in intakes:
                    await give(intake)
                agreed += 1
                for node in nodes.nodes:
                    await node.up(blocks=agreed)
            await trio.sleep(0.2)
            await _no_more_than(tasks)
        ksid = await stream(nodes)
        await next_pair(nodes, ksid)

    assert cut >= 5
    assert [node.alarms() for node in nodes.nodes] == [[], []]


# ---- whole nodes ----------------------------------------------------------------------------


async def _ended_at(
    nodes: Wired, k: int, *, killed: bool, during: Callable[[], Awaitable[object]]
) -> bool:
    """Alice's process, cancelled or killed after step ``k`` of ``during``; whether it was."""
    alice = nodes.alice
    process, ended = trio.CancelScope(), trio.Event()

    async def run() -> None:
        with process:
            try:
                await alice.run()
            except* KMSError:
                # What a process says that loses its disk under it; only then.
                assert killed, "a node that is cancelled raises nothing"
                assert process.cancel_called, "not before it is killed"
        ended.set()

    def end() -> None:
        if killed:
            alice.disk.crash()
        process.cancel()

    alice.told = []
    nodes.nursery.start_soon(run)
    with trio.fail_after(120), at_step(k, end) as steps:
        async with trio.open_nursery() as acting:

            async def act() -> None:
                await during()
                acting.cancel_scope.cancel()

            acting.start_soon(act)
            await ended.wait()
            acting.cancel_scope.cancel()
    acted = steps.acted
    if not acted:
        process.cancel()
    with trio.fail_after(30):
        await ended.wait()
    return acted


async def _goes_on(nodes: Wired, ksid: KSID) -> None:
    """Started again, both applications go on; then the process is stopped in order."""
    with trio.fail_after(120):
        await nodes.nursery.start(nodes.alice.run)
        await nodes.alice.up(blocks=0)
        await next_pair(nodes, ksid)
        _nobody_is_left(nodes.alice)
        nodes.alice.stop.set()
        await nodes.alice.ended.wait()


async def _stop(node: WiredNode) -> None:
    node.stop.set()
    await node.ended.wait()


@pytest.mark.slow
@pytest.mark.parametrize("killed", [False, True], ids=["cancelled", "killed"])
async def test_a_start_that_ends_at_any_step_is_begun_again_and_goes_on(
    killed: bool, autojump_clock: object
) -> None:
    async with wired(blocks=16) as nodes:
        ksid = await stream(nodes)
        nodes.alice.disk.latency_s = DISK_S
        await _stop(nodes.alice)
        ended = 0

        async def starting() -> None:
            await _ready(nodes.alice)

        for k in range(1, 10_000, STRIDE):
            if not await _ended_at(nodes, k, killed=killed, during=starting):
                break
            ended += 1
            nodes.give(1)
            await _goes_on(nodes, ksid)

    assert ended >= 40 // STRIDE


@pytest.mark.slow
@pytest.mark.parametrize("killed", [False, True], ids=["cancelled", "killed"])
async def test_a_stop_that_is_cut_short_at_any_step_loses_nothing_that_was_answered(
    killed: bool, autojump_clock: object
) -> None:
    """Requests and blocks are under way when the node is told to stop."""
    async with wired(blocks=16) as nodes:
        ksid = await stream(nodes)
        nodes.alice.disk.latency_s = DISK_S
        await _stop(nodes.alice)
        ended = 0

        async def stopping() -> None:
            alice = nodes.alice
            await _ready(alice)
            for _ in range(3):
                alice.front.start_request(partial(get, alice, ksid))
            nodes.give(1)
            await trio.sleep(0.001)
            alice.stop.set()
            await alice.ended.wait()

        first = await _steps_to_ready(nodes)
        for k in range(first, 10_000, STRIDE):
            if not await _ended_at(nodes, k, killed=killed, during=stopping):
                break
            ended += 1
            await _goes_on(nodes, ksid)

    assert ended >= 40 // STRIDE


async def _ready(node: WiredNode) -> None:
    while "ready" not in node.told:
        await trio.sleep(0.001)
    await node.up(blocks=0)


async def _steps_to_ready(nodes: Wired) -> int:
    """How many steps a start takes, a few more or less."""
    nodes.alice.told = []
    with at_step(STEPS_MAX, lambda: None) as steps:
        nodes.nursery.start_soon(nodes.alice.run)
        await _ready(nodes.alice)
    taken = steps.count
    await _stop(nodes.alice)
    return taken


@pytest.mark.slow
@pytest.mark.parametrize("killed", [False, True], ids=["cancelled", "killed"])
async def test_a_node_that_ends_at_any_step_of_its_work_goes_on_where_it_was(
    killed: bool, autojump_clock: object
) -> None:
    """Both applications read, blocks come and are agreed; half as many steps are tried."""
    async with wired(blocks=16) as nodes:
        ksid = await stream(nodes)
        nodes.alice.disk.latency_s = DISK_S
        await _stop(nodes.alice)
        ended = 0

        async def working() -> None:
            alice = nodes.alice
            await _ready(alice)
            nodes.give(1)
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    alice.front.start_request(partial(get, alice, ksid))
                    nursery.start_soon(get, nodes.bob, ksid)
            await trio.sleep(0.05)

        first = await _steps_to_ready(nodes)
        for k in range(first, 10_000, 2 * STRIDE):
            if not await _ended_at(nodes, k, killed=killed, during=working):
                break
            ended += 1
            await _goes_on(nodes, ksid)

    assert ended >= 40 // STRIDE
