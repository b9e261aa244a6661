"""The part that tears stores: it passes, and finds a store that writes in the wrong order."""

from collections.abc import Iterable
from typing import Any

import pytest

from kms.adapters.store_sqlite import engine, slots, unit
from kms.domain.errors import StoreFault
from tests.proof import tears, torn
from tests.proof.scenes import FILES
from tests.proof.tears import changed


def quiet(line: str) -> None:
    """Nobody listens."""


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some of each scene; the whole tail is the proof's."""
    monkeypatch.setattr(torn, "TEARS_PER_SCENE", 30)
    monkeypatch.setattr(torn, "WHOLE_TAIL_BYTES_MAX", 0)


@pytest.mark.slow
@pytest.mark.usefixtures("few")
def test_whatever_is_torn_what_was_acknowledged_is_kept() -> None:
    report = torn.run(240, seed=3, tell=quiet)

    assert report.failures(240) == []
    assert report.made["of them with a node that went on"] >= 8
    assert report.made["rotten stores"] > 20


@pytest.mark.slow
@pytest.mark.usefixtures("few")
def test_a_store_that_destroys_before_it_commits_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Planted: the old data keys go first; a crash then loses what was to stay."""
    real = engine.Engine._transact

    def hasty(self: engine.Engine, made: Any, put: Any, emptied: Any) -> None:
        self._slots.erase(draft.old.slot for draft in made.drafts.values() if draft.old)
        real(self, made, put, emptied)

    monkeypatch.setattr(engine.Engine, "_transact", hasty)
    report = torn.run(2_000, seed=1, tell=quiet)

    assert report.violations[0].startswith("I5 ")
    assert "tests.proof.torn seed 1 life" in report.violations[0]


@pytest.mark.slow
@pytest.mark.usefixtures("few")
def test_an_opening_that_leaves_data_keys_of_nobody_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = slots.SlotFile.settle

    def lazy(self: slots.SlotFile, live: set[int]) -> set[int]:
        with pytest.MonkeyPatch.context() as planted:
            planted.setattr(slots.SlotFile, "erase", _nothing)
            return real(self, live)

    monkeypatch.setattr(slots.SlotFile, "settle", lazy)
    report = torn.run(2_000, seed=1, tell=quiet)

    assert report.violations[0].startswith("I6 ")


def _nothing(self: slots.SlotFile, numbers: Iterable[int]) -> None:
    list(numbers)


@pytest.mark.slow
@pytest.mark.usefixtures("few")
def test_a_store_that_gives_out_what_does_not_verify_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Planted: bytes that fail their tag are handed out as they lie there."""
    real = unit.unseal

    def trusting(sealer: Any, text: bytes, slot: Any, bound: bytes) -> bytes:
        try:
            return real(sealer, text, slot, bound)
        except StoreFault:
            return text

    monkeypatch.setattr(engine, "unseal", trusting)
    report = torn.run(2_000, seed=1, tell=quiet)

    assert report.violations[0].startswith("I2 ")


@pytest.mark.slow
@pytest.mark.usefixtures("few")
def test_a_kind_of_tear_that_is_not_made_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tears, "WAYS", [way for way in tears.WAYS if "mixed" not in way.__name__])
    monkeypatch.setattr(torn, "STORES_PER_FAULT", 100)
    found = torn.run(100, seed=3, tell=quiet).failures(100)

    for name in FILES:
        assert any(f"fault {name} mixed fired 0 times of at least 1" in each for each in found)


def test_the_changed_bytes_are_those_from_the_first_to_the_last_that_differ() -> None:
    assert changed(b"abcdef", b"abXdYf") == (2, 5)
    assert changed(b"abc", b"abcdef") == (3, 6)
    assert changed(b"aXc", b"abcdef") == (1, 6)
    assert changed(b"Xbcdef", b"abcdeX") == (0, 6)
