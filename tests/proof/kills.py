"""``kill -9`` of real nodes and devices under traffic: never twice, never different, never lost.

Theory of operation. Two nodes with SQLite and sockets, two simulated devices, two applications that
share three streams (each end designates some) and read them by index without pause. Misfortune
(``tests/processes/misfortune.py``) kills, freezes and restarts processes by the seed. Afterwards
everything that was written down must fit together:

    I1   no key begins inside another one; marks and grants never fell while the nodes ran, and
         no writer acted on a grant that its reader has not on disk
    I2   both ends got the same key under one index, each once
    I5   what one application got the other gets; who is told "delivered already" had asked, and
         its answer was lost; nothing delivered is deliverable again on disk
    I6   of a sample of the keys none lies in any file of a node as it is (``destroyed`` has more)
    I11  the audit chains are whole
    I12  after each misfortune the nodes are ready, and at the end every stream goes on

What is random is the order and the time of misfortune; how often each kind happens is not.
Processes do the rest: a seed gives the same kills in the same order, not the same instant to the
microsecond (what would fall on a process that is frozen just then comes a little later).
"""

import compileall
import random
import tempfile
import time
from collections.abc import Collection, Iterable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final
from uuid import UUID

import attrs
import trio

import kms
from kms.client import Client, QoS, QoSNotMet, Stream, Unavailable
from kms.domain.errors import LocalFault
from tests.processes import stores
from tests.processes.misfortune import Kind, Misfortune, least, percentile
from tests.processes.network import ALICE, BOB, PATIENCE_S, RealNetwork, real_network
from tests.processes.readers import Ledger, progress, reads, reused, violations
from tests.proof.report import PartReport, Tell

RATE_BPS: Final = 1_000_000
# Keys of each stream that both must have after the last misfortune.
KEYS_AFTERWARDS: Final = 20
# One request in so many seconds for each reader: six of them leave most of two cores to the nodes.
PAUSE_S: Final = 0.08
SAMPLE_KEYS: Final = 50
# A kill of the receiving end loses, at both ends, what was designated and not acknowledged: some
# of what the pacer makes ahead at this pace. Measured: 3 of all three streams.
LOST_PER_KILL_MAX: Final = 64


@attrs.define
class _Stream:
    """One stream and what its two applications got."""

    name: str
    opener: str
    qos: QoS
    here: Ledger = attrs.Factory(Ledger)
    there: Ledger = attrs.Factory(Ledger)
    ends: tuple[Stream, ...] = ()


def _streams() -> tuple[_Stream, ...]:
    return (
        _Stream("small", ALICE, QoS(key_chunk_size=32, timeout=1_000)),
        _Stream("middle", BOB, QoS(key_chunk_size=256, timeout=1_000, priority=5)),
        _Stream("large", ALICE, QoS(key_chunk_size=1024, timeout=1_000, min_bps=2_000)),
    )


@attrs.define
class _Outcome:
    """What the run came to, as far as it came."""

    streams: tuple[_Stream, ...] = attrs.Factory(_streams)
    misfortune: Misfortune | None = None
    violations: list[str] = attrs.Factory(list)
    checks: int = 0

    def check(self, found: Iterable[str], checks: int) -> None:
        self.violations += found
        self.checks += checks


def run(amount: float, seed: int, tell: Tell) -> PartReport:
    """So many kills of nodes and devices, with freezes and restarts between them."""
    # As an installed program is: where Python is told to write no bytecode, each start would
    # compile all of it anew.
    compileall.compile_dir(Path(kms.__file__).parent, quiet=1)
    began = time.monotonic()
    outcome = _Outcome()
    with tempfile.TemporaryDirectory(prefix="kms-kills-") as directory:
        trio.run(_run, outcome, int(amount), seed, tell, Path(directory))
    found = outcome.misfortune
    assert found is not None, "the network was there"
    pairs = sum(len(s.here.keys.keys() & s.there.keys.keys()) for s in outcome.streams)
    seconds = time.monotonic() - began
    again = f"; again: tests.proof.kills.run({amount:g}, {seed}, print)"
    return PartReport(
        part="kills",
        invariants=("I1", "I2", "I5", "I6", "I11", "I12"),
        seed=seed,
        made={"kills": found.kills, "key pairs compared": pairs, "streams": len(outcome.streams)},
        checks=outcome.checks + found.marks.looks,
        faults={kind.value: found.happened[kind] for kind in Kind},
        faults_min=least(int(amount)),
        measured={
            "ready_s_p50": percentile(found.ready_s, 0.5),
            "ready_s_p99": percentile(found.ready_s, 0.99),
            "ready_measured": len(found.ready_s),
            "kills_per_minute": 60 * found.kills / seconds,
            "lost_per_kill": _lost(outcome.streams) / max(found.kills, 1),
            "answers_lost": sum(
                len(ledger.unanswered) for s in outcome.streams for ledger in (s.here, s.there)
            ),
        },
        violations=tuple(each + again for each in outcome.violations),
        seconds=seconds,
    )


async def _run(outcome: _Outcome, kills: int, seed: int, tell: Tell, directory: Path) -> None:
    with real_network(directory, RATE_BPS) as network:
        outcome.misfortune = Misfortune(network, random.Random(seed))
        try:
            await _traffic(outcome, outcome.misfortune, network, kills, tell)
        except* (AssertionError, LocalFault, trio.TooSlowError) as group:
            outcome.violations += [f"I12 {_words(error)}" for error in group.exceptions]
        outcome.check(outcome.misfortune.marks.violations, 0)
    await _compare(outcome, network, seed)


async def _traffic(
    outcome: _Outcome, misfortune: Misfortune, network: RealNetwork, kills: int, tell: Tell
) -> None:
    async with AsyncExitStack() as stack:
        clients = {n: await stack.enter_async_context(network.client(n)) for n in (ALICE, BOB)}
        sae = {name: network.application(name).sae_id for name in (ALICE, BOB)}
        async with trio.open_nursery() as nursery:
            for stream in outcome.streams:
                one, other = (ALICE, BOB) if stream.opener == ALICE else (BOB, ALICE)
                opened = await _admitted(clients[one], sae[one], sae[other], stream.qos)
                joined = await clients[other].join(
                    opened.ksid, source=sae[other], destination=sae[one]
                )
                stream.ends = (opened, joined)
                nursery.start_soon(reads, opened, stream.here, PAUSE_S)
                nursery.start_soon(reads, joined, stream.there, PAUSE_S)
            await misfortune.strike(kills, lambda done: tell(f"{done} kills of {kills}"))
            for stream in outcome.streams:
                await progress(stream.here, stream.there, KEYS_AFTERWARDS)
            nursery.cancel_scope.cancel()


async def _admitted(client: Client, source: str, destination: str, qos: QoS) -> Stream:
    """The stream is open; asked again until then, for a link that has just come up has not made the
    key yet of which it could promise a rate. ``TooSlowError`` when that takes too long."""
    with trio.fail_after(PATIENCE_S):
        while True:
            try:
                return await client.open(source=source, destination=destination, qos=qos)
            except (QoSNotMet, Unavailable):
                await trio.sleep(0.1)


async def _compare(outcome: _Outcome, network: RealNetwork, seed: int) -> None:
    """Everything that was written down, and both stores, when nothing runs any more."""
    streams = outcome.streams
    for stream in streams:
        both = stream.here.keys.keys() | stream.there.keys.keys()
        gone = len(stream.here.gone) + len(stream.there.gone)
        outcome.check(violations(stream.name, stream.here, stream.there), len(both) + gone)
    keys: dict[str, list[bytes]] = {
        s.name: list({**s.there.keys, **s.here.keys}.values()) for s in streams
    }
    outcome.check(reused(keys), sum(map(len, keys.values())))
    assert outcome.misfortune is not None, "the network was there"
    lost, kills = _lost(streams), outcome.misfortune.kills
    if lost > LOST_PER_KILL_MAX * max(kills, 1):
        outcome.violations.append(f"I5 {lost} keys lost at {kills} kills")
    found = {name: await stores.records(network, name) for name in (ALICE, BOB)}
    outcome.check(stores.pads_disagree(found), 3)
    sample = random.Random(seed).sample(
        every := [key for each in keys.values() for key in each], min(SAMPLE_KEYS, len(every))
    )
    for name in (ALICE, BOB):
        delivered = _delivered(streams, name)
        again = stores.still_deliverable(name, found[name], delivered)
        outcome.check(again, sum(map(len, delivered.values())))
        done = await trio.to_thread.run_sync(
            partial(network.cli, "audit", "verify", network.node(name).config)
        )
        broken = [] if done.returncode == 0 else [f"I11 {name}: {done.stderr.decode()[-200:]!r}"]
        outcome.check(broken, 1)
        outcome.check(stores.readable(network.node(name).directory, sample), len(sample))


def _delivered(streams: Iterable[_Stream], name: str) -> dict[UUID, Collection[int]]:
    """By KSID, the indices that the application at this node got."""
    return {
        s.ends[0].ksid: (s.here if s.opener == name else s.there).keys for s in streams if s.ends
    }


def _lost(streams: Iterable[_Stream]) -> int:
    """Keys that nobody got: told so at either end, and not for an answer that was lost."""
    return sum(
        len({i for ledger in (s.here, s.there) for i in ledger.gone.keys() - ledger.unanswered})
        for s in streams
    )


def _words(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__} {' '.join(str(error).split())[:600]}"
