"""A machine's two clocks, each at a pace of its own.

Rules: the monotonic clock never goes back while the machine runs; the wall clock does what it
likes. Whole parts in a million, so that a history is the same on every machine.
"""

from kms.domain.moment import Moment
from kms.simulation.loop import Loop

WALL_MS = 1_700_000_000_000
# What the monotonic clock of a machine shows that has just been switched on.
BOOTED_MS = 1_000


class Clock:
    """One machine's. ``mono_ppm`` and ``wall_ppm``: how much faster than true; negative: slower."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.mono_ppm = self.wall_ppm = 0
        self._since_us = loop.now_us
        self._mono_us = loop.now_us
        self._wall_us = WALL_MS * 1000 + loop.now_us

    @property
    def moment(self) -> Moment:
        return Moment(mono_ms=self.mono_ms, wall_ms=self.wall_ms)

    @property
    def mono_ms(self) -> int:
        return (self._mono_us + _paced(self._past_us, self.mono_ppm)) // 1000

    @property
    def wall_ms(self) -> int:
        return (self._wall_us + _paced(self._past_us, self.wall_ppm)) // 1000

    @property
    def wall_ahead_ms(self) -> int:
        """Of the true time."""
        return self.wall_ms - WALL_MS - self._loop.now_ms

    @property
    def _past_us(self) -> int:
        return self._loop.now_us - self._since_us

    def go_at(self, *, mono_ppm: int, wall_ppm: int) -> None:
        """From now on they go at this pace."""
        self._settle()
        self.mono_ppm, self.wall_ppm = mono_ppm, wall_ppm

    def jump(self, by_ms: int) -> None:
        """The wall clock is set."""
        self._wall_us += by_ms * 1000

    def switch_on(self) -> None:
        """The machine was off: its monotonic clock begins anew."""
        self._settle()
        self._mono_us = BOOTED_MS * 1000

    def _settle(self) -> None:
        self._mono_us += _paced(self._past_us, self.mono_ppm)
        self._wall_us += _paced(self._past_us, self.wall_ppm)
        self._since_us = self._loop.now_us


def _paced(true_us: int, ppm: int) -> int:
    return true_us + true_us * ppm // 1_000_000
