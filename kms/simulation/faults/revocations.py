"""What operators order about keys, and take back."""

import random
from typing import TYPE_CHECKING, ClassVar, Self
from uuid import UUID

import attrs

from kms.domain.events import KeysOrdered
from kms.domain.names import KSID, LinkId
from kms.domain.orders import Act, KeyOrder
from kms.domain.records import BundleRecord, BundleState
from kms.simulation.faults.fault import SiteFault, any_site
from kms.simulation.topology import Topology

if TYPE_CHECKING:
    from kms.simulation.simulation import Simulation
    from kms.simulation.site import Site

_ACTS = (*[Act.SUSPEND] * 3, *[Act.RESUME] * 2, *[Act.COMPROMISE] * 2)
# Behind an incident comes its end, while the storm lasts.
_RESUMED_AFTER_MS = (5_000, 60_000)
_NEWEST = 12


@attrs.frozen(kw_only=True)
class Revocation(SiteFault):
    """``kms key`` at one site: about some keys of a stream, all of it, or its whole link; or about
    one key for several slaves."""

    kinds: ClassVar = tuple(f"operator: kms key {act.value}" for act in Act)
    per_hour: ClassVar = 60.0
    act: Act
    scope: float
    """which link and stream, as a share of those that are there"""
    width: float
    """below 0.04 a whole link, below 0.3 a whole stream, below 0.5 a key for several slaves if
    there is one, else so much of the stream's newest keys"""

    @classmethod
    def drawn(cls, at_ms: int, lots: random.Random, topology: Topology) -> Self:
        return cls(
            at_ms=at_ms,
            site=any_site(lots, topology),
            act=lots.choice(_ACTS),
            scope=lots.random(),
            width=lots.random(),
        )

    def happen(self, simulation: "Simulation") -> None:
        site = self.target(simulation)
        order = self._order_at(site) if site.running else None
        if order is None:
            return
        _give(simulation, site, order)
        if self.act is Act.SUSPEND:
            low, high = _RESUMED_AFTER_MS
            again = attrs.evolve(order, act=Act.RESUME)
            delay_ms = low + self.scope * (high - low)
            simulation.loop.after_ms(delay_ms, lambda: _give(simulation, site, again))

    def _order_at(self, site: "Site") -> KeyOrder | None:
        several = _bundles(site) if 0.3 <= self.width < 0.5 else []
        if several:
            bundle = several[int(self.scope * len(several))]
            index = int(self.width * 1000) % bundle.count
            return _order(self.act, key_id=UUID(int=bundle.name.int ^ index))
        streams = site.node.streams.statistics()
        if not streams:
            return None
        stream = streams[int(self.scope * len(streams))]
        if self.width < 0.04:
            return _order(self.act, link=stream.link)
        if self.width < 0.3 or not stream.next_index:
            return _order(self.act, ksid=stream.ksid)
        count = min(1 + int(self.width * _NEWEST), stream.next_index)
        return _order(self.act, ksid=stream.ksid, first=stream.next_index - count, count=count)


def _bundles(site: "Site") -> list[BundleRecord]:
    """On its disk, and not over."""
    records = [each for each in site.disk.records.values() if isinstance(each, BundleRecord)]
    return [each for each in records if each.state is BundleState.HELD]


def _order(
    act: Act,
    *,
    link: LinkId | None = None,
    ksid: KSID | None = None,
    key_id: UUID | None = None,
    first: int = 0,
    count: int | None = None,
) -> KeyOrder:
    return KeyOrder(
        act=act,
        link=link,
        ksid=ksid,
        key_id=key_id,
        first=first,
        count=count,
        operator="olga",
        reason="a drill",
    )


def _give(simulation: "Simulation", site: "Site", order: KeyOrder) -> None:
    if site.running:
        simulation.fired(f"operator: kms key {order.act.value}")
        site.put(KeysOrdered(request_id=simulation.next_number(), order=order))


REVOCATIONS = (Revocation,)
