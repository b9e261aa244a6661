"""``kill -9`` at any moment: no index with two keys, no index twice, progress afterwards.

Method: two applications fetch by index without pause, each at its own node, and write down what
they get, while seeded misfortune kills nodes and devices and starts them again. What is written
down, and what the nodes show afterwards, must fit together. ``KMS_KILLS`` and ``KMS_SEED`` choose
a longer run or another one.
"""

import os
import random
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio

from kms.client import QoS
from kms.domain.statistics import LinkStatus
from tests.processes.network import ALICE, BOB, RealNetwork, real_network
from tests.processes.readers import Ledger, equal, progress, reads

KILLS = int(os.environ.get("KMS_KILLS", "12"))
SEED = int(os.environ.get("KMS_SEED", "1"))
# A chunk of this size: keys of many devices' blocks are under way at each kill.
QOS = QoS(key_chunk_size=256, timeout=1_000)
KEYS_AFTER_THE_LAST_RESTART = 50
# A kill of the receiving end loses, at both ends, what was designated and not acknowledged (its
# store may be one that forgot): some of what the pacer makes ahead at this pace. Measured: 5.
LOST_PER_KILL_MAX = 64


@attrs.define
class Marks:
    """Pad marks of both directions at both ends: within an epoch they never fall (I1)."""

    seen: dict[tuple[str, str], tuple[int, int, int, int]] = attrs.Factory(dict)

    def look(self, name: str, link: LinkStatus) -> None:
        for way, pad in (("outgoing", link.outgoing), ("incoming", link.incoming)):
            now = (link.epoch, pad.mark, pad.granted, pad.end)
            before = self.seen.get((name, way), (0, 0, 0, 0))
            assert now[0] >= before[0], f"the epoch fell: {before} {now}"
            if now[0] == before[0]:
                assert now[1] >= before[1], f"I1 the mark of {name} {way} fell: {before} {now}"
                assert now[2] >= before[2], f"I1 the grant of {name} {way} fell: {before} {now}"
            self.seen[name, way] = now


async def _misfortune(network: RealNetwork, marks: Marks, chance: random.Random) -> None:
    victims = (ALICE, BOB, ALICE, BOB, "device-alice", "device-bob")
    for _ in range(KILLS):
        await trio.sleep(chance.uniform(0.2, 2.5))
        victim = chance.choice(victims)
        await trio.to_thread.run_sync(network.kill, victim)
        await trio.sleep(chance.uniform(0.0, 0.5))
        network.start(victim)
        if victim in (ALICE, BOB):
            await network.until_in_time(f"{victim} answers", partial(network.answers, victim))
            await trio.to_thread.run_sync(_look, network, marks)
    await network.until_in_time("ready after the last kill", network.ready)


def _look(network: RealNetwork, marks: Marks) -> None:
    for name in (ALICE, BOB):
        for link in network.status(name).links:
            marks.look(name, link)


@pytest.mark.timeout(240 + 20 * KILLS)
async def test_either_node_or_device_killed_at_any_moment_costs_no_agreement(
    tmp_path: Path,
) -> None:
    chance = random.Random(SEED)
    marks, here, there = Marks(), Ledger(), Ledger()
    with real_network(tmp_path) as network:
        one, other = network.application(ALICE), network.application(BOB)
        async with network.client(ALICE) as ann, network.client(BOB) as ben:
            opened = await ann.open(source=one.sae_id, destination=other.sae_id, qos=QOS)
            joined = await ben.join(opened.ksid, source=other.sae_id, destination=one.sae_id)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(reads, opened, here)
                nursery.start_soon(reads, joined, there)
                await _misfortune(network, marks, chance)
                await progress(here, there, KEYS_AFTER_THE_LAST_RESTART)
                nursery.cancel_scope.cancel()
        print(f"seed {SEED}: {len(equal(here, there))} pairs; {here} {there}")

        assert here.lost + there.lost <= LOST_PER_KILL_MAX * KILLS
        await network.until_in_time("both ends agree about the link", lambda: _agree(network))
        _look(network, marks)
    for name in (ALICE, BOB):
        done = network.cli("audit", "verify", network.node(name).config)

        assert done.returncode == 0, done.stderr


def _agree(network: RealNetwork) -> bool:
    """Both ends show the same epoch, and one's outgoing pad as the other's incoming."""
    (one,), (other,) = network.status(ALICE).links, network.status(BOB).links
    if one.alarm or other.alarm or not (one.up and other.up):
        return False
    return (one.epoch, one.outgoing.end, one.incoming.end) == (
        other.epoch,
        other.incoming.end,
        other.outgoing.end,
    )
