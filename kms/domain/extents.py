"""Where the bytes of a pad lie: agreed blocks, in the order of their offsets.

Offsets only grow within one secret. A burnt extent keeps its offsets: both ends step over it.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator

import attrs

from kms.domain import limits
from kms.domain.names import BlockId, MaterialId


@attrs.define(kw_only=True)
class Extent:
    """One agreed block's place in a pad."""

    seq: int
    start: int
    length: int
    block_id: BlockId
    material: MaterialId | None
    """None: burnt, at this end or the other"""

    @property
    def end(self) -> int:
        return self.start + self.length

    @property
    def unit(self) -> int:
        return limits.unit_bytes(self.length)


@attrs.frozen(kw_only=True)
class Part:
    """Whole units of one extent."""

    material: MaterialId
    offset: int
    """in the material"""
    length: int
    start: int
    """pad offset"""
    block_end: int
    """pad offset behind the whole extent"""


class Extents:
    """The extents of one pad that still hold bytes above the grant."""

    def __init__(self, end: int = 0) -> None:
        self.end = end
        """first offset after the last append"""
        self._extents: deque[Extent] = deque()
        self._usable = 0
        self._last_units: int | None = 0
        """what ``last_units`` says; None: to be counted"""

    def __iter__(self) -> Iterator[Extent]:
        return iter(self._extents)

    def append(self, extent: Extent) -> None:
        """The extent is last. Its start may leave a hole behind the one before, never overlap."""
        assert extent.start >= self.end, "I1 a pad's offsets only grow"
        self._extents.append(extent)
        self.end = extent.end
        self._usable += extent.length if extent.material else 0
        self._last_units = None

    def burn(self, start: int, length: int) -> list[Extent]:
        """Extents that touch the range hold no usable bytes; they, as they were."""
        # A neighbour may say many ranges in one frame: each is looked up, not searched for.
        touched = []
        for place in range(self._place(start), len(self._extents)):
            each = self._extents[place]
            if each.start >= start + length:
                break
            if each.material:
                touched.append(each)
        before = [attrs.evolve(each) for each in touched]
        for each in touched:
            each.material = None
            self._usable -= each.length
            self._last_units = None
        return before

    def unsettled_start(self, seq: int) -> int:
        """Where the first extent appended as ``seq`` or later begins; the end if there is none."""
        start = self.end
        for each in reversed(self._extents):
            if each.seq < seq:
                break
            start = each.start
        return start

    def _place(self, offset: int) -> int:
        """Of the first extent that ends above ``offset``."""
        return bisect_right(self._extents, offset, key=lambda each: each.end)

    def above(self, offset: int) -> int:
        """Usable bytes at or above ``offset``; quick when few extents lie below it."""
        below = 0
        for each in self._extents:
            if each.start >= offset:
                break
            if each.material:
                below += min(each.end, offset) - each.start
        return self._usable - below

    def last_units(self) -> int:
        """Bytes of the last ``limits.RESERVE_UNITS`` usable units, opened or not; where there are
        fewer, as if there were more like them."""
        if self._last_units is None:
            self._last_units = self._count_last_units()
        return self._last_units

    def _count_last_units(self) -> int:
        left, found, unit = limits.RESERVE_UNITS, 0, 0
        for each in reversed(self._extents):
            if each.material is None:
                continue
            unit = each.unit
            units = -(-each.length // unit)
            found += each.length - max(0, units - left) * unit
            left -= min(left, units)
            if not left:
                break
        return found + left * unit

    def step(self, offset: int, wanted: int, below: int) -> int:
        """The unit boundary above ``offset`` at which at least ``wanted`` usable bytes are
        passed, or the last one below ``below``; ``offset`` itself if there is nothing."""
        passed, reached = 0, offset
        for each in self._extents:
            if each.end <= offset:
                continue
            if each.end > below or passed >= wanted:
                break
            if each.material is None:
                continue
            inside = max(each.start, offset)
            missing = wanted - passed
            units = -(-(inside - each.start + missing) // each.unit)
            reached = min(each.start + units * each.unit, each.end)
            passed += reached - inside
        return reached

    def parts(self, start: int, stop: int) -> list[Part]:
        """What to open so that the usable bytes from ``start`` up to ``stop`` are in memory."""
        parts = []
        for each in self._extents:
            if each.start >= stop:
                break
            first, last = max(each.start, start), min(each.end, stop)
            if each.material and first < last:
                parts.append(
                    Part(
                        material=each.material,
                        offset=first - each.start,
                        length=last - first,
                        start=first,
                        block_end=each.end,
                    )
                )
        return parts

    def holes(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Start and length of what is burnt of ``start`` up to ``stop``."""
        found = []
        for each in self._extents:
            if each.start >= stop:
                break
            first, last = max(each.start, start), min(each.end, stop)
            if each.material is None and first < last:
                found.append((first, last - first))
        return found

    def spent_below(self, offset: int) -> list[Extent]:
        """Extents wholly below ``offset``, which are dropped from here."""
        spent = []
        while self._extents and self._extents[0].end <= offset:
            extent = self._extents.popleft()
            self._usable -= extent.length if extent.material else 0
            spent.append(extent)
        return spent

    def from_seq(self, seq: int) -> list[Extent]:
        """Extents appended as ``seq`` or later, which are dropped from here; offsets stay used."""
        dropped = [each for each in self._extents if each.seq >= seq]
        self._extents = deque(each for each in self._extents if each.seq < seq)
        self._usable -= sum(each.length for each in dropped if each.material)
        self._last_units = None
        return dropped
