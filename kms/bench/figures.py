"""What a run found, and what it was found on."""

import os
import platform
import sqlite3
import statistics
import subprocess
from collections.abc import Sequence
from pathlib import Path

import attrs

from kms import __version__

MBIT = 1_000_000


@attrs.frozen(kw_only=True)
class Figure:
    """One figure and its floor, medians of the same run."""

    name: str
    """the scenario, as in ``--only``"""
    what: str
    measured: float
    unit: str
    """Mbit/s, keys/s or us"""
    floor: float | None = None
    floor_what: str = ""
    published: float | None = None
    """Mbit/s on other hardware (Takahashi et al. 2019), to compare with"""
    per_cpu_s: float | None = None
    """the same figure for each second of one node's processor time: what a node with cores of its
    own would reach if nothing but the processor held it up"""
    detail: str = ""

    @property
    def share(self) -> float | None:
        """Of the floor: for a rate the part of it that is reached, for a cost how many times it
        costs."""
        return self.measured / self.floor if self.floor else None


@attrs.frozen(kw_only=True)
class Machine:
    """What was measured on."""

    cpus: int
    cpu: str
    python: str
    sqlite: str
    version: str
    revision: str
    """of the source, if it is a work tree; ``+`` when files differ from it"""


@attrs.frozen(kw_only=True)
class Report:
    """One run."""

    machine: Machine
    quick: bool
    block_bytes: int
    figures: tuple[Figure, ...]
    seconds: float

    def fields(self) -> dict[str, object]:
        """For ``--json``."""
        return {
            "machine": attrs.asdict(self.machine),
            "quick": self.quick,
            "block_bytes": self.block_bytes,
            "seconds": round(self.seconds, 1),
            "figures": [attrs.asdict(each) | {"share": each.share} for each in self.figures],
        }


def mbit_s(size_bytes: float, seconds: float) -> float:
    """The rate."""
    return 8 * size_bytes / seconds / MBIT if seconds > 0 else 0.0


def median(values: Sequence[float]) -> float:
    """Of a few rounds; 0 of none."""
    return statistics.median(values) if values else 0.0


def this_machine() -> Machine:
    """As far as the system says."""
    return Machine(
        cpus=len(os.sched_getaffinity(0)),
        cpu=_cpu(),
        python=platform.python_version(),
        sqlite=sqlite3.sqlite_version,
        version=__version__,
        revision=_revision(),
    )


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _revision() -> str:
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return ""
    try:
        found = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty=+"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""  # No git here: the version says which release it is.
    return found.stdout.strip()
