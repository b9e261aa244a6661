"""Key creation, end to end: agreed pad becomes chunks that are durable at both ends.

Each step asks for the last index of as many chunks as a stream may have ahead: its one answer says
that every chunk up to there was designated, sealed at both ends and acknowledged.
"""

import time
from collections.abc import Sequence

import trio

from kms.bench.figures import Figure, mbit_s
from kms.bench.network import Pair
from kms.client import NotEnoughKey, Stream
from kms.domain.limits import KIB, MIB
from kms.domain.pace import stock_chunks

NAME = "creation"
PUBLISHED_MBIT_S = 85.0
FLOOR_BYTES = 64 * KIB
# A grant may be under way when a request's time is over: an application asks again, too.
_TRIES_MAX = 4
_PAUSE_S = 0.05


async def create(pairs: Sequence[Pair], each: int) -> float:
    """``each`` chunks of every stream are ready at both its ends; Mbit/s."""
    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for pair in pairs:
            nursery.start_soon(_create, pair, each)
    made = sum(each * pair.chunk_bytes for pair in pairs)
    return mbit_s(made, time.perf_counter() - began)


def steps(chunk_bytes: int, each: int) -> int:
    """How many requests ``create`` makes of one stream: as many chunks are delivered by it."""
    return -(-each // stock_chunks(chunk_bytes))


async def _create(pair: Pair, each: int) -> None:
    step = stock_chunks(pair.chunk_bytes)
    for last in [*range(step, each, step), each]:
        await _reach(pair.designating, last - 1)


async def _reach(stream: Stream, index: int) -> None:
    """The chunk of this index is ready at both ends, and delivered at one."""
    for _ in range(_TRIES_MAX - 1):
        try:
            (await stream.get(index)).wipe()
        except NotEnoughKey:
            await trio.sleep(_PAUSE_S)
        else:
            return
    (await stream.get(index)).wipe()


def figure(chunk_bytes: int, measured: float, floor: float, per_cpu_s: float) -> Figure:
    """The row of one chunk size."""
    return Figure(
        name=NAME,
        what=f"key creation, chunks of {size(chunk_bytes)}",
        measured=measured,
        unit="Mbit/s",
        floor=floor,
        floor_what="SQLite commits of 64 KiB each",
        published=PUBLISHED_MBIT_S,
        per_cpu_s=per_cpu_s,
        detail="designated, sealed, acknowledged: ready at both ends",
    )


def size(chunk_bytes: int) -> str:
    """As a person writes it."""
    if chunk_bytes >= MIB:
        return f"{chunk_bytes // MIB} MiB"
    return f"{chunk_bytes // KIB} KiB" if chunk_bytes >= KIB else f"{chunk_bytes} B"
