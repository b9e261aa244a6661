"""A clock that a test sets."""

from kms.domain.moment import Moment


class SettableClock:
    """Stands still until told otherwise. Wall time may jump; monotonic time only advances."""

    def __init__(self, *, mono_ms: int = 1_000, wall_ms: int = 1_700_000_000_000) -> None:
        self._mono_ms = mono_ms
        self._wall_ms = wall_ms

    def now(self) -> Moment:
        return Moment(mono_ms=self._mono_ms, wall_ms=self._wall_ms)

    def advance(self, by_ms: int) -> None:
        """Both clocks go on by ``by_ms``."""
        assert by_ms >= 0, "time does not run backwards"
        self._mono_ms += by_ms
        self._wall_ms += by_ms

    def jump_wall(self, to_ms: int) -> None:
        """The wall clock shows ``to_ms``; monotonic time does not notice."""
        self._wall_ms = to_ms
