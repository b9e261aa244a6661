"""Storage: the node's records and sealed material, durable."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import attrs

from kms.domain.effects import Stretch, Write
from kms.domain.names import MaterialId
from kms.domain.records import Record
from kms.domain.secret import Secret


@attrs.frozen(kw_only=True)
class StorageStatistics:
    """What the store has done since it was opened."""

    commits: int
    """transactions made durable"""
    writes: int
    """effects in them"""
    material_bytes: int
    """sealed bytes that are still readable"""
    slots_live: int
    """data keys in place"""
    file_bytes: int
    """size of the files on disk"""


class Storage(Protocol):
    """One node's memory. Exactly one process holds it; a second open is refused.

    Opening (each adapter's own) finishes the overwrites that a crash interrupted, and raises
    ``StoreFault`` with a hint for a locked, corrupt, too new or foreign store.
    """

    def load(self) -> Iterable[Record]:
        """All records, each table in the order of ``RECORDS``. Before the first commit only."""
        ...

    async def commit(self, writes: Sequence[Write]) -> None:
        """All of ``writes``, in order, are durable, or none is.

        Durable: survives ``kill -9`` and power loss. Wiped material is unreadable in every file
        of the node when this returns. Cancellation: the transaction goes on to its end, the
        caller only stops waiting. Raises ``StoreFault``; the node then stops: after a failed sync
        nothing about the disk is known.
        """
        ...

    async def take(self, material: MaterialId, offset: int, length: int) -> Secret:
        """The bytes, which are unreadable in the node's files from now on (I1, I6).

        Whole units only. Raises ``StoreFault`` when they are missing, altered or wiped; the
        caller treats them as burnt.
        """
        ...

    def at_hand(self, material: MaterialId, offset: int, length: int) -> Secret | None:
        """The bytes that ``read`` would return, if they are in memory; they stay."""
        ...

    async def read(self, material: MaterialId, offset: int, length: int) -> Secret:
        """The bytes, which stay. Any range. Raises ``StoreFault`` as ``take`` does."""
        ...

    async def read_all(self, stretches: Sequence[Stretch]) -> Secret:
        """The bytes of all stretches, one behind the other, which stay; or ``StoreFault``.

        At one stroke: no commit comes between two of them, and none is waited for but those that
        were handed over before.
        """
        ...

    def statistics(self) -> StorageStatistics: ...

    async def aclose(self) -> None:
        """Everything committed is on disk, the store is free for another process."""
        ...
