"""A journal in memory, with a failure on demand."""

from collections.abc import Sequence

import trio

from kms.domain.audit import GENESIS, AuditEntry, AuditRecord, chained
from kms.domain.errors import JournalFault
from kms.ports.journal import JournalHead


class MemoryJournal:
    """Keeps the records; ``fail()`` makes it behave as a full disk does."""

    def __init__(self) -> None:
        self.records: list[AuditRecord] = []
        self._failed = ""

    def fail(self, reason: str = "no space left") -> None:
        """Every append raises from now on."""
        self._failed = reason

    async def append(self, entries: Sequence[AuditEntry]) -> JournalHead:
        await trio.lowlevel.checkpoint()
        if self._failed:
            raise JournalFault(self._failed, hint="a test asked for it")
        for entry in entries:
            head = self.head()
            self.records.append(chained(head.number + 1, head.hash, entry))
        return self.head()

    def head(self) -> JournalHead:
        if not self.records:
            return JournalHead(number=0, hash=GENESIS)
        return JournalHead(number=self.records[-1].number, hash=self.records[-1].hash)

    async def aclose(self) -> None:
        """Later appends raise."""
        self._failed = self._failed or "the journal is closed"
        await trio.lowlevel.checkpoint()
