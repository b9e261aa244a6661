"""I13 What an operator has suspended or compromised is not delivered.

The checker reads no node's mind: it keeps, by site, what each order came to that the site has
answered as done, or has read from its neighbour, as its disk says from that commit on. From then
on nothing of it leaves, until the site has it resumed on its disk. What an old copy has forgotten
does not bind it, until it is told again.
"""

from typing import TYPE_CHECKING, cast

from kms.domain import ranges
from kms.domain.effects import Answer, DeliverKey, Effect, Forget, Save
from kms.domain.events import Event, KeysOrdered
from kms.domain.names import KSID, WHOLE_LINK, LinkId
from kms.domain.orders import Act, KeyOrder, OrderDone
from kms.domain.ranges import Ranges
from kms.domain.records import HoldRecord
from kms.simulation.checkers.bundles import links_of, record_at
from kms.simulation.checkers.given import DELIVERIES, given
from kms.simulation.checkers.memory import Remembering, stream_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kms.simulation.simulation import Simulation
    from kms.simulation.site import Site

_Subject = tuple[str, LinkId, KSID]
"""place, link, stream or ``WHOLE_LINK``"""
_ALL = ((0, 1 << 32),)


class Revoked(Remembering):
    """Orders that were done, and every key that leaves."""

    invariant = "I13"
    writes = (HoldRecord, Forget)
    outputs = (Answer, *DELIVERIES)

    def __init__(self, simulation: "Simulation") -> None:
        super().__init__(simulation)
        self._asked: dict[int, KeyOrder] = {}
        self._lost: dict[_Subject, Ranges] = {}
        """compromised: never forgotten, but with the disk"""
        self._held: dict[_Subject, Ranges] = {}
        self._next: dict[_Subject, tuple[Ranges, Ranges]] = {}
        """held and lost as the last batch wrote it. An answer that was given before the order may
        leave in the same batch, not later"""
        self._passed: dict[_Subject, list[Ranges]] = {}
        """all that was held within the last batch: of orders that took one another back"""

    def restored(self, site: "Site") -> None:
        super().restored(site)
        for book in (self._lost, self._held):
            for subject in [each for each in book if each[0] == site.place]:
                del book[subject]
        self._next = {
            subject: new for subject, new in self._next.items() if subject[0] != site.place
        }
        for record in site.disk.records.values():
            if isinstance(record, HoldRecord):
                subject = (site.place, record.link, record.ksid)
                self._held[subject], self._lost[subject] = record.suspended, record.compromised

    def batch(self, site: "Site", events: "Sequence[Event]", effects: "Sequence[Effect]") -> None:
        for subject in [each for each in self._next if each[0] == site.place]:
            self._held[subject], self._lost[subject] = self._next.pop(subject)
            self._passed.pop(subject, None)
        for event in events:
            if type(event) is KeysOrdered:
                self._asked[event.request_id] = event.order

    def wrote(self, site: "Site", effect: Effect) -> None:
        """What either end's operators said is here as well."""
        assert isinstance(effect, Save | Forget), "as ``writes`` says"
        record = effect.record
        if not isinstance(record, HoldRecord):
            return
        subject = (site.place, record.link, record.ksid)
        if isinstance(effect, Forget):
            if record.ksid == WHOLE_LINK:
                # It begins anew with another secret. Its streams stay what they were.
                for book in (self._held, self._lost, self._next):
                    book.pop(subject, None)
            return
        held, lost = self._now(subject)
        self._passed.setdefault(subject, [held]).append(record.suspended)
        self._next[subject] = (record.suspended, ranges.union(lost, record.compromised))
        # What is resumed may leave at once.
        self._held[subject] = ranges.overlap(self._held.get(subject, ()), record.suspended)

    def _now(self, subject: _Subject) -> tuple[Ranges, Ranges]:
        """What is held, and lost, on the disk."""
        kept = (self._held.get(subject, ()), self._lost.get(subject, ()))
        return self._next.get(subject, kept)

    def output(self, site: "Site", effect: Effect) -> None:
        if isinstance(effect, Answer):
            order = self._asked.pop(effect.request_id, None)
            if order is not None:
                self._done(site, order, cast(OrderDone, effect.reply))
            return
        links: dict[KSID, list[LinkId]] = {}
        for key in given(cast(DeliverKey, effect)):
            ksid = self.ksid_of(key.material)
            if ksid not in links:
                links[ksid] = _links_of(site, ksid)
                for link in links[ksid]:
                    self._free(site, (site.place, link, WHOLE_LINK), 0, ksid)
            for link in links[ksid]:
                self._free(site, (site.place, link, ksid), key.index, ksid)

    def _free(self, site: "Site", subject: _Subject, index: int, ksid: KSID) -> None:
        for what, book in (("compromised", self._lost), ("suspended", self._held)):
            self.holds(
                not ranges.has(book.get(subject, ()), index),
                "{} delivers key of {}, index {}, which is {}",
                site.place,
                ksid,
                index,
                what,
            )

    def _done(self, site: "Site", order: KeyOrder, done: OrderDone) -> None:
        """An answer of yes is a promise: what was asked for is what is on the disk."""
        if done.bundle is not None:
            bundle = record_at(site, done.bundle)
            for link in links_of(bundle) if bundle is not None else ():
                self._did(site, order, done, (site.place, link, done.bundle))
        elif done.link is not None and not done.refused:
            self._did(site, order, done, (site.place, done.link, done.ksid or WHOLE_LINK))

    def _did(self, site: "Site", order: KeyOrder, done: OrderDone, subject: _Subject) -> None:
        wanted: Ranges = _ALL if done.count is None else ((done.first, done.first + done.count),)
        held, lost = self._now(subject)
        passed = self._passed.get(subject, [held])
        if order.act is Act.COMPROMISE:
            kept = not ranges.minus(wanted, lost)
        elif order.act is Act.SUSPEND:
            kept = any(not ranges.minus(wanted, ranges.union(each, lost)) for each in passed)
        else:
            kept = any(not ranges.overlap(wanted, each) for each in passed)
        self.holds(kept, "{} said yes to {} and did not do it", site.place, order)


def _links_of(site: "Site", ksid: KSID) -> list[LinkId]:
    """Of which orders hold for the stream, or for keys for several; none of what is not there."""
    stream, bundle = stream_at(site, ksid), record_at(site, ksid)
    if bundle is not None:
        return [*links_of(bundle)]
    return [stream.link] if stream is not None else []
