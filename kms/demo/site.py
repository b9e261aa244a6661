"""The files of a small network, laid out in one directory as an operator would lay them out."""

import errno
import json
import secrets
import socket
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import attrs
import tomli_w

from kms import link_secret
from kms.adapters import pki
from kms.adapters.entropy import OSEntropy
from kms.domain.names import NodeId, SAEId

HOST = "127.0.0.1"
_PORTS = range(20_000, 32_000)


@attrs.frozen(kw_only=True)
class Application:
    """One application and its certificate."""

    sae_id: SAEId
    node: NodeId
    certificate: Path
    key: Path


@attrs.frozen(kw_only=True)
class NodeFiles:
    """One node: its directory and where it listens."""

    name: NodeId
    directory: Path
    etsi004_port: int
    etsi004_tls_port: int
    etsi014_port: int
    peer_port: int
    operations_port: int

    @property
    def config(self) -> Path:
        return self.directory / "node.toml"

    @property
    def etsi004_url(self) -> str:
        return f"https://{HOST}:{self.etsi004_port}"

    @property
    def etsi004_tls(self) -> str:
        return f"{HOST}:{self.etsi004_tls_port}"

    @property
    def etsi014_url(self) -> str:
        return f"https://{HOST}:{self.etsi014_port}"

    @property
    def operations_url(self) -> str:
        return f"http://{HOST}:{self.operations_port}"


@attrs.frozen(kw_only=True)
class DeviceFiles:
    """One end of a simulated device pair."""

    node: NodeId
    config: Path
    port: int


@attrs.frozen(kw_only=True)
class Site:
    """The whole network on this machine."""

    directory: Path
    ca: Path
    nodes: tuple[NodeFiles, ...]
    devices: tuple[DeviceFiles, ...]
    applications: tuple[Application, ...]


def lay_out(
    directory: Path, *, rate_bps: int, block_bytes: int, names: Sequence[str] = ("alice", "bob")
) -> Site:
    """The directory holds certificates, a link secret, configurations for two nodes and for the
    two ends of a device pair, and ``demo.json``. Every secret is fresh."""
    one, other = sorted(NodeId(name) for name in names)
    certificates = directory / "pki"
    ca = pki.create_ca(certificates)
    ports = free_ports(12)
    nodes = tuple(
        NodeFiles(
            name=name,
            directory=directory / name,
            etsi004_port=ports[5 * number],
            etsi004_tls_port=ports[5 * number + 1],
            etsi014_port=ports[5 * number + 2],
            peer_port=ports[5 * number + 3],
            operations_port=ports[5 * number + 4],
        )
        for number, name in enumerate((one, other))
    )
    applications = tuple(
        _application(certificates, f"sae:app.{node.name}", node.name) for node in nodes
    )
    secret = link_secret.make(one, other, OSEntropy())
    files = link_secret.write(secret, directory)
    secret.bits.wipe()
    _write_toml(
        directory / "network.toml",
        {
            "nodes": [one, other],
            "links": [[one, other]],
            "application": [{"sae": app.sae_id, "node": app.node} for app in applications],
            "allow": [{"one": applications[0].sae_id, "other": applications[1].sae_id}],
        },
    )
    ksid, seed = str(uuid4()), secrets.token_hex(32)
    devices = tuple(
        DeviceFiles(
            node=node.name, config=directory / f"device-{node.name}.toml", port=ports[10 + number]
        )
        for number, node in enumerate(nodes)
    )
    for node, device, secret_file in zip(nodes, devices, files, strict=True):
        _write_device(device, ksid, seed, rate_bps=rate_bps, block_bytes=block_bytes)
        _write_node(node, nodes, device, secret_file, certificates, ksid, block_bytes)
    site = Site(directory=directory, ca=ca, nodes=nodes, devices=devices, applications=applications)
    (directory / "demo.json").write_text(json.dumps(describe(site), indent=2) + "\n")
    return site


def describe(site: Site) -> dict[str, object]:
    """What any client needs to use the network: ``demo.json``."""
    return {
        "ca": str(site.ca),
        "nodes": [
            {
                "name": node.name,
                "etsi004_url": node.etsi004_url,
                "etsi004_tls": node.etsi004_tls,
                "etsi014_url": node.etsi014_url,
                "operations_url": node.operations_url,
                "config": str(node.config),
            }
            for node in site.nodes
        ],
        "applications": [
            {
                "sae_id": app.sae_id,
                "node": app.node,
                "cert": str(app.certificate),
                "key": str(app.key),
            }
            for app in site.applications
        ],
    }


def _application(certificates: Path, uri: str, node: NodeId) -> Application:
    files = pki.issue(certificates, uri)
    return Application(sae_id=SAEId(uri), node=node, certificate=files.certificate, key=files.key)


def _write_device(
    device: DeviceFiles, ksid: str, seed: str, *, rate_bps: int, block_bytes: int
) -> None:
    _write_toml(
        device.config,
        {
            "link": "demo",
            "end": device.node,
            "seed": seed,
            "ksid": ksid,
            "host": HOST,
            "port": device.port,
            "key_chunk_size": block_bytes,
            "rate_bps": rate_bps,
        },
        private=True,
    )


def _write_node(
    node: NodeFiles,
    nodes: Sequence[NodeFiles],
    device: DeviceFiles,
    secret_file: Path,
    certificates: Path,
    ksid: str,
    block_bytes: int,
) -> None:
    peer = next(each for each in nodes if each.name != node.name)
    files = pki.issue(certificates, f"kms:{node.name}", ["localhost", HOST])
    node.directory.mkdir(mode=0o700)
    passphrase = node.directory / "passphrase"
    _write_private(passphrase, secrets.token_urlsafe(32) + "\n")
    _write_toml(
        node.config,
        {
            "node": {
                "name": node.name,
                "directory": str(node.directory / "state"),
                "passphrase_file": str(passphrase),
            },
            "tls": {
                "certificate": str(files.certificate),
                "key": str(files.key),
                "ca": str(files.ca),
            },
            "etsi004": {"listen": f"{HOST}:{node.etsi004_port}"},
            "etsi004_tls": {"listen": node.etsi004_tls},
            "etsi014": {"listen": f"{HOST}:{node.etsi014_port}"},
            "peer": {"listen": f"{HOST}:{node.peer_port}"},
            "operations": {"listen": f"{HOST}:{node.operations_port}"},
            "network": {"file": str(certificates.parent / "network.toml")},
            "link": [
                {
                    "peer": peer.name,
                    "address": f"{HOST}:{peer.peer_port}",
                    "secret_file": str(secret_file),
                }
            ],
            "device": [
                {
                    "name": f"device-{node.name}",
                    "link": peer.name,
                    "type": "qkd-socket",
                    "address": f"{HOST}:{device.port}",
                    "ksid": ksid,
                    "source": f"qkd:{node.name}",
                    "destination": f"qkd:{peer.name}",
                    "key_chunk_size": block_bytes,
                }
            ],
        },
    )


def _write_toml(path: Path, table: dict[str, object], *, private: bool = False) -> None:
    text = tomli_w.dumps(table)
    _write_private(path, text) if private else path.write_text(text)


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on at the moment. Below those that systems take for outgoing
    connections: one of these could hold the port of a node that is being restarted."""
    probes: list[socket.socket] = []
    while len(probes) < count:
        try:
            probes.append(socket.create_server((HOST, secrets.choice(_PORTS))))
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports
