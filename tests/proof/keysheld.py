"""Which keys each of two ends stored, which of them left it, and which its records still keep.

Keys are chunks of streams, those of a pair of applications among them, and keys of bundles, which a
master's node entrusts to the nodes of its slaves. A key of a bundle has left an end when everybody
there has it: all slaves who live there, or the master alone.
"""

from collections import Counter
from collections.abc import Iterator
from uuid import UUID

import attrs

from kms.domain.bundle import Bundle
from kms.domain.effects import DeliverKey, DeliverKeys, Effect, StoreMaterial
from kms.domain.names import KSID, MaterialId, NodeId
from kms.domain.records import BundleRecord, BundleState, KeyRunRecord, StreamRecord
from tests.proof.onfiles import ENDS
from tests.world import Site

STREAM, PAIR, BUNDLE = "of streams", "of pairs", "of bundles"
_CHUNKS, _ENTRUSTED = "chunks/", "entrusted/"
_NEVER = 1 << 62

Place = tuple[MaterialId, int]
"""a material, and the index of a key in it"""


@attrs.frozen
class Key:
    """One key as it was stored at one end."""

    ksid: KSID
    """of its stream, or its bundle's name"""
    index: int
    bits: bytes = attrs.field(repr=False)
    kind: str = STREAM


class KeysHeld:
    """Told of every commit and every output of both ends."""

    def __init__(self) -> None:
        self.stored: dict[NodeId, dict[Place, Key]] = {name: {} for name in ENDS}
        self.left: dict[NodeId, set[tuple[KSID, int]]] = {name: set() for name in ENDS}
        """keys that everybody who lives there has"""
        self.answered: Counter[str] = Counter()
        """keys in answers, by kind"""

    def committed(self, site: Site, effects: list[Effect]) -> None:
        """The batch is durable."""
        for effect in effects:
            if isinstance(effect, StoreMaterial):
                for place, key in _keys_in(site, effect):
                    self.stored[site.name][place] = key

    def leaves(self, site: Site, effect: Effect) -> None:
        """The output is about to be carried out; its batch is durable."""
        if isinstance(effect, DeliverKey):
            self._gone(site, effect.material, effect.index, 1)
        elif isinstance(effect, DeliverKeys):
            for each in effect.stretches:
                self._gone(site, each.material, each.index, each.count)

    def kept(self, site: Site) -> dict[Place, int]:
        """What the records say is still to be used, each with the end of its time (wall clock)."""
        found: dict[Place, int] = {}
        for record in site.disk.records.values():
            if isinstance(record, KeyRunRecord) and record.material is not None:
                ends_ms = _NEVER if record.expires_ms is None else record.expires_ms
                indices = range(record.first, record.first + record.count)
                found.update(((record.material, index), ends_ms) for index in indices)
            elif isinstance(record, BundleRecord):
                found.update(dict.fromkeys(_kept_of(record), record.expires_ms))
        return found

    def _gone(self, site: Site, material: MaterialId, first: int, count: int) -> None:
        record = _owner(site, material)
        indices = set(range(first, first + count))
        self.answered[_kind(record)] += count
        if isinstance(record, BundleRecord):
            name = record.name
            indices -= {index for _, index in _kept_of(record)}
        else:
            name = record.ksid
        self.left[site.name] |= {(name, index) for index in indices}


def _keys_in(site: Site, effect: StoreMaterial) -> Iterator[tuple[Place, Key]]:
    """The keys in this material; none if it holds something else, or was wiped at once."""
    material, raw = effect.material, bytes(effect.bits.expose())
    if material.startswith(_ENTRUSTED):
        record = site.disk.records.get((BundleRecord, _named(material)))
        if not isinstance(record, BundleRecord):
            return
        size, first = record.key_bytes, int(material.split("/")[2].split("-")[0])
        name = record.name
    elif material.startswith(_CHUNKS):
        run = next((each for each in _runs(site) if each.material == material), None)
        if run is None:
            return
        record = site.disk.records[StreamRecord, run.ksid]
        assert isinstance(record, StreamRecord)
        size, first, name = record.qos.key_chunk_size, run.material_first, run.ksid
    else:
        return
    for number in range(len(raw) // size):
        key = Key(name, first + number, raw[number * size : (number + 1) * size], _kind(record))
        yield (material, first + number), key


def _kept_of(record: BundleRecord) -> Iterator[Place]:
    """What somebody here has not taken yet, or was not wiped when the bundle ended."""
    bundle = Bundle(record)
    if record.state is BundleState.HELD:
        bundle.go()
    for first, count in bundle.left():
        for index in range(first, first + count):
            yield bundle.material(index - index % record.part_keys), index


def _owner(site: Site, material: MaterialId) -> StreamRecord | BundleRecord:
    kind = BundleRecord if material.startswith(_ENTRUSTED) else StreamRecord
    record = site.disk.records[kind, _named(material)]
    assert isinstance(record, StreamRecord | BundleRecord)
    return record


def _kind(record: StreamRecord | BundleRecord) -> str:
    if isinstance(record, BundleRecord):
        return BUNDLE
    return PAIR if record.paired else STREAM


def _named(material: MaterialId) -> KSID:
    """What its name says."""
    return KSID(UUID(material.split("/")[1]))


def _runs(site: Site) -> Iterator[KeyRunRecord]:
    return (each for each in site.disk.records.values() if isinstance(each, KeyRunRecord))
