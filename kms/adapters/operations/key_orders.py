"""Operators' orders about keys, as JSON: what the admin socket reads, and what it answers."""

from uuid import UUID

import msgspec

from kms.domain import names
from kms.domain.errors import AppFault
from kms.domain.names import LinkId
from kms.domain.orders import Act, KeyOrder, OrderDone


class _Order(msgspec.Struct, forbid_unknown_fields=True):
    operator: str
    reason: str
    link: str | None = None
    stream: str | None = None
    key_id: UUID | None = None
    first: int = 0
    count: int | None = None


def read(act: str, data: bytes) -> KeyOrder:
    """The order. Raises ``AppFault``, ``BadName`` or ``LocalFault`` for what is none."""
    acts = {each.value: each for each in Act}
    if act not in acts:
        raise AppFault("no such order", hint=f"give one of {', '.join(acts)}")
    try:
        said = msgspec.json.decode(data, type=_Order)
    except (msgspec.DecodeError, RecursionError) as error:
        raise AppFault(
            f"the order does not read: {error}",
            hint="give operator, reason, and one of link, stream and key_id",
        ) from None
    return KeyOrder(
        act=acts[act],
        # The node knows its links, and refuses what is none.
        link=LinkId(said.link) if said.link is not None else None,
        ksid=names.ksid(said.stream) if said.stream is not None else None,
        key_id=said.key_id,
        first=said.first,
        count=said.count,
        operator=said.operator,
        reason=said.reason,
    )


def answered(done: OrderDone, *, told: bool) -> dict[str, object]:
    """What came of it. ``told``: whether the other nodes know."""
    return {
        "link": done.link,
        "stream": str(done.ksid) if done.ksid is not None else None,
        "key_id": str(UUID(int=done.bundle.int ^ done.first)) if done.bundle is not None else None,
        "first": done.first,
        "count": done.count,
        "changed": done.changed,
        "waiting": done.waiting,
        "delivered": done.delivered,
        "told": told,
    }
