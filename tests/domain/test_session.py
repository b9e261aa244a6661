"""Every cell of the session table: what follows, or the neighbour at fault and nothing changed."""

import pytest

from kms.domain.errors import PeerFault
from kms.domain.session import STEPS, Phase, Step, after

FORBIDDEN = [(phase, step) for phase in Phase for step in Step if step not in STEPS[phase]]


def test_the_table_is_this_one() -> None:
    shown = {
        phase.value: {step.value: STEPS[phase][step].value for step in STEPS[phase]}
        for phase in Phase
    }
    anywhere = {"connect": "greeting", "lose": "down"}

    assert {
        "down": anywhere,
        "greeting": {"hello in": "settling", **anywhere},
        "settling": {"welcome out": "waiting", "welcome in": "welcomed", **anywhere},
        "welcomed": {"welcome out": "up", **anywhere},
        "waiting": {"welcome in": "up", **anywhere},
        "up": anywhere,
    } == shown


@pytest.mark.parametrize(("phase", "step"), FORBIDDEN)
def test_a_step_that_the_table_does_not_list_is_the_neighbours_fault(
    phase: Phase, step: Step
) -> None:
    with pytest.raises(PeerFault, match=f"{step.value} while {phase.value}"):
        after(phase, step)


def test_up_is_reached_only_over_both_welcomes() -> None:
    """Every way from greeting to up says and hears a welcome, in either order."""
    ways: list[list[tuple[Phase, tuple[Step, ...]]]] = [[(Phase.GREETING, ())]]
    found: set[tuple[Step, ...]] = set()
    for _ in range(4):
        ways.append(
            [
                (STEPS[phase][step], (*steps, step))
                for phase, steps in ways[-1]
                for step in STEPS[phase]
                if step not in (Step.CONNECT, Step.LOSE)
            ]
        )
        found |= {steps for phase, steps in ways[-1] if phase is Phase.UP}

    assert {
        (Step.HELLO_IN, Step.WELCOME_OUT, Step.WELCOME_IN),
        (Step.HELLO_IN, Step.WELCOME_IN, Step.WELCOME_OUT),
    } == found
