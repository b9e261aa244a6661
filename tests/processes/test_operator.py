"""What an operator does to a node that runs: new epoch keys, new link secrets, a third node."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import tomli_w
import trio

from kms.adapters import pki
from kms.demo.site import NodeFiles, free_ports
from kms.domain.names import NodeId
from kms.toml_file import read
from tests.processes.http import GET, OPEN, context, post
from tests.processes.network import ALICE, BOB, RealNetwork, refusal
from tests.processes.readers import progress
from tests.processes.test_faults import reading

CAROL = "carol"


def _secret(network: RealNetwork, one: str, other: str, directory: Path) -> dict[str, Path]:
    """A fresh link secret: the file of each end."""
    made = network.cli("link-secret", one, other, "--directory", directory, "--json")
    assert made.returncode == 0, made.stderr
    return {name: Path(path) for name, path in json.loads(made.stdout)["files"].items()}


async def test_epoch_keys_change_while_keys_flow_and_open_the_store_afterwards(
    network: RealNetwork,
) -> None:
    async with reading(network) as (here, there):
        config = network.node(ALICE).config
        done = await trio.to_thread.run_sync(network.cli, "rekey", config, "--json")
        assert done.returncode == 0, done.stderr
        await progress(here, there, 10)
        await trio.to_thread.run_sync(network.kill, ALICE)
        network.start(ALICE)
        await network.until_in_time("the new epoch key opens the store", network.ready)
        await progress(here, there, 10)

        assert json.loads(done.stdout)["epoch"] >= 2


async def test_a_second_secret_opens_a_new_epoch_while_applications_read(
    network: RealNetwork, tmp_path: Path
) -> None:
    before = network.status(ALICE).links[0].epoch
    async with reading(network) as (here, there):
        files = await trio.to_thread.run_sync(_secret, network, ALICE, BOB, tmp_path)
        for name in (ALICE, BOB):
            done = await trio.to_thread.run_sync(
                network.cli, "link", "restart", network.node(name).config, files[name]
            )
            assert done.returncode == 0, done.stderr
        await network.until_in_time("ready in the new epoch", network.ready)
        await progress(here, there, 20)
    epochs = {network.status(name).links[0].epoch for name in (ALICE, BOB)}
    used = refusal(network.cli("link", "restart", network.node(ALICE).config, files[ALICE]))

    assert epochs == {before + 1}
    assert "used before" in used


@pytest.fixture
def carol(network: RealNetwork) -> Iterator[NodeFiles]:
    """A third node's files; afterwards the network is the two again."""
    directory = network.site.directory
    network_file = directory / "network.toml"
    before = network_file.read_text()
    ports = free_ports(5)
    files = NodeFiles(
        name=NodeId(CAROL),
        directory=directory / CAROL,
        etsi004_port=ports[0],
        etsi004_tls_port=ports[1],
        etsi014_port=ports[2],
        peer_port=ports[3],
        operations_port=ports[4],
    )
    yield files
    if CAROL in network.processes.running:
        network.kill(CAROL)
    network_file.write_text(before)
    # The link was given to the running bob only: started again, he does not know it.
    network.restart(BOB)
    network.cli("reload", network.node(ALICE).config)
    network.until_ready()
    shutil.rmtree(files.directory)


def _write(network: RealNetwork, carol: NodeFiles, secret: Path) -> None:
    """Carol's configuration, after bob's, and the network with her in it."""
    carol.directory.mkdir()
    files = pki.issue(network.site.ca.parent, "kms:carol", ["127.0.0.1"])
    fields = read(network.node(BOB).config)
    (carol.directory / "passphrase").touch(mode=0o600)
    (carol.directory / "passphrase").write_text("carol's own")
    fields["node"] = {
        "name": CAROL,
        "directory": str(carol.directory / "state"),
        "passphrase_file": str(carol.directory / "passphrase"),
    }
    fields["tls"] = {name: str(getattr(files, name)) for name in ("certificate", "key", "ca")}
    for table, port in (
        ("etsi004", carol.etsi004_port),
        ("etsi004_tls", carol.etsi004_tls_port),
        ("etsi014", carol.etsi014_port),
        ("peer", carol.peer_port),
        ("operations", carol.operations_port),
    ):
        fields[table] = {"listen": f"127.0.0.1:{port}"}
    fields["link"] = [{"peer": BOB, "secret_file": str(secret)}]
    fields["device"] = []
    carol.config.write_text(tomli_w.dumps(fields))
    path = network.site.directory / "network.toml"
    view = read(path)
    view["nodes"] += [CAROL]
    view["links"] += [[BOB, CAROL]]
    view["application"] += [{"sae": "sae:app.carol", "node": CAROL}]
    view["allow"] += [{"one": "sae:app.bob", "other": "sae:app.carol"}]
    path.write_text(tomli_w.dumps(view))


def test_a_third_node_joins_while_the_others_run(
    network: RealNetwork, carol: NodeFiles, tmp_path: Path
) -> None:
    """From the carried secret alone, for there is no device: keys flow between bob and carol."""
    secrets = _secret(network, BOB, CAROL, tmp_path)
    _write(network, carol, secrets[CAROL])
    for name in (ALICE, BOB):
        done = network.cli("reload", network.node(name).config)
        assert done.returncode == 0, done.stderr
    network.processes.start_node(carol)
    words = ("--address", f"127.0.0.1:{carol.peer_port}", "--secret", secrets[BOB])
    done = network.cli("link", "add", network.node(BOB).config, CAROL, *words)
    assert done.returncode == 0, done.stderr
    three = {link.link for link in network.status(BOB).links}
    network.until("all are ready", lambda: network.ready() and network.up(carol))
    files = pki.issue(network.site.ca.parent, "sae:app.carol")
    tls = context(network, files.certificate, files.key)
    opened = post(network, BOB, OPEN, {"source": "sae:app.bob", "destination": "sae:app.carol"})
    ksid = opened.members["Key_stream_ID"]
    joined = post(
        network,
        carol,
        OPEN,
        {"source": "sae:app.carol", "destination": "sae:app.bob", "Key_stream_ID": ksid},
        tls,
    )
    order = {"Key_stream_ID": ksid, "index": 0}
    here, there = post(network, BOB, GET, order), post(network, carol, GET, order, tls)

    assert three == {"alice~bob", "bob~carol"}
    assert joined.members["status"] == 0, joined
    assert here.members["Key_buffer"] == there.members["Key_buffer"]
    assert not secrets[CAROL].exists()
