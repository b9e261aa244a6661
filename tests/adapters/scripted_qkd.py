"""A device in a test's hand: a stream in memory whose other end a script plays."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any
from uuid import UUID

import attrs
import trio
import trio.testing

from kms.adapters.etsi004_binary import (
    REQUEST_PAYLOAD_BYTES_MAX,
    REQUESTS,
    GetKeyRequest,
    GetKeyResponse,
    Message,
    OpenConnectRequest,
    OpenConnectResponse,
    Reader,
    encode,
)
from kms.adapters.qkd_socket import QKDSocketConfig, QKDSocketDevice
from kms.domain.names import KSID, DeviceId
from kms.domain.secret import Secret
from kms.domain.status import Status
from kms.twin.bits import block_bits
from tests.contract.device_intake import RecordingIntake

STREAM = KSID(UUID("6f2c8d5e-0b1a-4c3d-9e4f-5a6b7c8d9e0f"))
CHUNK = 4096

Answer = bytes | bytearray | Message | None
"""bytes as they are, a message encoded, None: hang up"""
Play = Callable[[Message, int], Answer]
"""The request and how many came before it on this device: what is answered."""


class ScriptedQKD:
    """Answers each request by ``play``, in pieces of ``piece_bytes``."""

    def __init__(self, play: Play, *, piece_bytes: int = 1 << 20) -> None:
        self._play = play
        self._piece_bytes = piece_bytes
        self.asked: list[Message] = []
        self.connections = 0

    @property
    def indexes(self) -> list[int]:
        """What GET_KEY asked for, in order."""
        return [each.index for each in self.asked if isinstance(each, GetKeyRequest)]

    async def converse(self, stream: trio.StapledStream[Any, Any]) -> None:
        self.connections += 1
        reader = Reader(payload_bytes_max=REQUEST_PAYLOAD_BYTES_MAX, services=REQUESTS)
        async with stream:
            while data := await stream.receive_some(1 << 20):
                for request in reader.feed(data):
                    count = len(self.asked)
                    self.asked.append(request)
                    answer = self._play(request, count)
                    if answer is None:
                        return
                    frame = answer if isinstance(answer, bytes | bytearray) else encode(answer)
                    for start in range(0, len(frame), self._piece_bytes):
                        await stream.send_all(frame[start : start + self._piece_bytes])


def opened(request: Message) -> OpenConnectResponse:
    assert isinstance(request, OpenConnectRequest)
    return OpenConnectResponse(status=Status.SUCCESS, qos=request.qos, ksid=request.ksid)


def key(index: int, *, metadata: bytes = b"", bits: bytes | None = None) -> GetKeyResponse:
    made = block_bits("seed", "test", index, CHUNK) if bits is None else bits
    return GetKeyResponse(status=Status.SUCCESS, index=index, key=Secret(made), metadata=metadata)


def no_key(status: Status, index: int, metadata: bytes = b"") -> GetKeyResponse:
    return GetKeyResponse(status=status, index=index, key=Secret(b""), metadata=metadata)


def honest(request: Message, count: int) -> Answer:
    """What a device without faults answers."""
    return key(request.index) if isinstance(request, GetKeyRequest) else opened(request)


def answering(*answers: Answer) -> Play:
    """GET_KEYs are answered by these in turn, then honestly."""
    left = list(answers)

    def play(request: Message, count: int) -> Answer:
        if isinstance(request, GetKeyRequest) and left:
            return left.pop(0)
        return honest(request, count)

    return play


def opening(*answers: Answer) -> Play:
    """OPEN_CONNECTs are answered by these in turn, then honestly."""
    left = list(answers)

    def play(request: Message, count: int) -> Answer:
        if isinstance(request, OpenConnectRequest) and left:
            return left.pop(0)
        return honest(request, count)

    return play


def config(**changes: object) -> QKDSocketConfig:
    fields: dict[str, Any] = {
        "device_id": DeviceId("fridge"),
        "host": "device",
        "port": 1,
        "ksid": STREAM,
        "source": "qkd:fridge@a",
        "destination": "kms:a",
        "key_chunk_size": CHUNK,
    }
    return QKDSocketConfig(**{**fields, **changes})


@attrs.frozen
class Scene:
    device: QKDSocketDevice
    intake: RecordingIntake


@asynccontextmanager
async def playing(
    qkd: ScriptedQKD,
    *,
    refusals: Sequence[Exception] = (),
    **changes: object,
) -> AsyncIterator[Scene]:
    """The adapter runs against the scripted device; ``refusals`` come before it connects."""
    left = list(refusals)
    async with trio.open_nursery() as nursery:

        async def connect() -> trio.abc.Stream:
            await trio.lowlevel.checkpoint()
            if left:
                raise left.pop(0)
            ours, theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(qkd.converse, theirs)
            return ours

        dialled: Callable[[], Awaitable[trio.abc.Stream]] = connect
        device = QKDSocketDevice(config(**changes), jitter=Random(1), connect=dialled)
        intake = RecordingIntake()
        nursery.start_soon(device.run, intake)
        yield Scene(device, intake)
        nursery.cancel_scope.cancel()
