"""The part that looks for destroyed keys: it finds none, and would find what was left behind."""

import base64
import random
from collections.abc import Iterable
from uuid import UUID

import pytest

from kms.adapters.store_sqlite import slots
from kms.domain import limits
from kms.domain.bundle import Bundle
from kms.domain.bundles import Bundles
from kms.domain.effects import Effect, StoreMaterial
from kms.domain.names import KSID
from tests.proof import destroyed, onfiles
from tests.proof.destroyed import found
from tests.proof.keysheld import Key

KINDS = ("streams", "pairs", "bundles")


def quiet(line: str) -> None:
    """Nobody listens."""


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(destroyed, "KEYS_PER_LIFE", 100)


@pytest.mark.slow
@pytest.mark.usefixtures("few")
def test_no_destroyed_key_is_in_the_files() -> None:
    report = destroyed.run(50, seed=1, tell=quiet)

    assert report.failures(50) == []
    assert report.measured["slots opened"] > 50
    assert report.measured["keys delivered"] > 20
    assert report.measured["keys compared at master and slave"] > 5
    assert min(report.faults[f"destroyed keys of {each}"] for each in KINDS) > 5


@pytest.mark.slow
@pytest.mark.usefixtures("few")
def test_a_wipe_that_forgets_the_slot_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: the row goes, the data key stays."""

    def forgetful(self: slots.SlotFile, numbers: Iterable[int]) -> None:
        list(numbers)

    monkeypatch.setattr(slots.SlotFile, "erase", forgetful)
    report = destroyed.run(50, seed=1, tell=quiet)

    assert report.violations[0].startswith("I6 ")
    assert "is readable in slot" in report.violations[0]
    assert "tests.proof.destroyed seed 1 life 0" in report.violations[0]


@pytest.mark.slow
@pytest.mark.usefixtures("few")
def test_a_wipe_that_comes_too_late_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: of a unit that was delivered in part, nothing goes for an hour."""
    monkeypatch.setattr(limits, "DESTROY_WITHIN_MS", 3_600_000)
    monkeypatch.setattr(destroyed, "MINUTE_MS", 60_000)
    report = destroyed.run(50, seed=1, tell=quiet)

    assert any("a minute after delivery" in each for each in report.violations)


@pytest.mark.slow
@pytest.mark.usefixtures("few")
def test_entrusted_keys_that_are_not_wiped_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: the record of a bundle says that it is over, and nothing is done."""
    monkeypatch.setattr(Bundles, "_wipe", lambda *_: None)
    report = destroyed.run(50, seed=1, tell=quiet)

    assert any("is readable in slot" in each for each in report.violations)


@pytest.mark.slow
@pytest.mark.usefixtures("few")
def test_entrusted_keys_whose_time_never_ends_are_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Planted: what no slave fetches stays; every key's time is five seconds."""
    monkeypatch.setattr(destroyed, "_KEYS_TTLS_S", (5,))
    monkeypatch.setattr(Bundle, "expired", lambda *_: False)
    report = destroyed.run(50, seed=1, tell=quiet)

    assert any("a minute after its time" in each for each in report.violations)


@pytest.mark.slow
@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("kind", ["chunks/", "entrusted/"])
def test_a_journal_that_notes_keys_is_found_out(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: keys are written beside their entries, in base64."""
    commit = onfiles.FileDisk.commit

    def talkative(self: onfiles.FileDisk, effects: Iterable[Effect]) -> None:
        effects = list(effects)
        with (self.home / onfiles.JOURNAL).with_suffix(".notes").open("ab") as notes:
            for effect in effects:
                if isinstance(effect, StoreMaterial) and effect.material.startswith(kind):
                    notes.write(base64.b64encode(bytes(effect.bits.expose())) + b"\n")
        commit(self, effects)

    monkeypatch.setattr(onfiles.FileDisk, "commit", talkative)
    report = destroyed.run(50, seed=1, tell=quiet)

    assert "is readable in audit.notes" in report.violations[0]


@pytest.mark.parametrize("shift", range(3))
@pytest.mark.parametrize("spelling", ["bits", "hex", "HEX", "base64", "base64url"])
def test_the_search_finds_a_key_in_any_spelling(spelling: str, shift: int) -> None:
    bits = random.Random(shift).randbytes(32)
    key = Key(KSID(UUID(int=1)), 3, bits)
    shifted = bytes(shift) + bits + b"rest"
    spelt = {
        "bits": bits,
        "hex": bits.hex().encode(),
        "HEX": bits.hex().upper().encode(),
        "base64": base64.b64encode(shifted),
        "base64url": base64.urlsafe_b64encode(shifted),
    }[spelling]
    noise = random.Random(9).randbytes(5000)

    for at in range(20):
        assert list(found([key], {"file": noise[:at] + spelt + noise})) == [(key, "file")]
    assert list(found([key], {"file": noise, "short": b"x", "none": b""})) == []
