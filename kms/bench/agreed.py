"""Device to pool: how fast two nodes make their devices' blocks into agreed, durable key.

Two device ends, two nodes with their stores, and this process share the machine's cores, so beside
the rate stands what a second of a node's processor time gives.
"""

import time
from pathlib import Path

import trio

from kms.bench.figures import Figure, mbit_s, median
from kms.bench.floors import commit_mbit_s
from kms.bench.network import Network, Say
from kms.bench.plan import Plan

NAME = "agreed"
PUBLISHED_MBIT_S = 414.0
_WARM_BYTES = 8 * 1024 * 1024


async def measure(network: Network, plan: Plan, directory: Path, say: Say) -> list[Figure]:
    """Agreed key per node, and what the disk does alone."""
    await network.until_agreed(_WARM_BYTES)
    rates, floors, cores = [], [], []
    for number in range(plan.rounds):
        say(f"device to pool, round {number + 1} of {plan.rounds}")
        busy_s = network.node_cpu_s()
        began, before = time.perf_counter(), await network.agreed_bytes()
        await trio.sleep(plan.agreed_s)
        agreed = await network.agreed_bytes() - before
        rates.append(mbit_s(agreed, time.perf_counter() - began))
        cores.append(mbit_s(agreed, network.node_cpu_s() - busy_s))
        # The disk's own rate, while the nodes go on: they share it as they share the cores.
        floors.append(
            await trio.to_thread.run_sync(
                commit_mbit_s, directory, plan.block_bytes, plan.agreed_s / 5
            )
        )
    return [
        Figure(
            name=NAME,
            what="device to pool, agreed and durable at both ends",
            measured=median(rates),
            unit="Mbit/s",
            floor=median(floors),
            floor_what="SQLite commits of one block each",
            published=PUBLISHED_MBIT_S,
            per_cpu_s=median(cores),
        )
    ]
