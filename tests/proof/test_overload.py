"""Overload for some seconds; and what it must find in nodes with a mistake."""

import subprocess
import sys
from pathlib import Path

import pytest

from kms.demo.processes import Processes
from tests.proof import overload

SECONDS = 5

pytestmark = [pytest.mark.processes, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overload, "WARM_UP_S", 5.0)
    monkeypatch.setattr(overload, "report_figures", lambda seed: ([], {}))


def test_ten_times_the_demand_is_refused_in_order_and_costs_no_memory() -> None:
    report = overload.run(SECONDS, 1, lambda _: None)
    # What a machine that does other things manages to ask is not what is tried here.
    found = [each for each in report.failures(SECONDS) if "nothing was tried" not in each]

    assert found == []
    assert report.made["keys"] > 0


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
    found = overload.run(SECONDS, 1, lambda _: None).violations

    assert any(each.startswith("I8 ") and "grew by" in each for each in found), found[:5]
    assert all("again: " in each for each in found)
