"""I6 A destroyed key cannot be recovered from the node's files.

What may still be readable follows from the records on the same disk: keys that wait, for any of
their slaves, or were delivered just now, blocks that are held or agreed, above the grant. Whatever
else is readable twice in a row, half a minute of the process's own time apart, was not destroyed.
And each key that was delivered is looked for when its time to be destroyed is over.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, cast

from kms.domain import limits
from kms.domain.direction import Direction
from kms.domain.effects import DeliverKey, DeliverKeys, Effect, StoreMaterial
from kms.domain.events import Event
from kms.domain.lifecycle import KeyState
from kms.domain.names import LinkId, MaterialId
from kms.domain.records import (
    BlockRecord,
    BlockState,
    BundleRecord,
    KeyRunRecord,
    LinkRecord,
    PadRecord,
    StreamRecord,
)
from kms.simulation.checker import Checker
from kms.simulation.checkers.bundles import ENTRUSTED, name_of, parts, record_at, waits
from kms.simulation.checkers.given import DELIVERIES, Given, given
from kms.simulation.checkers.memory import Awake

if TYPE_CHECKING:
    from kms.simulation.simulation import Simulation
    from kms.simulation.site import Site

_SCAN_US = 30_000_000
# Beyond the promise: the time between two ticks, the commit, and the batch that measures it.
_SLACK_US = 3_000_000
_DUE_US = limits.DESTROY_WITHIN_MS * 1000 + _SLACK_US
_LIVING = (KeyState.PRE_ACTIVATION, KeyState.ACTIVE, KeyState.SUSPENDED)


class _Place:
    """One machine's files."""

    def __init__(self, stored: Iterable[MaterialId] = ()) -> None:
        self.stored = dict.fromkeys(stored)
        """what was put there and may still be readable"""
        self.due: deque[tuple[int, MaterialId, int, int]] = deque()
        """by when which bytes that were delivered must be gone"""
        self.suspects: set[MaterialId] = set()
        """what could be read at the last scan, and nothing needed it"""
        self.scanned_us = 0
        self.quiet_us = 0
        """nothing is due before then, by the clock that also goes while the process is frozen"""


class Destroyed(Checker):
    """What was stored at each site and may still be readable."""

    invariant = "I6"
    writes = (StoreMaterial,)
    outputs = DELIVERIES

    def __init__(self, simulation: "Simulation") -> None:
        self._awake = Awake.of(simulation)
        super().__init__(simulation, self._awake)
        self._places: defaultdict[str, _Place] = defaultdict(_Place)

    def wrote(self, site: "Site", effect: Effect) -> None:
        self._places[site.place].stored[cast(StoreMaterial, effect).material] = None

    def restored(self, site: "Site") -> None:
        before = self._places[site.place]
        place = self._places[site.place] = _Place(site.disk.material)
        place.scanned_us = before.scanned_us

    def output(self, site: "Site", effect: Effect) -> None:
        due = self._awake.read(site.place) + _DUE_US
        place = self._places[site.place]
        for key in given(cast(DeliverKey | DeliverKeys, effect)):
            if not key.material.startswith(ENTRUSTED) or _everybodys(site, key):
                place.due.append((due, key.material, key.offset, key.length))

    def batch(self, site: "Site", events: Sequence[Event], effects: Sequence[Effect]) -> None:
        place = self._places[site.place]
        if site.loop.now_us < place.quiet_us:
            return
        now = self._awake.read(site.place)
        while place.due and place.due[0][0] < now:
            _, material, offset, length = place.due.popleft()
            left = site.disk.gone[material].find(0, offset, offset + length)
            self.holds(
                left < 0,
                "{} delivered a key of {} more than {} ms ago, and its files still have it",
                site.place,
                material,
                limits.DESTROY_WITHIN_MS,
            )
        if now - place.scanned_us >= _SCAN_US:
            place.scanned_us = now
            self._scan(site, place)
        # What is delivered from now on is due after the next scan.
        due = place.due[0][0] if place.due else now + _DUE_US
        place.quiet_us = site.loop.now_us + min(due, place.scanned_us + _SCAN_US) - now

    def calm(self) -> None:
        for site in self.simulation.originals():
            self._scan(site, self._places[site.place])

    # ---- everything that is readable ---------------------------------------------------------

    def _scan(self, site: "Site", place: _Place) -> None:
        disk, stored = site.disk, place.stored
        wanted = _wanted(site)
        for name in [each for each in stored if not disk.live[each]]:
            del stored[name]
        suspects = {name for name in stored if disk.live[name] > wanted.get(name, 0)}
        suspects -= disk.unreadable
        if any(name.startswith(ENTRUSTED) for name in suspects):
            # Their records do not say what is still to be wiped: that is looked for when it is due.
            suspects -= {name for _, name, _, _ in place.due if name.startswith(ENTRUSTED)}
        twice = sorted(suspects & place.suspects)
        self.checks += len(stored)
        self.holds(
            not twice,
            "{} materials at {} can be read and nothing needs them: {}",
            len(twice),
            site.place,
            twice[:3],
        )
        place.suspects = suspects


def _everybodys(site: "Site", key: Given) -> bool:
    """Whether nobody else is to fetch it here."""
    record = record_at(site, name_of(key.material))
    return record is None or not waits(record, key.index)


def _wanted(site: "Site") -> dict[MaterialId, int]:
    """Bytes of each material that the records still need."""
    wanted: dict[MaterialId, int] = {}
    records = site.disk.records
    for record in records.values():
        if type(record) is BlockRecord:
            if record.state is BlockState.HELD:
                wanted[record.material] = record.length
            elif record.state is BlockState.AGREED and record.direction is not None:
                granted = _granted(site, record.link, record.direction)
                gone = min(max(0, granted - (record.start or 0)), record.length)
                wanted[record.material] = record.length - gone
        elif type(record) is KeyRunRecord:
            if record.material is not None and record.state in _LIVING:
                stream = cast(StreamRecord, records[StreamRecord, record.ksid])
                size = record.count * stream.qos.key_chunk_size
                wanted[record.material] = wanted.get(record.material, 0) + size
        elif type(record) is BundleRecord:
            for material, first, count in parts(record):
                left = sum(waits(record, index) for index in range(first, first + count))
                wanted[material] = left * record.key_bytes
        elif type(record) is LinkRecord and record.hash_key is not None:
            wanted[record.hash_key] = limits.HASH_KEY_BYTES
    return wanted


def _granted(site: "Site", link: LinkId, direction: Direction) -> int:
    record = site.disk.records.get((PadRecord, link, direction))
    return record.granted if isinstance(record, PadRecord) else 0
