"""The part that edits journals: it passes, and would not if the verifier looked away."""

import json
from pathlib import Path

import pytest

from kms.adapters import journal_chain
from kms.domain.audit import AuditEntry, AuditRecord
from tests.proof import edits


def quiet(line: str) -> None:
    """Nobody listens."""


@pytest.mark.slow
def test_every_edit_of_a_journal_is_found() -> None:
    report = edits.run(132, seed=1, tell=quiet)

    assert report.failures(132) == []
    assert report.made["journal edits"] == 132
    assert report.faults_min == 8
    assert 0 < report.measured["found only by a head kept elsewhere"] < 44


@pytest.mark.slow
def test_a_verifier_that_does_not_compare_hashes_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Planted: any line that can be read counts as a record."""

    def believing(line: bytes) -> AuditRecord:
        try:
            number, previous, entry, claimed = json.loads(line)
            return AuditRecord(
                number=number, previous=previous, entry=AuditEntry(**entry), hash=claimed
            )
        except TypeError:
            raise ValueError("is not an audit record") from None

    monkeypatch.setattr(journal_chain, "decode", believing)
    report = edits.run(132, seed=1, tell=quiet)

    assert report.violations[0].startswith("I11 ")
    assert "edits seed 1" in report.violations[0]


@pytest.mark.slow
def test_a_verifier_that_ignores_heads_kept_elsewhere_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = journal_chain.verify_file

    def deaf(path: Path, *, heads: object = ()) -> journal_chain.AuditReport:
        return real(path)

    monkeypatch.setattr(edits, "verify_file", deaf)
    report = edits.run(132, seed=1, tell=quiet)

    assert any("even with a head kept elsewhere" in each for each in report.violations)


@pytest.mark.slow
def test_a_way_of_editing_that_is_not_tried_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(edits.WAYS, "chained anew")
    found = edits.run(132, seed=1, tell=quiet).failures(132)

    assert found == ["fault chained anew fired 0 times of at least 8: it was not tried"]
