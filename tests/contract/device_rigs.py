"""Each device adapter with something behind it, so that one suite fits them all.

A rig makes a device that has ``BLOCKS`` blocks to give, and one that is at fault on the way.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Protocol
from uuid import UUID, uuid5

import trio

from kms.adapters.example_device import DirectoryDevice
from kms.adapters.memory.device import ScriptedDevice
from kms.adapters.qkd_socket import QKDSocketConfig, QKDSocketDevice
from kms.domain.errors import DeviceFault
from kms.domain.names import KSID, BlockId, DeviceId
from kms.domain.secret import Secret
from kms.ports.device import Device, DeviceBlock
from kms.twin.bits import block_bits
from kms.twin.config import Knobs, TwinConfig
from kms.twin.device import Address, serve

BLOCKS = 8
BLOCK_BYTES = 4096
STREAM = KSID(UUID("6f2c8d5e-0b1a-4c3d-9e4f-5a6b7c8d9e0f"))
DEVICE = DeviceId("fridge")


class Rig(Protocol):
    async def device(self) -> Device:
        """A device with ``BLOCKS`` blocks or more."""
        ...

    async def faulty_device(self) -> Device:
        """One with ``BLOCKS`` good blocks or more, and at least one fault among them."""
        ...


def _block(number: int) -> DeviceBlock:
    return DeviceBlock(
        block_id=BlockId(uuid5(STREAM, str(number))),
        bits=Secret(block_bits("seed", "rig", number, BLOCK_BYTES)),
        qber=0.02,
    )


class MemoryRig:
    async def device(self) -> Device:
        return ScriptedDevice(DEVICE, [_block(number) for number in range(BLOCKS)])

    async def faulty_device(self) -> Device:
        script: list[DeviceBlock | DeviceFault] = [_block(number) for number in range(BLOCKS)]
        script.insert(2, DeviceFault("silent", "nothing for a while", hint="wait"))
        return ScriptedDevice(DEVICE, script)


class ExampleRig:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def device(self) -> Device:
        for number in range(BLOCKS):
            block = _block(number)
            (self._directory / f"{block.block_id}.key").write_bytes(block.bits.expose())
        return DirectoryDevice(DEVICE, self._directory, poll_s=0.01)

    async def faulty_device(self) -> Device:
        (self._directory / "0.key").write_bytes(bytes(BLOCK_BYTES))
        (self._directory / f"{uuid5(STREAM, 'short')}.key").write_bytes(b"short")
        return await self.device()


class SocketRig:
    """The real adapter, the real socket, the twin."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    async def device(self) -> Device:
        return await self._with_twin(Knobs())

    async def faulty_device(self) -> Device:
        return await self._with_twin(Knobs(half_frame=0.5, garbage=0.5, zeros=0.3))

    async def _with_twin(self, knobs: Knobs) -> Device:
        config = TwinConfig(
            link="a~b",
            end="A",
            seed="rig",
            ksid=STREAM,
            key_chunk_size=BLOCK_BYTES,
            rate_bps=0,
            knobs=knobs,
        )
        address: Address = await self._nursery.start(serve, config)
        return QKDSocketDevice(
            QKDSocketConfig(
                device_id=DEVICE,
                host=address.host,
                port=address.port,
                ksid=STREAM,
                source="qkd:fridge@a",
                destination="kms:a",
                key_chunk_size=BLOCK_BYTES,
                answer_timeout_s=5.0,
                backoff_s_min=0.001,
                backoff_s_max=0.01,
                poll_s_min=0.001,
                poll_s_max=0.01,
            ),
            jitter=Random(1),
        )


@asynccontextmanager
async def rig_called(name: str, directory: Path) -> AsyncIterator[Rig]:
    async with trio.open_nursery() as nursery:
        match name:
            case "memory":
                yield MemoryRig()
            case "example":
                yield ExampleRig(directory)
            case "socket":
                yield SocketRig(nursery)
        nursery.cancel_scope.cancel()
