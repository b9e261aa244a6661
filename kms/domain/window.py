"""Opened pad bytes in memory: the part of a pad that is ready to be used, once.

Bytes come in by the unit, in any order, and leave from the front only. What is skipped is burnt:
wiped here, and already unreadable in the files (they were opened by ``TakeMaterial``).
"""

from bisect import bisect_left, bisect_right

import attrs

from kms.domain.secret import Secret, zero


@attrs.define
class _Piece:
    """Bytes ``start`` up to ``end`` of the pad; below ``first`` they are gone (zero)."""

    start: int
    bits: bytearray
    first: int

    @property
    def end(self) -> int:
        return self.start + len(self.bits)

    def drop_below(self, mark: int) -> None:
        mark = min(mark, self.end)
        if mark > self.first:
            zero(memoryview(self.bits)[self.first - self.start : mark - self.start])
            self.first = mark

    def without(self, first: int, last: int) -> list["_Piece"]:
        """What is left of the piece, as none, one or two; the bytes between are wiped. The larger
        side stays where it is: cutting a piece up costs little however often it is done."""
        if last == self.end:
            return [self] if self._drop_above(first) else []
        if first - self.first <= self.end - last:
            left = self._copy(self.first, first)
            self.drop_below(last)
            return [left, self] if len(left.bits) else [self]
        right = self._copy(last, self.end)
        self._drop_above(first)
        return [self, right]

    def _copy(self, first: int, last: int) -> "_Piece":
        bits = self.bits[first - self.start : last - self.start]
        return _Piece(start=first, bits=bits, first=first)

    def _drop_above(self, offset: int) -> bool:
        """Whether anything is left."""
        zero(memoryview(self.bits)[offset - self.start :])
        del self.bits[offset - self.start :]
        return self.first < self.end


class Window:
    """Pieces of a pad, ordered by offset, never overlapping, all above ``mark``."""

    def __init__(self, mark: int = 0) -> None:
        self.mark = mark
        """I1: the next offset that may still be used; only grows"""
        self._pieces: list[_Piece] = []
        self.held = 0
        """bytes ready, in one run or several"""
        self._run: int | None = 0
        """length of the first run; None: to be counted"""
        self.burnt_bytes = 0
        """skipped without use"""

    def add(self, start: int, bits: Secret) -> None:
        """The bytes at ``start`` are ready, ``bits`` is wiped; what is below the mark is burnt."""
        piece = _Piece(start=start, bits=bytearray(bits.expose()), first=start)
        bits.wipe()
        piece.drop_below(self.mark)
        if piece.first == piece.end:
            return
        at = bisect_left(self._pieces, start, key=lambda each: each.start)
        assert at == 0 or self._pieces[at - 1].end <= start, "I1 pad opened twice"
        assert at == len(self._pieces) or piece.end <= self._pieces[at].start, "I1 opened twice"
        self._pieces.insert(at, piece)
        self.held += piece.end - piece.first
        self._run = None

    def run(self) -> int:
        """Bytes ready in one run from the first ready one on."""
        if self._run is None:
            self._run = self._count_run()
        return self._run

    def _count_run(self) -> int:
        if not self._pieces:
            return 0
        end = self._pieces[0].end
        for piece in self._pieces[1:]:
            if piece.first != end:
                break
            end = piece.end
        return end - self._pieces[0].first

    def longest_run(self) -> int:
        """Bytes of the longest run."""
        longest, start, end = 0, 0, -1
        for piece in self._pieces:
            if piece.first != end:
                start = piece.first
            end = piece.end
            longest = max(longest, end - start)
        return longest

    def behind_a_hole(self) -> bool:
        """Whether more bytes are ready after the first run."""
        return self.held > self.run()

    def drop(self, start: int, end: int) -> None:
        """The bytes from ``start`` up to ``end`` are burnt; the mark stays."""
        if end <= start:
            return
        # A neighbour may say many ranges in one frame: pieces are looked up, not searched for.
        low = bisect_right(self._pieces, start, key=lambda each: each.end)
        high = bisect_left(self._pieces, end, lo=low, key=lambda each: each.first)
        kept: list[_Piece] = []
        for piece in self._pieces[low:high]:
            first, last = max(piece.first, start), min(piece.end, end)
            self.burnt_bytes += last - first
            self.held -= last - first
            kept += piece.without(first, last)
        self._pieces[low:high] = kept
        self._run = None

    def skip_run(self) -> None:
        """The first run is burnt: the next one begins behind the hole."""
        if self._pieces:
            self.advance(self._pieces[0].first + self.run())

    def take(self, length: int) -> tuple[int, Secret]:
        """Offset and bytes from the front; they are gone from here, and the mark is past them."""
        assert 0 < length <= self.run(), "I1 take only what is ready"
        start = self._pieces[0].first
        assert start >= self.mark, "I1 pad range below the mark"
        bits = self.peek(start, length)
        assert bits is not None, "run() counted these bytes"
        self.advance(start + length, used=length)
        return start, bits

    def peek(self, start: int, length: int) -> Secret | None:
        """A copy of the bytes at ``start``, or None unless all of them are ready."""
        if start < self.mark or not 0 <= length <= self.held:
            return None
        result, filled = bytearray(length), 0
        for piece in self._pieces:
            at = start + filled
            if filled == length or piece.first > at:
                break
            if piece.end > at:
                count = min(piece.end - at, length - filled)
                offset = at - piece.start
                result[filled : filled + count] = piece.bits[offset : offset + count]
                filled += count
        return Secret.adopt(result) if filled == length else None

    def advance(self, mark: int, *, used: int = 0) -> None:
        """The mark is at least ``mark``; everything below is wiped here. ``used``: how much of it
        was not burnt."""
        if mark <= self.mark:
            return
        self.burnt_bytes += mark - self.mark - used
        self.mark = mark
        gone = dropped = 0
        for piece in self._pieces:
            if piece.first >= mark:
                break
            before = piece.first
            piece.drop_below(mark)
            dropped += piece.first - before
            gone += piece.first == piece.end
        del self._pieces[:gone]
        self.held -= dropped
        if self._run is not None:
            self._run = self._run - dropped if dropped < self._run else None
