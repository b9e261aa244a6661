"""The append log: which agreed block is where in which pad, the same at both ends.

The leader writes it, the follower copies it. Each entry's hash covers all before it, so that two
ends compare whole logs by one hash (I7).
"""

import hashlib
import struct
from collections import OrderedDict
from typing import Final

import attrs

from kms.domain.direction import Direction
from kms.domain.names import BlockId, SecretId

# A peer that is further behind than this cannot be compared with: its store is old.
HISTORY: Final = 16_384
_ENTRY: Final = struct.Struct(">Q16s?QQ")


@attrs.frozen(kw_only=True)
class LogEntry:
    """One append."""

    seq: int
    """counts from 0 under each secret"""
    block_id: BlockId
    direction: Direction
    start: int
    length: int


def begin(secret_id: SecretId) -> bytes:
    """Hash of the empty log under this secret."""
    return hashlib.sha256(b"append log " + secret_id.encode()).digest()


def after(previous: bytes, entry: LogEntry) -> bytes:
    """Hash of the log with ``entry`` at its end."""
    packed = _ENTRY.pack(
        entry.seq,
        entry.block_id.bytes,
        entry.direction is Direction.TO_LEADER,
        entry.start,
        entry.length,
    )
    return hashlib.sha256(previous + packed).digest()


class LogHistory:
    """Hashes of the newest prefixes of the log, by their count."""

    def __init__(self, most: int = 0) -> None:
        """``most`` of them, but never fewer than two ends need to compare."""
        self._most = max(most, HISTORY)
        self._hashes: OrderedDict[int, bytes] = OrderedDict()

    def remember(self, count: int, hash_: bytes) -> int | None:
        """The hash of the first ``count`` entries; the count that was forgotten for it."""
        self._hashes[count] = hash_
        return self._hashes.popitem(last=False)[0] if len(self._hashes) > self._most else None

    def hash_at(self, count: int) -> bytes | None:
        return self._hashes.get(count)

    def cut(self, count: int) -> None:
        """Prefixes longer than ``count`` never were."""
        for longer in [each for each in self._hashes if each > count]:
            del self._hashes[longer]

    def clear(self) -> None:
        self._hashes.clear()
