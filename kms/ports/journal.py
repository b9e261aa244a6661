"""Journal: the audit, hash-chained."""

from collections.abc import Sequence
from typing import Protocol

import attrs

from kms.domain.audit import AuditEntry


@attrs.frozen(kw_only=True)
class JournalHead:
    """Where the chain stands."""

    number: int
    """of the last record; 0 before the first"""
    hash: str


class Journal(Protocol):
    """Append-only. If it cannot be written, no key leaves (I11)."""

    async def append(self, entries: Sequence[AuditEntry]) -> JournalHead:
        """The entries are durable, numbered and chained, in order; the new head. Raises
        ``JournalFault``; from then on every append raises. Cancellation: the write goes on to
        its end."""
        ...

    def head(self) -> JournalHead: ...

    async def aclose(self) -> None: ...
