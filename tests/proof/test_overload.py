"""Overload for some seconds; and what it must find in nodes with a mistake."""

import subprocess
import sys
from pathlib import Path

import pytest
import trio

from kms.demo.processes import Processes
from tests.proof import fairness, overload

SECONDS = 5

pytestmark = [pytest.mark.processes, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overload, "WARM_UP_S", 5.0)
    monkeypatch.setattr(fairness, "SECONDS_OF_A_REPORT", 10)


def test_ten_times_the_demand_is_refused_in_order_and_costs_no_memory() -> None:
    report = overload.run(SECONDS, 1, lambda _: None)

    assert report.failures(SECONDS) == []
    assert report.made["keys"] > 0
    assert report.measured["demand_times_rate"] >= 10
    assert report.measured["jain_min"] >= fairness.JAIN_MIN


def test_a_crowd_that_does_not_come_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overload, "_crowds", lambda *_: trio.sleep_forever())
    monkeypatch.setattr(overload, "report_figures", lambda seed: ([], {}))
    found = overload.run(SECONDS, 1, lambda _: None).failures(SECONDS)

    assert found == [f"fault {overload.SHUT_OUT} fired 0 times of at least 5: it was not tried"]


def test_a_node_that_keeps_everything_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def planted(self: Processes, name: str, command: str, config: Path) -> None:
        with self.log(name).open("ab") as log:
            self.running[name] = subprocess.Popen(
                [sys.executable, "-m", "tests.processes.planted", "leaks", command, config],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    monkeypatch.setattr(Processes, "_start", planted)
    monkeypatch.setattr(overload, "report_figures", lambda seed: ([], {}))
    found = overload.run(SECONDS, 1, lambda _: None).violations

    assert any(each.startswith("I8 ") and "grew by" in each for each in found), found[:5]
    assert all("again: " in each for each in found)
