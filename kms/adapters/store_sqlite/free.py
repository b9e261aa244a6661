"""Free space of a file, counted in cells: first fit, and neighbours grow together again.

Cells come back only when the transaction that gave them up is durable; who frees, sees to that.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable


class FreeSpace:
    """Cells 0 to ``total`` - 1; all of them used, until they are freed."""

    def __init__(self) -> None:
        self.total = 0
        self._runs: list[tuple[int, int]] = []
        """(start, count), in order, never touching each other"""

    def grow(self, count: int) -> None:
        """``count`` more cells are there, and free."""
        start = self.total
        self.total += count
        self.free(start, count)

    def reset(self, total: int, used: Iterable[tuple[int, int]]) -> None:
        """Everything is free but the ``used`` runs, which are given as (start, count)."""
        self.total, self._runs, at = total, [], 0
        for start, count in sorted(used):
            if start > at:
                self._runs.append((at, start - at))
            at = max(at, start + count)
        if at < total:
            self._runs.append((at, total - at))

    def take(self, count: int) -> int | None:
        """The first of ``count`` neighbouring cells that are used from now on; None: no room."""
        for place, (start, length) in enumerate(self._runs):
            if length < count:
                continue
            if length == count:
                del self._runs[place]
            else:
                self._runs[place] = (start + count, length - count)
            return start
        return None

    def free(self, start: int, count: int) -> None:
        """The cells are free. They were used."""
        place = bisect_left(self._runs, (start, 0))
        assert place == len(self._runs) or start + count <= self._runs[place][0], "freed twice"
        assert place == 0 or sum(self._runs[place - 1]) <= start, "freed twice"
        assert start + count <= self.total, "freed past the end"
        if place < len(self._runs) and self._runs[place][0] == start + count:
            count += self._runs.pop(place)[1]
        if place and sum(self._runs[place - 1]) == start:
            before, length = self._runs.pop(place - 1)
            start, count = before, length + count
        insort(self._runs, (start, count))
