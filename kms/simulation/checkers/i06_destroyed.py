"""I6 A destroyed key cannot be recovered from the node's files.

What may still be readable follows from the records on the same disk: keys that wait or were
delivered just now, blocks that are held or agreed, above the grant. Whatever else is readable twice
in a row, half a minute of the process's own time apart, was not destroyed. And each key that was
delivered is looked for when its time to be destroyed is over.
"""

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from kms.domain import limits
from kms.domain.direction import Direction
from kms.domain.effects import DeliverKey, Effect, StoreMaterial
from kms.domain.events import Event
from kms.domain.lifecycle import KeyState
from kms.domain.names import LinkId, MaterialId
from kms.domain.records import (
    BlockRecord,
    BlockState,
    KeyRunRecord,
    LinkRecord,
    PadRecord,
    StreamRecord,
)
from kms.simulation.checker import Checker
from kms.simulation.checkers.memory import Awake

if TYPE_CHECKING:
    from kms.simulation.simulation import Simulation
    from kms.simulation.site import Site

_SCAN_US = 30_000_000
# Beyond the promise: the time between two ticks, the commit, and the batch that measures it.
_SLACK_US = 3_000_000
_DUE_US = limits.DESTROY_WITHIN_MS * 1000 + _SLACK_US
_LIVING = (KeyState.PRE_ACTIVATION, KeyState.ACTIVE, KeyState.SUSPENDED)


class Destroyed(Checker):
    """What was stored at each site and may still be readable."""

    invariant = "I6"
    writes = (StoreMaterial,)
    outputs = (DeliverKey,)

    def __init__(self, simulation: "Simulation") -> None:
        super().__init__(simulation)
        self._awake = Awake()
        self._stored: dict[str, dict[MaterialId, None]] = {}
        self._due: dict[str, deque[tuple[int, MaterialId, int, int]]] = {}
        self._suspects: dict[str, set[MaterialId]] = {}
        self._scanned: dict[str, int] = {}

    def wrote(self, site: "Site", effect: Effect) -> None:
        stored = self._stored.setdefault(site.place, {})
        stored[cast(StoreMaterial, effect).material] = None

    def restored(self, site: "Site", *, slots: bool) -> None:
        self._stored[site.place] = dict.fromkeys(site.disk.material)
        self._suspects[site.place] = set()
        self._due.pop(site.place, None)

    def durable(self, site: "Site", effects: Sequence[Effect]) -> None:
        self._awake.committed(site)

    def output(self, site: "Site", effect: Effect) -> None:
        key = cast(DeliverKey, effect)
        due = self._awake.read(site) + _DUE_US
        place = self._due.setdefault(site.place, deque())
        place.append((due, key.material, key.offset, key.length))

    def batch(self, site: "Site", events: Sequence[Event], effects: Sequence[Effect]) -> None:
        now = self._awake.now(site)
        due = self._due.get(site.place)
        while due and due[0][0] < now:
            _, material, offset, length = due.popleft()
            left = site.disk.gone[material].find(0, offset, offset + length)
            self.holds(
                left < 0,
                f"{site.place} delivered a key of {material} more than "
                f"{limits.DESTROY_WITHIN_MS} ms ago, and its files still have it",
            )
        if now - self._scanned.get(site.place, 0) >= _SCAN_US:
            self._scanned[site.place] = now
            self._scan(site)

    def calm(self) -> None:
        for site in self.simulation.originals():
            self._scan(site)

    # ---- everything that is readable ---------------------------------------------------------

    def _scan(self, site: "Site") -> None:
        disk, before = site.disk, self._suspects.get(site.place, set())
        wanted = _wanted(site)
        stored = self._stored.get(site.place, {})
        for name in [each for each in stored if not disk.live[each]]:
            del stored[name]
        suspects = {name for name in stored if disk.live[name] > wanted.get(name, 0)}
        suspects -= disk.unreadable
        twice = sorted(suspects & before)
        self.checks += len(stored)
        self.holds(
            not twice,
            f"{len(twice)} materials at {site.place} can be read and nothing needs them: "
            f"{twice[:3]}",
        )
        self._suspects[site.place] = suspects


def _wanted(site: "Site") -> dict[MaterialId, int]:
    """Bytes of each material that the records still need."""
    wanted: dict[MaterialId, int] = {}
    records = site.disk.records
    for record in records.values():
        if isinstance(record, KeyRunRecord):
            if record.material is not None and record.state in _LIVING:
                stream = cast(StreamRecord, records[StreamRecord, record.ksid])
                size = record.count * stream.qos.key_chunk_size
                wanted[record.material] = wanted.get(record.material, 0) + size
        elif isinstance(record, BlockRecord):
            if record.state is BlockState.HELD:
                wanted[record.material] = record.length
            elif record.state is BlockState.AGREED and record.direction is not None:
                granted = _granted(site, record.link, record.direction)
                gone = min(max(0, granted - (record.start or 0)), record.length)
                wanted[record.material] = record.length - gone
        elif isinstance(record, LinkRecord) and record.hash_key is not None:
            wanted[record.hash_key] = limits.HASH_KEY_BYTES
    return wanted


def _granted(site: "Site", link: LinkId, direction: Direction) -> int:
    record = site.disk.records.get((PadRecord, link, direction))
    return record.granted if isinstance(record, PadRecord) else 0
