"""``kms app`` over real nodes, as a programmer types it after ``kms demo --keep --dir DIR``."""

import json
import secrets
from pathlib import Path
from typing import Any

from tests.processes.network import RealNetwork, refusal


def app(network: RealNetwork, name: str, command: str, *words: object) -> Any:
    """The JSON of ``kms app COMMAND --demo DIR --as NAME``."""
    demo = ("--demo", network.site.directory, "--as", name, "--json")
    done = network.cli("app", command, *words, *demo)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def test_two_programmers_share_keys_and_a_file_and_an_altered_one_does_not_open(
    network: RealNetwork, tmp_path: Path
) -> None:
    contents, path = secrets.token_bytes(300_000), tmp_path / "plan.pdf"
    path.write_bytes(contents)
    ksid = app(network, "alice", "open", "--chunk", 65_536)["ksid"]
    assert app(network, "bob", "open", "--ksid", ksid)["peer_connected"]

    ours = app(network, "alice", "get", "--ksid", ksid, "--count", 2)
    theirs = app(network, "bob", "get", "--ksid", ksid, "--count", 2)
    assert [key["fingerprint"] for key in ours["keys"]] == [
        key["fingerprint"] for key in theirs["keys"]
    ]

    for words in ((), ("--one-time-pad",)):
        hidden = tmp_path / "hidden"
        words = (*words, "--ksid", ksid, "--output", hidden, "--force")
        app(network, "alice", "encrypt", path, *words)
        back = ("--output", tmp_path / "back", "--force")
        assert ksid == app(network, "bob", "decrypt", hidden, *back)["ksid"]
        assert contents == (tmp_path / "back").read_bytes()

    app(network, "alice", "encrypt", path, "--ksid", ksid, "--output", hidden, "--force")
    bent = bytearray(hidden.read_bytes())
    bent[100_000] ^= 1
    hidden.write_bytes(bent)
    demo = ("--demo", network.site.directory, "--as", "bob")
    done = network.cli("app", "decrypt", hidden, "--output", tmp_path / "not", *demo)
    assert (5, False) == (done.returncode, (tmp_path / "not").exists())
    assert b"altered" in done.stderr

    for name in ("alice", "bob"):
        assert app(network, name, "close", "--ksid", ksid)["closed"]
    refused = network.cli("app", "get", "--ksid", "none", *demo)
    assert "UUID version 4" in refusal(refused)
