"""A node that must not start says why and what to do; one without its passphrase waits sealed."""

import fcntl
import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import tomli_w

from kms.demo.site import lay_out
from kms.toml_file import read
from tests.processes.network import (
    ALICE,
    BLOCK_BYTES,
    BOB,
    RATE_BPS,
    RealNetwork,
    refusal,
)

_SOCKETS = shutil.ignore_patterns("*.sock")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> RealNetwork:
    """Alice ran once, alone, and was stopped: her state is on disk. Nothing runs."""
    directory = tmp_path_factory.mktemp("kept")
    network = RealNetwork(lay_out(directory, rate_bps=RATE_BPS, block_bytes=BLOCK_BYTES))
    network.start(ALICE)
    network.until("alice answers", lambda: network.answers(ALICE))
    network.until("her store is there", lambda: "ready" in network.log(ALICE))
    network.cli("stop", network.node(ALICE).config)
    assert network.ended(ALICE) == 0
    return network


@pytest.fixture
def alone(kept: RealNetwork, tmp_path: Path) -> Iterator[RealNetwork]:
    """Alice's own copy of that state, to be spoilt."""
    node = kept.node(ALICE)
    state = node.directory / "state"
    shutil.copytree(state, tmp_path / "state", ignore=_SOCKETS)
    witness = node.directory / "state.witness"
    witnessed = witness.read_bytes()
    config, passphrase = node.config.read_text(), (node.directory / "passphrase").read_text()
    yield kept
    for name in list(kept.processes.running):
        kept.kill(name)
    shutil.rmtree(state)
    shutil.copytree(tmp_path / "state", state)
    # With its witness: to the node nothing has happened in between.
    witness.write_bytes(witnessed)
    node.config.write_text(config)
    (node.directory / "passphrase").write_text(passphrase)


def _state(network: RealNetwork) -> Path:
    return network.node(ALICE).directory / "state"


def _refused(network: RealNetwork, name: str = ALICE) -> str:
    return refusal(network.cli("run", network.node(name).config))


def test_a_second_process_on_the_same_state_refuses_and_the_first_goes_on(
    alone: RealNetwork,
) -> None:
    alone.start(ALICE)
    alone.until("the first runs", lambda: alone.answers(ALICE))
    said = _refused(alone)
    status = alone.cli("status", alone.node(ALICE).config, "--json")

    assert "already" in said or "another" in said, said
    assert status.returncode == 0, status.stderr
    assert json.loads(status.stdout)["node"] == ALICE


def test_a_corrupt_database_is_not_opened(alone: RealNetwork) -> None:
    database = _state(alone) / "store" / "records.db"
    content = bytearray(database.read_bytes())
    content[100:4096] = b"\xa5" * (4096 - 100)
    database.write_bytes(content)
    said = _refused(alone)

    assert "records.db" in said
    assert bytes(content) == database.read_bytes()


def test_no_database_at_all_is_not_opened(alone: RealNetwork) -> None:
    (_state(alone) / "store" / "records.db").write_bytes(b"not a database, for certain" * 100)

    assert "records.db" in _refused(alone)


def test_a_database_of_a_later_version_is_not_opened(alone: RealNetwork) -> None:
    database = sqlite3.connect(_state(alone) / "store" / "records.db")
    database.execute("PRAGMA user_version = 999")
    database.close()

    assert "newer" in _refused(alone)


def test_another_nodes_store_is_not_opened(alone: RealNetwork) -> None:
    """Bob's configuration on what is alice's store, with her key and passphrase."""
    bob, alice = alone.node(BOB), alone.node(ALICE)
    shutil.copytree(alice.directory / "state", bob.directory / "state", ignore=_SOCKETS)
    shutil.copy(alice.directory / "passphrase", bob.directory / "passphrase")
    (bob.directory / "state" / "audit.jsonl").unlink()
    (bob.directory / "state" / "audit.jsonl.head").unlink()
    said = _refused(alone, BOB)
    shutil.rmtree(bob.directory / "state")

    assert ALICE in said


def test_a_wrong_passphrase_opens_nothing(alone: RealNetwork) -> None:
    (alone.node(ALICE).directory / "passphrase").write_text("wrong\n")

    assert "passphrase" in _refused(alone)


def test_a_journal_that_cannot_be_written_keeps_the_node_from_starting(
    alone: RealNetwork,
) -> None:
    journal = _state(alone) / "audit.jsonl"
    journal.unlink()
    journal.mkdir()

    assert "audit.jsonl" in _refused(alone)


def test_an_edited_journal_is_found_by_the_operators_check(alone: RealNetwork) -> None:
    journal = _state(alone) / "audit.jsonl"
    text = journal.read_text()
    assert "node-started" in text
    journal.write_text(text.replace("node-started", "node-stopped", 1))

    assert "audit.jsonl" in refusal(alone.cli("audit", "verify", alone.node(ALICE).config))


def test_a_journal_that_was_cut_off_keeps_the_node_from_starting(alone: RealNetwork) -> None:
    journal = _state(alone) / "audit.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]))

    assert "audit.jsonl" in _refused(alone)


def test_without_a_passphrase_the_node_waits_sealed_until_it_is_given(
    alone: RealNetwork,
) -> None:
    node = alone.node(ALICE)
    passphrase = node.directory / "passphrase"
    fields = read(node.config)
    del fields["node"]["passphrase_file"]
    node.config.write_text(tomli_w.dumps(fields))
    alone.start(ALICE)
    alone.until("it answers", lambda: _answers(alone))
    code, told = alone.operations(ALICE, "/health")
    metrics = alone.operations(ALICE, "/metrics")[1]
    shown = alone.cli("status", node.config).stdout.decode()
    rekey = refusal(alone.cli("rekey", node.config))
    wrong = refusal(alone.cli("unseal", node.config, stdin=b"wrong\n"))
    right = alone.cli("unseal", node.config, "--passphrase-file", passphrase)
    alone.until("it is open", lambda: alone.answers(ALICE))

    assert (code, json.loads(told)["state"]) == (503, "sealed")
    assert 'kms_state{state="sealed"} 1.0' in metrics
    assert "sealed" in shown
    assert "sealed" in rekey
    assert "passphrase" in wrong
    assert right.returncode == 0, right.stderr
    assert alone.status(ALICE).state.value == "degraded"


def test_a_sealed_node_stops_when_it_is_told(alone: RealNetwork) -> None:
    node = alone.node(ALICE)
    fields = read(node.config)
    del fields["node"]["passphrase_file"]
    node.config.write_text(tomli_w.dumps(fields))
    alone.start(ALICE)
    alone.until("it answers", lambda: _answers(alone))
    alone.cli("stop", node.config)

    assert alone.ended(ALICE) == 0


def _answers(network: RealNetwork) -> bool:
    try:
        return network.operations(ALICE, "/health")[0] > 0
    except OSError:
        return False


def test_a_node_whose_witness_is_held_by_another_does_not_start(alone: RealNetwork) -> None:
    """Two nodes on one witness: each would call the other's store old."""
    witness = alone.node(ALICE).directory / "state.witness"
    with witness.open("r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        said = _refused(alone)

    assert "witness" in said
    assert "held by another process" in said


def test_a_witness_inside_the_state_directory_is_refused(alone: RealNetwork) -> None:
    fields = read(alone.node(ALICE).config)
    fields["witness"] = {"file": str(_state(alone) / "witness")}
    alone.node(ALICE).config.write_text(tomli_w.dumps(fields))

    assert "[witness] file" in refusal(alone.cli("check", alone.node(ALICE).config))
