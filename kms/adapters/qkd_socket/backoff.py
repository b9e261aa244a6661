"""How long to wait before trying again: longer each time, never in step with others."""

from random import Random


class Backoff:
    """Waits that double from ``s_min`` to ``s_max``, each cut by up to half at random, so that
    the devices of a site that lost its power do not return in step."""

    def __init__(self, s_min: float, s_max: float, jitter: Random) -> None:
        self._s_min = s_min
        self._s_max = s_max
        self._jitter = jitter
        self._next = s_min

    def next_s(self) -> float:
        """The wait due now; the following one is longer."""
        due = self._next
        self._next = min(2 * due, self._s_max)
        return due * self._jitter.uniform(0.5, 1.0)

    def reset(self) -> None:
        """It worked: the next wait is the shortest."""
        self._next = self._s_min
