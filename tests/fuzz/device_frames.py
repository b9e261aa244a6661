"""What a QKD device sends, to the adapter that reads it: real task, real reader, virtual time.

The script says what is answered to each question: bytes as they come, or a right GET_KEY answer
with these fields around bits that are made here.
"""

if __name__ == "__main__":
    from tests.fuzz.engine import main

    main("device_frames")

import hashlib
from collections.abc import Iterator
from random import Random
from uuid import UUID

import trio
import trio.testing

from kms.adapters.etsi004_binary import GetKeyResponse, OpenConnectResponse, encode
from kms.adapters.qkd_socket import QKDSocketConfig, QKDSocketDevice
from kms.domain import limits
from kms.domain.names import KSID, DeviceId
from kms.domain.secret import Secret
from kms.domain.status import QoS, Status
from kms.ports.device import DeviceBlock, Intake
from tests.fuzz.script import steps

RAW, KEY, OPENED, HANG_UP = range(4)
STREAM = KSID(UUID("6f2c8d5e-0b1a-4c3d-9e4f-5a6b7c8d9e0f"))
CHUNKS = (4096, 1365, 16)
"""whole blocks, blocks of four keys, blocks of many"""


def one_input(data: bytes) -> None:
    """The first octet chooses the key size; the rest is a script."""
    if not data:
        return
    size = CHUNKS[data[0] % len(CHUNKS)]
    script = [_answer(operation % 4, content, size) for operation, content in steps(data[1:])]
    trio.run(_run, script, size, clock=trio.testing.MockClock(autojump_threshold=0))


def _answer(operation: int, content: bytes, size: int) -> bytes | None:
    """What the device says to one question; None: it hangs up."""
    if operation == RAW:
        return content
    if operation == HANG_UP:
        return None
    number = int.from_bytes(content[:4], "big")
    if operation == OPENED:
        return bytes(encode(OpenConnectResponse(status=Status(number % 9), qos=QoS(), ksid=STREAM)))
    status = Status(content[4] % 9) if len(content) > 4 else Status.SUCCESS
    bits = hashlib.shake_256(content[:6]).digest(size)
    key = Secret(bits if status is Status.SUCCESS else b"")
    return bytes(
        encode(GetKeyResponse(status=status, index=number, key=key, metadata=content[6:1000]))
    )


async def _run(script: list[bytes | None], size: int) -> None:
    config = QKDSocketConfig(
        device_id=DeviceId("device"),
        host="localhost",
        port=1,
        ksid=STREAM,
        source="device:a",
        destination="kms:a",
        key_chunk_size=size,
    )
    with trio.CancelScope() as scope:
        line = iter(script)

        async def connect() -> trio.abc.Stream:
            await trio.lowlevel.checkpoint()
            return Said(line, scope)

        intake = Checked()
        device = QKDSocketDevice(config, jitter=Random(1), connect=connect)
        await device.run(intake)
    faults = device.statistics().faults
    assert all(name and name.isascii() for name in faults), "each fault has a name"


class Said(trio.abc.Stream):
    """One answer to each question; when there are no more, the test is over."""

    def __init__(self, answers: Iterator[bytes | None], scope: trio.CancelScope) -> None:
        self._answers, self._scope = answers, scope
        self._left = b""

    async def send_all(self, data: object) -> None:
        await trio.lowlevel.checkpoint()
        answer = next(self._answers, b"")
        if answer == b"":
            self._scope.cancel()
            await trio.lowlevel.checkpoint()
        self._left = answer or b""

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        count = min(len(self._left), max_bytes or 1, 1 + len(self._left) // 2)
        data, self._left = self._left[:count], self._left[count:]
        return data

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


class Checked(Intake):
    """The node's side: what it is given is in bounds."""

    async def room(self, size_bytes: int) -> None:
        await trio.lowlevel.checkpoint()
        assert 0 < size_bytes <= limits.BLOCK_BYTES_MAX, "room for a block"

    async def block(self, block: DeviceBlock) -> None:
        await trio.lowlevel.checkpoint()
        assert limits.BLOCK_BYTES_MIN <= len(block.bits) <= limits.BLOCK_BYTES_MAX, "a block's size"
        assert block.qber is None or 0 <= block.qber <= 0.5, "a ratio of wrong bits"
        assert 0 <= block.age_ms < 2**32, "an age"
        assert any(block.bits.expose()), "bits that cannot be key"

    def up(self) -> None:
        pass

    def down(self, fault: str, reason: str) -> None:
        assert fault.isascii(), "each fault has a name"
