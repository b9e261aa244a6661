"""What has to happen when: timers by name, on both clocks, cheap to push back.

Rules: a timer fires when either clock has reached it. ``set`` never moves one later: whoever owns
the timer looks at the truth when it fires and sets it anew. That makes "the application just did
something" free of cost for the hundred thousand streams whose TTL it moves.
"""

import heapq
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

from kms.domain.moment import Moment

Name = TypeVar("Name", bound=Hashable)


class Due(Generic[Name]):
    """Timers, at most one per name."""

    def __init__(self) -> None:
        self._set: dict[Name, tuple[int, int | None]] = {}
        self._mono: list[tuple[int, int, Name]] = []
        self._wall: list[tuple[int, int, Name]] = []
        self._number = 0

    def set(self, name: Name, mono_ms: int, wall_ms: int | None = None) -> None:
        """The timer fires at the latest at this instant of either clock."""
        old_mono, old_wall = self._set.get(name, (None, None))
        self._number += 1
        if old_mono is None or mono_ms < old_mono:
            old_mono = mono_ms
            heapq.heappush(self._mono, (mono_ms, self._number, name))
        if wall_ms is not None and (old_wall is None or wall_ms < old_wall):
            old_wall = wall_ms
            heapq.heappush(self._wall, (wall_ms, self._number, name))
        self._set[name] = (old_mono, old_wall)

    def clear(self, name: Name) -> None:
        """The timer does not fire."""
        self._set.pop(name, None)

    def fire(self, now: Moment, most: int) -> Iterator[Name]:
        """The names that are due, at most ``most``, each cleared."""
        while most > 0:
            self._drop_stale()
            if self._mono and self._mono[0][0] <= now.mono_ms:
                name = heapq.heappop(self._mono)[2]
            elif self._wall and self._wall[0][0] <= now.wall_ms:
                name = heapq.heappop(self._wall)[2]
            else:
                return
            del self._set[name]
            most -= 1
            yield name

    def deadline_ms(self, now: Moment) -> int | None:
        """The monotonic instant at which the next timer fires, clocks running on evenly."""
        self._drop_stale()
        found = [self._mono[0][0]] if self._mono else []
        if self._wall:
            found.append(now.mono_ms + max(0, self._wall[0][0] - now.wall_ms))
        return min(found, default=None)

    def _drop_stale(self) -> None:
        while self._mono and self._set.get(self._mono[0][2], (None, None))[0] != self._mono[0][0]:
            heapq.heappop(self._mono)
        while self._wall and self._set.get(self._wall[0][2], (None, None))[1] != self._wall[0][0]:
            heapq.heappop(self._wall)
