"""The chunks of one stream, as runs of neighbours in one life-cycle state.

Rules: never an object or a row per key; every index below ``end`` is in exactly one run; a state
changes only along ``lifecycle.TRANSITIONS``; a change that is not allowed changes nothing.

Theory of operation: runs lie in a sorted list, indices without a gap. A designation appends one; a
delivery cuts one chunk out of it; equal neighbours melt together again, so a stream that is read in
order has one destroyed run, one delivered run per material that is not wiped yet, and one waiting
run per material. Records are written as differences (``save_to``): callers change as much as they
like and save once.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import islice, pairwise
from operator import attrgetter

import attrs

from kms.domain import limits
from kms.domain.lifecycle import KeyEvent, KeyState, after
from kms.domain.moment import Moment
from kms.domain.names import KSID, MaterialId
from kms.domain.outbox import Outbox
from kms.domain.records import KeyRunRecord
from kms.domain.run import Run, Span, run_of, span_of
from kms.domain.runrecords import gone, written

SEVERAL = "several reasons: see the audit"
WAITING = frozenset({KeyState.PRE_ACTIVATION})
"""to be delivered"""
UNREAD = frozenset({KeyState.PRE_ACTIVATION, KeyState.SUSPENDED})
"""nobody has them, and they may be delivered yet"""
TAKEN = frozenset({KeyState.ACTIVE, KeyState.COMPROMISED})
"""to be wiped soon (unread keys that are compromised are destroyed in the same batch)"""

_first = attrgetter("first")


class KeyRuns:
    """The chunks of one stream."""

    def __init__(self, ksid: KSID, records: Iterable[KeyRunRecord] = ()) -> None:
        """Restart is the same constructor: the runs as they were saved."""
        self.ksid = ksid
        self._runs = [run_of(record) for record in sorted(records, key=lambda r: r.first)]
        self._saved = {run.first for run in self._runs}
        self._changed: dict[int, Run | None] = {}
        """since the last ``save_to``, by the first index; None is gone"""
        self._unread = 0
        end = 0
        for run in self._runs:
            assert run.first == end, "runs have no gap"
            end = run.end
        self.ready = sum(r.count for r in self._runs if r.state is KeyState.PRE_ACTIVATION)
        self.suspended = sum(r.count for r in self._runs if r.state is KeyState.SUSPENDED)

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs)

    def __len__(self) -> int:
        return len(self._runs)

    @property
    def end(self) -> int:
        """Chunks so far, in whatever state."""
        return self._runs[-1].end if self._runs else 0

    def crowded(self, edges: int = 1, runs_max: int | None = None) -> bool:
        """So many more edges of holes would be too many. Unread runs side by side have none: a slow
        stream gets its key in many small designations, each a run."""
        most = (limits.RUNS_PER_STREAM_MAX if runs_max is None else runs_max) - edges
        if len(self._runs) <= most:
            return False
        return sum(left.state is not right.state for left, right in pairwise(self._runs)) > most

    @property
    def _many(self) -> bool:
        return len(self._runs) >= limits.RUNS_PER_STREAM_MAX

    def at(self, index: int) -> Run | None:
        """The run that ``index`` is in."""
        place = self._place(index)
        return self._runs[place] if place >= 0 and index < self._runs[place].end else None

    def next_ready(self, below: int) -> int | None:
        """The lowest index below ``below`` that waits to be delivered."""
        for place in range(max(self._place(self._unread), 0), len(self._runs)):
            run = self._runs[place]
            if run.state is KeyState.PRE_ACTIVATION:
                self._unread = run.first
                return run.first if run.first < below else None
        self._unread = self.end
        return None

    def delivered_long_ago(self) -> list[Span]:
        """All chunks that ``age`` found old."""
        return [
            span_of(run, run.first, run.end)
            for run in self._runs
            if run.state in TAKEN and not run.stamp
        ]

    def spans(
        self, states: frozenset[KeyState], first: int = 0, end: int = limits.INDEX_MAX + 1
    ) -> list[Span]:
        """All chunks in one of ``states`` from ``first`` on, below ``end``."""
        found: list[Span] = []
        for run in islice(self._runs, max(self._place(first), 0), None):
            if run.first >= end:
                break
            if run.state in states and run.end > first:
                found.append(span_of(run, max(run.first, first), min(run.end, end)))
        return found

    def delivered(self, first: int, end: int) -> int:
        """How many of these chunks the application has got, as far as the runs still say."""
        return sum(
            min(run.end, end) - max(run.first, first)
            for run in self._runs
            if run.first < end
            and run.end > first
            and (run.state in TAKEN or run.reason.startswith("delivered"))
        )

    def expired(self, now: Moment) -> list[Span]:
        """Chunks whose TTL ended while they waited."""
        return [
            span_of(run, run.first, run.end)
            for run in self._runs
            if run.state in UNREAD and run.expired(now)
        ]

    def oldest(self, count: int) -> list[Span]:
        """The ``count`` lowest chunks that wait to be delivered."""
        found: list[Span] = []
        for run in self._runs:
            if count <= 0:
                break
            if run.state is KeyState.PRE_ACTIVATION:
                found.append(span_of(run, run.first, run.first + min(run.count, count)))
                count -= run.count
        return found

    def settled(self, unit: int) -> list[Span]:
        """Chunks delivered long ago that can be wiped without sealing anything anew: whole units
        of ``unit`` chunks, and units that nobody else is left in."""
        found: list[Span] = []
        for place, run in enumerate(self._runs):
            if run.state not in TAKEN or run.stamp:
                continue
            low, high = run.first, run.end
            if place and self._runs[place - 1].material == run.material:
                low += -(low - run.material_first) % unit
            if place + 1 < len(self._runs) and self._runs[place + 1].material == run.material:
                high -= (high - run.material_first) % unit
            if low < high:
                found.append(span_of(run, low, high))
        return found

    def expiry(self) -> tuple[int, int] | None:
        """The first expiry of what waits, by the monotonic and by the wall clock."""
        mono, wall = [], []
        for run in self._runs:
            if run.state in UNREAD and run.expires_ms is not None:
                wall.append(run.expires_ms)
                mono.append(run.expires_mono_ms if run.expires_mono_ms is not None else 0)
        return (min(mono), min(wall)) if wall else None

    # ---- changes ----------------------------------------------------------------------------

    def append(
        self, count: int, *, material: MaterialId, now: Moment, ttl_ms: int, reason: str
    ) -> None:
        """``count`` new chunks wait to be delivered, the first of them at offset 0."""
        run = Run(
            first=self.end,
            count=count,
            state=KeyState.PRE_ACTIVATION,
            material=material,
            material_first=self.end,
            created_ms=now.wall_ms,
            expires_ms=now.wall_ms + ttl_ms,
            expires_mono_ms=now.mono_ms + ttl_ms,
            since_ms=now.wall_ms,
            reason=reason,
        )
        self._runs.append(run)
        self._changed[run.first] = run
        self.ready += count

    def lose(self, count: int, *, now: Moment, reason: str) -> None:
        """``count`` chunks that this end never had: destroyed, so that nobody waits for them."""
        run = Run(
            first=self.end,
            count=count,
            state=KeyState.DESTROYED,
            material=None,
            material_first=self.end,
            created_ms=now.wall_ms,
            expires_ms=None,
            since_ms=now.wall_ms,
            reason=reason,
        )
        self._runs.append(run)
        self._changed[run.first] = run
        self._melt(len(self._runs) - 1, len(self._runs))

    def age(self, stamp: int) -> None:
        """What was delivered up to ``stamp`` was delivered long ago."""
        for place in range(len(self._runs) - 1, -1, -1):
            run = self._runs[place]
            if 0 < run.stamp <= stamp:
                run.stamp = 0
                self._melt(place, place + 1)

    def move(self, span: Span, *events: KeyEvent, now: Moment, reason: str, stamp: int = 0) -> None:
        """The chunks of ``span``, all in one state, have gone through ``events``. Raises
        ``LocalFault`` before anything changes when the table forbids one of them."""
        place, end = self._place(span.first), span.first + span.count
        assert place >= 0 and end <= self._runs[place].end, "a span lies in one run"
        state = self._runs[place].state
        for event in events:
            state = after(state, event)
        if self._shift(place, span, state, now=now, reason=reason, stamp=stamp):
            return
        place = self._split(place, span.first)
        run = self._runs[place]
        if end < run.end:
            self._split(place, end)
        self._changed[run.first] = run
        self._count(run, -1)
        run.state, run.since_ms, run.reason = state, now.wall_ms, reason
        if state is not KeyState.COMPROMISED:
            # What is compromised behind its delivery is wiped no sooner than it can be read.
            run.stamp = stamp
        self._count(run, 1)
        if state is KeyState.PRE_ACTIVATION:
            self._unread = min(self._unread, run.first)
        if state is KeyState.DESTROYED:
            run.material, run.material_first = None, run.first
        if state not in UNREAD:
            run.expires_ms = run.expires_mono_ms = None
        self._melt(place, place + 1)

    def remark(self, first: int, end: int, *, before: str, reason: str) -> None:
        """Of these chunks, those that were destroyed for ``before`` have this reason."""
        for place in range(len(self._runs) - 1, -1, -1):
            run = self._runs[place]
            if run.first >= end or run.end <= first:
                continue
            if run.state is KeyState.DESTROYED and run.reason == before:
                if run.end > end:
                    self._split(place, end)
                place = self._split(place, max(run.first, first))
                self._changed[self._runs[place].first] = self._runs[place]
                self._runs[place].reason = reason

    def fall_back(self, first: int) -> None:
        """Chunks from ``first`` on were never made. I2: none of them was delivered."""
        if first >= self.end:
            return
        place = self._split(self._place(first), first)
        for run in self._runs[place:]:
            assert run.state is KeyState.DESTROYED or run.state in UNREAD, (
                "I2 a chunk that only one end holds is not delivered"
            )
            self._changed[run.first] = None
            self._count(run, -1)
        del self._runs[place:]
        self._unread = min(self._unread, first)

    def fold(self, now: Moment) -> KeyRunRecord | None:
        """All chunks, destroyed, as the one run that a closed stream is remembered by."""
        assert all(run.state is KeyState.DESTROYED for run in self._runs), "I6 all is destroyed"
        if not self._runs:
            return None
        self._melt(0, len(self._runs), whatever_reason=True)
        self._runs[0].since_ms = now.wall_ms
        return written(self.ksid, self._runs[0])

    def awake(self, now: Moment, ttl_ms: int) -> None:
        """After a restart: expiries on the monotonic clock, never further off than the TTL."""
        for run in self._runs:
            if run.expires_ms is not None:
                left_ms = min(max(run.expires_ms - now.wall_ms, 0), ttl_ms)
                run.expires_mono_ms = now.mono_ms + left_ms

    def save_to(self, out: Outbox) -> None:
        """What changed since the last call is in the batch's writes."""
        for first in sorted(self._changed):
            run = self._changed[first]
            if run is not None:
                out.save(written(self.ksid, run))
                self._saved.add(first)
            elif first in self._saved:
                out.forget(gone(self.ksid, first))
                self._saved.discard(first)
        self._changed.clear()

    def forget_to(self, out: Outbox) -> None:
        """No run of this stream is recorded any longer."""
        for first in sorted(self._saved):
            out.forget(gone(self.ksid, first))
        self._saved.clear()
        self._changed.clear()

    # ---- the list ---------------------------------------------------------------------------

    def _count(self, run: Run, sign: int) -> None:
        self.ready += sign * run.count * (run.state is KeyState.PRE_ACTIVATION)
        self.suspended += sign * run.count * (run.state is KeyState.SUSPENDED)

    def _place(self, index: int) -> int:
        return bisect_right(self._runs, index, key=_first) - 1

    def _shift(
        self, place: int, span: Span, state: KeyState, *, now: Moment, reason: str, stamp: int
    ) -> bool:
        """Whether the chunks, first of their run, are the last of the run before it now: reading in
        order comes to this, and makes and melts no run."""
        run, end = self._runs[place], span.first + span.count
        before = self._runs[place - 1] if place else run
        follows = (
            run.first == span.first
            and end < run.end
            and run.state is KeyState.PRE_ACTIVATION
            and before.state is state is KeyState.ACTIVE
            and before.stamp == stamp
            and before.reason == reason
            and before.material == run.material
            and before.material_first == run.material_first
        )
        if follows:
            before.count += span.count
            before.since_ms = min(before.since_ms, now.wall_ms)
            run.first, run.count = end, run.end - end
            self.ready -= span.count
            self._changed[before.first], self._changed[span.first] = before, None
            self._changed[end] = run
        return follows

    def _split(self, place: int, index: int) -> int:
        """The place of the run that begins at ``index``, which lies in the one at ``place``."""
        run = self._runs[place]
        if run.first == index:
            return place
        rest = attrs.evolve(run, first=index, count=run.end - index)
        if rest.material is None:
            rest.material_first = index
        run.count = index - run.first
        self._changed[run.first], self._changed[index] = run, rest
        self._runs.insert(place + 1, rest)
        return place + 1

    def _melt(self, low: int, high: int, *, whatever_reason: bool = False) -> None:
        """Equal neighbours from one before ``low`` to one after ``high`` are one run."""
        place = max(low, 1)
        for _ in range(high + 1 - place):
            if place >= len(self._runs):
                break
            left, right = self._runs[place - 1], self._runs[place]
            if not _equal(left, right, whatever_reason or self._many):
                place += 1
                continue
            if left.state is KeyState.DESTROYED:
                left.since_ms = max(left.since_ms, right.since_ms)
                left.reason = left.reason if left.reason == right.reason else SEVERAL
            else:
                left.since_ms = min(left.since_ms, right.since_ms)
            left.count += right.count
            self._changed[left.first], self._changed[right.first] = left, None
            del self._runs[place]


def _equal(left: Run, right: Run, whatever_reason: bool) -> bool:
    if left.state is not right.state or left.material != right.material:
        return False
    if left.state is KeyState.DESTROYED:
        return left.reason == right.reason or whatever_reason
    return (
        left.reason == right.reason
        and left.material_first == right.material_first
        and left.stamp == right.stamp
    )
