"""Holds as two nodes say them to each other: of a stream, of a whole link, of keys for several.

What a right neighbour never says reads as None.
"""

from uuid import UUID

from kms.domain.holds import ALL, ORDERS_MAX
from kms.domain.moment import Moment
from kms.domain.names import KSID, WHOLE_LINK, LinkId
from kms.domain.ranges import Ranges, union
from kms.domain.records import BundleRecord, HoldRecord
from kms.domain.stream import Stream
from kms.domain.wireheld import Held, HeldKeys, IndexRange


def orders_of(hold: HoldRecord, stream: Stream | None) -> Held:
    """What operators have ordered of the stream, or the whole link."""
    return Held(
        ksid=hold.ksid.bytes if stream is not None else b"",
        local=stream.record.local if stream is not None else "",
        remote=stream.record.remote if stream is not None else "",
        leader=hold.leader,
        follower=hold.follower,
        suspended=_said(hold.suspended),
        compromised=_said(hold.compromised),
        operator=hold.operator,
        reason=hold.reason,
    )


def keys_orders_of(hold: HoldRecord, bundle: BundleRecord) -> HeldKeys:
    """What operators have ordered of these keys for several slaves."""
    return HeldKeys(
        name=hold.ksid.bytes,
        master=bundle.master,
        leader=hold.leader,
        follower=hold.follower,
        suspended=_said(hold.suspended),
        compromised=_said(hold.compromised),
        operator=hold.operator,
        reason=hold.reason,
    )


def hold_of(link: LinkId, message: Held, now: Moment) -> HoldRecord | None:
    """What the message says, as it is kept."""
    if len(message.ksid) not in (0, 16):
        return None
    ksid, whole = KSID(UUID(bytes=message.ksid)) if message.ksid else WHOLE_LINK, not message.ksid
    found = _kept(link, ksid, message, now)
    named = bool(message.local and message.remote) != whole and (whole or ksid.version == 4)
    if not named or (
        found is not None and whole and not {found.suspended, found.compromised} <= {(), ALL}
    ):
        return None
    return found


def keys_hold_of(
    link: LinkId, message: HeldKeys, now: Moment, bundle: BundleRecord
) -> HoldRecord | None:
    """The same of these keys for several slaves."""
    found = _kept(link, bundle.name, message, now)
    said = (*message.suspended, *message.compromised)
    return None if any(each.last >= bundle.count for each in said) else found


def _kept(link: LinkId, ksid: KSID, message: Held | HeldKeys, now: Moment) -> HoldRecord | None:
    said = (message.suspended, message.compromised)
    suspended, compromised = (tuple((r.first, r.last + 1) for r in ranges) for ranges in said)
    tidy = union(suspended) == suspended and union(compromised) == compromised
    if not tidy or max(message.leader, message.follower) >= ORDERS_MAX:
        return None
    return HoldRecord(
        link=link,
        ksid=ksid,
        leader=message.leader,
        follower=message.follower,
        suspended=suspended,
        compromised=compromised,
        operator=message.operator,
        reason=message.reason,
        since_ms=now.wall_ms,
    )


def _said(ranges: Ranges) -> list[IndexRange]:
    return [IndexRange(first, end - 1) for first, end in ranges]
