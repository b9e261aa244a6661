"""Key delivery over HTTP: GET_KEY by the client library over mutual TLS, several connections.

The chunks were made before, so that this is the applications' interface and little else; the floor
is the same client at a bare HTTP server that sends as many bytes out of its memory.
"""

import time
from collections.abc import Sequence
from uuid import uuid4

import trio

from kms.bench.creation import size, steps
from kms.bench.figures import MBIT, Figure, mbit_s
from kms.bench.network import Network, Pair
from kms.bench.plan import Plan
from kms.client import QoS, Stream
from kms.client.outcome import Opened
from kms.domain.limits import KIB

NAME = "delivery"
PUBLISHED_MBIT_S = 971.0


async def deliver(pairs: Sequence[Pair], each: int, plan: Plan) -> float:
    """The first node's applications fetch the ``each`` chunks that every stream has ready; keys per
    second."""
    line = []
    for number in range(each):
        for pair in pairs:
            # The end that asked for the making has had the last chunk of each step already.
            had = steps(pair.chunk_bytes, each) if pair.both[0] is pair.designating else 0
            if number < each - had:
                line.append(pair.both[0])
    return await _fetch(line, plan)


async def bare(network: Network, port: int, chunk_bytes: int, count: int, plan: Plan) -> float:
    """The same client fetches as many chunks from a bare server; keys per second."""
    url = f"https://127.0.0.1:{port}/{chunk_bytes}"
    async with network.client(0, url=url, connections=plan.connections) as client:
        qos = QoS(key_chunk_size=chunk_bytes, timeout=30_000)
        stream = Stream(client, Opened(ksid=uuid4(), qos=qos, peer_connected=True))
        return await _fetch([stream] * count, plan)


async def _fetch(line: Sequence[Stream], plan: Plan) -> float:
    """One key of each stream in line, until there are no more or time is over."""
    asked, keys = iter(line), 0
    began = time.perf_counter()

    async def connection() -> None:
        nonlocal keys
        for stream in asked:
            if time.perf_counter() - began > plan.delivered_s:
                return
            with await stream.get():
                keys += 1

    async with trio.open_nursery() as nursery:
        for _ in range(plan.connections):
            nursery.start_soon(connection)
    return keys / (time.perf_counter() - began)


def figure(chunk_bytes: int, keys_s: float, floor_keys_s: float, per_cpu_s: float) -> Figure:
    """The row of one chunk size: keys per second where keys are small."""
    small = chunk_bytes < KIB
    each = 1 if small else 8 * chunk_bytes / MBIT
    mbit = mbit_s(keys_s * chunk_bytes, 1)
    return Figure(
        name=NAME,
        what=f"GET_KEY over mutual TLS, chunks of {size(chunk_bytes)}",
        measured=keys_s * each,
        unit="keys/s" if small else "Mbit/s",
        floor=floor_keys_s * each,
        floor_what="bare hypercorn, same client, same bytes",
        per_cpu_s=per_cpu_s * each,
        published=None if small else PUBLISHED_MBIT_S,
        detail=f"{mbit:.2f} Mbit/s" if small else f"{keys_s:.0f} keys/s",
    )
