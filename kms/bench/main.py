"""``kms bench``: the order of things, and the table at the end."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import structlog
import trio
from rich.console import Console
from rich.table import Table

from kms.bench import agreed, creation, delivery, floors, requests, steps, tunnel
from kms.bench.figures import Figure, Report, median, this_machine
from kms.bench.network import STREAMS, Network, Say, directory, network, streams
from kms.bench.peer import other_end
from kms.bench.plan import FULL, QUICK, Plan
from kms.client import ClientError
from kms.domain.errors import LocalFault
from kms.domain.limits import MIB, POOL_BYTES_MAX

NAMES = (agreed.NAME, tunnel.NAME, creation.NAME, delivery.NAME, requests.NAME, steps.NAME)
_MEMORY_BYTES = 256 * 1024 * 1024


def run(*, quick: bool, as_json: bool, only: Iterable[str]) -> int:
    """Measures what was asked for, and prints it. Raises ``LocalFault``."""
    wanted = frozenset(only) or frozenset(NAMES)
    unknown = wanted.difference(NAMES)
    if unknown:
        raise LocalFault(
            f"there is no scenario {', '.join(sorted(unknown))}", hint=f"one of {', '.join(NAMES)}"
        )
    # Told to end, it takes its processes and its directory with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(stderr=True)
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    try:
        with console.status("starting") as status:
            report = measure(QUICK if quick else FULL, wanted, status.update, quick=quick)
    except* ClientError as group:
        raise LocalFault(
            f"the nodes gave no key: {_first(group)}",
            hint="something else takes this machine's time: measure again when it is quiet",
        ) from group
    if as_json:
        json.dump(report.fields(), sys.stdout, indent=2)
        print()
    else:
        _print(report)
    return 0


def _first(group: BaseExceptionGroup[BaseException]) -> str:
    """What the first of them says."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error)


def measure(plan: Plan, wanted: frozenset[str], say: Say, *, quick: bool) -> Report:
    """All scenarios that are wanted; no process and no file of them is left."""
    began = time.perf_counter()
    found: list[Figure] = [
        Figure(
            name="machine",
            what="copying memory",
            measured=floors.memory_mbit_s(_MEMORY_BYTES),
            unit="Mbit/s",
        )
    ]
    with directory() as path:
        if steps.NAME in wanted:
            say("the cost of each step")
            found += trio.run(steps.measure, plan, path)
        if wanted - {steps.NAME}:
            found += _with_processes(plan, wanted, say, path)
    return Report(
        machine=this_machine(),
        quick=quick,
        block_bytes=plan.block_bytes,
        figures=tuple(found),
        seconds=time.perf_counter() - began,
    )


def _with_processes(plan: Plan, wanted: frozenset[str], say: Say, path: Path) -> list[Figure]:
    say("starting two devices and two nodes")
    found: list[Figure] = []
    with network(path, plan.block_bytes) as net:
        if agreed.NAME in wanted:
            found += trio.run(agreed.measure, net, plan, path, say)
        if wanted & {creation.NAME, delivery.NAME, requests.NAME}:
            say("agreeing on key for what follows")
            trio.run(net.until_agreed, _pad_bytes(plan, wanted))
        net.without_devices()
        if wanted & {creation.NAME, delivery.NAME}:
            found += _keys(net, plan, wanted, say, path)
        if requests.NAME in wanted:
            found += trio.run(requests.measure, net, plan, say)
        if tunnel.NAME in wanted:
            found.append(_tunnel(net, plan, say))
    return found


def _pad_bytes(plan: Plan, wanted: frozenset[str]) -> int:
    """Agreed key that the scenarios use up, within what a pool may hold."""
    keys = plan.pad_bytes if wanted & {creation.NAME, delivery.NAME} else 64 * MIB
    asked = 2 * requests.pad_bytes(plan) if requests.NAME in wanted else 0
    return min(keys + asked, POOL_BYTES_MAX - 4 * plan.block_bytes)


def _tunnel(net: Network, plan: Plan, say: Say) -> Figure:
    credentials, other = net.node_credentials(0), net.node_credentials(1)
    parts = plan.tunnel_bytes // tunnel.PART_BYTES
    rates, sockets = [], []
    for number in range(plan.rounds):
        say(f"one-time-pad tunnel, round {number + 1} of {plan.rounds}")
        with other_end(floors.swallow, other) as port:
            sockets.append(trio.run(floors.socket_mbit_s, port, credentials, plan.tunnel_bytes))
        seed = os.urandom(32)
        with other_end(tunnel.receive, other, seed, parts) as port:
            rates.append(trio.run(tunnel.tunnel_mbit_s, port, credentials, seed, parts))
    return tunnel.figure(median(rates), median(sockets))


def _keys(net: Network, plan: Plan, wanted: frozenset[str], say: Say, path: Path) -> list[Figure]:
    """Creation and delivery: what the first made, the second fetches."""
    made: list[Figure] = []
    fetched: list[Figure] = []
    with other_end(floors.answer_bare, net.node_credentials(0)) as port:
        for chunk_bytes, total in plan.created_bytes.items():
            each = max(1, total // STREAMS // chunk_bytes)
            rounds = [
                _round(net, plan, wanted, say, path, port, chunk_bytes, each)
                for _ in range(plan.rounds)
            ]
            rate, disk, rate_cpu, keys, bare, keys_cpu = (
                median(column) for column in zip(*rounds, strict=True)
            )
            made.append(creation.figure(chunk_bytes, rate, disk, rate_cpu))
            fetched.append(delivery.figure(chunk_bytes, keys, bare, keys_cpu))
    return (made if creation.NAME in wanted else []) + (fetched if delivery.NAME in wanted else [])


def _round(
    net: Network,
    plan: Plan,
    wanted: frozenset[str],
    say: Say,
    path: Path,
    port: int,
    chunk_bytes: int,
    each: int,
) -> tuple[float, float, float, float, float, float]:
    """Creation, its floor, its rate per processor second; delivery likewise."""
    name = creation.size(chunk_bytes)

    async def one() -> tuple[float, float, float, float, float, float]:
        async with (
            net.client(0, connections=plan.connections) as ann,
            net.client(1, connections=plan.connections) as ben,
            streams((ann, ben), net.site, chunk_bytes) as pairs,
        ):
            say(f"key creation, chunks of {name}")
            since, busy = time.perf_counter(), net.node_cpu_s()
            made = await creation.create(pairs, each)
            made_cpu = _per_cpu_s(made, time.perf_counter() - since, net.node_cpu_s() - busy)
            disk = await trio.to_thread.run_sync(
                floors.commit_mbit_s, path, creation.FLOOR_BYTES, plan.step_s
            )
            if delivery.NAME not in wanted:
                return made, disk, made_cpu, 0.0, 0.0, 0.0
            say(f"key delivery, chunks of {name}")
            since, busy = time.perf_counter(), net.node_cpu_s()
            keys = await delivery.deliver(pairs, each, plan)
            keys_cpu = _per_cpu_s(keys, time.perf_counter() - since, net.node_cpu_s() - busy)
            bare = await delivery.bare(net, port, chunk_bytes, STREAMS * each, plan)
            return made, disk, made_cpu, keys, bare, keys_cpu

    return trio.run(one)


def _per_cpu_s(rate: float, seconds: float, busy_s: float) -> float:
    return rate * seconds / busy_s if busy_s > 0 else 0.0


def _print(report: Report) -> None:
    machine = report.machine
    console = Console()
    table = Table(title="What this machine delivers")
    for name in ("what", "measured", "per CPU s", "floor", "of floor", "published", ""):
        table.add_column(name, justify="left" if name in ("what", "") else "right")
    for each in report.figures:
        table.add_row(
            each.what,
            f"{each.measured:,.0f} {each.unit}",
            f"{each.per_cpu_s:,.0f}" if each.per_cpu_s else "",
            f"{each.floor:,.0f}" if each.floor else "",
            f"{each.share:.2f}" if each.share is not None else "",
            f"{each.published:,.0f}" if each.published else "",
            "; ".join(filter(None, (each.detail, each.floor_what and f"floor: {each.floor_what}"))),
        )
    console.print(table)
    console.print(
        f"{machine.cpus} CPUs ({machine.cpu}); Python {machine.python}; SQLite {machine.sqlite}; "
        f"kms {machine.version} {machine.revision}; blocks of "
        f"{creation.size(report.block_bytes)}; {'quick, ' if report.quick else ''}"
        f"{report.seconds:.0f} s",
        highlight=False,
    )
    console.print(
        "published: Takahashi et al. 2019, Mbit/s on their hardware. All processes of a "
        "measurement share this machine's CPUs.",
        highlight=False,
    )
