"""Closed streams whose KSIDs are refused for a while, the oldest first.

Rules: a name that both ends may still know is not new. The later of the two clocks counts, and none
is believed in the first hour of a process (``limits.CLOCK_DOUBTED_MS``): a wall clock that jumps
ahead, or is wrong when the machine starts, ends nothing.
"""

from collections import OrderedDict
from collections.abc import Iterator

import attrs

from kms.domain import limits
from kms.domain.moment import Moment
from kms.domain.names import KSID
from kms.domain.records import KeyRunRecord, StreamRecord
from kms.domain.retention import Retention


@attrs.frozen
class Tombstone:
    """A closed stream whose KSID is refused for a while."""

    record: StreamRecord
    run: KeyRunRecord | None


class Tombstones:
    """Those of one node."""

    def __init__(self, retention: Retention) -> None:
        self.retention = retention
        self._buried: OrderedDict[KSID, Tombstone] = OrderedDict()
        self._began: Moment | None = None

    def begin(self, now: Moment) -> None:
        """The process begins to count time."""
        self._began = now

    def __contains__(self, ksid: object) -> bool:
        return ksid in self._buried

    def __len__(self) -> int:
        return len(self._buried)

    def __iter__(self) -> Iterator[KSID]:
        return iter(self._buried)

    def get(self, ksid: KSID) -> Tombstone | None:
        return self._buried.get(ksid)

    def add(self, record: StreamRecord, run: KeyRunRecord | None) -> None:
        """The newest."""
        self._buried[record.ksid] = Tombstone(record, run)

    def forget(self) -> Tombstone:
        """The oldest, which is none any more."""
        return self._buried.popitem(last=False)[1]

    def end_ms(self, now: Moment) -> int | None:
        """When the oldest ends, by the monotonic clock; None: there is none."""
        if not self._buried:
            return None
        assert self._began is not None, "time is counted before anything is buried"
        oldest = next(iter(self._buried.values())).record
        passed_ms = now.mono_ms - self._began.mono_ms
        wall_ms = min(now.wall_ms, self._began.wall_ms + passed_ms)
        left_ms = (oldest.closed_ms or 0) + self.retention.tombstone_ms - wall_ms
        return now.mono_ms + max(left_ms, limits.CLOCK_DOUBTED_MS - passed_ms, 0)
