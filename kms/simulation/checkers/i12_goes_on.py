"""I12 After the last fault heals, every open stream goes on.

At the end of a calm every process runs, every link is up, every pair of applications has got common
keys since the last fault, and no request is older than the longest Timeout.
"""

from typing import TYPE_CHECKING

from kms.domain import limits
from kms.domain.names import SAEId
from kms.domain.requests import Request
from kms.simulation.checker import Checker
from kms.simulation.checkers.agreed import differences, is_up

if TYPE_CHECKING:
    from kms.simulation.simulation import Simulation
    from kms.simulation.site import Outcome, Site

_WAITS_US_MAX = limits.TIMEOUT_MAX_MS * 1000 + 5_000_000


class GoesOn(Checker):
    """Progress since the last fault."""

    invariant = "I12"

    def __init__(self, simulation: "Simulation") -> None:
        super().__init__(simulation)
        self._open: dict[int, tuple[int, SAEId, str]] = {}
        self._common: list[int] = []
        self._healed_us = 0

    def asked(self, site: "Site", number: int, caller: SAEId, request: Request) -> None:
        self._open[number] = (self.simulation.loop.now_us, caller, site.place)

    def answered(self, site: "Site", number: int, outcome: "Outcome | None") -> None:
        self._open.pop(number, None)

    def healed(self) -> None:
        self._healed_us = self.simulation.loop.now_us
        self._common = [pair.common for pair in self.simulation.applications.all]

    def calm(self) -> None:
        now = self.simulation.loop.now_us
        after = f"{(now - self._healed_us) / 1e6:.0f} s after the last fault"
        for site in self.simulation.originals():
            self.holds(site.running, f"{site.place} does not run {after}")
        for link in self.simulation.network.wires:
            self.holds(
                is_up(self.simulation, link),
                f"{link} is not up {after}: {differences(self.simulation, link)[:1]}",
            )
        for pair, before in zip(self.simulation.applications.all, self._common, strict=True):
            self.holds(pair.common > before, f"{pair.name} got no common key {after}")
        oldest = min(self._open.values(), default=(now, SAEId(""), ""))
        self.holds(
            now - oldest[0] <= _WAITS_US_MAX,
            f"{oldest[2]} has not answered {oldest[1]} for {(now - oldest[0]) / 1e6:.0f} s",
        )
