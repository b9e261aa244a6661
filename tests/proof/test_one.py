"""A part in a process of its own: what is known of it when it dies, and what it is slow at."""

import json
import sys

import pytest

from tests.proof import one, simulated
from tests.proof.__main__ import _one
from tests.proof.page import Done, markdown, table
from tests.proof.report import PartReport, Tell
from tests.proof.tiers import Tier


def run_one(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["one", *words])
    return one.main()


def test_a_part_that_dies_says_of_what_and_how_far_it_had_come_in_its_last_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def dies(amount: float, seed: int, tell: Tell) -> PartReport:
        tell("11 of 50 hours, 0 violations")
        tell("12 of 50 hours, 0 violations")
        raise AssertionError("left\n  right")

    monkeypatch.setattr(one, "part", lambda name: dies)
    status = run_one(monkeypatch, "simulated")
    last = capsys.readouterr().err.splitlines()[-1]

    assert status == 1
    assert last == (
        "FAILED simulated died of AssertionError: left right; "
        "it had come to: 12 of 50 hours, 0 violations"
    )


def test_a_report_is_read_as_it_was_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = PartReport(
        part="flips",
        invariants=("I4",),
        seed=1,
        made={"frames": 3},
        checks=3,
        table=(("head",), ("row",)),
        warnings=("slow",),
        seconds=1.0,
    )
    monkeypatch.setattr(one, "part", lambda name: lambda amount, seed, tell: report)
    status = run_one(monkeypatch, "flips", "--amount", "3")

    assert status == 0
    assert one.read(capsys.readouterr().out) == report


@pytest.mark.slow
def test_the_tier_tells_why_a_part_has_no_report() -> None:
    """A part that cannot begin: an amount that is no whole number of hours."""
    said: list[str] = []
    done = _one("simulated", Tier.COMMIT, float("nan"), 1, said.append)

    assert done.report is None
    assert "died of ValueError" in done.failures[0]
    assert "it had come to: nothing" in said[-1]


@pytest.mark.slow
def test_a_slow_machine_is_warned_of_and_fails_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulated, "EVENTS_PER_SECOND_MIN", 10**9)
    report = simulated.run(1, 1, lambda _: None)
    done = [Done(name="simulated", amount=1, report=report, failures=[])]
    rate = "events per second of one processor, checkers on"

    assert report.violations == ()
    assert report.measured[rate] == report.measured[f"{rate}, two-nodes"] > 0
    assert json.loads(json.dumps(report.measured)) == report.measured
    assert f"WARNING simulated: {rate}" in table(Tier.COMMIT, done, 1.0)
    assert f"- simulated: {rate}" in markdown(Tier.COMMIT, done, 1.0)
    monkeypatch.setattr(simulated, "EVENTS_PER_SECOND_MIN", 1)
    assert simulated._slow({rate: 2}) == ()
