"""Figures of a history that are no counts: how much there was of something, how long it took.

Of an amount the largest is kept; of times all, because the percentile of several histories cannot
be had from the percentiles of each.
"""

import attrs


@attrs.define
class Measured:
    """By name; an amount's unit is in its name."""

    largest: dict[str, float] = attrs.field(factory=dict)
    times_ms: dict[str, list[float]] = attrs.field(factory=dict)

    def saw(self, name: str, amount: float) -> None:
        """There was so much of it."""
        if amount > self.largest.get(name, -1):
            self.largest[name] = amount

    def took(self, name: str, time_ms: float) -> None:
        """Once more it took so long."""
        self.times_ms.setdefault(name, []).append(time_ms)

    def add(self, other: "Measured") -> None:
        """What the other one has seen was seen here as well."""
        for name, amount in other.largest.items():
            self.saw(name, amount)
        for name, times_ms in other.times_ms.items():
            self.times_ms.setdefault(name, []).extend(times_ms)

    def figures(self) -> dict[str, float]:
        """One number to a name, units in the names."""
        figures: dict[str, float] = {}
        for name, times_ms in sorted(self.times_ms.items()):
            figures[f"{name}, longest, ms"] = max(times_ms)
            figures[f"{name}, 99th percentile, ms"] = _percentile(times_ms)
        for name, amount in sorted(self.largest.items()):
            figures[f"most {name}"] = amount
        return figures


def _percentile(times: list[float]) -> float:
    """One time in a hundred was longer, at most."""
    return sorted(times)[-1 - len(times) // 100]
