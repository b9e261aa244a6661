"""Clock: both times, read at one place."""

from typing import Protocol

from kms.domain.moment import Moment


class Clock(Protocol):
    """Monotonic time never falls; wall time may jump."""

    def now(self) -> Moment: ...
