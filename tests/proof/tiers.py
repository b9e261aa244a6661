"""How much of each part a tier asks for (one row a part; ``reliability`` figures of docs/proof.md).

A part is a function ``run(amount, seed, tell)`` in the module of its name: ``tests.proof.kills``.
"""

from enum import Enum
from importlib import import_module
from typing import Final

import attrs

from tests.proof.report import Part


class Tier(Enum):
    """Which column."""

    COMMIT = "commit"
    """every commit, inside the test command: ten minutes at most on two cores"""
    NIGHT = "night"
    """two hours at most on two cores"""
    RELEASE = "release"
    """a weekend"""


@attrs.frozen(kw_only=True)
class Row:
    """One part's amounts."""

    unit: str
    commit: float
    night: float
    release: float

    def amount(self, tier: Tier) -> float:
        return {Tier.COMMIT: self.commit, Tier.NIGHT: self.night, Tier.RELEASE: self.release}[tier]


ROWS: Final = {
    "simulated": Row(unit="simulated network-hours", commit=50, night=1_250, release=10_000),
    "wired": Row(unit="stories", commit=16, night=200, release=5_000),
    "kills": Row(unit="kills", commit=60, night=600, release=5_000),
    "torn": Row(unit="torn stores", commit=5_000, night=200_000, release=2_000_000),
    "restores": Row(unit="restored stores", commit=100, night=2_000, release=20_000),
    "destroyed": Row(unit="destroyed keys", commit=1_000, night=10_000, release=100_000),
    "identities": Row(unit="identity cases", commit=2_000, night=20_000, release=200_000),
    "flips": Row(unit="flipped bits", commit=10_000, night=1_000_000, release=10_000_000),
    "edits": Row(unit="journal edits", commit=200, night=10_000, release=100_000),
    "openings": Row(unit="hostile openings", commit=1_220, night=10_000, release=100_000),
    "overload": Row(unit="seconds of overload", commit=60, night=600, release=3_600),
    "promised": Row(unit="virtual seconds", commit=60, night=600, release=3_600),
    "fuzz": Row(unit="seconds per target", commit=20, night=540, release=86_400),
}

# What a part's commit amount takes on a slow, busy machine: past it (and as many times that as the
# amount is larger) it hangs. Longest first, as they are begun.
LONGEST_S: Final = {
    "simulated": 1_800,
    "kills": 1_200,
    "overload": 600,
    "torn": 900,
    "fuzz": 600,
    "identities": 600,
    "restores": 600,
    "openings": 600,
    "destroyed": 600,
    "flips": 300,
    "edits": 300,
    "wired": 300,
    "promised": 300,
}

TABLES: Final = {"promised": "kbit/s at 120 % of the link's rate"}
"""what a part's table shows"""


def part(name: str) -> Part:
    """The function that runs the part."""
    found: Part = import_module(f"tests.proof.{name}").run
    return found
