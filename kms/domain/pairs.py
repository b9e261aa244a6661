"""The streams that carry keys with IDs, as they are looked up: by what their key IDs begin with,
and by master, slave and size. It decides nothing.

Rules: one prefix names one stream for as long as its KSID is remembered, tombstone included: a key
ID never means a second key.
"""

from kms.domain import limits
from kms.domain.keyids import prefix_of
from kms.domain.names import KSID, SAEId
from kms.domain.records import StreamRecord

_Pair = tuple[SAEId, SAEId]
"""master, slave"""


class Pairs:
    """Pair streams of one node, of which it serves the master or the slave."""

    def __init__(self) -> None:
        self._named: dict[bytes, KSID] = {}
        self._of: dict[_Pair, dict[int, dict[KSID, None]]] = {}
        """by pair and key size, the newest last"""

    def remember(self, record: StreamRecord) -> None:
        """The stream's prefix is taken."""
        if record.paired:
            self._named[prefix_of(record.ksid)] = record.ksid

    def forget(self, record: StreamRecord) -> None:
        """Nobody knows the stream any longer."""
        if record.paired:
            del self._named[prefix_of(record.ksid)]

    def add(self, record: StreamRecord) -> None:
        """The stream is there."""
        self.remember(record)
        if record.paired:
            sizes = self._of.setdefault(_ends(record), {})
            sizes.setdefault(record.qos.key_chunk_size, {})[record.ksid] = None

    def remove(self, record: StreamRecord) -> None:
        """The stream is gone, or a tombstone."""
        if record.paired:
            pair, size = _ends(record), record.qos.key_chunk_size
            sizes = self._of[pair]
            del sizes[size][record.ksid]
            if not sizes[size]:
                del sizes[size]
            if not sizes:
                del self._of[pair]

    def named(self, prefix: bytes) -> KSID | None:
        """The stream whose key IDs begin with ``prefix``; it may be a tombstone."""
        return self._named.get(prefix)

    def of(self, master: SAEId, slave: SAEId, key_bytes: int) -> list[KSID]:
        """The pair's streams of that key size, the newest first."""
        return list(reversed(self._of.get((master, slave), {}).get(key_bytes, {})))

    def has_room(self, master: SAEId, slave: SAEId, key_bytes: int) -> bool:
        """Whether one more stream of that key size leaves the pair within its bound of sizes."""
        sizes = self._of.get((master, slave), {})
        return key_bytes in sizes or len(sizes) < limits.PAIR_SIZES_MAX


def _ends(record: StreamRecord) -> _Pair:
    if record.designates:
        return record.local, record.remote
    return record.remote, record.local
