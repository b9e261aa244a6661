"""Sets of indices as few half-open ranges: in order, and apart from one another.

Rules: pure functions over tuples; whatever ranges go in, the ones that come out are in order,
not empty, and neither overlap nor touch.
"""

from collections.abc import Iterable
from itertools import pairwise

Ranges = tuple[tuple[int, int], ...]
"""(first, end), ``end`` not in it"""


def union(*sets: Iterable[tuple[int, int]]) -> Ranges:
    """What is in any of them."""
    found: list[tuple[int, int]] = []
    for first, end in sorted(each for one in sets for each in one):
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        elif first < end:
            found.append((first, end))
    return tuple(found)


def minus(one: Ranges, other: Ranges) -> Ranges:
    """What is in ``one`` and not in ``other``; both in order and apart."""
    found: list[tuple[int, int]] = []
    for first, end in one:
        # The gaps of ``other``, cut to this range.
        edges = [(first, first), *other, (end, end)]
        for (_, left), (right, _) in pairwise(edges):
            if max(left, first) < min(right, end):
                found.append((max(left, first), min(right, end)))
    return tuple(found)


def overlap(one: Ranges, other: Ranges) -> Ranges:
    """What is in both."""
    return minus(one, minus(one, other))


def has(ranges: Ranges, index: int) -> bool:
    """Whether ``index`` is in one of them."""
    return any(first <= index < end for first, end in ranges)
