"""The real clock, read in one place."""

import time

from kms.domain.moment import Moment

_NS_PER_MS = 1_000_000


class SystemClock:
    """The kernel's monotonic clock, and its wall clock."""

    def now(self) -> Moment:
        return Moment(
            mono_ms=time.monotonic_ns() // _NS_PER_MS, wall_ms=time.time_ns() // _NS_PER_MS
        )
