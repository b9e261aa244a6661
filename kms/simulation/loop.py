"""Virtual time: one heap of what happens next.

What happens at the same microsecond happens in the order in which it was asked for, so a history
depends on nothing but what was asked.
"""

import heapq
from collections.abc import Callable

Act = Callable[[], object]


class Loop:
    """``events`` counts what has happened: each arrival, batch, commit, answer, wake-up, fault."""

    def __init__(self) -> None:
        self.now_us = 0
        self.events = 0
        self._heap: list[tuple[int, int, Act]] = []
        self._asked = 0

    @property
    def now_ms(self) -> int:
        return self.now_us // 1000

    def after_us(self, delay_us: int, act: Act) -> None:
        """``act`` happens so much later; at the earliest after what is asked for now already."""
        self._asked += 1
        heapq.heappush(self._heap, (self.now_us + delay_us, self._asked, act))

    def after_ms(self, delay_ms: float, act: Act) -> None:
        self.after_us(int(delay_ms * 1000), act)

    def run_until_us(self, end_us: int) -> None:
        """All that is due up to then has happened; it is then."""
        heap, pop = self._heap, heapq.heappop
        while heap and heap[0][0] <= end_us:
            self.now_us, _, act = pop(heap)
            self.events += 1
            act()
        self.now_us = max(self.now_us, end_us)
