"""What every device adapter keeps to (kms/ports/device.py), the fake as the real ones."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest
import trio

from kms.domain import limits
from kms.ports.device import Device
from tests.contract.device_intake import Block, Down, RecordingIntake, Room, Up
from tests.contract.device_rigs import BLOCKS, DEVICE, Rig, rig_called

RIGS = ("memory", "example", "socket")


@pytest.fixture(params=RIGS)
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig_called(request.param, tmp_path) as made:
        yield made


@asynccontextmanager
async def running(device: Device, intake: RecordingIntake) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(device.run, intake)
        yield
        nursery.cancel_scope.cancel()


async def test_every_block_has_an_id_of_its_own_and_a_size_within_the_limits(rig: Rig) -> None:
    intake = RecordingIntake()
    async with running(await rig.device(), intake):
        blocks = await intake.until_blocks(BLOCKS)

    assert len({block.block_id for block in blocks}) == BLOCKS
    assert len({block.bits for block in blocks}) == BLOCKS
    for block in blocks:
        assert limits.BLOCK_BYTES_MIN <= len(block.bits) <= limits.BLOCK_BYTES_MAX
        assert any(block.bits)
        assert block.origin in ("quantum", "post-quantum", "classical")
        assert block.qber is None or 0 <= block.qber <= 0.5


async def test_room_for_the_whole_block_is_asked_before_each_block(rig: Rig) -> None:
    intake = RecordingIntake()
    async with running(await rig.device(), intake):
        await intake.until_blocks(BLOCKS)
    room = 0
    for happening in intake.story:
        if isinstance(happening, Room):
            room = happening.size_bytes
        elif isinstance(happening, Block):
            assert len(happening.bits) <= room
            room = 0


async def test_a_full_node_is_given_no_block_until_it_has_room(rig: Rig) -> None:
    intake = RecordingIntake()
    async with running(await rig.device(), intake):
        await intake.until_blocks(2)
        intake.fill()
        # One block may have had its room granted before.
        allowed = len(intake.blocks) + 1
        await intake.until(lambda: isinstance(intake.story[-1], Room))
        await trio.sleep(0.05)

        assert len(intake.blocks) <= allowed

        intake.drain()
        await intake.until_blocks(BLOCKS)


async def test_the_device_is_up_before_its_first_block(rig: Rig) -> None:
    intake = RecordingIntake()
    async with running(await rig.device(), intake):
        await intake.until_blocks(1)
    told = [each for each in intake.story if not isinstance(each, Room)]

    assert isinstance(told[0], Up)
    assert isinstance(told[1], Block)


async def test_a_fault_is_named_and_the_blocks_after_it_still_come(rig: Rig) -> None:
    intake = RecordingIntake()
    device = await rig.faulty_device()
    async with running(device, intake):
        await intake.until_blocks(BLOCKS)
        await intake.until(lambda: isinstance(_last_change(intake), Up))
    faults = device.statistics().faults

    assert intake.faults
    assert set(intake.faults) <= set(faults)
    assert all(name == name.lower() and " " not in name for name in faults)


async def test_up_and_down_are_told_only_when_they_change(rig: Rig) -> None:
    intake = RecordingIntake()
    async with running(await rig.faulty_device(), intake):
        await intake.until_blocks(BLOCKS)
    changes = [each for each in intake.story if isinstance(each, Up | Down)]

    assert all(one != other for one, other in pairwise(changes))


async def test_no_block_comes_while_the_device_is_down(rig: Rig) -> None:
    intake = RecordingIntake()
    async with running(await rig.faulty_device(), intake):
        await intake.until_blocks(BLOCKS)
    up = False
    for happening in intake.story:
        match happening:
            case Up():
                up = True
            case Down():
                up = False
            case Block():
                assert up


async def test_a_cancelled_device_stops_even_while_it_waits_for_room(rig: Rig) -> None:
    intake = RecordingIntake()
    intake.fill()
    device = await rig.device()
    with trio.fail_after(5):
        async with running(device, intake):
            await intake.until(lambda: any(isinstance(each, Room) for each in intake.story))

    assert not intake.blocks
    assert not device.statistics().connected


async def test_the_statistics_count_what_the_node_was_given(rig: Rig) -> None:
    intake = RecordingIntake()
    device = await rig.device()
    async with running(device, intake):
        await intake.until_blocks(BLOCKS)
        intake.fill()
        await intake.until(lambda: device.statistics().blocks == len(intake.blocks))
        seen = device.statistics()

        assert device.device_id == seen.device == DEVICE
        assert seen.connected
        assert seen.connects == 1
        assert seen.bytes == sum(len(block.bits) for block in intake.blocks)
        assert not seen.faults


async def test_a_device_run_again_gives_no_block_twice(rig: Rig) -> None:
    intake = RecordingIntake()
    device = await rig.device()
    async with running(device, intake):
        await intake.until_blocks(BLOCKS // 2)
    async with running(device, intake):
        await intake.until_blocks(BLOCKS - 2)
    ids = [block.block_id for block in intake.blocks]

    assert len(set(ids)) == len(ids)


def _last_change(intake: RecordingIntake) -> Up | Down | None:
    changes = [each for each in intake.story if isinstance(each, Up | Down)]
    return changes[-1] if changes else None
