"""Devices that are stuck: both ends give the same wrong bits, and only the nodes can notice."""

import pytest

from kms.domain import blockintake
from kms.domain.sanity import BlocksSeen
from kms.simulation.devices import STUCK_MOODS
from kms.simulation.faults.devices import Stuck
from tests.simulation.planted import LINK, violation

pytestmark = pytest.mark.slow
PATTERN, AGAIN = STUCK_MOODS


def stuck(mood: str) -> list[Stuck]:
    return [Stuck(at_ms=at, link=LINK, mood=mood) for at in range(20_000, 100_000, 10_000)]


def test_a_stuck_device_costs_blocks_and_no_invariant() -> None:
    assert violation(*stuck(PATTERN), *stuck(AGAIN), calm_minutes=4) == ""


def test_i1_finds_bits_that_both_ends_take_under_two_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BlocksSeen, "came_before", lambda self, digest, block_id: False)

    assert violation(*stuck(AGAIN), minutes=15).startswith("I1 bits used twice")


def test_i1_finds_patterns_that_both_ends_take_for_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blockintake, "repeats_within", lambda bits: False)

    assert violation(*stuck(PATTERN), minutes=15).startswith("I1 ")
