"""Which bytes of a unit are left: half-open ranges, in order, apart from each other.

Offsets count from the start of the material. No span is empty; no spans at all: all is wiped.
"""

import json
from itertools import pairwise

Spans = tuple[tuple[int, int], ...]


def subtract(spans: Spans, start: int, end: int) -> Spans:
    """What is left of ``spans`` without ``start`` to ``end``."""
    left: list[tuple[int, int]] = []
    for first, last in spans:
        if last <= start or end <= first or end <= start:
            left.append((first, last))
            continue
        if first < start:
            left.append((first, start))
        if end < last:
            left.append((end, last))
    return tuple(left)


def covers(spans: Spans, start: int, end: int) -> bool:
    """Whether every byte from ``start`` to ``end`` is left."""
    return any(first <= start and end <= last for first, last in spans)


def gaps(spans: Spans) -> Spans:
    """The wiped ranges between the first span and the last."""
    return tuple((one[1], next_[0]) for one, next_ in pairwise(spans))


def size(spans: Spans) -> int:
    """Bytes left."""
    return sum(last - first for first, last in spans)


def to_text(spans: Spans) -> str:
    return json.dumps(spans, separators=(",", ":"))


def from_text(text: str) -> Spans:
    """The spans, or ``ValueError`` if the text holds none, or none that can be."""
    value = json.loads(text)
    spans: list[tuple[int, int]] = []
    floor = -1
    for pair in value if isinstance(value, list) else [None]:
        match pair:
            case [int(first), int(last)] if floor < first < last:
                spans.append((first, last))
                floor = last
            case _:
                raise ValueError("no list of spans")
    if not spans:
        raise ValueError("no spans")
    return tuple(spans)
