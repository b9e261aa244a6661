"""One stream at this end: its record, its chunks, who waits for them.

Rules: everything that must outlive a crash is in ``record`` and ``runs``; everything else here is
rebuilt or asked for again. The states are read off the record, never kept beside it:

    opening -> pending -> established -> closing -> closed
    (announced,  (one side    (both sides    (one side   (both sides;
     no verdict)  has joined)   have joined)   has closed)  a tombstone)
"""

from enum import Enum

import attrs

from kms.domain import limits
from kms.domain.keyrequests import EncKeys
from kms.domain.keyruns import KeyRuns
from kms.domain.moment import Moment
from kms.domain.names import KSID, NodeId, SAEId, leader_of
from kms.domain.pace import Pace
from kms.domain.records import StreamRecord
from kms.domain.requests import GetKey, OpenConnect
from kms.domain.service import Outages, ServiceMeter
from kms.domain.statistics import StreamStatus


class StreamState(Enum):
    """How far a stream is."""

    OPENING = "opening"
    PENDING = "pending"
    ESTABLISHED = "established"
    CLOSING = "closing"
    CLOSED = "closed"


@attrs.define(kw_only=True, eq=False)
class Waiting:
    """A request that is answered later, at ``deadline_ms`` of the monotonic clock at the latest."""

    request_id: int
    caller: SAEId
    ksid: KSID
    request: OpenConnect | GetKey | EncKeys
    deadline_ms: int
    asked_ms: int = 0
    """on the same clock"""
    spare_ms: int = 0
    """what is added to the deadline once the peer application is there"""
    hung_up: bool = False
    """nobody hears the answer; what the request began goes on"""


class Stream:
    """One stream at this end."""

    __slots__ = (
        "confirmed",
        "continuous",
        "delivered",
        "gets",
        "heard_index",
        "ksid",
        "lapsed",
        "meter",
        "openings",
        "pace",
        "record",
        "runs",
        "said",
        "saved",
        "subject",
        "synced",
        "touched_mono_ms",
        "touched_wall_ms",
        "wanted_said",
        "wipe_by_ms",
    )

    def __init__(self, record: StreamRecord, runs: KeyRuns, now: Moment) -> None:
        self.ksid = record.ksid
        self.subject = str(record.ksid)
        """as the audit names it"""
        self.record = record
        self.saved: StreamRecord | None = None
        """as the store has it"""
        self.runs = runs
        self.openings: dict[int, Waiting] = {}
        self.gets: dict[int, Waiting] = {}
        """in the order in which they came"""
        self.said = False
        """the neighbour heard of it from this end in this session"""
        self.synced = False
        """this end heard of it from the neighbour in this session"""
        self.confirmed = record.remote_joined or record.next_index > 0
        """the neighbour has held it, so an end of it is an end, not a withdrawal"""
        self.continuous = True
        """False from a restart on until the neighbour has heard of the restart: a restored store
        may have forgotten chunks that it delivered"""
        self.heard_index = 0
        """what the neighbour's last mark of this session said: it never says less"""
        self.wanted_said = 0
        self.lapsed = True
        """of a pair, at the slave's end: the neighbour may not have heard which keys are gone"""
        self.pace = Pace(record.qos, now.mono_ms)
        self.delivered = 0
        self.meter = ServiceMeter(now.mono_ms)
        self.wipe_by_ms: int | None = None
        idle_ms = min(max(0, now.wall_ms - record.touched_ms), self.idle_ms)
        self.touched_mono_ms = now.mono_ms - idle_ms
        self.touched_wall_ms = record.touched_ms

    def __repr__(self) -> str:
        return f"Stream({self.ksid})"

    @property
    def chunk_bytes(self) -> int:
        return self.record.qos.key_chunk_size

    @property
    def ttl_ms(self) -> int:
        return self.record.qos.ttl * 1000

    @property
    def passive(self) -> bool:
        """The end of a pair that serves its slave."""
        return self.record.paired and not self.record.designates

    @property
    def wait_ms(self) -> int:
        """Life of a key that waits here. A master gets it in the first half of its life at the
        slave's end."""
        active = self.record.paired and self.record.designates
        return self.ttl_ms // 2 if active else self.ttl_ms

    @property
    def idle_ms(self) -> int:
        """After so long without its application this side is closed. A pair's slave may sleep as
        long as keys come; then its last key lives for a TTL, and the master's end closes first."""
        return self.ttl_ms * 2 if self.passive else self.ttl_ms

    @property
    def relied_on(self) -> bool:
        """An application here has opened it, or may still have to fetch a key of it."""
        r = self.record
        return r.local_joined and (r.designates or not r.paired or r.next_index > 0)

    @property
    def widowed(self) -> bool:
        """Of a pair, once the other side is closed: its slave can fetch nothing any more."""
        r = self.record
        return r.paired and (r.designates or not (self.runs.ready or self.runs.suspended))

    @property
    def unit_chunks(self) -> int:
        """Chunks that are sealed together."""
        return max(1, limits.CHUNK_UNIT_BYTES // self.chunk_bytes)

    @property
    def established(self) -> bool:
        """Both applications are there: key is made."""
        r = self.record
        return r.local_joined and r.remote_joined and not (r.local_closed or r.remote_closed)

    @property
    def deliverable(self) -> int:
        """Indices below this are durable at both ends (I5)."""
        return self.record.acked_index if self.record.designates else self.record.next_index

    @property
    def state(self) -> StreamState:
        r = self.record
        if r.local_closed and r.remote_closed:
            return StreamState.CLOSED
        if r.local_closed or r.remote_closed:
            return StreamState.CLOSING
        if r.local_joined and r.remote_joined:
            return StreamState.ESTABLISHED
        return StreamState.PENDING if self.confirmed else StreamState.OPENING

    def leads(self, node: NodeId) -> bool:
        """Whether this end's record wins when both ends opened the stream at once."""
        return leader_of(self.record.link) == node

    def waited(self) -> int:
        """Chunks from ``next_index`` on that requests here wait for."""
        if not self.gets:
            return 0
        beyond, unread = 0, 0
        for waiting in self.gets.values():
            request = waiting.request
            if isinstance(request, EncKeys):
                unread += request.number
            elif isinstance(request, GetKey) and request.index is not None:
                beyond = max(beyond, request.index + 1 - self.record.next_index)
            else:
                unread += 1
        return max(0, beyond, unread - self.runs.ready)

    def repace(self, now: Moment) -> None:
        """The pace is that of the QoS that stands now. With the same one it runs on: reconnecting
        gives nobody another second of Max_bps."""
        self.pace.wanted = 0
        if self.pace.qos != self.record.qos:
            queued = self.pace.queued
            self.pace = Pace(self.record.qos, now.mono_ms)
            self.pace.queued = queued

    def touch(self, now: Moment) -> None:
        """The application was there. The record says so to a sixteenth of the TTL: a delivery must
        not cost a record more, and after a restart an idle stream may end that much earlier."""
        self.touched_mono_ms, self.touched_wall_ms = now.mono_ms, now.wall_ms
        if not 0 <= now.wall_ms - self.record.touched_ms < self.ttl_ms // 16:
            self.record = attrs.evolve(self.record, touched_ms=now.wall_ms)

    def statistics(self, now: Moment, outages: Outages) -> StreamStatus:
        """``outages``: the link's."""
        return StreamStatus(
            ksid=self.ksid,
            link=self.record.link,
            local=self.record.local,
            remote=self.record.remote,
            state=self.state.value,
            next_index=self.record.next_index,
            ready=self.runs.ready,
            suspended=self.runs.suspended,
            delivered=self.delivered,
            waiting=len(self.gets) + len(self.openings),
            promised_bps=self.record.qos.min_bps,
            got_bps=self.pace.rate(now.mono_ms) * self.chunk_bytes * 8,
            max_bps=self.record.qos.max_bps,
            priority=self.record.qos.priority,
            service=self.meter.statistics(now.mono_ms, outages),
        )
