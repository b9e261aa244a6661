"""A network to simulate: nodes, links, rates. Read from a TOML file (``conf/networks``)."""

from importlib.resources import as_file, files
from pathlib import Path

import attrs

from kms.domain.names import LinkId, NodeId, link_id
from kms.toml_file import Fault, converter, read, refusal, structure

# Each is an actor of its own.
APPLICATIONS_MAX = 100


@attrs.frozen(kw_only=True)
class SiteSpec:
    """One node."""

    name: NodeId
    applications: int = 2
    """at this node"""


@attrs.frozen(kw_only=True)
class LinkSpec:
    """A device pair between two neighbours."""

    between: tuple[NodeId, ...]
    rate_bps: float
    """of the devices"""
    block_bytes: int = 8192
    delay_ms: float = 2.0
    """one way, between the nodes"""

    @property
    def link(self) -> LinkId:
        return link_id(*self.between)


@attrs.frozen(kw_only=True)
class Topology:
    """Sites and links; every link joins two different sites, no two links the same."""

    name: str
    source: str = ""
    """where the figures come from"""
    site: tuple[SiteSpec, ...]
    link: tuple[LinkSpec, ...]

    def neighbours(self, name: NodeId) -> list[NodeId]:
        return [
            other for each in self.link if name in each.between for other in each.between
            if other != name
        ]  # fmt: skip

    def faults(self) -> list[Fault]:
        """What cannot be."""
        found = []
        names = [each.name for each in self.site]
        if len(set(names)) < len(names):
            found.append(Fault("[[site]]", "two sites have the same name"))
        for number, site in enumerate(self.site, 1):
            if not 0 <= site.applications <= APPLICATIONS_MAX:
                place = f"[site.{number}] applications"
                found.append(Fault(place, f"at most {APPLICATIONS_MAX}"))
        seen = set()
        for number, each in enumerate(self.link, 1):
            place = f"[link.{number}]"
            pair = frozenset(each.between)
            if len(each.between) != 2 or len(pair) != 2:
                found.append(Fault(f"{place} between", "names two different sites"))
            elif unknown := sorted(pair - set(names)):
                found.append(Fault(f"{place} between", f"there is no site {unknown[0]}"))
            elif pair in seen:
                found.append(Fault(f"{place} between", "this link is there already"))
            seen.add(pair)
            if not 0 < each.rate_bps <= 1e9:
                found.append(Fault(f"{place} rate_bps", "a rate between 0 and 1e9 bit/s"))
            if not 4096 <= each.block_bytes <= 1 << 20:
                found.append(Fault(f"{place} block_bytes", "between 4096 and 1048576"))
            if not 0 <= each.delay_ms <= 10_000:
                found.append(Fault(f"{place} delay_ms", "between 0 and 10000"))
        if not self.link:
            found.append(Fault("[[link]]", "a network has at least one link"))
        return found


def named(name: str) -> Topology:
    """One of ours by its name, else the network of the file of this name. Raises ``LocalFault``."""
    own = files("kms.simulation") / "networks" / f"{name}.toml"
    with as_file(own) as path:
        if path.is_file():
            return load(path)
    return load(Path(name))


def load(path: Path) -> Topology:
    """The network of a file. Raises ``LocalFault`` that names everything that is wrong with it."""
    topology = structure(read(path), Topology, converter(path.parent), path)
    if faults := topology.faults():
        raise refusal(path, faults)
    return topology
