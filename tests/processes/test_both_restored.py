"""Both ends are put back to copies of one evening: they stand, and their operators bring them on.

One story on real processes: files are copied and put back as an operator would, with both nodes
stopped. The witnesses lie beside the state directories and are not in the copies.
"""

import json
import shutil
import signal
from pathlib import Path

import pytest

from tests.processes.http import OPEN, post
from tests.processes.network import ALICE, BOB, RealNetwork, real_network, refusal
from tests.processes.readers import equal, progress
from tests.processes.test_faults import reading

ANN, BEN = "sae:app.alice", "sae:app.bob"


def _stop(network: RealNetwork) -> None:
    for name in (ALICE, BOB):
        network.signal(name, signal.SIGTERM)
        assert network.ended(name) == 0, network.log(name)[-2000:]


def _state(network: RealNetwork, name: str) -> Path:
    return network.node(name).directory / "state"


def _copy(network: RealNetwork, to: Path) -> None:
    for name in (ALICE, BOB):
        shutil.copytree(_state(network, name), to / name)


def _put_back(network: RealNetwork, copy: Path) -> None:
    for name in (ALICE, BOB):
        shutil.rmtree(_state(network, name))
        shutil.copytree(copy / name, _state(network, name))


def _states(network: RealNetwork) -> list[object]:
    """What each says of itself, 503 or not."""
    try:
        said = [network.operations(name, "/health")[1] for name in (ALICE, BOB)]
    except OSError:
        return []
    return [json.loads(each)["state"] for each in said]


def _restore(network: RealNetwork, name: str, *words: str) -> dict[str, object]:
    done = network.cli("restore", network.node(name).config, "--json", *words)
    assert done.returncode == 0, done.stderr
    fields: dict[str, object] = json.loads(done.stdout)
    return fields


@pytest.mark.timeout(300)
async def test_two_nodes_put_back_together_stand_until_restored_and_give_new_keys(
    tmp_path: Path,
) -> None:
    (tmp_path / "net").mkdir()
    with real_network(tmp_path / "net") as network:
        async with reading(network) as (here, there):
            await progress(here, there, 10)
        early = equal(here, there)
        _stop(network)
        _copy(network, tmp_path / "evening")
        for name in (ALICE, BOB):
            network.start(name)
        await network.until_in_time("ready", network.ready)
        async with reading(network) as (here, there):
            await progress(here, there, 40)
        late = set(here.keys.values())
        _stop(network)
        _put_back(network, tmp_path / "evening")
        for name in (ALICE, BOB):
            network.start(name)
        await network.until_in_time(
            "both stand", lambda: _states(network) == ["standing", "standing"]
        )

        code, said = network.operations(ALICE, "/health")
        assert (503, "old copy" in said) == (code, True), said
        assert "kms restore" in network.status(BOB).why[0]
        assert {"old-store"} == {each.kind for each in network.status(ALICE).alarms}
        wish = {"source": ANN, "destination": BEN}
        assert 4 == post(network, ALICE, OPEN, wish).members["status"]

        files = _secret(network, tmp_path)
        for name in (ALICE, BOB):
            config = network.node(name).config
            assert "old copy" in refusal(network.cli("link", "restart", config, files[name]))
            shown = _restore(network, name)
            assert (False, "standing") == (shown["restored"], shown["state"])
            done = _restore(network, name, "--yes")
            assert (True, "degraded") == (done["restored"], done["state"])
            assert "does not stand" in refusal(network.cli("restore", config, "--yes"))
        doubted = {network.status(name).links[0].state for name in (ALICE, BOB)}
        for name in (ALICE, BOB):
            brought = network.cli("link", "restart", network.node(name).config, files[name])
            assert brought.returncode == 0, brought.stderr
        await network.until_in_time("ready with a new secret", network.ready)
        async with reading(network) as (here, there):
            await progress(here, there, 40)
        _stop(network)
        for name in (ALICE, BOB):
            network.start(name)
        await network.until_in_time("ready after one more start", network.ready)

        assert early
        assert {"doubted"} == doubted
        assert set() == late & set(here.keys.values())
        for name in (ALICE, BOB):
            journal = _state(network, name) / "audit.jsonl"
            assert "store-restored" in journal.read_text()


def _secret(network: RealNetwork, directory: Path) -> dict[str, Path]:
    made = network.cli("link-secret", ALICE, BOB, "--directory", directory, "--json")
    assert made.returncode == 0, made.stderr
    return {name: Path(path) for name, path in json.loads(made.stdout)["files"].items()}
