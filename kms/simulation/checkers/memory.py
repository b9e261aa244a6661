"""What a checker remembers of streams, and where a site cannot be held to what it once said.

A site whose disk was replaced by an older copy, that shares its name with a clone, or whose disk
rotted, has forgotten things: promises about streams of that time do not bind it. Streams that begin
afterwards do.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from kms.domain.effects import Effect
from kms.domain.events import Event
from kms.domain.names import KSID, MaterialId, NodeId
from kms.domain.records import StreamRecord
from kms.simulation.checker import Checker
from kms.simulation.listener import Book

if TYPE_CHECKING:
    from kms.simulation.simulation import Simulation
    from kms.simulation.site import Site

_ALWAYS = 1 << 62


class Remembering(Checker):
    """``excused`` tells which promises were given before a site forgot."""

    def __init__(self, simulation: "Simulation", *books: Book) -> None:
        super().__init__(simulation, *books)
        self._until: dict[NodeId, int] = {}
        """what was born at this site up to then is excused"""
        self._born: dict[KSID, int] = {}
        self._ksids: dict[str, KSID] = {}

    def excused(self, name: NodeId, ksid: KSID) -> bool:
        return name in self._until and self.born(ksid) <= self._until[name]

    def born(self, ksid: KSID) -> int:
        """When it was first heard of."""
        return self._born.setdefault(ksid, self.simulation.loop.now_us)

    def ksid_of(self, material: MaterialId) -> KSID:
        """The stream that the chunks of this material belong to."""
        text = material.split("/")[1]
        ksid = self._ksids.get(text)
        if ksid is None:
            ksid = self._ksids[text] = KSID(UUID(text))
            self.born(ksid)
        return ksid

    def restored(self, site: "Site") -> None:
        clone = site.place != site.name
        until = _ALWAYS if clone else self.simulation.loop.now_us
        # Put back beside a clone, it still shares its name with that.
        self._until[site.name] = max(until, self._until.get(site.name, 0))

    def stopped(self, site: "Site", why: str) -> None:
        if site.place != site.name and self._until.get(site.name) == _ALWAYS:
            # What was said beside the clone may be what only the clone knows.
            self._until[site.name] = self.simulation.loop.now_us


def stream_at(site: "Site", ksid: KSID) -> StreamRecord | None:
    """The stream as this site's disk has it."""
    record = site.disk.records.get((StreamRecord, ksid))
    return record if isinstance(record, StreamRecord) else None


class Awake(Book):
    """How long each process was able to act: frozen time and slow disks do not count."""

    # A process that runs wakes each half second.
    _GAP_US = 600_000

    def __init__(self, simulation: "Simulation") -> None:
        self._last: dict[str, int] = {}
        """when each was last heard of"""
        self._asleep: dict[str, int] = {}
        """microseconds until then that do not count"""

    def batch(self, site: "Site", events: Sequence[Event], effects: Sequence[Effect]) -> None:
        place, now = site.place, site.loop.now_us
        if place not in self._last:
            self._last[place] = self._asleep[place] = now
        gap = now - self._last[place]
        self._last[place] = now
        if gap > self._GAP_US:
            self._asleep[place] += gap - self._GAP_US

    def durable(self, site: "Site", effects: Sequence[Effect]) -> None:
        """The time since the last batch was the disk's."""
        place, now = site.place, site.loop.now_us
        self._asleep[place] += now - self._last[place]
        self._last[place] = now

    def read(self, place: str) -> int:
        """Microseconds, as of the last batch."""
        return self._last.get(place, 0) - self._asleep.get(place, 0)
