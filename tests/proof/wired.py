"""Days of two whole nodes, wired as the real ones are, on a virtual clock.

Theory of operation. What the pure simulator does not have: tasks. A story
(``tests/wired/story.py``) hangs up on the node, shuts a part of it, stops, cancels and starts it
wherever its tasks are just then. The seed draws the story and the order in which trio runs tasks,
so a story that breaks is broken again by its number.
"""

import time
from collections import Counter

import structlog
import trio

from tests.proof.report import PartReport, Tell
from tests.wired.story import day_of

_INVARIANTS = ("I1", "I2", "I3", "I5", "I10", "I11", "I12")
# A turn of the rarest kind comes twice in a story.
_FAULTS_MIN_PER_STORY = 0.5


def run(amount: float, seed: int, tell: Tell) -> PartReport:
    """So many stories, one to a seed."""
    began = time.monotonic()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    turns: Counter[str] = Counter()
    violations: list[str] = []
    stories = checks = compared = lines = 0
    for number in range(seed, seed + int(amount)):
        stories += 1
        try:
            day = day_of(number)
        except Exception as broken:  # noqa: BLE001 - whatever ends a story early is a finding
            violations += [f"{words}; again: {_again(number)}" for words in _said(broken)]
        else:
            turns.update(day.turns)
            checks, compared = checks + day.checks, compared + day.compared
            lines += len(day.trace.lines)
        tell(f"{stories} of {amount:g} stories, {len(violations)} violations")
    return PartReport(
        part="wired",
        invariants=_INVARIANTS,
        seed=seed,
        made={"stories": stories, "keys at both ends": compared, "steps traced": lines},
        checks=checks,
        faults=dict(sorted(turns.items())),
        faults_min=int(_FAULTS_MIN_PER_STORY * amount),
        violations=tuple(violations),
        seconds=time.monotonic() - began,
    )


def _again(seed: int) -> str:
    return f"python -m tests.wired.story {seed}"


def _said(broken: BaseException) -> list[str]:
    """What broke, each beginning with an invariant: a node that ends by itself, or a wait without
    an end, is no progress."""
    if isinstance(broken, BaseExceptionGroup):
        return [words for each in broken.exceptions for words in _said(each)]
    if isinstance(broken, trio.TooSlowError):
        return ["I12 what was waited for did not come"]
    words = str(broken)
    return [words if words.startswith("I") and words[1:2].isdigit() else f"I12 {broken!r:.300}"]
