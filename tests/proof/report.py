"""What one part of the proof made, and whether anything broke.

Rules: a number in a report was counted by the part that made it. A violation begins with the name
of its invariant and ends with the command that makes it again. A part that made less than its tier
asks for, or a fault that fired too seldom, is a failure as well: what is not tried is not proven.
"""

from collections.abc import Callable, Mapping

import attrs

Tell = Callable[[str], None]
"""Where a part says how far it is: one short line at a time."""


@attrs.frozen(kw_only=True)
class PartReport:
    """One part's run. JSON by ``attrs.asdict``."""

    part: str
    invariants: tuple[str, ...]
    """names, as in docs/invariants.md: ``("I1", "I5")``"""
    seed: int
    made: Mapping[str, float]
    """what was tried, by name: ``{"kills": 60, "key pairs compared": 2607}``; the first is the one
    that the tier asks for"""
    checks: int
    """comparisons that could have failed"""
    faults: Mapping[str, int] = attrs.field(factory=dict)
    """how often each kind of fault fired"""
    faults_min: int = 0
    """each kind must have fired so often"""
    measured: Mapping[str, float] = attrs.field(factory=dict)
    """figures that are no counts, unit in the name: ``{"lost_per_kill": 0.3}``"""
    table: tuple[tuple[str, ...], ...] = ()
    """figures that belong side by side, for a person; the first row says what they are"""
    warnings: tuple[str, ...] = ()
    """what whoever reads the report should know, and what fails nothing"""
    violations: tuple[str, ...] = ()
    """empty when all held"""
    seconds: float

    def failures(self, amount: float) -> list[str]:
        """Why this part does not count as passed; empty when it does."""
        name, made = next(iter(self.made.items()))
        few = [f"only {made:g} {name} of {amount:g}"] if made < amount else []
        seldom = [
            f"fault {kind} fired {count} times of at least {self.faults_min}: it was not tried"
            for kind, count in self.faults.items()
            if count < self.faults_min
        ]
        return [*self.violations, *few, *seldom]


Part = Callable[[float, int, Tell], PartReport]
"""``part(amount, seed, tell)``: as much as ``amount`` asks for, in the part's own unit."""
