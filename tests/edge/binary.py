"""The binary interface before a fake counter, and raw clients of it that look at every octet."""

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from uuid import UUID

import attrs
import trio

from kms.adapters.edge import Bounds, TLSSource
from kms.adapters.etsi004_binary import RESPONSES, Message, Reader, Request, encode
from kms.adapters.etsi004_tls import FRAME_BYTES_MAX, serve
from kms.ports.northbound import Northbound
from tests.edge.authority import Authority
from tests.edge.support import SHORT, Running, Stream, hosted

ALICE, BOB, EVE = "sae:alice.a", "sae:bob.b", "sae:eve.a"
UNKNOWN = UUID("550e8400-e29b-41d4-a716-446655440000")
# A GET_KEY for a stream that nobody has, and what is answered.
PROBE = bytes.fromhex("0201010400000018") + UNKNOWN.bytes + bytes(8)
PROBED = bytes.fromhex("0201010500000010") + struct.pack("!4I", 3, 0, 0, 0)
ERROR = bytes.fromhex("020101000000000400000000")


@asynccontextmanager
async def running_binary(
    northbound: Northbound,
    *,
    authority: Authority,
    bounds: Bounds = SHORT,
    tls: TLSSource | None = None,
) -> AsyncIterator[Running]:
    """On loopback, until the block ends; then it is cancelled."""
    serving = partial(serve, northbound, bounds=bounds)
    async with hosted(serving, answers, authority=authority, tls=tls) as running:
        yield running


async def answers(stream: Stream) -> bool:
    """Whether this connection is served now."""
    try:
        await stream.send_all(PROBE)
        return await received(stream, len(PROBED)) == PROBED
    except trio.BrokenResourceError:
        return False


async def received(stream: Stream, count: int, *, seconds: float = 3.0) -> bytes:
    """So many octets; fewer if the connection or the time ended before."""
    data = b""
    with trio.move_on_after(seconds):
        try:
            while len(data) < count:
                more = await stream.receive_some(count - len(data))
                if not more:
                    break
                data += more
        except trio.BrokenResourceError:
            pass
    return data


@attrs.define
class BinaryClient:
    """One application's connection, in messages."""

    stream: Stream

    async def call(self, request: Request) -> Message:
        """The answer; the test fails if none comes."""
        await self.stream.send_all(encode(request))
        reader = Reader(payload_bytes_max=FRAME_BYTES_MAX, services=RESPONSES)
        with trio.fail_after(5):
            while True:
                data = await self.stream.receive_some(len(reader.space()))
                assert data, "the connection ended before the answer did"
                reader.space()[: len(data)] = data
                message = reader.filled(len(data))
                if message is not None:
                    return message
