"""The append log and the extents it made, of one link at one end.

What the log says becomes extents of the two pads; what is burnt or spent leaves them. A spent
block's record stays a while: the log's hashes need it, and so does the question which blocks were
used since the last good check (I13).
"""

from collections import OrderedDict

import attrs

from kms.domain import appendlog
from kms.domain.appendlog import LogEntry, LogHistory
from kms.domain.effects import WipeMaterial
from kms.domain.extents import Extent
from kms.domain.linkmemory import LinkMemory
from kms.domain.names import BlockId, MaterialId
from kms.domain.outbox import Outbox
from kms.domain.pad import Pad
from kms.domain.records import BlockRecord, BlockState


class AgreedLog:
    """Entries newest last; ``settled`` of them are durable at both ends."""

    def __init__(self, memory: LinkMemory) -> None:
        self._memory = memory
        self._records: OrderedDict[int, BlockRecord] = OrderedDict()
        self._known: set[BlockId] = set()
        self._history = LogHistory(memory.settings.spent_blocks)
        self.settled = 0
        self.burnt_bytes = 0
        self.agreed_blocks = 0
        self.agreed_bytes = 0
        """since the start"""

    def restore(self, record: BlockRecord) -> None:
        """A record from the store, in the order of ``seq``. What lies below the grant is spent."""
        assert record.seq is not None and record.start is not None and record.direction, "agreed"
        self._remember(record)
        pad = self._memory.pad(record.direction)
        if record.start < pad.granted:
            # A grant never reached into an append that was not durable at both ends.
            self.settled = max(self.settled, record.seq + 1)
        if record.start + record.length > pad.granted:
            # Spent above the grant means burnt: the neighbour may have to hear of it yet.
            pad.extents.append(_extent(record))

    def started(self, out: Outbox) -> None:
        """What a crash left between a grant's commit and its opening is unreadable with the batch:
        it is burnt, so nothing would ever open it (I6)."""
        for record in list(self._records.values()):
            if record.state is not BlockState.AGREED or record.direction is None:
                continue
            below = self._memory.pad(record.direction).granted - (record.start or 0)
            if below > 0:
                length = min(below, record.length)
                out.add(WipeMaterial(material=record.material, offset=0, length=length))
                if length == record.length and record.seq is not None:
                    self._retire(record.seq, out)

    def knows(self, block_id: BlockId) -> bool:
        return block_id in self._known

    def has(self, entry: LogEntry) -> bool:
        """Whether this very entry is in the log already (an append that was sent again)."""
        record = self._records.get(entry.seq)
        return record is not None and _entry(record) == entry

    def entries_from(self, seq: int) -> list[LogEntry]:
        return [_entry(each) for number, each in self._records.items() if number >= seq]

    def hash_at(self, count: int) -> bytes | None:
        """Hash of the first ``count`` entries; None if that is too long ago."""
        if count == self._memory.log_count:
            return self._memory.log_hash
        if count == 0:
            return appendlog.begin(self._memory.secret_id)
        return self._history.hash_at(count)

    def append(self, entry: LogEntry, block: BlockRecord | None, out: Outbox) -> None:
        """The entry is in the batch's writes. Without its block it is a hole at both ends."""
        memory = self._memory
        assert entry.seq == memory.log_count, "the log has no gaps"
        memory.log_hash = appendlog.after(memory.log_hash, entry)
        memory.log_count += 1
        record = attrs.evolve(
            block if block is not None else _absent(memory, entry, out),
            state=BlockState.AGREED if block is not None else BlockState.SPENT,
            seq=entry.seq,
            direction=entry.direction,
            start=entry.start,
            log_hash=memory.log_hash,
        )
        out.save(record)
        self._forget_oldest(self._remember(record), out)
        pad = memory.pad(entry.direction)
        pad.extents.append(_extent(record))
        if record.state is BlockState.AGREED:
            self.agreed_blocks += 1
            self.agreed_bytes += entry.length
        if not memory.leads:
            self.settled = memory.log_count
        out.save(pad.record())
        memory.save(out)

    def settle(self, count: int) -> None:
        """The other end has the first ``count`` entries, durably."""
        self.settled = max(self.settled, min(count, self._memory.log_count))

    def settled_end(self) -> int:
        """End of the part of the reader's pad that both ends hold durably."""
        return self._memory.reader.extents.unsettled_start(self.settled)

    def burn_seq(self, seq: int, reason: str, out: Outbox) -> None:
        """That entry's bytes are given up and destroyed at this end."""
        record = self._records.get(seq)
        if record is not None and record.direction is not None and record.start is not None:
            extents = self._memory.pad(record.direction).extents
            for extent in extents.burn(record.start, record.length):
                self._destroy(extent, reason, out)

    def burn_range(self, pad: Pad, start: int, length: int, reason: str, out: Outbox) -> None:
        """The blocks that touch this range of one pad, and are not granted to their end, are given
        up and destroyed at this end; granted bytes of the range too."""
        pad.window.drop(start, start + length)
        above = max(start, pad.granted)
        for extent in pad.extents.burn(above, start + length - above):
            self._destroy(extent, reason, out)

    def cut(self, count: int, reason: str, out: Outbox) -> None:
        """Entries from ``count`` on never were: burnt here, and their offsets stay used."""
        memory = self._memory
        hash_ = self.hash_at(count)
        assert hash_ is not None, "the hello compared this prefix"
        for pad in memory.pads:
            for extent in pad.extents.from_seq(count):
                self._destroy(extent, reason, out)
        for seq in [each for each in self._records if each >= count]:
            record = self._records.pop(seq)
            self._known.discard(record.block_id)
            _forgotten(record, out)
        self._history.cut(count)
        memory.log_count, memory.log_hash = count, hash_
        self.settled = min(self.settled, count)

    def spend(self, out: Outbox) -> None:
        """Blocks wholly below the grants hold no bytes any more. While granted bytes are still
        being opened their block stays agreed: a crash then finds what to wipe (``started``)."""
        for pad in self._memory.pads:
            if pad.opening:
                continue
            for extent in pad.extents.spent_below(pad.granted):
                self._retire(extent.seq, out)

    def clear(self, reason: str, out: Outbox) -> None:
        """Nothing of the log or the pads is left: another secret begins."""
        for pad in self._memory.pads:
            for extent in pad.extents.from_seq(0):
                self._destroy(extent, reason, out)
        for record in self._records.values():
            _forgotten(record, out)
        self._records.clear()
        self._known.clear()
        self._history.clear()
        self.settled = 0

    # ---- inside -------------------------------------------------------------------------

    def _remember(self, record: BlockRecord) -> int | None:
        assert record.seq is not None, "agreed"
        self._records[record.seq] = record
        self._known.add(record.block_id)
        return self._history.remember(record.seq + 1, record.log_hash)

    def _forget_oldest(self, count: int | None, out: Outbox) -> None:
        if count is None:
            return
        record = self._records.get(count - 1)
        if record is not None and record.state is BlockState.SPENT:
            del self._records[count - 1]
            self._known.discard(record.block_id)
            out.forget(record)

    def _destroy(self, extent: Extent, reason: str, out: Outbox) -> None:
        if extent.material is None:
            return
        self.burnt_bytes += extent.length
        out.add(WipeMaterial(material=extent.material, offset=0, length=extent.length))
        out.audit(
            "block-burnt",
            actor=self._memory.node,
            subject=str(extent.block_id),
            link=self._memory.link,
            reason=reason,
        )
        self._retire(extent.seq, out)

    def _retire(self, seq: int, out: Outbox) -> None:
        record = self._records.get(seq)
        if record is None or record.state is not BlockState.AGREED:
            return
        if self._history.hash_at(seq + 1) is None:
            del self._records[seq]
            self._known.discard(record.block_id)
            out.forget(record)
        else:
            spent = attrs.evolve(record, state=BlockState.SPENT)
            self._records[seq] = spent
            out.save(spent)


def _forgotten(record: BlockRecord, out: Outbox) -> None:
    """Nothing is known of the block any more, so nothing of it is readable: what a grant covers is
    in no extent, and may not be opened yet, or never (a store that was put back)."""
    if record.state is BlockState.AGREED:
        out.add(WipeMaterial(material=record.material, offset=0, length=record.length))
    out.forget(record)


def _extent(record: BlockRecord) -> Extent:
    assert record.seq is not None and record.start is not None, "agreed"
    return Extent(
        seq=record.seq,
        start=record.start,
        length=record.length,
        block_id=record.block_id,
        material=record.material if record.state is BlockState.AGREED else None,
    )


def _entry(record: BlockRecord) -> LogEntry:
    assert record.seq is not None and record.start is not None and record.direction, "agreed"
    return LogEntry(
        seq=record.seq,
        block_id=record.block_id,
        direction=record.direction,
        start=record.start,
        length=record.length,
    )


def _absent(memory: LinkMemory, entry: LogEntry, out: Outbox) -> BlockRecord:
    return BlockRecord(
        link=memory.link,
        block_id=entry.block_id,
        state=BlockState.SPENT,
        length=entry.length,
        material=MaterialId(f"absent/{memory.link}/{entry.block_id}"),
        device=None,
        origin="absent",
        qber=None,
        received_ms=out.now.wall_ms,
    )
