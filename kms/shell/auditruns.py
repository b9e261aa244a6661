"""Deliveries of one batch that follow one another are one line of the journal (I11).

A line costs two hashes and some three hundred bytes; a busy stream has dozens of deliveries a
batch, which differ in nothing but the index. The line says the first index and how many.
"""

from collections.abc import Iterable

import attrs

from kms.domain.audit import AuditEntry

_DELIVERED = "key-delivered"
_COUNTED = frozenset({"index", "count"})


def in_runs(entries: Iterable[AuditEntry]) -> list[AuditEntry]:
    """The entries, in order for each subject; neighbouring deliveries of one stream to one
    application are one of them."""
    runs: list[_Run] = []
    last: dict[str, _Run] = {}
    for entry in entries:
        run = last.get(entry.subject)
        if run is None or not run.takes(entry):
            last[entry.subject] = run = _Run(entry)
            runs.append(run)
    return [run.entry() for run in runs]


class _Run:
    """An entry, and those that it stands for."""

    def __init__(self, first: AuditEntry) -> None:
        self._first = first
        self._more = 0

    def takes(self, entry: AuditEntry) -> bool:
        """Whether this entry follows, and is one with those before now."""
        first = self._first
        if entry.event != _DELIVERED or first.event != _DELIVERED or entry.actor != first.actor:
            return False
        if _number(entry, "index") != _number(first, "index") + self._count():
            return False
        if _rest(entry) != _rest(first):
            return False
        self._more += _number(entry, "count")
        return True

    def entry(self) -> AuditEntry:
        """For all of them."""
        if not self._more:
            return self._first
        return attrs.evolve(self._first, detail={**self._first.detail, "count": self._count()})

    def _count(self) -> int:
        return _number(self._first, "count") + self._more


def _number(entry: AuditEntry, name: str) -> int:
    found = entry.detail[name]
    assert isinstance(found, int), "a delivery has an index and a count"
    return found


def _rest(entry: AuditEntry) -> list[object]:
    """What two deliveries of one run have in common."""
    return [value for name, value in entry.detail.items() if name not in _COUNTED]
