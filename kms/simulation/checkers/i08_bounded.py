"""I8 Memory is bounded.

Every so many batches each queue and table that a stranger, a neighbour, a device or time can make
longer is measured against its bound.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from kms.domain import limits
from kms.domain.due import ENTRIES_FREE
from kms.domain.effects import Effect
from kms.domain.events import Event
from kms.domain.names import LinkId
from kms.simulation.checker import Checker

if TYPE_CHECKING:
    from kms.domain.link import Link
    from kms.simulation.simulation import Simulation
    from kms.simulation.site import Site

_EVERY = 256
# Spent blocks whose places in the log are remembered, and those still to be used.
_RECORDS_PER_LINK_MAX = 4096 + limits.HELD_BLOCKS_MAX


class Bounded(Checker):
    """One look at one site in every ``_EVERY`` batches."""

    invariant = "I8"

    def __init__(self, simulation: "Simulation") -> None:
        super().__init__(simulation)
        self._batches = 0

    def batch(self, site: "Site", events: Sequence[Event], effects: Sequence[Effect]) -> None:
        self._batches += 1
        if not self._batches % _EVERY or len(site.inbox) > limits.INBOX_EVENTS_MAX // 4:
            self.look(site)

    def calm(self) -> None:
        for site in self.simulation.originals():
            self.look(site)

    def look(self, site: "Site") -> None:
        """All of this site is within its bounds."""
        for what, size, bound in _sizes(site):
            self.measured.saw(what, size)
            self.holds(size <= bound, "{} has {} {}, more than {}", site.place, size, what, bound)


def _sizes(site: "Site") -> Iterator[tuple[str, int, int]]:
    """What, how many, and how many at most."""
    yield "events in line", len(site.inbox), limits.INBOX_EVENTS_MAX
    streams = site.node.streams
    register = streams._register
    count = streams.count
    yield "streams", count, limits.STREAMS_MAX
    yield "tombstones", len(register.tombstones), limits.TOMBSTONES_MAX
    yield "requests waiting", len(register.waiting), limits.REQUESTS_WAITING_MAX
    one = max(register.waiting_of.values(), default=0)
    yield "requests of one application", one, limits.REQUESTS_PER_APPLICATION_MAX
    # Of each stream a pace and an end, of each request a deadline: an entry on either clock, and
    # for each at most another that no longer counts.
    timers = 2 * count + len(register.waiting)
    yield "timers", len(register.due), 2 * (2 * timers + ENTRIES_FREE)
    for stream in register.streams.values():
        paired = stream.record.paired
        runs_max = limits.RUNS_PER_PAIR_MAX if paired else limits.RUNS_PER_STREAM_MAX
        yield "runs of one stream", len(stream.runs), runs_max + 2
        waiting = len(stream.gets) + len(stream.openings)
        yield "requests of one stream", waiting, limits.REQUESTS_PER_STREAM_MAX
        ready = stream.runs.ready * stream.chunk_bytes
        yield "unread bytes of one stream", ready, limits.UNREAD_BYTES_MAX + limits.STOCK_BYTES_MAX
    yield from _of_bundles(site)
    for name, link in site.node.links.items():
        yield from _of_link(site, name, link)


def _of_bundles(site: "Site") -> Iterator[tuple[str, int, int]]:
    entrusting, bundles = site.node.streams._entrusting, site.node.streams._register.bundles
    flights = entrusting._flights.values()
    yield "requests for several slaves on their way", len(flights), limits.FLIGHTS_MAX
    size = sum(len(each.keys) for each in flights)
    yield "bytes of keys on their way to several nodes", size, limits.FLIGHT_BYTES_MAX
    yield "bundles that are over", len(bundles._ended), limits.BUNDLES_ENDED_MAX
    # Those that came over each link, or were made here; and those of each master.
    sides = len(site.node.links) + 1
    alive = len(bundles.by_name) - len(bundles._ended)
    yield "bundles", alive, sides * limits.BUNDLES_PER_LINK_MAX
    # Of each bundle an entry on either clock, and for each at most another that no longer counts.
    timers = len(bundles.by_name)
    yield "timers of bundles", len(bundles._due), 2 * (2 * timers + ENTRIES_FREE)
    for line in entrusting._lines.values():
        yield "bundles in line for a link", len(line), limits.FLIGHTS_MAX
    for waiting in entrusting._withdrawals.values():
        yield "withdrawals for a link", len(waiting), limits.WITHDRAWALS_PER_LINK_MAX


def _of_link(site: "Site", name: LinkId, link: "Link") -> Iterator[tuple[str, int, int]]:
    yield "messages for a neighbour", len(link.outgoing), limits.OUTBOX_MESSAGES_MAX
    agreement = link.agreement
    yield "held blocks", len(agreement.held), limits.HELD_BLOCKS_MAX
    yield "offered blocks", len(agreement._offered), limits.HELD_BLOCKS_MAX
    pool = sum(pad.level() for pad in link.memory.pads) + agreement.held_bytes
    # A hand-carried secret may come on top of a full pool, and some blocks under an alarm, or
    # while a direction is drained, which are fewer; then the reserves may be more than the pool.
    block_bytes = site.simulation.network.wires[name].spec.block_bytes
    reserves = sum(pad.reserve() for pad in link.memory.pads)
    most = max(link.memory.settings.pool_bytes_max, reserves) + limits.SECRET_BYTES
    most += limits.ALARM_ROOM_BLOCKS * block_bytes
    yield "bytes in a pool", pool, most
    log = agreement.log
    yield "blocks remembered", len(log._records), _RECORDS_PER_LINK_MAX
    for pad in link.memory.pads:
        yield "burnt stretches", len(pad.lost), limits.HELD_BLOCKS_MAX
        held = pad.window.held
        yield "bytes of an opened window", held, 2 * limits.WINDOW_BYTES_MAX
