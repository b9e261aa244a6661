"""What must stay true of two wired nodes, kept by one who sees all that leaves them.

Rules: I1 by the frames (a node's pad marks only grow, restarts or not) and by the keys (no two
equal ones); I2 by the keys that both ends got; I5 and I11 at the moment an answer comes back: what
it says must be in the disk's records and in the journal by then. Raises ``AssertionError`` that
names them.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from kms.adapters.memory.storage import MemoryDisk
from kms.domain import limits
from kms.domain.audit import AuditEntry, AuditRecord
from kms.domain.effects import Save, Write
from kms.domain.frame import HEADER_BYTES, Kind, read_header
from kms.domain.keyids import ID_BYTES, grouped, prefix_of, stretches
from kms.domain.keyrequests import KeysReply, Outcome
from kms.domain.lifecycle import KeyState
from kms.domain.names import KSID, LinkId, NodeId
from kms.domain.records import KeyRunRecord, StreamRecord
from kms.domain.requests import KeyReply, OpenReply
from kms.domain.status import Status

_DELIVERED = (KeyState.ACTIVE, KeyState.DEACTIVATED, KeyState.DESTROYED)


class Ledger:
    """Of both nodes and all their processes."""

    def __init__(self) -> None:
        self.checks = 0
        self.blocks_given = 0
        self.pads: dict[NodeId, Callable[[], object]] = {}
        """which secret a node's pads are of, now"""
        self.delivered: dict[NodeId, dict[tuple[KSID, int], bytes]] = defaultdict(dict)
        self.writes = 0
        self._marks: dict[tuple[object, ...], int] = defaultdict(int)
        self._keys: dict[bytes, tuple[KSID, int]] = {}

    def committed(self, node: NodeId, writes: Sequence[Write]) -> None:
        self.writes += sum(isinstance(each, Save) for each in writes)

    def frame(self, node: NodeId, link: LinkId, data: bytes) -> None:
        """A frame leaves."""
        header = read_header(data)
        if header.kind is Kind.OPENING:
            return
        pad = (link, self.pads[node](), node)
        self.checks += 1
        assert header.offset >= self._marks[pad], "I1 a pad byte was used twice"
        used = len(data) - HEADER_BYTES - limits.TAG_BYTES + limits.MAC_KEY_BYTES
        self._marks[pad] = header.offset + used

    def key(
        self,
        node: NodeId,
        ksid: KSID,
        reply: KeyReply,
        disk: MemoryDisk,
        audit: Iterable[AuditRecord],
    ) -> None:
        """An application has this answer."""
        if reply.status is not Status.SUCCESS:
            assert reply.key is None, "I3 a key without success"
            return
        assert reply.key is not None, "a success without a key"
        place, digest = (ksid, reply.index), hashlib.sha256(reply.key.expose()).digest()
        self.checks += 4
        assert place not in self.delivered[node], f"I1 chunk {reply.index} was delivered twice"
        self.delivered[node][place] = digest
        assert self._keys.setdefault(digest, place) == place, "I1 one key under two indices"
        for other in self.delivered.values():
            assert other.get(place, digest) == digest, f"I2 two keys at index {reply.index}"
        run = _run(disk, ksid, reply.index)
        assert run is not None, "I5 an answer before its commit"
        assert run.state in _DELIVERED, f"I5 an answer before its commit: {run.state}"
        assert any(
            record.entry.subject == str(ksid) and reply.index in deliveries(record.entry)
            for record in audit
        ), "I11 an answer before its journal entry"

    def keys(
        self, node: NodeId, reply: KeysReply, disk: MemoryDisk, audit: Iterable[AuditRecord]
    ) -> None:
        """An application has this answer: each key is one of the stream that its ID is of."""
        if reply.keys is None:
            assert reply.outcome is not Outcome.DELIVERED, "a delivery without keys"
            return
        journal, bits = list(audit), reply.keys
        count = len(reply.key_ids) // ID_BYTES
        size = len(bits) // count
        assert len(bits) == count * size, "as many keys as IDs"
        at = 0
        for prefix, ids in grouped(reply.key_ids):
            (ksid,) = (
                each.ksid
                for each in disk.records()
                if isinstance(each, StreamRecord) and prefix_of(each.ksid) == prefix
            )
            for first, many in stretches(ksid, ids):
                for index in range(first, first + many):
                    key = KeyReply(
                        status=Status.SUCCESS, message="", index=index, key=bits.part(at, size)
                    )
                    self.key(node, ksid, key, disk, journal)
                    at += size

    def opening(self, reply: OpenReply, disk: MemoryDisk) -> None:
        """An application has this answer."""
        if reply.status in (Status.SUCCESS, Status.PEER_NOT_CONNECTED_YET):
            self.checks += 1
            assert any(
                isinstance(record, StreamRecord) and record.ksid == reply.ksid
                for record in disk.records()
            ), "I5 a stream that is opened is not recorded"

    def compare(self) -> int:
        """Chunks that both ends got: they are equal, or ``key`` had raised."""
        one, other = (set(each) for each in self.delivered.values())
        return len(one & other)


def deliveries(entry: AuditEntry) -> range:
    """The indices that an entry says were delivered."""
    if entry.event != "key-delivered":
        return range(0)
    first, count = entry.detail["index"], entry.detail["count"]
    assert isinstance(first, int), "a delivery has an index"
    assert isinstance(count, int), "and a count"
    return range(first, first + count)


def _run(disk: MemoryDisk, ksid: KSID, index: int) -> KeyRunRecord | None:
    for record in disk.records():
        if (
            isinstance(record, KeyRunRecord)
            and record.ksid == ksid
            and record.first <= index < record.first + record.count
        ):
            return record
    return None
