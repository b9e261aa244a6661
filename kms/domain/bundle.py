"""The keys of one request that several nodes hold, as one node has them.

Rules: never an object or a row per key: who has taken which is a bit per slave and key. A state
changes only along ``TRANSITIONS``. Keys lie in as many materials as they came in; each material but
the last has ``part_keys`` of them.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from enum import Enum

import attrs
import numpy as np
from numpy.typing import NDArray

from kms.domain.moment import Moment
from kms.domain.names import KSID, MaterialId, SAEId
from kms.domain.records import BundleRecord, BundleState
from kms.domain.run import Span

_Flags = NDArray[np.bool_]
Range = tuple[int, int]
"""(first, count) of keys"""


_ALWAYS = 1 << 62
DELIVERED = "delivered"
"""why most bundles end"""


class BundleEvent(Enum):
    """What moves a bundle from one state to the next."""

    WHOLE = "whole"
    """it is durable wherever it is to be"""
    END = "end"
    """all slaves here have it, it was withdrawn or compromised, or its time is over"""


_S, _E = BundleState, BundleEvent

TRANSITIONS: dict[BundleState, dict[BundleEvent, BundleState]] = {
    _S.FILLING: {_E.WHOLE: _S.HELD, _E.END: _S.ENDED},
    _S.HELD: {_E.END: _S.ENDED},
    _S.ENDED: {},
}


class Bundle:
    """One bundle at one node."""

    def __init__(self, record: BundleRecord) -> None:
        """Restart is the same constructor: the bundle as it was saved."""
        self.record = record
        self.expires_mono_ms = _ALWAYS
        """the same instant as the record's by the other clock, once that is known"""
        self.going: deque[tuple[int, list[Range]]] = deque()
        """what everybody here has, and from when on (monotonic) it may be wiped"""
        self._taken = _unpacked(record)
        self._gone: _Flags = np.zeros(self._taken.shape[1], np.bool_)
        """what everybody here has: wiped, or in ``going``"""

    @property
    def name(self) -> KSID:
        return self.record.name

    @property
    def chunk_bytes(self) -> int:
        """Size of a key."""
        return self.record.key_bytes

    @property
    def size_bytes(self) -> int:
        """Of all keys."""
        return self.record.count * self.record.key_bytes

    def move(self, event: BundleEvent, reason: str = "") -> None:
        """The state is the one that the table gives; asserts that it gives one."""
        state = TRANSITIONS[self.record.state].get(event)
        assert state is not None, f"a bundle that is {self.record.state.value} cannot {event.value}"
        self.record = attrs.evolve(self.record, state=state, reason=reason)

    def expired(self, now: Moment) -> bool:
        """The earlier of the two clocks counts."""
        return self.record.expires_ms <= now.wall_ms or self.expires_mono_ms <= now.mono_ms

    def material(self, first: int) -> MaterialId:
        """Where the keys from ``first`` on lie, which begins a part."""
        return MaterialId(f"entrusted/{self.name}/{first}-{self.record.serial}")

    def spans(self, first: int, count: int) -> Iterator[Span]:
        """These keys, material by material."""
        index, end, part = first, first + count, self.record.part_keys
        while index < end:
            begin = index - index % part
            stop = min(end, begin + part)
            yield Span(
                first=index,
                count=stop - index,
                material=self.material(begin),
                material_first=begin,
            )
            index = stop

    def clear(self) -> None:
        """No byte of it is readable any more."""
        assert self.record.state is BundleState.ENDED, "what is cleared is over"
        self.record = attrs.evolve(self.record, filled=0, taken=b"")
        self._taken, self._gone = _unpacked(self.record), self._gone[:0]

    # ---- who has what -----------------------------------------------------------------------

    def waits_for(self, slave: SAEId, first: int, count: int) -> bool:
        """Whether all these keys are there for this slave to fetch."""
        record = self.record
        if record.state is not BundleState.HELD or first + count > record.count:
            return False
        return not self._taken[record.slaves.index(slave), first : first + count].any()

    def take(self, slave: SAEId, spans: Iterable[Span]) -> None:
        """The slave has these keys, which waited for it."""
        row = self._taken[self.record.slaves.index(slave)]
        for span in spans:
            place = slice(span.first, span.first + span.count)
            assert not row[place].any(), "a key leaves once"
            row[place] = True
        self._keep()

    def go(self) -> list[Range]:
        """What everybody here has since the last call: the caller sees that it is wiped."""
        complete: _Flags = np.asarray(self._taken.all(axis=0))
        ranges = _ranges(complete & ~self._gone)
        self._gone = complete
        return ranges

    @property
    def all_gone(self) -> bool:
        """Everybody here has every key."""
        return bool(self._gone.all())

    @property
    def stands(self) -> bool:
        """Whether its keys are what the master was given: they wait, or were delivered, here or
        elsewhere. Not those of which nobody has one, or whose time is over."""
        record = self.record
        over = record.state is BundleState.ENDED and record.reason == DELIVERED
        return over or record.state is BundleState.HELD

    def delivered(self, first: int, end: int) -> int:
        """How many of these keys an application here has, or had before they were given up."""
        if self.record.own or self.record.state is BundleState.ENDED:
            return end - first if self.stands else 0
        return int(self._taken[:, first:end].any(axis=0).sum())

    def lose(self, ranges: Iterable[tuple[int, int]]) -> tuple[list[Range], list[Range]]:
        """Nobody is given these keys, (first, end), any more. The caller sees that they are wiped:
        the first ones returned at once, the others when those who have them have read them."""
        lost: _Flags = np.zeros(len(self._gone), np.bool_)
        for first, end in ranges:
            lost[first:end] = True
        lost &= ~self._gone
        had = self._taken.any(axis=0)
        self._taken[:, lost] = True
        self._gone = self._gone | lost
        self._keep()
        return _ranges(lost & ~had), _ranges(lost & had)

    def left(self) -> list[Range]:
        """What is durable here and somebody has not taken."""
        return _ranges(~self._gone[: self.record.filled])

    def _keep(self) -> None:
        taken = np.packbits(self._taken, axis=1).tobytes()
        self.record = attrs.evolve(self.record, taken=taken)


def _unpacked(record: BundleRecord) -> _Flags:
    over = record.state is BundleState.ENDED and not record.filled
    shape = (len(record.slaves), 0 if over else record.count)
    row = -(-record.count // 8)
    if over or len(record.taken) != len(record.slaves) * row:
        return np.zeros(shape, np.bool_)
    bits = np.frombuffer(record.taken, np.uint8).reshape(len(record.slaves), row)
    return np.unpackbits(bits, axis=1, count=record.count).astype(np.bool_)


def _ranges(flags: _Flags) -> list[Range]:
    """The stretches of these flags that are set."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])))).tolist()
    return [(low, high - low) for low, high in zip(edges[::2], edges[1::2], strict=True)]
