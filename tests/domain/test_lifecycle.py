"""Every cell of the life-cycle table, and the figure drawn from it."""

import runpy
from pathlib import Path

import pytest

from kms.domain.errors import LocalFault
from kms.domain.keyruns import KeyRuns
from kms.domain.lifecycle import TRANSITIONS, KeyEvent, KeyState, after
from kms.domain.moment import Moment
from kms.domain.names import MaterialId
from kms.domain.records import KeyRunRecord
from kms.domain.run import Span
from tests.domain.streams_play import KNOWN

FIGURES = Path(__file__).parents[2] / "docs" / "figures"
# SP 800-57 Part 1 section 7, written down again here so that a slip of the table shows.
LISTED = {
    ("pre-activation", "deliver"): "active",
    ("pre-activation", "compromise"): "compromised",
    ("pre-activation", "destroy"): "destroyed",
    ("active", "suspend"): "suspended",
    ("active", "deactivate"): "deactivated",
    ("active", "compromise"): "compromised",
    ("active", "destroy"): "destroyed",
    ("suspended", "resume"): "active",
    ("suspended", "deactivate"): "deactivated",
    ("suspended", "compromise"): "compromised",
    ("suspended", "destroy"): "destroyed",
    ("deactivated", "compromise"): "compromised",
    ("deactivated", "destroy"): "destroyed",
    ("compromised", "destroy"): "destroyed",
}
CELLS = [(state, event) for state in KeyState for event in KeyEvent]


@pytest.mark.parametrize(("state", "event"), CELLS)
def test_every_cell_of_the_table(state: KeyState, event: KeyEvent) -> None:
    expected = LISTED.get((state.value, event.value))
    if expected is not None:
        assert expected == after(state, event).value
        return
    with pytest.raises(LocalFault):
        after(state, event)


@pytest.mark.parametrize(("state", "event"), CELLS)
def test_what_the_table_forbids_changes_no_run(state: KeyState, event: KeyEvent) -> None:
    material = None if state is KeyState.DESTROYED else MaterialId("m")
    record = KeyRunRecord(
        ksid=KNOWN,
        first=0,
        count=4,
        state=state,
        material=material,
        material_first=0,
        created_ms=0,
        expires_ms=None,
        since_ms=0,
        reason="",
    )
    runs = KeyRuns(KNOWN, [record])
    before = [(run.first, run.count, run.state) for run in runs]
    span = Span(first=1, count=1, material=MaterialId("m"), material_first=0)
    now = Moment(mono_ms=1, wall_ms=1)
    if event in TRANSITIONS[state]:
        runs.move(span, event, now=now, reason="test")
        moved = runs.at(1)

        assert moved is not None
        assert after(state, event) is moved.state
        return
    with pytest.raises(LocalFault):
        runs.move(span, event, now=now, reason="test")

    assert before == [(run.first, run.count, run.state) for run in runs]


def test_the_figure_is_the_table() -> None:
    drawn = runpy.run_path(str(FIGURES / "draw_lifecycle.py"))["draw"]()

    assert drawn == (FIGURES / "lifecycle.mmd").read_text(encoding="utf-8")
    assert drawn in (FIGURES.parent / "lifecycle.md").read_text(encoding="utf-8")
