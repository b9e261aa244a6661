"""Whether two ends of a link are at the same place, looked at from outside: I7 and I12 go by it."""

from typing import TYPE_CHECKING

from kms.domain.names import KSID, WHOLE_LINK, LinkId
from kms.domain.records import BundleRecord, HoldRecord, LinkRecord, StreamRecord

if TYPE_CHECKING:
    from kms.domain.link import Link
    from kms.simulation.simulation import Simulation
    from kms.simulation.site import Site


def ends(simulation: "Simulation", link: LinkId) -> "list[Site]":
    """The two sites of a link."""
    return [simulation.sites[name] for name in simulation.network.wires[link].spec.between]


def is_up(simulation: "Simulation", link: LinkId) -> bool:
    """Whether both ends run, and both say that the link is up."""
    return all(site.running and site.node.links[link].up for site in ends(simulation, link))


def differences(simulation: "Simulation", link: LinkId) -> list[str]:
    """What the two ends do not agree on now; what is under way between them is among it."""
    one, two = ends(simulation, link)
    if not is_up(simulation, link):
        states = ", ".join(
            f"{site.name}: {_state(site, link)}" if site.running else f"{site.name}: down"
            for site in (one, two)
        )
        return [f"the link is not up ({states})"]
    here, there = one.node.links[link], two.node.links[link]
    return [
        *_records(one, two, link),
        *_pads(one, two, here, there),
        *_blocks(here, there),
        *_streams(one, two, link),
        *_holds(one, two, link),
    ]


def _state(site: "Site", link: LinkId) -> str:
    end = site.node.links[link]
    return f"{end.memory.state.value}, {end.greeting.phase.value} {end.greeting.refused}"


def _records(one: "Site", two: "Site", link: LinkId) -> list[str]:
    mine, theirs = one.disk.records[LinkRecord, link], two.disk.records[LinkRecord, link]
    names = ("state", "epoch", "log_count", "log_hash")
    return [
        f"{name}: {getattr(mine, name)!r} and {getattr(theirs, name)!r}"
        for name in names
        if getattr(mine, name) != getattr(theirs, name)
    ]


def _pads(one: "Site", two: "Site", here: "Link", there: "Link") -> list[str]:
    found = []
    rot = bool(one.disk.unreadable or two.disk.unreadable)
    for writer, reader in (
        (here.memory.writer, there.memory.reader),
        (there.memory.writer, here.memory.reader),
    ):
        for name in ("granted", "mark"):
            if getattr(writer, name) != getattr(reader, name):
                found.append(
                    f"{name} of {writer.direction.value}: "
                    f"{getattr(writer, name)} and {getattr(reader, name)}"
                )
        # Bits that rotted at one end are noticed when they are wanted.
        if not rot and writer.level() != reader.level():
            found.append(
                f"level of {writer.direction.value}: {writer.level()} and {reader.level()}"
            )
    return found


def _blocks(here: "Link", there: "Link") -> list[str]:
    both = here.agreement.held.keys() & there.agreement.held.keys()
    return [f"{len(both)} blocks that both ends hold are not agreed"] if both else []


def _streams(one: "Site", two: "Site", link: LinkId) -> list[str]:
    mine, theirs = _open(one, link), _open(two, link)
    found = [f"stream {ksid} is open at one end" for ksid in mine.keys() ^ theirs.keys()]
    return found + [
        f"next index of {ksid}: {mine[ksid]} and {theirs[ksid]}"
        for ksid in mine.keys() & theirs.keys()
        if mine[ksid] != theirs[ksid]
    ]


def _holds(one: "Site", two: "Site", link: LinkId) -> list[str]:
    """What operators have ordered, of streams that are open at both ends, and of keys for several
    that both know."""
    mine, theirs = _held(one, link), _held(two, link)
    both = (_open(one, link).keys() & _open(two, link).keys()) | {WHOLE_LINK}
    for ksid in mine.keys() | theirs.keys():
        if all((BundleRecord, ksid) in site.disk.records for site in (one, two)):
            both.add(ksid)
    return [
        f"ordered of {ksid}: {mine.get(ksid)} and {theirs.get(ksid)}"
        for ksid in (mine.keys() | theirs.keys()) & both
        if mine.get(ksid) != theirs.get(ksid)
    ]


def _held(site: "Site", link: LinkId) -> dict[KSID, tuple[object, ...]]:
    return {
        record.ksid: (record.suspended, record.compromised)
        for record in site.disk.records.values()
        if isinstance(record, HoldRecord) and record.link == link
    }


def _open(site: "Site", link: LinkId) -> dict[KSID, int]:
    """Next index of the streams that no side has closed, as the disk has them."""
    return {
        record.ksid: record.next_index
        for record in site.disk.records.values()
        if isinstance(record, StreamRecord)
        and record.link == link
        and not (record.local_closed or record.remote_closed)
    }
