"""Draws docs/figures/lifecycle.mmd from the table in kms/domain/lifecycle.py.

    python docs/figures/draw_lifecycle.py

A test compares the committed figure with what this draws, so picture and table cannot part.
"""

from pathlib import Path

from kms.domain.lifecycle import TRANSITIONS, KeyState

FIGURE = Path(__file__).with_name("lifecycle.mmd")


def draw() -> str:
    """The figure, in Mermaid."""
    lines = ["stateDiagram-v2", f"    [*] --> {_name(KeyState.PRE_ACTIVATION)} : designate"]
    for state, moves in TRANSITIONS.items():
        lines += [
            f"    {_name(state)} --> {_name(to)} : {event.value}" for event, to in moves.items()
        ]
    lines += [f"    {_name(state)} --> [*]" for state, moves in TRANSITIONS.items() if not moves]
    return "\n".join(lines) + "\n"


def _name(state: KeyState) -> str:
    return state.value.replace("-", "_")


if __name__ == "__main__":
    FIGURE.write_text(draw(), encoding="utf-8")
