"""What is held back, and what is lost for good, by operators' words: of streams, and of links.

Rules: both ends of a link keep the same ``HoldRecord``; each change of it is an *order* at one end
(``changed``), and what one end hears of the other is ``merged``. Compromised indices only grow.
Delivery and designation ask here (``refusal``, ``pauses``) besides the state of a run, since an
order also speaks of chunks that do not exist yet.

Theory of operation: a record counts each end's orders in a number of its own, which grows with that
end's wall clock. So two records show whether one has seen all that the other has: then it stands.
If neither has, both ends ordered without knowing of each other, and what either suspended is
suspended: the safe side, and the same at both ends. Whatever order messages come in, or how often,
the two ends come to the same record.
"""

from collections.abc import Iterable

import attrs

from kms.domain import limits
from kms.domain.names import HERE, KSID, WHOLE_LINK, LinkId
from kms.domain.ranges import Ranges, has, minus, overlap, union
from kms.domain.records import BundleRecord, HoldRecord, StreamRecord

ALL: Ranges = ((0, limits.INDEX_MAX + 1),)
"""every index, those to come as well"""
ORDERS_MAX = 1 << 61
"""Numbers of orders stay far below what a message can carry."""
_SHOWN = 8
SUSPENDED = "suspended by an operator"
COMPROMISED = "compromised by an operator"


class Holds:
    """All holds of a node, by link and stream."""

    def __init__(self, records: Iterable[HoldRecord] = ()) -> None:
        self._of = {(record.link, record.ksid): record for record in records}

    def __len__(self) -> int:
        return len(self._of)

    def restore(self, record: HoldRecord) -> None:
        self._of[record.link, record.ksid] = record

    def of(self, link: LinkId, ksid: KSID = WHOLE_LINK) -> HoldRecord | None:
        """What is held of the stream, or the link as a whole."""
        return self._of.get((link, ksid))

    def on(self, link: LinkId) -> list[KSID]:
        """What is held there, by stream or bundle; ``WHOLE_LINK`` among them."""
        return [ksid for each, ksid in self._of if each == link]

    def drop(self, link: LinkId, ksid: KSID = WHOLE_LINK) -> HoldRecord | None:
        """The record, that is none any longer."""
        return self._of.pop((link, ksid), None)

    def stopped(self, link: LinkId) -> str:
        """Why nothing of the whole link is made or delivered; empty when it may be."""
        hold = self._of.get((link, WHOLE_LINK))
        if hold is None:
            return ""
        if hold.compromised:
            return f"the link {link} is {COMPROMISED}"
        return f"the link {link} is {SUSPENDED}" if hold.suspended else ""

    def refusal(self, record: StreamRecord, index: int | None) -> str:
        """Why the chunk at ``index``, or None: any chunk, is not delivered; empty when it may."""
        stopped = self.stopped(record.link)
        hold = self._of.get((record.link, record.ksid))
        if stopped or hold is None or index is None:
            return stopped
        if has(hold.compromised, index):
            return f"index {index} is {COMPROMISED}"
        return f"index {index} is {SUSPENDED}" if has(hold.suspended, index) else ""

    def bars(self, record: BundleRecord, first: int, count: int) -> bool:
        """Whether any of these keys for several slaves is not delivered by itself."""
        wanted = ((first, first + count),)
        holds = [self._of.get((link, record.name)) for link in record.links or (HERE,)]
        return any(
            hold is not None and overlap(union(hold.suspended, hold.compromised), wanted)
            for hold in holds
        )

    def pauses(self, record: StreamRecord) -> bool:
        """Whether no more chunks of the stream are made: the next one is held back."""
        hold = self._of.get((record.link, record.ksid))
        return hold is not None and has(hold.suspended, record.next_index)


def fresh(link: LinkId, ksid: KSID) -> HoldRecord:
    """Nothing is held."""
    return HoldRecord(link=link, ksid=ksid)


def same(one: HoldRecord | None, other: HoldRecord | None) -> bool:
    """Whether both say the same; in which words does not matter."""
    if one is None or other is None:
        return one is other
    return _content(one) == _content(other)


def changed(
    hold: HoldRecord,
    *,
    suspended: Ranges,
    compromised: Ranges,
    leads: bool,
    wall_ms: int,
    operator: str,
    reason: str,
) -> HoldRecord:
    """The record after an order at the end that ``leads``, or at the other one."""
    number = max((hold.leader if leads else hold.follower) + 1, wall_ms)
    return attrs.evolve(
        hold,
        leader=number if leads else hold.leader,
        follower=hold.follower if leads else number,
        suspended=minus(suspended, compromised),
        compromised=compromised,
        operator=operator,
        reason=reason,
        since_ms=wall_ms,
    )


def merged(own: HoldRecord, theirs: HoldRecord) -> HoldRecord:
    """What both ends come to when one has heard the other's; the same whoever heard whom."""
    behind = own.leader <= theirs.leader and own.follower <= theirs.follower
    ahead = own.leader >= theirs.leader and own.follower >= theirs.follower
    compromised = union(own.compromised, theirs.compromised)
    # Equal numbers and different contents: a store that was put back. Neither has seen all.
    suspended = union(own.suspended, theirs.suspended)
    if behind and not ahead:
        suspended = theirs.suspended
    elif ahead and not behind:
        suspended = own.suspended
    said = own if ahead else theirs
    return attrs.evolve(
        said,
        leader=max(own.leader, theirs.leader),
        follower=max(own.follower, theirs.follower),
        suspended=minus(suspended, compromised),
        compromised=compromised,
    )


def ordered(hold: HoldRecord) -> str:
    """What is held, for a person; empty for nothing."""
    parts = (("suspended", hold.suspended), ("compromised", hold.compromised))
    return "; ".join(f"{what} {_shown(ranges)}" for what, ranges in parts if ranges)


def _shown(ranges: Ranges) -> str:
    if ranges == ALL:
        return "all"
    named = [f"{first}" if end == first + 1 else f"{first}-{end - 1}" for first, end in ranges]
    more = [f"and {len(named) - _SHOWN} more"] if len(named) > _SHOWN else []
    return ", ".join(named[:_SHOWN] + more)


def _content(hold: HoldRecord) -> tuple[object, ...]:
    return hold.leader, hold.follower, hold.suspended, hold.compromised
