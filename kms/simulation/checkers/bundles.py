"""Keys that several nodes hold, as a site's disk has them: read from its records alone."""

from collections.abc import Iterator
from typing import TYPE_CHECKING
from uuid import UUID

from kms.domain.names import HERE, KSID, LinkId, MaterialId
from kms.domain.records import BundleRecord, BundleState

if TYPE_CHECKING:
    from kms.simulation.site import Site

ENTRUSTED = "entrusted/"
"""what their materials' names begin with"""


def name_of(material: MaterialId) -> KSID:
    """The bundle that this is a part of."""
    return KSID(UUID(material.split("/")[1]))


def record_at(site: "Site", name: KSID) -> BundleRecord | None:
    """The bundle as this site's disk has it."""
    record = site.disk.records.get((BundleRecord, name))
    return record if isinstance(record, BundleRecord) else None


def links_of(record: BundleRecord) -> tuple[LinkId, ...]:
    """Where operators' orders about it stand."""
    return record.links or (HERE,)


def parts(record: BundleRecord) -> Iterator[tuple[MaterialId, int, int]]:
    """(material, first key, count) of each part that is durable."""
    for first in range(0, record.filled, record.part_keys):
        count = min(record.part_keys, record.filled - first)
        yield MaterialId(f"{ENTRUSTED}{record.name}/{first}-{record.serial}"), first, count


def waits(record: BundleRecord, index: int) -> bool:
    """Whether some slave of this node has still to fetch the key, or it is on its way yet."""
    if record.state is BundleState.FILLING:
        return index < record.filled
    if record.state is BundleState.ENDED or not record.slaves:
        return False
    row = -(-record.count // 8)
    octets = record.taken or bytes(row * len(record.slaves))
    place, bit = divmod(index, 8)
    return any(not octets[at + place] & 0x80 >> bit for at in range(0, len(octets), row))
