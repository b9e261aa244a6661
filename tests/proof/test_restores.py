"""The part that restores stores: it passes, and finds a node that believes an old store."""

from typing import Any

import attrs
import pytest

from kms.domain import hello
from kms.domain.linkmemory import LinkMemory
from tests.proof import onfiles, restores


def quiet(line: str) -> None:
    """Nobody listens."""


@pytest.mark.slow
def test_whichever_end_is_old_nothing_is_used_twice() -> None:
    report = restores.run(15, seed=1, tell=quiet)

    assert report.failures(15) == []
    assert report.checks > 500
    assert report.made["keys compared"] > 50


@pytest.mark.slow
def test_a_kind_that_is_not_tried_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restores.Life, "_draw", lambda life: life.restore)
    found = restores.run(12, seed=1, tell=quiet).failures(12)

    assert found == [
        f"fault {kind} fired 0 times of at least 1: it was not tried"
        for kind in (restores.BOTH, restores.LEADER)
    ]


@pytest.mark.slow
def test_a_node_that_goes_on_where_its_old_store_stands_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Planted: after a restart both go on at the smaller recorded grant, not at the larger."""
    real = hello.settle

    def believing(memory: LinkMemory, mine: Any, theirs: Any, **rest: Any) -> hello.Outcome:
        outcome = real(memory, mine, theirs, **rest)
        if outcome.continuous:
            return outcome
        return attrs.evolve(
            outcome,
            writer_start=_lower(memory.writer.direction, mine, theirs),
            reader_start=_lower(memory.reader.direction, mine, theirs),
        )

    monkeypatch.setattr(hello, "settle", believing)
    report = restores.run(100, seed=1, tell=quiet)

    assert report.violations[0].startswith("I1 ")
    assert "tests.proof.restores seed 1 life" in report.violations[0]


@pytest.mark.slow
def test_both_ends_put_back_together_and_nobody_who_remembers_are_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Planted: the witnesses are not asked. (No node can see this from within.)"""
    monkeypatch.setattr(
        onfiles.FileSite,
        "watched",
        property(lambda site: False, lambda site, value: None),
        raising=False,
    )
    report = restores.run(200, seed=1, tell=quiet)

    assert report.violations[0].startswith(("I1 ", "I2 "))


def _lower(direction: Any, mine: Any, theirs: Any) -> int:
    views = [hello._of(each, direction) for each in (mine, theirs)]
    return min(view.granted for view in views)
