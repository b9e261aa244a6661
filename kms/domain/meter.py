"""Rates, averaged: bytes counted elsewhere become bit/s."""

from collections import deque
from typing import Final

# Long enough to smooth blocks that come seconds apart, short enough to see a change in a minute.
SPAN_MS: Final = 60_000
_SAMPLES_MAX: Final = 61


class RateMeter:
    """Bit/s of a growing byte count, over the last minute or as long as it has been seen."""

    def __init__(self) -> None:
        self._samples: deque[tuple[int, int]] = deque(maxlen=_SAMPLES_MAX)

    def advance(self, mono_ms: int, total_bytes: int) -> None:
        """One sample; call about once a second."""
        self._samples.append((mono_ms, total_bytes))
        while len(self._samples) > 2 and mono_ms - self._samples[1][0] >= SPAN_MS:
            self._samples.popleft()

    def bits_per_second(self) -> float:
        if len(self._samples) < 2:
            return 0.0
        (first_ms, first), (last_ms, last) = self._samples[0], self._samples[-1]
        return 8000 * (last - first) / (last_ms - first_ms) if last_ms > first_ms else 0.0
