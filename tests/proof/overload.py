"""Ten times more demand than key against real nodes: bounded memory, defined refusals (I8).

Theory of operation. Two real nodes with devices of ``RATE_BPS``. Streams of three priorities, and
askers that together want ten times the rate: each asks again when it was answered, so many at once
that most of them wait or are refused. Besides, a crowd connects from one address, more than the
edge lets in, and says nothing; and openings of streams are asked for that no link could promise.
The first ``WARM_UP_S`` fill caches and pools; what a node holds in memory then is the baseline, and
grows by at most ``GROWTH_BYTES_MAX`` while the overload lasts. ``/health`` answers all the while,
and every refusal is one that the standard or HTTP names. Fairness is measured in virtual time
(``fairness.py``), with the same figures on any machine.
"""

import http
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from kms.client import AnswerLost, Client, ClientError, QoS, QoSNotMet, Stream, Unavailable
from kms.domain.errors import LocalFault
from kms.domain.limits import KIB, MIB
from kms.domain.status import Status
from tests.processes.misfortune import percentile
from tests.processes.network import ALICE, BOB, RealNetwork, real_network
from tests.proof.fairness import SECONDS_OF_A_REPORT, report_figures
from tests.proof.report import PartReport, Tell

RATE_BPS: Final = 200_000
CHUNK_BYTES: Final = 16 * KIB
GROWTH_BYTES_MAX: Final = 32 * MIB
WARM_UP_S: Final = 20.0
PRIORITIES: Final = (9, 5, 0)
# Of each stream and end. Each is answered within a quarter of a second, so that they ask for more
# than ten times the rate on a slow machine too.
ASKERS: Final = 8
TIMEOUT_MS: Final = 250
SILENT: Final = 80
"""connections of the crowd; the edge takes 64 of one address"""
HEALTH_EVERY_S: Final = 0.5
# The health of a node that is asked ten times too much, on two cores that others use as well.
HEALTH_S: Final = 5.0
# Of each kind. The edge shuts out 32 of the crowds' connections in ten seconds or so.
REFUSALS_PER_S: Final = 1.0
NO_KEY, NO_PROMISE, SHUT_OUT = "refused a key", "refused a promise", "shut out at the door"
# Refusals that leave a way on. PEER_NOT_CONNECTED is none of them: both are there.
_REFUSALS: Final = frozenset({Status.INSUFFICIENT_KEY, Status.TIMEOUT, Status.QOS_NOT_MET})


@attrs.define
class _Run:
    """What was asked, and what came of it."""

    got: int = 0
    got_bytes: int = 0
    asked: int = 0
    refused: Counter[str] = attrs.Factory(
        lambda: Counter(dict.fromkeys((NO_KEY, NO_PROMISE, SHUT_OUT), 0))
    )
    health_s: list[float] = attrs.Factory(list)
    baseline: dict[str, int] = attrs.Factory(dict)
    peak: dict[str, int] = attrs.Factory(dict)
    checks: int = 0
    seconds: float = 0.0
    violations: list[str] = attrs.Factory(list)

    def check(self, holds: bool, words: str) -> None:
        self.checks += 1
        if not holds:
            self.violations.append(f"I8 {words}")


def run(amount: float, seed: int, tell: Tell) -> PartReport:
    """So many seconds of overload, after the warm-up."""
    began = time.monotonic()
    tried = _Run()
    with tempfile.TemporaryDirectory(prefix="kms-overload-") as directory:
        trio.run(_all, tried, amount, random.Random(seed), tell, Path(directory))
    growth = {name: tried.peak[name] - tried.baseline[name] for name in tried.baseline}
    for name, grown in growth.items():
        tried.check(
            grown <= GROWTH_BYTES_MAX,
            f"{name} grew by {grown / MIB:.1f} MiB of at most {GROWTH_BYTES_MAX // MIB}",
        )
    # Both ends ask for the same keys.
    demand = tried.asked / 2 * CHUNK_BYTES * 8 / max(tried.seconds, 1) / RATE_BPS
    tried.check(demand >= 10, f"the demand was only {demand:.1f} times the key: nothing was tried")
    fair, figures = report_figures(seed)
    tried.check(not fair, f"{fair}")
    again = f"; again: tests.proof.overload.run({amount:g}, {seed}, print)"
    return PartReport(
        part="overload",
        invariants=("I8",),
        seed=seed,
        made={
            "seconds of overload": round(tried.seconds),
            "requests": tried.asked,
            "keys": tried.got,
            "virtual seconds of fair shares": SECONDS_OF_A_REPORT,
        },
        checks=tried.checks,
        faults=dict(tried.refused),
        faults_min=int(amount * REFUSALS_PER_S),
        measured={
            **{f"{name}_rss_growth_mib": grown / MIB for name, grown in growth.items()},
            **{f"{name}_rss_mib": rss / MIB for name, rss in tried.peak.items()},
            "demand_times_rate": demand,
            "got_bps": 8 * tried.got_bytes / 2 / max(tried.seconds, 1),
            "health_s_p99": percentile(tried.health_s, 0.99),
            **figures,
        },
        violations=tuple(each + again for each in tried.violations),
        seconds=time.monotonic() - began,
    )


async def _all(
    tried: _Run, amount: float, choice: random.Random, tell: Tell, directory: Path
) -> None:
    with real_network(directory, RATE_BPS) as network:
        try:
            await _overload(tried, amount, choice, tell, network)
        except* (AssertionError, LocalFault, ClientError) as group:
            tried.violations += [f"I8 {error!r:.600}" for error in group.exceptions]


async def _overload(
    tried: _Run, amount: float, choice: random.Random, tell: Tell, network: RealNetwork
) -> None:
    sae = {name: network.application(name).sae_id for name in (ALICE, BOB)}
    clients = {
        name: Client(
            network.node(name).etsi004_url,
            network.credentials(name),
            node=name,
            # The edge gives one certificate 32.
            connections_max=30,
        )
        for name in (ALICE, BOB)
    }
    async with clients[ALICE], clients[BOB], trio.open_nursery() as nursery:
        for number, priority in enumerate(PRIORITIES):
            one, other = (ALICE, BOB) if number % 2 else (BOB, ALICE)
            qos = QoS(key_chunk_size=CHUNK_BYTES, timeout=TIMEOUT_MS, priority=priority)
            opened = await clients[one].open(source=sae[one], destination=sae[other], qos=qos)
            joined = await clients[other].join(opened.ksid, source=sae[other], destination=sae[one])
            for stream in (opened, joined):
                for _ in range(ASKERS):
                    nursery.start_soon(_asks, tried, stream, choice)
        nursery.start_soon(_asks_too_much, tried, clients[ALICE], sae)
        for name in (ALICE, BOB):
            nursery.start_soon(_watches, tried, network, name)
            nursery.start_soon(_crowds, tried, network, name)
        await trio.sleep(WARM_UP_S)
        for name in (ALICE, BOB):
            tried.baseline[name] = tried.peak[name] = rss_bytes(network, name)
        tried.asked = tried.got = tried.got_bytes = 0
        began = trio.current_time()
        while (past := trio.current_time() - began) < amount:
            tell(f"{past:.0f} s of {amount:g}")
            await trio.sleep(min(5.0, amount - past))
            network.processes.check()
        tried.seconds = trio.current_time() - began
        nursery.cancel_scope.cancel()


async def _asks(tried: _Run, stream: Stream, choice: random.Random) -> None:
    """Asks for the next key, again and again, however it was answered."""
    while True:
        tried.asked += 1
        try:
            with await stream.get() as key:
                tried.got += 1
                tried.got_bytes += len(key)
        except (ClientError, AnswerLost) as error:
            _refused(tried, NO_KEY, error)
            await trio.sleep(choice.uniform(0.0, 0.05))


async def _asks_too_much(tried: _Run, client: Client, sae: Mapping[str, str]) -> None:
    """Streams at rates that no link has: a counter-proposal each time."""
    qos = QoS(key_chunk_size=32, min_bps=2**32 - 1)
    while True:
        try:
            await client.open(source=sae[ALICE], destination=sae[BOB], qos=qos)
            tried.check(False, "a stream of 4 Gbit/s was admitted")
        except ClientError as error:
            tried.check(isinstance(error, QoSNotMet | Unavailable), f"4 Gbit/s: {error!r}")
            _refused(tried, NO_PROMISE, error)
        await trio.sleep(0.2)


def _refused(tried: _Run, kind: str, error: ClientError) -> None:
    """A refusal has a status of the standard, or says when to come again."""
    named = error.status in _REFUSALS or isinstance(error, Unavailable)
    tried.check(named, f"refused without a status: {error!r:.300}")
    tried.refused[kind] += 1


async def _watches(tried: _Run, network: RealNetwork, name: str) -> None:
    """Health answers in time, and memory is looked at."""
    while True:
        began = trio.current_time()
        code = 0
        with trio.move_on_after(HEALTH_S):
            code, words = await trio.to_thread.run_sync(
                partial(network.operations, name, "/health"), abandon_on_cancel=True
            )
            json.loads(words)
        tried.check(code == http.HTTPStatus.OK, f"{name}: health answered {code}")
        tried.health_s.append(trio.current_time() - began)
        if name in tried.baseline:
            tried.peak[name] = max(tried.peak[name], rss_bytes(network, name))
        await trio.sleep(HEALTH_EVERY_S)


async def _crowds(tried: _Run, network: RealNetwork, name: str) -> None:
    """Connections that say nothing, all from one address, which is not the applications' own."""
    port = network.node(name).etsi004_port
    while True:
        async with trio.open_nursery() as nursery:
            for _ in range(SILENT):
                nursery.start_soon(_silent, tried, port)


async def _silent(tried: _Run, port: int) -> None:
    try:
        stream: Any = await trio.open_tcp_stream("127.0.0.1", port, local_address="127.0.0.9")
    except OSError:
        return
    async with stream:
        began = trio.current_time()
        with trio.move_on_after(10):
            try:
                while await stream.receive_some(4096):
                    pass
            except trio.BrokenResourceError:
                pass
        # The door closes at once; who is inside may be silent for the time of a handshake.
        tried.refused[SHUT_OUT] += trio.current_time() - began < 2
        await trio.sleep(1)


def rss_bytes(network: RealNetwork, name: str) -> int:
    """Resident memory of the node."""
    pid = network.processes.running[name].pid
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * KIB
    raise AssertionError(f"{name} has no memory")
