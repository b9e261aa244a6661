"""Time, passed in."""

import attrs


@attrs.frozen(kw_only=True)
class Moment:
    """One reading of both clocks.

    Deadlines, ages and rates use ``mono_ms``. ``wall_ms`` is only shown, recorded and, where an
    expiry must outlive the process, compared: the earlier of the two expiries counts.
    """

    mono_ms: int
    """monotonic, since an arbitrary start, never falling"""
    wall_ms: int
    """since 1970-01-01T00:00:00Z; may jump"""
