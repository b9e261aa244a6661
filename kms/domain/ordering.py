"""What one operator's order makes of a hold, and what the journal says of that: the same for a
stream, a link, and keys for several slaves."""

from collections.abc import Callable

from kms.domain.errors import LocalFault
from kms.domain.holds import ALL, changed
from kms.domain.names import HERE, KSID, LinkId, NodeId, leader_of
from kms.domain.orders import Act, KeyOrder
from kms.domain.outbox import Outbox
from kms.domain.ranges import Ranges, minus, overlap, union
from kms.domain.records import HoldRecord


def asked_for(old: HoldRecord, wanted: Ranges, order: KeyOrder) -> tuple[Ranges, Ranges]:
    """What would be suspended, and what compromised. Raises ``LocalFault`` for what cannot be."""
    if order.act is not Act.COMPROMISE and not minus(wanted, old.compromised):
        raise refused("it is compromised", "what is compromised never comes back: use other keys")
    if order.act is Act.RESUME and not overlap(wanted, old.suspended):
        raise refused("nothing of it is suspended", "kms status shows what is, link by link")
    return moved(old, wanted, order.act)


def moved(old: HoldRecord, wanted: Ranges, act: Act) -> tuple[Ranges, Ranges]:
    """What is suspended, and what compromised, when this was done with ``wanted``."""
    if act is Act.COMPROMISE:
        return minus(old.suspended, wanted), union(old.compromised, wanted)
    if act is Act.SUSPEND:
        return minus(union(old.suspended, wanted), old.compromised), old.compromised
    return minus(old.suspended, wanted), old.compromised


def ordered_at(
    node: NodeId,
    old: HoldRecord,
    to: tuple[Ranges, Ranges],
    by: KeyOrder | HoldRecord,
    out: Outbox,
) -> HoldRecord:
    """The record after an order at this node, by that operator, for that reason."""
    return changed(
        old,
        suspended=to[0],
        compromised=to[1],
        leads=old.link == HERE or leader_of(old.link) == node,
        wall_ms=out.now.wall_ms,
        operator=by.operator,
        reason=by.reason,
    )


def journal(
    old: HoldRecord,
    new: HoldRecord,
    node: NodeId,
    subject: KSID | LinkId,
    delivered: Callable[[int, int], int] | None,
    out: Outbox,
) -> None:
    """What the order at ``node`` has changed is journalled. ``delivered``: how many of a range an
    application of this end has already."""
    for act, ranges in (
        (Act.SUSPEND, minus(new.suspended, old.suspended)),
        (Act.RESUME, minus(minus(old.suspended, new.suspended), new.compromised)),
        (Act.COMPROMISE, minus(new.compromised, old.compromised)),
    ):
        for first, end in ranges:
            out.audit(
                "keys-ordered",
                actor="operator",
                subject=str(subject),
                act=act.value,
                operator=new.operator,
                node=node,
                reason=new.reason,
                first=first,
                count=None if end == ALL[0][1] else end - first,
                delivered=delivered(first, end) if delivered is not None else None,
            )


def refused(reason: str, hint: str) -> LocalFault:
    """The order is not carried out, and has changed nothing."""
    return LocalFault(reason, hint=hint)
