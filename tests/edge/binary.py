"""The binary interface before a fake counter, and raw clients of it that look at every octet."""

import struct
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import attrs
import trio

from kms.adapters.edge import Bounds, TLSSource
from kms.adapters.etsi004_binary import RESPONSES, Message, Reader, Request, encode
from kms.adapters.etsi004_tls import FRAME_BYTES_MAX, serve
from kms.ports.northbound import Northbound
from tests.edge.authority import Authority
from tests.edge.support import SHORT, Running, Stream, hosted, until_closed

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


# ---- hostile openings -----------------------------------------------------------------------

_FILE = Path(__file__).with_name("binary_openings.toml")
OPENINGS: Final[list[dict[str, Any]]] = tomllib.loads(_FILE.read_text())["opening"]
PIECES: Final = [bytes.fromhex(piece) for one in OPENINGS for piece in one["send"]]
# The server's deadlines in tests are a fraction of this; a busy machine takes its time.
_ENDS_S: Final = 10.0


async def try_opening(edge: Running, opening: dict[str, Any]) -> list[str]:
    """The opening was made; what of its answer or its end was not as listed."""
    wrong = []
    ended = opening.get("then", "closed")
    async with edge.connect() as stream:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_send, stream, opening)
            want = {"error": ERROR, "served": PROBED, "closed": b"?"}[opening["expect"]]
            got = await received(stream, len(want), seconds=_ENDS_S)
            if got != (b"" if opening["expect"] == "closed" else want):
                wrong.append(f"answered {got.hex() or 'nothing'}")
            if ended == "closed" and not await until_closed(stream, seconds=_ENDS_S):
                wrong.append("its connection goes on")
            nursery.cancel_scope.cancel()
        # Outside the nursery, or it would be cancelled as well.
        if ended == "open" and opening.get("times", 1) == 1 and not await answers(stream):
            wrong.append("its connection is not served any more")
    return [f"{opening['name']}: {each}" for each in wrong]


async def _send(stream: Stream, opening: dict[str, Any]) -> None:
    """All the pieces, or as many as the server takes."""
    pieces = [bytes.fromhex(one) for one in opening["send"]]
    if "repeat_last" in opening:
        pieces[-1] *= opening["repeat_last"]
    try:
        for piece in pieces * opening.get("times", 1):
            await stream.send_all(piece)
            if "pause_s" in opening:
                await trio.sleep(opening["pause_s"])
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
