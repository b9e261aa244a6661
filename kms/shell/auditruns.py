"""Deliveries of one batch that follow one another are one line of the journal (I11).

A line costs two hashes and some three hundred bytes; a busy stream has dozens of deliveries a
batch, which differ in nothing but the index. The line says the first index and how many.
"""

from collections.abc import Iterable

import attrs

from kms.domain.audit import AuditEntry

_DELIVERED = "key-delivered"


def in_runs(entries: Iterable[AuditEntry]) -> list[AuditEntry]:
    """The entries, in order for each subject; neighbouring deliveries of one stream to one
    application are one of them."""
    found: list[AuditEntry] = []
    last: dict[str, int] = {}
    for entry in entries:
        at = last.get(entry.subject)
        joined = None if at is None else _joined(found[at], entry)
        if joined is None or at is None:
            last[entry.subject] = len(found)
            found.append(entry)
        else:
            found[at] = joined
    return found


def _joined(one: AuditEntry, next_one: AuditEntry) -> AuditEntry | None:
    """Both as one entry; None if they are not such a pair."""
    if one.event != _DELIVERED or next_one.event != _DELIVERED:
        return None
    first, count = one.detail["index"], one.detail["count"]
    assert isinstance(first, int) and isinstance(count, int), "a delivery has an index"
    follows = {**next_one.detail, "index": first, "count": count}
    if next_one.detail["index"] != first + count or follows != one.detail:
        return None
    more = next_one.detail["count"]
    assert isinstance(more, int), "and a count"
    joined = attrs.evolve(one, detail={**one.detail, "count": count + more})
    return joined if attrs.evolve(next_one, detail=one.detail) == one else None
