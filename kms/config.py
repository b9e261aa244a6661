"""The node's configuration: one TOML file, read once at start into frozen classes.

Rules: every field has a default that is safe, or must be given; unknown fields are refused;
secrets are names of files that nobody else can read; paths are relative to the file. A listener is
on the loopback interface until the operator says otherwise. All faults are reported together.

Theory of operation: ``toml_file`` checks each value; ``_faults`` here checks what spans fields and
what must be true of the files named. ``DEVICE_TYPES`` is the register of device adapters: an
adapter's class of fields, under the word that ``type = "..."`` selects it by.
"""

import os
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import attrs
from cattrs.preconf.tomllib import TomllibConverter

from kms import toml_file
from kms.domain import limits
from kms.domain.names import KSID, DeviceId, LinkId, NodeId, SAEId, leader_of, link_id
from kms.identity_section import URI_ONLY, IdentitySection, identity_faults
from kms.ports.sdn import Network
from kms.retention import JOURNAL, KEEP_SAFELY, AuditSection, RetentionSection, retention_faults
from kms.toml_file import Address, Fault, Wrong, place

# On the loopback interface until the operator says otherwise.
_ETSI004 = Address("127.0.0.1", 8443)
_ETSI004_TLS = Address("127.0.0.1", 25575)
_ETSI014 = Address("127.0.0.1", 8444)
_PEER = Address("127.0.0.1", 7443)
_OPERATIONS = Address("127.0.0.1", 9443)


@attrs.frozen(kw_only=True)
class NodeSection:
    """``[node]``"""

    name: NodeId
    directory: Path
    """state: store, key file, admin socket; made 0700 if it is missing"""
    passphrase_file: Path | None = None
    """opens the store at start; without it the node starts sealed and waits for ``kms unseal``"""


@attrs.frozen(kw_only=True)
class TLSFiles:
    """``[tls]``: PEM files."""

    certificate: Path
    key: Path
    ca: Path


@attrs.frozen(kw_only=True)
class Etsi004Section:
    """``[etsi004]``: the applications' interface in HTTP."""

    listen: Address = _ETSI004


@attrs.frozen(kw_only=True)
class Etsi004TLSSection:
    """``[etsi004_tls]``: the applications' interface in ETSI's binary framing."""

    enabled: bool = True
    listen: Address = _ETSI004_TLS


@attrs.frozen(kw_only=True)
class Etsi014Section:
    """``[etsi014]``: the applications' interface of keys with IDs. Without the table it does not
    listen."""

    listen: Address = _ETSI014


@attrs.frozen(kw_only=True)
class PeerSection:
    """``[peer]``: where neighbour nodes with a smaller name dial in."""

    listen: Address = _PEER


@attrs.frozen(kw_only=True)
class OperationsSection:
    """``[operations]``: health and metrics, plain HTTP."""

    listen: Address = _OPERATIONS


@attrs.frozen(kw_only=True)
class LinkSection:
    """``[[link]]``: one neighbour."""

    peer: NodeId
    address: Address | None = None
    """where it listens; needed at the end that dials, the smaller node name"""
    secret_file: Path | None = None
    """imported once, then erased by the node: it may be missing later"""
    pool_bytes_max: int = limits.POOL_BYTES_MAX
    """the device is not read while the link holds this much"""
    qber_max: float = 0.11
    """blocks above it are destroyed and alarmed; 0.11 is where BB84 yields no key at all"""
    block_expiry_s: int = limits.BLOCK_EXPIRY_MS // 1000
    """a block that the neighbour does not have by then is destroyed"""


@attrs.frozen(kw_only=True)
class DeviceSection:
    """``[[device]]``: what every type of device has."""

    name: DeviceId
    link: NodeId
    """the neighbour whose device is at the other end"""
    type: str


@attrs.frozen(kw_only=True)
class QKDSocketSection(DeviceSection):
    """``type = "qkd-socket"``: ETSI GS QKD 004 over a socket."""

    address: Address
    ksid: KSID
    """predefined, the same at both devices of the pair"""
    source: SAEId
    destination: SAEId
    key_chunk_size: int = 64 * limits.KIB
    """bytes"""
    tls: TLSFiles | None = None
    """without it the socket is plain: same rack, own cable"""


DEVICE_TYPES: dict[str, type[DeviceSection]] = {"qkd-socket": QKDSocketSection}
"""By the word in ``type``; an adapter adds its class of fields here."""


@attrs.frozen(kw_only=True)
class NetworkSection:
    """``[network]``: the file that stands in for a controller."""

    file: Path


@attrs.frozen(kw_only=True)
class WitnessSection:
    """``[witness]``; without a file it lies beside the state directory."""

    file: Path | None = None


@attrs.frozen(kw_only=True)
class LogSection:
    """``[log]``: events on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"


@attrs.frozen(kw_only=True)
class StopSection:
    """``[stop]``"""

    grace_s: float = 5.0
    """requests under way may finish for this long"""


@attrs.frozen(kw_only=True)
class Config:
    """node.toml"""

    node: NodeSection
    tls: TLSFiles
    network: NetworkSection
    identity: IdentitySection = URI_ONLY
    etsi004: Etsi004Section = Etsi004Section()
    etsi004_tls: Etsi004TLSSection = Etsi004TLSSection()
    etsi014: Etsi014Section | None = None
    peer: PeerSection = PeerSection()
    operations: OperationsSection = OperationsSection()
    link: tuple[LinkSection, ...] = ()
    device: tuple[DeviceSection, ...] = ()
    audit: AuditSection = JOURNAL
    retention: RetentionSection = KEEP_SAFELY
    witness: WitnessSection = WitnessSection()
    log: LogSection = LogSection()
    stop: StopSection = StopSection()

    @property
    def audit_file(self) -> Path:
        return self.audit.file or self.node.directory / "audit.jsonl"

    @property
    def witness_file(self) -> Path:
        """Outside the state directory, so that a copy of that does not have it."""
        directory = self.node.directory
        return self.witness.file or directory.with_name(f"{directory.name}.witness")

    @property
    def admin_socket(self) -> Path:
        return self.node.directory / "admin.sock"

    def link_of(self, peer: NodeId) -> LinkId:
        return link_id(self.node.name, peer)


def load(path: Path) -> Config:
    """The configuration, every value and named file checked. Raises ``LocalFault`` that lists
    all faults, each with its place."""
    tables = toml_file.read(path)
    config = toml_file.structure(tables, Config, _converter(path.absolute().parent), path)
    faults = [*_field_faults(config), *_file_faults(config)]
    if faults:
        raise toml_file.refusal(path, faults)
    return config


def check_network(config: Config, network: Network, path: Path) -> None:
    """The node and its links are in the network. Raises ``LocalFault`` that lists what is not: a
    swapped name shows here, before two nodes wait for each other in vain."""
    name, faults = config.node.name, []
    if name not in network.nodes:
        known = ", ".join(sorted(network.nodes)) or "none"
        faults.append(Fault("[node] name", f"{name} is not in {config.network.file}: {known}"))
    for number, link in enumerate(config.link, 1):
        if (min(name, link.peer), max(name, link.peer)) not in network.links:
            reason = f"{config.network.file} has no link {name}-{link.peer}"
            faults.append(Fault(place("link", number, "peer"), reason))
    if faults:
        raise toml_file.refusal(path, faults)


def _converter(directory: Path) -> TomllibConverter:
    made = toml_file.converter(directory)

    def device(table: Any, _: Any) -> DeviceSection:
        kind = table.get("type") if isinstance(table, dict) else None
        if not isinstance(kind, str) or kind not in DEVICE_TYPES:
            known = ", ".join(sorted(DEVICE_TYPES))
            raise Wrong(f"type {kind!r:.60} is not a device type: give one of {known}")
        section: DeviceSection = made.structure(table, DEVICE_TYPES[kind])
        return section

    made.register_structure_hook_func(lambda kind: kind is DeviceSection, device)
    return made


# ---- what spans fields ----------------------------------------------------------------------

# Each direction keeps a reserve, of the smallest units, and has room for a block above it.
_POOL_BYTES_MIN = 2 * (limits.BLOCK_BYTES_MIN + limits.RESERVE_UNITS * limits.UNIT_BYTES_MIN)
_BOUNDS: tuple[tuple[str, float, float], ...] = (
    ("pool_bytes_max", _POOL_BYTES_MIN, 2**40),
    ("qber_max", 0.0001, 0.5),
    ("block_expiry_s", 1, 30 * 24 * 3600),
)
# The kernel's sun_path: 108 bytes with the final zero.
_SOCKET_PATH_BYTES_MAX = 107


def _field_faults(config: Config) -> Iterator[Fault]:
    listeners = {
        "etsi004": config.etsi004.listen,
        "peer": config.peer.listen,
        "operations": config.operations.listen,
    }
    if config.etsi004_tls.enabled:
        listeners["etsi004_tls"] = config.etsi004_tls.listen
    if config.etsi014 is not None:
        listeners["etsi014"] = config.etsi014.listen
    taken: dict[Address, str] = {}
    for table, listen in listeners.items():
        other = taken.setdefault(listen, table)
        if other != table and listen.port != 0:
            yield Fault(place(table, None, "listen"), f"{listen} is [{other}]'s already")
    if len(os.fsencode(config.admin_socket)) > _SOCKET_PATH_BYTES_MAX:
        yield Fault("[node] directory", "too long a path for a unix socket: give a shorter one")
    if config.witness_file.resolve().is_relative_to(config.node.directory.resolve()):
        reason = "inside [node] directory: a copy of that would have it; best on another disk"
        yield Fault("[witness] file", reason)
    if not 0 <= config.stop.grace_s <= 3600:
        yield Fault("[stop] grace_s", f"{config.stop.grace_s:g} is not between 0 and 3600")
    yield from identity_faults(config.identity)
    yield from retention_faults(config.retention)
    yield from _link_faults(config)
    yield from _device_faults(config)


def _link_faults(config: Config) -> Iterator[Fault]:
    seen: dict[NodeId, int] = {}
    for number, link in enumerate(config.link, 1):
        at = partial(place, "link", number)
        if link.peer == config.node.name:
            yield Fault(at("peer"), f"{link.peer} is this node itself: name the neighbour")
            continue
        if seen.setdefault(link.peer, number) != number:
            yield Fault(at("peer"), f"{link.peer} is already the peer of [link.{seen[link.peer]}]")
        dials = leader_of(config.link_of(link.peer)) == config.node.name
        if dials and link.address is None:
            reason = f"missing: {config.node.name} dials {link.peer}, say where it listens"
            yield Fault(at("address"), reason)
        if link.address is not None and link.address.port == 0:
            yield Fault(at("address"), "port 0 cannot be dialled")
        for field, low, high in _BOUNDS:
            value = getattr(link, field)
            if not low <= value <= high:
                yield Fault(at(field), f"{value} is not between {low:g} and {high:g}")


def _device_faults(config: Config) -> Iterator[Fault]:
    peers = {link.peer for link in config.link}
    seen: dict[object, int] = {}
    for number, device in enumerate(config.device, 1):
        at = partial(place, "device", number)
        if seen.setdefault(device.name, number) != number:
            reason = f"{device.name} is already the name of [device.{seen[device.name]}]"
            yield Fault(at("name"), reason)
        if device.link not in peers:
            known = ", ".join(sorted(peers)) or "none"
            yield Fault(at("link"), f"{device.link} is the peer of no [[link]]; peers: {known}")
        if not isinstance(device, QKDSocketSection):
            continue
        if device.address.port == 0:
            yield Fault(at("address"), "port 0 cannot be dialled")
        for field in ("source", "destination"):
            if ":" not in getattr(device, field):
                yield Fault(at(field), "no URI: give a URI of a device, such as qkd:alice-1.site")
        if device.source == device.destination:
            yield Fault(at("destination"), "the same as source: name the device at the other end")
        if not 1 <= device.key_chunk_size <= limits.BLOCK_BYTES_MAX:
            reason = f"{device.key_chunk_size} is not between 1 and {limits.BLOCK_BYTES_MAX}"
            yield Fault(at("key_chunk_size"), reason)
        if seen.setdefault(device.ksid, number) != number:
            reason = f"{device.ksid} is already the stream of [device.{seen[device.ksid]}]"
            yield Fault(at("ksid"), reason)


# ---- files ----------------------------------------------------------------------------------


def _file_faults(config: Config) -> Iterator[Fault]:
    if config.node.directory.exists() and not config.node.directory.is_dir():
        yield Fault("[node] directory", f"{config.node.directory} is not a directory")
    if config.witness.file is not None and not config.witness.file.parent.is_dir():
        reason = f"{config.witness.file.parent} is not a directory: is its disk mounted?"
        yield Fault("[witness] file", reason)
    for field in ("certificate", "ca"):
        yield from _readable(f"[tls] {field}", getattr(config.tls, field))
    yield from _private("[tls] key", config.tls.key)
    yield from _readable("[network] file", config.network.file)
    if config.node.passphrase_file is not None:
        yield from _private("[node] passphrase_file", config.node.passphrase_file)
    for number, link in enumerate(config.link, 1):
        if link.secret_file is not None and os.path.lexists(link.secret_file):
            yield from _private(place("link", number, "secret_file"), link.secret_file)
    for number, device in enumerate(config.device, 1):
        files = getattr(device, "tls", None)
        if files is not None:
            yield from _readable(place("device", number, "tls.certificate"), files.certificate)
            yield from _readable(place("device", number, "tls.ca"), files.ca)
            yield from _private(place("device", number, "tls.key"), files.key)


def _readable(at: str, path: Path) -> Iterator[Fault]:
    sentence = _unreadable(path)
    if sentence:
        yield Fault(at, sentence)


def _private(at: str, path: Path) -> Iterator[Fault]:
    sentence = _unreadable(path) or others_read(path)
    if sentence:
        yield Fault(at, sentence)


def _unreadable(path: Path) -> str:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return f"{path}: {error.strerror}"
    if not stat.S_ISREG(mode):
        return f"{path} is not a regular file"
    if not os.access(path, os.R_OK):
        return f"{path} is not readable by this user"
    return ""


def others_read(path: Path) -> str:
    """A sentence, if group or others may use this file; empty if it is its owner's alone."""
    mode = path.stat().st_mode
    if mode & 0o077:
        return f"{path} is open to others (mode {stat.S_IMODE(mode):04o}): chmod 600 {path}"
    return ""
