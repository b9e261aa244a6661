"""The pacer: makes key for streams ahead of demand, from the pads this end writes.

Rules: every admitted Min_bps first, then by priority (the larger number), evenly within one, what
somebody waits for or soon will before what only lies ready; never above Max_bps, nor above what
policy permits (``caps``); only for streams that both ends have said in this session and both
applications have joined; nothing from a link under alarm (I13).

Theory of operation: a stream that lacks key stands in its link's queue, once. The queue is a heap
over (rank, priority, bytes got beyond Min_bps): the lowest gets a turn of a fair part of what the
link can give now, and stands in line again if it still lacks. Who rises in rank stands there twice;
only the last entry counts, and a queue with too many that do not is made anew. Nothing here walks
over streams that lack nothing. A stream held back by Max_bps, or to be moved forward by Min_bps,
has a timer.

A chunk that is larger than what the link can give now: the link is told what is wanted, and while
it has that much at all, or soon will at its rate, those behind wait too, or small chunks would
starve large ones for ever. Else they go first; but nobody gets excess while a promised chunk waits
for the stock to grow, nor ever the last ``PROMISE_KEEP_S`` of what is promised.
"""

import heapq
from itertools import islice

import attrs

from kms.domain import limits
from kms.domain.channel import Channel
from kms.domain.effects import StoreMaterial
from kms.domain.enforcing import enforce
from kms.domain.lifecycle import KeyEvent
from kms.domain.names import KSID, LinkId, MaterialId
from kms.domain.outbox import Outbox
from kms.domain.records import StreamRecord
from kms.domain.register import Register
from kms.domain.secret import Secret
from kms.domain.stream import Stream
from kms.domain.wire import Designate

_PROMISED, _WANTED, _AHEAD = 0, 1, 2
"""ranks: up to Min_bps; used or waited for; for later"""
_Entry = tuple[int, int, int, int, KSID]
"""(rank, -priority, bytes got, number, ksid)"""

# Entries of one queue that no longer count do no harm up to so many.
ENTRIES_FREE = 64


class Supply:
    """Key for the streams of all links."""

    def __init__(self, register: Register) -> None:
        self._register = register
        self._queues: dict[LinkId, list[_Entry]] = {}
        self._floor: dict[LinkId, dict[int, int]] = {}
        """bytes that each class has come to, by priority"""
        self._number = 0
        self._tidy_at: dict[LinkId, int] = {}
        self.pressed = False
        """the last batch had no room for all that could be made: the next one is due at once"""

    def owed_ms(self, link: LinkId, now_ms: int) -> int:
        """How long somebody has waited for key of this link that was promised, as far as the
        longest owed tell."""
        owed = self._register.owed.get(link, {})
        for ksid, since_ms in list(islice(owed.items(), limits.OWED_LOOKS_MAX)):
            stream = self._register.streams.get(ksid)
            if stream is None or stream.record.link != link or not stream.pace.queued:
                del owed[ksid]
            elif stream.waited() or stream.pace.wanted:
                return now_ms - since_ms
        return 0

    def consider(self, stream: Stream, now_ms: int) -> None:
        """The stream stands in line if it lacks key, where it now belongs."""
        if stream.pace.queued and stream.pace.rank <= self._rank(stream, now_ms):
            return
        if not self._may_have(stream) or not self._lacks(stream, now_ms):
            return
        if not stream.pace.allowed(now_ms):
            self._register.due.set(("pace", stream), stream.pace.allowed_at_ms(now_ms))
            return
        cap = self._register.caps.of(stream.ksid)
        if cap is not None and not cap.allowed(stream.chunk_bytes, now_ms):
            at_ms = cap.allowed_at_ms(stream.chunk_bytes, now_ms)
            self._register.due.set(("pace", stream), at_ms)
            return
        self._stand_in_line(stream, now_ms)

    def owes(self, link: LinkId) -> bool:
        """Whether a stream that Min_bps is owed to stands first in line."""
        queue = self._queues.get(link)
        return queue is not None and len(queue) > 0 and queue[0][0] == _PROMISED

    def free(self, channel: Channel) -> int:
        """Bytes of the link that excess may have: not the last seconds of what is promised."""
        kept = self._register.promised_bps[channel.link] * limits.PROMISE_KEEP_S // 8
        return channel.level() - kept

    def paced(self, stream: Stream, now_ms: int) -> None:
        """The stream's pace timer fired: Max_bps allows, or Min_bps promises, one more chunk."""
        self.consider(stream, now_ms)
        if stream.pace.queued and stream.pace.rank != _PROMISED:
            self._rise_in_time(stream, now_ms)

    def fill(self, out: Outbox) -> None:
        """Those that lack key have what their links can give now, a bounded number of them."""
        left = limits.DESIGNATIONS_PER_BATCH_MAX
        self.pressed = False
        for link, queue in list(self._queues.items()):
            channel = self._register.channels.get(link)
            if channel is None or not channel.up or channel.alarmed:
                continue
            if self._register.holds.stopped(link):
                continue
            left -= self._fill_from(channel, queue, left, out)
            if not queue:
                del self._queues[link]
            if left <= 0:
                # The links behind this one come first in the next batch.
                self.pressed = bool(self._queues)
                if queue:
                    self._queues[link] = self._queues.pop(link)
                return

    def _fill_from(
        self, channel: Channel, queue: list[_Entry], designations: int, out: Outbox
    ) -> int:
        made, passed_over = 0, list[_Entry]()
        while queue and made < designations and len(passed_over) < limits.PACER_SKIPS_MAX:
            entry = heapq.heappop(queue)
            if not self._counts(entry):
                continue
            stream = self._register.streams[entry[4]]
            now_ms = out.now.mono_ms
            most = channel.drawable()
            if entry[0] != _PROMISED:
                free = self.free(channel)
                if free <= 0 or (passed_over and passed_over[0][0] == _PROMISED):
                    passed_over.append(entry)
                    break
                most = min(most, free)
            count = self._turn(stream, entry, most, len(queue) + 1, now_ms)
            if count and not self._designate(stream, count, channel, most, out):
                passed_over.append(entry)
                channel.want(stream.chunk_bytes)
                if self._comes_soon(channel, stream.chunk_bytes):
                    break
                continue
            self._leave_line(stream, now_ms)
            if count:
                made += 1
                if entry[0] != _PROMISED:
                    self._floor_rises(channel.link, entry)
        for entry in passed_over:
            heapq.heappush(queue, entry)
        return made

    def _comes_soon(self, channel: Channel, length: int) -> bool:
        """Whether the link has so many bytes, or will have while the others can wait."""
        soon = channel.rate_bps() * limits.LARGE_CHUNK_WAIT_S / 8
        return channel.level() + soon >= length

    def _floor_rises(self, link: LinkId, entry: _Entry) -> None:
        floors = self._floor.setdefault(link, {})
        floors[-entry[1]] = max(floors.get(-entry[1], 0), entry[2])
        if len(floors) > limits.PRIORITIES_MAX:
            # Somebody invents priorities. Who paused may catch up on its class, this once.
            floors.clear()

    def _leave_line(self, stream: Stream, now_ms: int) -> None:
        """It had its turn, and stands in line again if it still lacks."""
        pace = stream.pace
        pace.queued = 0
        self.consider(stream, now_ms)
        if not (pace.queued and pace.promised(now_ms)):
            self._register.paid(stream)

    def _turn(self, stream: Stream, entry: _Entry, most: int, standing: int, now_ms: int) -> int:
        """Chunks of one turn; 0 when it lacks nothing any longer. ``most``: bytes."""
        if not self._may_have(stream):
            return 0
        size, pace = stream.chunk_bytes, stream.pace
        part = max(most // standing, limits.PACER_TURN_BYTES_MIN) // size
        count = min(
            self._lacks(stream, now_ms),
            pace.allowed(now_ms),
            max(1, part),
            limits.DESIGNATION_CHUNKS_MAX,
            limits.INDEX_MAX + 1 - stream.record.next_index,
        )
        cap = self._register.caps.of(stream.ksid)
        if cap is not None:
            count = min(count, cap.allowed(size, now_ms))
        if entry[0] == _PROMISED:
            count = min(count, max(1, pace.promised(now_ms)))
        return count if count <= 1 else max(1, min(count, most // size))

    def _designate(
        self, stream: Stream, count: int, channel: Channel, most: int, out: Outbox
    ) -> bool:
        """``count`` chunks more are made, told to the peer and stored here; False, and nothing
        changed, when the link cannot give them now, or has only ``most`` bytes for them."""
        record, size = stream.record, stream.chunk_bytes
        first = record.next_index
        assert first == stream.runs.end, "I2 indices are designated in order"
        branch = _branch(channel, record)
        message = Designate(
            ksid=record.ksid.bytes, first=first, count=count, chunk_bytes=size, branch=branch
        )
        bits = channel.draw(message, count * size, out) if most >= size else None
        if bits is None:
            return False
        assert len(bits) == count * size, "I2 both ends take the same bytes"
        stream.record = attrs.evolve(record, next_index=first + count, branch=branch)
        stream.pace.made(count)
        cap = self._register.caps.of(stream.ksid)
        if cap is not None:
            cap.made(count * size)
        if stream.pace.rank != _PROMISED:
            stream.pace.share += count * size
        self.store(stream, count, bits, out)
        return True

    def store(self, stream: Stream, count: int, bits: Secret, out: Outbox) -> None:
        """``count`` new chunks wait here, at either end of the stream."""
        first, channel = stream.runs.end, self._register.channel(stream)
        assert channel is not None, "chunks are made of a link's key"
        # Of this end, and not what the neighbour calls it: it may say the same again.
        branch = _branch(channel, stream.record)
        material = MaterialId(f"chunks/{stream.ksid}/{first}-{branch:x}")
        unit_bytes = stream.unit_chunks * stream.chunk_bytes
        out.add(StoreMaterial(material=material, bits=bits, unit_bytes=unit_bytes))
        stream.runs.append(
            count, material=material, now=out.now, ttl_ms=stream.wait_ms, reason="designated"
        )
        self._register.due.set(
            ("stream", stream),
            out.now.mono_ms + stream.wait_ms,
            out.now.wall_ms + stream.wait_ms,
        )
        out.audit(
            "keys-designated",
            actor="node",
            subject=str(stream.ksid),
            first=first,
            count=count,
            link=stream.record.link,
        )
        self._register.touch(stream)
        enforce(self._register, stream, out)
        too_many = stream.runs.ready - limits.UNREAD_BYTES_MAX // stream.chunk_bytes
        if too_many > 0:
            self._register.destroy(
                stream,
                stream.runs.oldest(too_many),
                KeyEvent.DESTROY,
                reason="unread for too long while the other application reads on",
                out=out,
            )

    def _may_have(self, stream: Stream) -> bool:
        return (
            stream.record.designates
            and stream.established
            and stream.said
            and stream.synced
            and stream.record.next_index <= limits.INDEX_MAX
            and not self._register.holds.pauses(stream.record)
        )

    def _lacks(self, stream: Stream, now_ms: int) -> int:
        return max(0, stream.pace.need(now_ms, stream.runs.ready, stream.waited()))

    def _rank(self, stream: Stream, now_ms: int) -> int:
        pace = stream.pace
        if pace.promised(now_ms):
            return _PROMISED
        return _WANTED if pace.urgent(now_ms, stream.runs.ready, stream.waited()) else _AHEAD

    def _stand_in_line(self, stream: Stream, now_ms: int) -> None:
        pace, link = stream.pace, stream.record.link
        pace.rank = self._rank(stream, now_ms)
        if pace.rank == _PROMISED:
            self._register.owed.setdefault(link, {}).setdefault(stream.ksid, now_ms)
        else:
            self._rise_in_time(stream, now_ms)
        self._number += 1
        pace.queued = self._number
        # Who lacked nothing for a while does not catch up on those who did.
        floor = self._floor.get(link, {}).get(stream.record.qos.priority, 0)
        pace.share = max(pace.share, floor)
        entry = (pace.rank, -stream.record.qos.priority, pace.share, self._number, stream.ksid)
        queue = self._queues.setdefault(link, [])
        heapq.heappush(queue, entry)
        if len(queue) > self._tidy_at.get(link, ENTRIES_FREE):
            queue[:] = [each for each in queue if self._counts(each)]
            heapq.heapify(queue)
            self._tidy_at[link] = 2 * len(queue) + ENTRIES_FREE

    def _rise_in_time(self, stream: Stream, now_ms: int) -> None:
        """Its promise will put it first."""
        promised_at_ms = stream.pace.promised_at_ms(now_ms)
        if promised_at_ms is not None:
            self._register.due.set(("pace", stream), promised_at_ms)

    def _counts(self, entry: _Entry) -> bool:
        stream = self._register.streams.get(entry[4])
        return stream is not None and stream.pace.queued == entry[3]


def _branch(channel: Channel, record: StreamRecord) -> int:
    """Under which no index of the stream is made, or stored here, twice: no process has this one's
    number, and none of this process so many falls."""
    return channel.boot + record.falls
