"""What was broken once stays mended: every seed of ``seeds.toml``, played again."""

import tomllib
from pathlib import Path

import attrs
import pytest
from cattrs import structure

from kms.simulation.checkers import ALL
from kms.simulation.run import run
from kms.simulation.topology import named
from tests.sim.history import lives
from tests.sim.test_histories import PROFILES


@attrs.frozen(kw_only=True)
class Life:
    """One of ``tests.sim.history``."""

    profile: str
    seed: int
    found: str


@attrs.frozen(kw_only=True)
class History:
    """One of ``kms sim``."""

    topology: str
    seed: int
    hours: float
    found: str


_FILE = tomllib.loads((Path(__file__).parent / "seeds.toml").read_text())
LIVES = [structure(each, Life) for each in _FILE["life"]]
HISTORIES = [structure(each, History) for each in _FILE["history"]]


@pytest.mark.slow
@pytest.mark.parametrize("life", LIVES, ids=lambda life: f"{life.profile}-{life.seed}")
def test_a_life_that_was_broken_once_stays_mended(life: Life) -> None:
    assert lives(life.seed, PROFILES[life.profile]).ledger.checks, life.found


@pytest.mark.slow
@pytest.mark.parametrize("history", HISTORIES, ids=lambda each: f"{each.topology}-{each.seed}")
def test_a_history_that_was_broken_once_stays_mended(history: History) -> None:
    played = run(named(history.topology), history.seed, history.hours, checkers=ALL)

    assert played.violation == "", history.found
