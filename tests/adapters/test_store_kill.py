"""``kill -9``, for real, again and again on one store."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kms.adapters.seal import WEAK, FileSealer
from kms.adapters.store_sqlite import SQLiteStore
from kms.domain.errors import StoreFault
from kms.domain.names import MaterialId
from kms.domain.records import NodeRecord
from kms.domain.secret import Secret
from tests.adapters.store_victim import LENGTH, PASSPHRASE, UNIT
from tests.contract.storage_samples import bits

KILLS = 12
SEED = 20201


def run_and_kill(directory: Path, first: int, after_s: float) -> list[tuple[str, int]]:
    """What the victim acknowledged before it died."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.adapters.store_victim", str(directory), str(first)],
        stdout=subprocess.PIPE,
        text=True,
    ) as victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == "open\n"
        time.sleep(after_s)  # real time: this process waits for another one to be busy
        victim.send_signal(signal.SIGKILL)
        lines = victim.stdout.read().splitlines(keepends=True)
    said = [line.split() for line in lines if line.endswith("\n")]
    return [(verb, int(number)) for verb, number in said]


async def gone(storage: SQLiteStore, name: MaterialId, offset: int) -> bool:
    try:
        await storage.read(name, offset, 1)
    except StoreFault as fault:
        return "wiped" in fault.reason
    return False


@pytest.mark.processes
@pytest.mark.slow
async def test_no_acknowledged_commit_is_lost_and_nothing_wiped_is_readable(tmp_path: Path) -> None:
    """Each round goes on where the last was killed; all of them are checked at each opening."""
    sealer = FileSealer.create(tmp_path / "keys", Secret(PASSPHRASE), cost=WEAK)
    seed = random.Random(SEED)
    stored: set[int] = set()
    wiped: set[int] = set()
    took: set[int] = set()
    first = 1
    for _ in range(KILLS):
        said = run_and_kill(tmp_path, first, seed.uniform(0.01, 0.2))
        for verb, number in said:
            {"stored": stored, "wiped": wiped, "took": took}[verb].add(number)
        storage = await SQLiteStore.open(tmp_path / "store", sealer, node="a")
        boots = [each.boot for each in storage.load() if isinstance(each, NodeRecord)]
        last = max(stored, default=0)

        assert boots == ([] if not stored and not boots else [boots[0]])
        assert not stored or boots[0] in (last, last + 1)
        for number in stored:
            name = MaterialId(f"m/{number}")
            tail = await storage.read(name, 2 * UNIT, UNIT)
            assert bits(LENGTH, number)[2 * UNIT :] == bytes(tail.expose())
            assert number not in took or await gone(storage, name, 0)
            assert number not in wiped or await gone(storage, name, 100)
            if number in wiped:
                head = await storage.read(name, 0, 100)
                assert bits(LENGTH, number)[:100] == bytes(head.expose())
        image = (tmp_path / "store" / "slots").read_bytes()
        live = sum(any(image[at : at + 512]) for at in range(0, len(image), 512))
        assert live == storage.statistics().slots_live
        await storage.aclose()
        first = last + 2

    assert len(stored) > KILLS
    assert wiped
    assert took
