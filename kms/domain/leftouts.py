"""Keys that a slave leaves out: they wait below others that it fetched, each stretch a run to keep.

A slave may fetch in any order. What it never asks for costs memory until its TTL ends, so there is
a number of such stretches, and then the oldest go: else they would stand in the way of newer keys.
"""

from collections.abc import Sequence

from kms.domain.keyruns import KeyRuns
from kms.domain.lifecycle import KeyState
from kms.domain.run import Span, span_of


def left_out(runs: KeyRuns, taken: Sequence[Span], most: int) -> list[Span]:
    """Once ``taken``, which wait and are in order, were delivered: all that waits below something
    that does not, but for the newest ``most`` stretches of it."""
    if (len(runs) + 1) // 2 + len(taken) <= most:
        return []
    stretches: list[list[Span]] = []
    place, goes_on = 0, False
    for run in runs:
        if run.state is not KeyState.PRE_ACTIVATION:
            goes_on = False
            continue
        index = run.first
        while index < run.end:
            span = taken[place] if place < len(taken) else None
            end = run.end if span is None else min(span.first, run.end)
            if index < end:
                if not goes_on:
                    stretches.append([])
                stretches[-1].append(span_of(run, index, end))
                goes_on = True
            if span is None or span.first >= run.end:
                break
            index, place, goes_on = span.first + span.count, place + 1, False
    if goes_on:
        stretches.pop()
    return [span for each in stretches[: max(0, len(stretches) - most)] for span in each]
