"""What has to happen when: timers by name, on both clocks, cheap to push back.

Rules: a timer fires when either clock has reached it. ``set`` never moves one later: whoever owns
the timer looks at the truth when it fires and sets it anew. That makes "the application just did
something" free of cost for the hundred thousand streams whose TTL it moves.

Theory of operation: a heap for each clock. An entry that no longer counts, because its timer was
moved forward, cleared or fired by the other clock, stays until it comes to the top, where none ever
is after a call: so looking at what is next costs nothing. A stream that is read fires every other
second and leaves an entry at the end of its TTL, a day away: when more than half of a heap no
longer counts, it is made anew of what does (I8).
"""

import heapq
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

from kms.domain.moment import Moment

Name = TypeVar("Name", bound=Hashable)

# So many entries that no longer count do no harm in any heap.
ENTRIES_FREE = 16


class Due(Generic[Name]):
    """Timers, at most one per name."""

    def __init__(self) -> None:
        self._mono = _Clock[Name]()
        self._wall = _Clock[Name]()

    def __len__(self) -> int:
        """Entries in memory, those that no longer count included."""
        return len(self._mono.heap) + len(self._wall.heap)

    def set(self, name: Name, mono_ms: int, wall_ms: int | None = None) -> None:
        """The timer fires at the latest at this instant of either clock."""
        self._mono.set(name, mono_ms)
        if wall_ms is not None:
            self._wall.set(name, wall_ms)

    def clear(self, name: Name) -> None:
        """The timer does not fire."""
        self._mono.clear(name)
        self._wall.clear(name)

    def fire(self, now: Moment, most: int) -> Iterator[Name]:
        """The names that are due, at most ``most``, each cleared."""
        for _ in range(most):
            if self._mono.heap and self._mono.heap[0][0] <= now.mono_ms:
                name = self._mono.heap[0][2]
            elif self._wall.heap and self._wall.heap[0][0] <= now.wall_ms:
                name = self._wall.heap[0][2]
            else:
                return
            self.clear(name)
            yield name

    def deadline_ms(self, now: Moment) -> int | None:
        """The monotonic instant at which the next timer fires, clocks running on evenly."""
        if not self._mono.heap:
            return None
        at_ms = self._mono.heap[0][0]
        if not self._wall.heap:
            return at_ms
        return min(at_ms, now.mono_ms + max(0, self._wall.heap[0][0] - now.wall_ms))


class _Clock(Generic[Name]):
    """The timers of one clock."""

    __slots__ = ("_entries", "_number", "heap")

    def __init__(self) -> None:
        self._entries: dict[Name, tuple[int, int, Name]] = {}
        self._number = 0
        self.heap: list[tuple[int, int, Name]] = []
        """the first entry counts"""

    def set(self, name: Name, at_ms: int) -> None:
        old = self._entries.get(name)
        if old is not None and old[0] <= at_ms:
            return
        self._number += 1
        entry = self._entries[name] = (at_ms, self._number, name)
        heapq.heappush(self.heap, entry)
        self._tidy()

    def clear(self, name: Name) -> None:
        if self._entries.pop(name, None) is not None:
            self._tidy()

    def _tidy(self) -> None:
        if len(self.heap) > 2 * len(self._entries) + ENTRIES_FREE:
            self.heap = list(self._entries.values())
            heapq.heapify(self.heap)
        while self.heap and self._entries.get(self.heap[0][2]) is not self.heap[0]:
            heapq.heappop(self.heap)
