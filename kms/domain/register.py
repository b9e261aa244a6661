"""The streams of a node and what can be looked up about them: the table the parts of ``streams``
share. It decides nothing.

Rules: a stream is in every index or in none (``add`` and ``drop`` are the only ways); what changed
is marked with ``touch`` and written once, by ``flush``, at the end of the event or of the batch.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

import attrs

from kms.domain import limits
from kms.domain.bundles import Bundles
from kms.domain.caps import Caps
from kms.domain.channel import Channel
from kms.domain.due import Due
from kms.domain.effects import Answer, WipeMaterial
from kms.domain.events import Asked
from kms.domain.holds import Holds
from kms.domain.keyids import prefix_of
from kms.domain.keyruns import KeyRuns
from kms.domain.lifecycle import KeyEvent
from kms.domain.moment import Moment
from kms.domain.names import KSID, WHOLE_LINK, LinkId, NodeId, SAEId, peer_of
from kms.domain.outbox import Outbox
from kms.domain.pairs import Pairs
from kms.domain.policy import Policy, Rule
from kms.domain.qos import cost_bps
from kms.domain.records import BundleRecord, HoldRecord, KeyRunRecord, StreamRecord
from kms.domain.requests import OpenConnect, Reply
from kms.domain.retention import KEEP, Retention
from kms.domain.run import Span
from kms.domain.service import LinkService
from kms.domain.stream import Stream, Waiting
from kms.domain.tombstones import Tombstones


def as_it_came(event: Asked) -> KSID | None:
    """The randomness itself."""
    return event.fresh


Timer = tuple[str, Stream | Waiting]
"""("stream", stream), ("pace", stream), ("gate", stream) or ("request", who waits)"""


class Register:
    """Streams by KSID, link and application; requests that wait; timers; tombstones."""

    def __init__(
        self,
        node: NodeId,
        records: Iterable[StreamRecord | KeyRunRecord | BundleRecord | HoldRecord],
        channels: Mapping[LinkId, Channel],
        retention: Retention = KEEP,
        named: Callable[[Asked], KSID | None] = as_it_came,
    ) -> None:
        self.node = node
        self.named = named
        """what a request that needs a name is named; None: there is no randomness for it"""
        self.channels = channels
        self.directory: Mapping[SAEId, NodeId] = {}
        self.policy = Policy()
        self.caps = Caps()
        self.streams: dict[KSID, Stream] = {}
        self.tombstones = Tombstones(retention)
        self.pairs = Pairs()
        self.on_link: dict[LinkId, dict[KSID, None]] = {}
        self.of_application: Counter[SAEId] = Counter()
        """streams that it opened; what neighbours announced counts below"""
        self.announced_on: Counter[LinkId] = Counter()
        self.announced_of: Counter[tuple[SAEId, SAEId]] = Counter()
        """local, remote"""
        self.waiting_of: Counter[SAEId] = Counter()
        self.promised_bps: Counter[LinkId] = Counter()
        """what the Min_bps of all streams costs, designations included"""
        self.owed: dict[LinkId, dict[KSID, int]] = {}
        """streams in line for what they were promised, and since when: the longest first"""
        self._services: dict[LinkId, LinkService] = {}
        self.waiting: dict[int, Waiting] = {}
        self.due: Due[Timer] = Due()
        self.now: Moment | None = None
        self.forgotten = 0
        """names of streams that were known in this process and are not any more: the neighbour may
        bring one of them again"""
        self._dirty: dict[Stream, None] = {}
        kept = list(records)
        self.holds = Holds(each for each in kept if isinstance(each, HoldRecord))
        bundles = (each for each in kept if isinstance(each, BundleRecord))
        self.bundles = Bundles(bundles, self.holds)
        self._restored = [each for each in kept if isinstance(each, StreamRecord | KeyRunRecord)]

    def at(self, now: Moment) -> bool:
        """Time is ``now``. True the first time: the records are streams again, the monotonic
        clock of their timers begins here."""
        first = self.now is None
        self.now = now
        if first:
            self.tombstones.begin(now)
            self._restore(now)
        return first

    def _restore(self, now: Moment) -> None:
        runs: dict[KSID, list[KeyRunRecord]] = {}
        found: list[StreamRecord] = []
        for record in self._restored:
            if isinstance(record, KeyRunRecord):
                runs.setdefault(record.ksid, []).append(record)
            else:
                found.append(record)
        self._restored = []
        for record in sorted(found, key=lambda r: r.closed_ms or 0):
            mine = runs.pop(record.ksid, [])
            if record.closed_ms is not None:
                self.tombstones.add(record, mine[0] if mine else None)
                self.pairs.remember(record)
                continue
            stream = Stream(record, KeyRuns(record.ksid, mine), now)
            assert stream.runs.end == record.next_index, "runs and record are of one transaction"
            stream.saved = record
            stream.continuous = False
            stream.runs.awake(now, stream.wait_ms)
            self._index(stream)
        assert not runs, "runs of a stream that is not recorded"

    # ---- streams ----------------------------------------------------------------------------

    def add(self, stream: Stream) -> None:
        """The stream is known and saved."""
        self._index(stream)
        self.touch(stream)

    def drop(self, stream: Stream, out: Outbox) -> None:
        """The stream was never there. The caller has destroyed its chunks and answered its
        requests."""
        self._unindex(stream)
        self.forgotten += 1
        self.pairs.forget(stream.record)
        stream.runs.forget_to(out)
        if stream.saved is not None:
            out.forget(stream.saved)
        self.unhold(stream.record.link, out, stream.ksid)

    def bury(self, stream: Stream, out: Outbox) -> None:
        """The closed stream is a tombstone."""
        self._unindex(stream)
        record = attrs.evolve(stream.record, closed_ms=out.now.wall_ms)
        run = stream.runs.fold(out.now)
        stream.runs.save_to(out)
        out.save(record)
        self.unhold(record.link, out, record.ksid)
        self.tombstones.add(record, run)
        if len(self.tombstones) > limits.TOMBSTONES_MAX:
            self._forget_tombstone(out)

    def forget_tombstones(self, out: Outbox) -> None:
        """Those past their time are gone."""
        for _ in range(limits.DUE_PER_TICK_MAX):
            end_ms = self.tombstones.end_ms(out.now)
            if end_ms is None or end_ms > out.now.mono_ms:
                return
            self._forget_tombstone(out)

    def touch(self, stream: Stream) -> None:
        """The stream changed: it is saved when the event is handled."""
        self._dirty[stream] = None

    def flush(self, out: Outbox) -> None:
        """What changed is in the batch's writes."""
        if not self._dirty:
            return
        for stream in self._dirty:
            if self.streams.get(stream.ksid) is not stream:
                continue
            stream.runs.save_to(out)
            if stream.record is not stream.saved:
                out.save(stream.record)
                stream.saved = stream.record
        self._dirty.clear()

    def knows(self, ksid: KSID) -> bool:
        """Whether the name is taken, by a stream or a tombstone."""
        return ksid in self.streams or ksid in self.tombstones

    def names_keys(self, ksid: KSID) -> bool:
        """Whether key IDs that are known begin like those of this KSID."""
        prefix = prefix_of(ksid)
        return self.pairs.named(prefix) is not None or self.bundles.named(prefix) is not None

    def channel(self, stream: Stream) -> Channel | None:
        """The stream's link, if the node still has it."""
        return self.channels.get(stream.record.link)

    def service(self, link: LinkId) -> LinkService:
        """How well the link's streams are served; links come from the configuration."""
        service = self._services.get(link)
        if service is None:
            assert self.now is not None, "asked in an event"
            service = self._services[link] = LinkService(self.now.mono_ms)
        return service

    def set_qos(self, stream: Stream, record: StreamRecord) -> None:
        """The record with another QoS."""
        self.promised_bps[record.link] += cost_bps(record.qos) - cost_bps(stream.record.qos)
        stream.record = record
        self.cap(stream, self.rule_of(record))

    def paid(self, stream: Stream) -> None:
        """Nothing that was promised is owed to the stream now."""
        owed = self.owed.get(stream.record.link)
        if owed is not None:
            owed.pop(stream.ksid, None)
            if not owed:
                del self.owed[stream.record.link]

    def rule_of(self, record: StreamRecord) -> Rule | None:
        """The policy's rule by which the stream was opened; None: there is none any longer."""
        if record.designates:
            return self.policy.rule_for(record.local, record.remote, self.node)
        return self.policy.rule_for(record.remote, record.local, peer_of(record.link, self.node))

    def cap(self, stream: Stream, rule: Rule | None) -> None:
        """The stream is under what the rule says now."""
        assert self.now is not None, "a policy holds in an event"
        self.caps.put(stream.record, rule, self.now.mono_ms)

    # ---- holds ------------------------------------------------------------------------------

    def hold(self, record: HoldRecord, out: Outbox) -> None:
        """The record is what is held, in the batch's writes."""
        self.holds.restore(record)
        out.save(record)

    def stopped(self, link: LinkId) -> str:
        """Why no key of the link is served at all now; empty when it is."""
        channel = self.channels.get(link)
        return (channel.alarmed if channel is not None else "") or self.holds.stopped(link)

    def unhold(self, link: LinkId, out: Outbox, ksid: KSID = WHOLE_LINK) -> None:
        """Nothing of the stream, or the link as a whole, is held any longer."""
        record = self.holds.drop(link, ksid)
        if record is not None:
            out.forget(record)

    # ---- waiting ----------------------------------------------------------------------------

    def wait(self, stream: Stream, waiting: Waiting) -> None:
        """The request is answered later."""
        self.waiting[waiting.request_id] = waiting
        self.waiting_of[waiting.caller] += 1
        opens = isinstance(waiting.request, OpenConnect)
        place = stream.openings if opens else stream.gets
        place[waiting.request_id] = waiting
        self.due.set(("request", waiting), waiting.deadline_ms)

    def extend(self, waiting: Waiting) -> None:
        """The request waits on, by what it has to spare."""
        waiting.deadline_ms += waiting.spare_ms
        waiting.spare_ms = 0
        self.due.set(("request", waiting), waiting.deadline_ms)

    def answer(self, waiting: Waiting, reply: Reply, out: Outbox) -> None:
        """The request has its answer and waits no longer."""
        self.unwait(waiting)
        if not waiting.hung_up:
            out.add(Answer(request_id=waiting.request_id, reply=reply))

    def unwait(self, waiting: Waiting) -> None:
        """The request waits no longer; who takes it answers it."""
        if self.waiting.pop(waiting.request_id, None) is None:
            return
        self.waiting_of[waiting.caller] -= 1
        if not self.waiting_of[waiting.caller]:
            del self.waiting_of[waiting.caller]
        self.due.clear(("request", waiting))
        stream = self.streams.get(waiting.ksid)
        if stream is not None:
            stream.gets.pop(waiting.request_id, None)
            stream.openings.pop(waiting.request_id, None)

    def crowd(self, caller: SAEId, stream: Stream | None = None) -> str:
        """Which limit keeps one more request of ``caller`` from waiting; empty for none."""
        if len(self.waiting) >= limits.REQUESTS_WAITING_MAX:
            return f"this node already has {limits.REQUESTS_WAITING_MAX} requests waiting"
        if self.waiting_of[caller] >= limits.REQUESTS_PER_APPLICATION_MAX:
            return f"{limits.REQUESTS_PER_APPLICATION_MAX} requests of this application wait"
        if stream and len(stream.gets) + len(stream.openings) >= limits.REQUESTS_PER_STREAM_MAX:
            return f"{limits.REQUESTS_PER_STREAM_MAX} requests wait on this stream"
        return ""

    # ---- chunks -----------------------------------------------------------------------------

    def destroy(
        self, stream: Stream, spans: Iterable[Span], *events: KeyEvent, reason: str, out: Outbox
    ) -> None:
        """The chunks have gone through ``events``, the last of which destroys them: recorded,
        journalled, and unreadable with the batch."""
        for span in spans:
            stream.lapsed = True
            stream.runs.move(span, *events, now=out.now, reason=reason)
            self.wipe(stream, span, out)
            self.touch(stream)
            out.audit(
                "keys-compromised" if KeyEvent.COMPROMISE in events else "keys-destroyed",
                actor="node",
                subject=str(stream.ksid),
                first=span.first,
                count=span.count,
                reason=reason,
            )

    def wipe(self, stream: Stream, span: Span, out: Outbox) -> None:
        """The bytes are unreadable with the batch."""
        size = stream.chunk_bytes
        out.add(
            WipeMaterial(
                material=span.material,
                offset=(span.first - span.material_first) * size,
                length=span.count * size,
            )
        )

    # ---- indexes ----------------------------------------------------------------------------

    def deadline_ms(self) -> int | None:
        """When a timer fires or a tombstone ends."""
        assert self.now is not None, "timers are set in events"
        deadlines = self.due.deadline_ms(self.now), self.tombstones.end_ms(self.now)
        return min((each for each in deadlines if each is not None), default=None)

    def _index(self, stream: Stream) -> None:
        record = stream.record
        assert record.ksid not in self.streams, "a KSID names one stream"
        self.streams[record.ksid] = stream
        self.on_link.setdefault(record.link, {})[record.ksid] = None
        if record.announced:
            self.announced_on[record.link] += 1
            self.announced_of[record.local, record.remote] += 1
        else:
            self.of_application[record.local] += 1
        self.promised_bps[record.link] += cost_bps(record.qos)
        assert self.now is not None, "a stream begins in an event"
        outages = self.service(record.link).outages
        stream.meter.outages_base = outages.count
        stream.meter.outage_base_ms = outages.total_ms(self.now.mono_ms)
        self.cap(stream, self.rule_of(record))
        self.pairs.add(record)

    def _unindex(self, stream: Stream) -> None:
        record = stream.record
        assert not stream.gets, "a stream ends when its requests are answered"
        assert not stream.openings, "a stream ends when its requests are answered"
        del self.streams[record.ksid]
        del self.on_link[record.link][record.ksid]
        if record.announced:
            self.announced_on[record.link] -= 1
            self.announced_of[record.local, record.remote] -= 1
            if not self.announced_of[record.local, record.remote]:
                del self.announced_of[record.local, record.remote]
        else:
            self.of_application[record.local] -= 1
            if not self.of_application[record.local]:
                del self.of_application[record.local]
        self.promised_bps[record.link] -= cost_bps(record.qos)
        self.caps.drop(record.ksid)
        self.paid(stream)
        self.pairs.remove(record)
        self.due.clear(("stream", stream))
        self.due.clear(("pace", stream))
        self.due.clear(("gate", stream))
        self._dirty.pop(stream, None)

    def _forget_tombstone(self, out: Outbox) -> None:
        tombstone = self.tombstones.forget()
        self.forgotten += 1
        self.pairs.forget(tombstone.record)
        if tombstone.run is not None:
            out.forget(tombstone.run)
        out.forget(tombstone.record)
