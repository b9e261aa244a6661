"""I7 No disagreement survives.

From the moment when every fault has ended the two ends of each link are compared, again and again,
until they agree on everything at one instant (frames are under way most of the time). How long it
took is measured; at the end of a calm each link must have got there.
"""

from typing import TYPE_CHECKING

from kms.domain.effects import Effect
from kms.domain.events import Event
from kms.domain.names import LinkId
from kms.domain.records import LinkRecord
from kms.simulation.checker import Checker
from kms.simulation.checkers.agreed import differences, ends

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kms.simulation.simulation import Simulation
    from kms.simulation.site import Site

# Two sync rounds on a link of this rate; on a slower one they take longer in proportion.
WITHIN_US = 30_000_000
_RATE_BPS = 10_000
# Of comparisons of one link; each costs as much as some batches.
_EVERY_US = 50_000


class Agreed(Checker):
    """Links that have still to agree, and how long the others took."""

    invariant = "I7"

    def __init__(self, simulation: "Simulation") -> None:
        super().__init__(simulation)
        self._healed_us = 0
        self._waiting: dict[LinkId, tuple[str, ...]] = {}
        """by link: the secrets that it had when all was healed"""
        self._looked: dict[LinkId, int] = {}
        self._links_of: dict[str, list[LinkId]] = {}
        for spec in simulation.topology.link:
            for name in spec.between:
                self._links_of.setdefault(name, []).append(spec.link)

    def storm(self) -> None:
        self._waiting.clear()

    def healed(self) -> None:
        self._healed_us = self.simulation.loop.now_us
        self._waiting = {link: self._secrets(link) for link in self.simulation.network.wires}

    def batch(self, site: "Site", events: "Sequence[Event]", effects: "Sequence[Effect]") -> None:
        # Two ends may agree and have nothing to write for a while.
        if not effects:
            self._look(site)

    def durable(self, site: "Site", effects: "Sequence[Effect]") -> None:
        self._look(site)

    def _look(self, site: "Site") -> None:
        if not self._waiting:
            return
        now = self.simulation.loop.now_us
        for link in self._links_of[site.name]:
            if link in self._waiting and now - self._looked.get(link, 0) >= _EVERY_US:
                self._looked[link] = now
                if not differences(self.simulation, link):
                    self._settled(link, now - self._healed_us)

    def calm(self) -> None:
        for link in list(self._waiting):
            found = differences(self.simulation, link)
            self.holds(
                not found,
                f"the ends of {link} do not agree after "
                f"{(self.simulation.loop.now_us - self._healed_us) / 1e6:.0f} s: "
                + "; ".join(found[:4]),
            )

    def _settled(self, link: LinkId, took_us: int) -> None:
        helped = self._waiting.pop(link) != self._secrets(link)
        how = ", with another secret" if helped else ""
        self.measured.took(f"from healed to agreed{how}", took_us / 1e3)
        rate = self.simulation.network.wires[link].spec.rate_bps
        allowed = WITHIN_US * max(1.0, _RATE_BPS / rate)
        self.holds(
            helped or took_us <= allowed,
            f"the ends of {link} agree only {took_us / 1e6:.1f} s after the last fault",
        )

    def _secrets(self, link: LinkId) -> tuple[str, ...]:
        return tuple(
            record.secrets[-1]
            for site in ends(self.simulation, link)
            if isinstance(record := site.disk.records.get((LinkRecord, link)), LinkRecord)
            and record.secrets
        )
