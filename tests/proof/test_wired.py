"""Stories as a part of the proof; and what they must find in a shell with a mistake."""

from collections.abc import Callable
from contextlib import nullcontext

import pytest

from kms.domain.requests import Reply
from kms.shell import pump, running
from kms.shell.pump import Pump
from tests.proof import wired

STORIES = 2

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def test_stories_keep_the_invariants_and_count_what_they_did() -> None:
    report = wired.run(STORIES, 1, lambda _: None)

    assert report.violations == ()
    assert report.made["stories"] == STORIES
    assert len(report.faults) > 8
    assert report.checks > 4 * report.made["keys at both ends"]


# ---- planted --------------------------------------------------------------------------------


def _closes_without_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that stops waits for whatever hangs."""
    monkeypatch.setattr(running, "CLOSE_S", 1_000.0)


def _waits_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that answers nothing is waited for."""
    monkeypatch.setattr(pump, "disk_time", nullcontext)


def _forgets_a_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """One answer in ten wakes nobody."""
    real, answers = Pump._answer, list[int]()

    def answer(self: Pump, request_id: int, reply: Reply) -> None:
        answers.append(request_id)
        if len(answers) % 10:
            real(self, request_id, reply)

    monkeypatch.setattr(Pump, "_answer", answer)


@pytest.mark.parametrize(
    ("plant", "words"),
    [
        (_closes_without_a_bound, "I12 "),
        (_waits_for_the_disk, "I12 "),
        (_forgets_a_caller, "I10 a caller was not answered"),
    ],
)
def test_a_planted_mistake_is_found_and_played_again_by_its_seed(
    plant: Callable[[pytest.MonkeyPatch], None], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    found = wired.run(STORIES, 1, lambda _: None).violations

    assert any(each.startswith(words) for each in found), found
    assert all("; again: python -m tests.wired.story " in each for each in found)
