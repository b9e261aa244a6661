"""GET_KEY: one chunk to one application, once.

Rules: a chunk leaves only to the stream's own application (I3), only when both ends hold it durably
(I5), recorded and journalled before (I11), never from a link under alarm (I13). An unknown KSID and
somebody else's are told apart by nothing in the answer. A request that cannot be met now waits, at
most the agreed Timeout, then says what was lacking: 2 key, 6 time. Before the peer application is
there it waits a moment only, then says 3: news of the peer may be under way from the other node.
"""

from kms.domain import limits
from kms.domain.close import DELIVERED, UNKNOWN, Ending, was_lost
from kms.domain.effects import Answer, DeliverKey
from kms.domain.enckeys import Issuing
from kms.domain.events import Asked
from kms.domain.holds import COMPROMISED, SUSPENDED
from kms.domain.keyrequests import EncKeys, KeysReply, Outcome
from kms.domain.lifecycle import KeyEvent, KeyState
from kms.domain.metadata import METADATA_BYTES_MAX, describe
from kms.domain.names import KSID, LinkId, SAEId
from kms.domain.outbox import Outbox
from kms.domain.pace import stock_chunks
from kms.domain.register import Register
from kms.domain.requests import GetKey, KeyReply, Reply
from kms.domain.run import Run, Span
from kms.domain.speech import Speech
from kms.domain.status import Status
from kms.domain.stream import Stream, Waiting
from kms.domain.supply import Supply

_GONE = {
    KeyState.ACTIVE: "was delivered already",
    KeyState.DEACTIVATED: "was delivered already",
    KeyState.SUSPENDED: f"is {SUSPENDED}",
    KeyState.COMPROMISED: f"is {COMPROMISED}",
}


class Reading:
    """Chunks to applications."""

    def __init__(
        self,
        register: Register,
        speech: Speech,
        supply: Supply,
        ending: Ending,
        issuing: Issuing,
    ) -> None:
        self._register = register
        self._speech = speech
        self._supply = supply
        self._ending = ending
        self._issuing = issuing
        self._held: dict[LinkId, dict[Stream, None]] = {}
        """streams with requests that an alarm holds up"""

    def asked(self, event: Asked, request: GetKey, out: Outbox) -> None:
        """GET_KEY is answered, now or within the stream's Timeout."""
        stream = self._register.streams.get(request.ksid)
        if stream is None or not self._reads(stream, event):
            if self._compromised(request.ksid, event.caller):
                message = f"the stream was {COMPROMISED}: open another one"
                self._refuse(event, Status.INSUFFICIENT_KEY, message, out)
            else:
                self._refuse(event, Status.PEER_NOT_CONNECTED, UNKNOWN, out)
            return
        self._seen(stream, out)
        most = request.chunk_bytes_max
        if most is not None and stream.chunk_bytes > most:
            message = f"this interface carries {most} octets, a chunk has {stream.chunk_bytes}"
            self._refuse(event, Status.NO_QKD_CONNECTION, message, out)
            return
        timeout_ms = stream.record.qos.timeout
        joined = stream.record.remote_joined
        patience_ms = timeout_ms if joined else min(timeout_ms, limits.JOIN_UNDER_WAY_MS)
        waiting = Waiting(
            request_id=event.request_id,
            caller=event.caller,
            ksid=request.ksid,
            request=request,
            deadline_ms=out.now.mono_ms + patience_ms,
            asked_ms=out.now.mono_ms,
            spare_ms=timeout_ms - patience_ms,
        )
        # Those who came first are served first; an index of one's own overtakes nobody.
        first = request.index is not None or not stream.gets
        if joined and first and self._serve(stream, waiting, request, out):
            self._supply.consider(stream, out.now.mono_ms)
            return
        crowd = self._register.crowd(event.caller, stream)
        if crowd:
            self._refuse(event, Status.INSUFFICIENT_KEY, crowd, out)
            return
        self._register.wait(stream, waiting)
        self.demand(stream, out)

    def serve(self, stream: Stream, out: Outbox) -> None:
        """Requests that can be answered now are, in the order in which they came."""
        if not stream.record.remote_joined:
            return
        for waiting in list(stream.gets.values()):
            request = waiting.request
            if isinstance(request, EncKeys):
                if not self._issuing.serve(stream, waiting, request, out):
                    break  # A request for fewer keys behind it does not overtake it.
                continue
            assert isinstance(request, GetKey), "openings wait elsewhere"
            self._serve(stream, waiting, request, out)
        self.demand(stream, out)

    def demand(self, stream: Stream, out: Outbox) -> None:
        """Whoever makes the stream's key knows that somebody waits for it."""
        waited = stream.waited()
        if waited and stream.record.designates:
            stream.pace.missed()
        elif waited > stream.wanted_said and stream.established:
            self._speech.say(stream)
        self._supply.consider(stream, out.now.mono_ms)

    def alarms_over(self, out: Outbox) -> None:
        """Requests that an alarm held up are served where it is over."""
        for link in list(self._held):
            channel = self._register.channels.get(link)
            if channel is None or not channel.alarmed:
                for stream in self._held.pop(link):
                    self.serve(stream, out)

    def timed_out(self, waiting: Waiting, out: Outbox) -> None:
        """The Timeout is over: the answer says what was lacking."""
        stream = self._register.streams[waiting.ksid]
        if isinstance(waiting.request, EncKeys):
            _, message = self._lacking(stream, out)
            reply: Reply = KeysReply(outcome=Outcome.UNAVAILABLE, message=f"try again: {message}")
            self._register.answer(waiting, reply, out)
            self.serve(stream, out)  # What was too little for it may be enough for the next one.
            return
        if not stream.record.remote_joined:
            message = "the peer application has not opened the stream yet"
            reply = KeyReply(status=Status.PEER_NOT_CONNECTED, message=message)
            self._register.answer(waiting, reply, out)
            return
        if waiting.spare_ms:
            self._register.extend(waiting)
            return
        self._seen(stream, out)
        status, message = self._lacking(stream, out)
        self._register.answer(waiting, KeyReply(status=status, message=message), out)

    def _lacking(self, stream: Stream, out: Outbox) -> tuple[Status, str]:
        """Why there was no key in time; it is counted."""
        stream.meter.lost()
        self._register.service(stream.record.link).meter.lost()
        channel = self._register.channel(stream)
        late = "no key within the agreed Timeout"
        if channel is None or not channel.up:
            return Status.TIMEOUT, f"{late}: the link is down"
        if channel.alarmed:
            return Status.INSUFFICIENT_KEY, f"no key is served: {channel.alarmed}"
        if stream.pace.held_until_ms(out.now.mono_ms) is not None:
            return Status.TIMEOUT, f"{late}: Max_bps is reached"
        if channel.level() < stream.chunk_bytes:
            return Status.INSUFFICIENT_KEY, "the link has no key left"
        return Status.TIMEOUT, late

    def _seen(self, stream: Stream, out: Outbox) -> None:
        """TTL is for applications that crashed: one that asks has not, whatever it is answered."""
        before = stream.record
        stream.touch(out.now)
        if stream.record is not before:
            self._register.touch(stream)

    def _reads(self, stream: Stream, event: Asked) -> bool:
        record, caller = stream.record, event.caller
        if self._register.directory.get(caller) != self._register.node:
            return False
        if record.paired:  # Its keys are asked for by ID (ETSI GS QKD 014).
            return False
        return record.local == caller and record.local_joined and not record.local_closed

    def _compromised(self, ksid: KSID, caller: SAEId) -> bool:
        """Whether this was a stream of the caller, until an operator said that it is lost."""
        stream, buried = self._register.streams.get(ksid), self._register.tombstones.get(ksid)
        record = stream.record if stream is not None else buried.record if buried else None
        if record is None or record.paired:
            return False
        return (record.local, record.reason) == (caller, COMPROMISED)

    def _refuse(self, event: Asked, status: Status, message: str, out: Outbox) -> None:
        out.add(Answer(request_id=event.request_id, reply=KeyReply(status=status, message=message)))

    def _serve(self, stream: Stream, waiting: Waiting, request: GetKey, out: Outbox) -> bool:
        """Whether the request is answered."""
        index, lacking = self._find(stream, request)
        if lacking:
            if index is not None and was_lost(stream.runs.at(index)):
                stream.meter.erred()
                self._register.service(stream.record.link).meter.erred()
            self._register.answer(
                waiting,
                KeyReply(status=Status.INSUFFICIENT_KEY, message=lacking, index=index or 0),
                out,
            )
            return True
        if index is None:
            return False
        channel = self._register.channel(stream)
        if channel is not None and channel.alarmed:
            self._held.setdefault(stream.record.link, {})[stream] = None
            return False
        run = stream.runs.at(index)
        assert run is not None, "a chunk that is ready is in a run"
        if run.expired(out.now):
            self._ending.expire(stream, out)
            return self._serve(stream, waiting, request, out)
        held_until_ms = stream.pace.held_until_ms(out.now.mono_ms)
        if held_until_ms is not None:
            self._register.due.set(("gate", stream), held_until_ms)
            return False
        self._deliver(stream, waiting, request, index, run, out)
        return True

    def _find(self, stream: Stream, request: GetKey) -> tuple[int | None, str]:
        """The index to deliver now, or None to wait; why not, if never."""
        record, index = stream.record, request.index
        refusal = self._register.holds.refusal(record, index)
        if refusal:
            return index, refusal
        unread = stream.runs.next_ready(stream.deliverable)
        if index is None:
            if unread is None and self._register.holds.pauses(record):
                return None, f"the stream is {SUSPENDED}"
            if unread is None and record.remote_closed:
                return None, "the peer application has closed the stream"
            if unread is None and record.next_index > limits.INDEX_MAX and not stream.runs.ready:
                return None, "the stream has used its last index"
            return unread, ""
        if index < record.next_index:
            run = stream.runs.at(index)
            assert run is not None, "every index below next_index is in a run"
            if run.state is not KeyState.PRE_ACTIVATION:
                why = _GONE.get(run.state) or f"is destroyed: {run.reason}"
                return index, f"index {index} {why}"
            if index >= stream.deliverable:
                return None, ""
            if stream.runs.crowded() and index != unread:
                return index, "too many indices were left out: read in order"
            return index, ""
        if index >= record.next_index + stock_chunks(stream.chunk_bytes):
            return index, f"index {index} is too far ahead: the next is {record.next_index}"
        if record.remote_closed:
            return index, "the peer application has closed the stream"
        return None, ""

    def _deliver(
        self,
        stream: Stream,
        waiting: Waiting,
        request: GetKey,
        index: int,
        run: Run,
        out: Outbox,
    ) -> None:
        record, now, size = stream.record, out.now, stream.chunk_bytes
        metadata = b""
        if record.qos.metadata_mimetype and request.metadata_size != 0:
            ready_ms = (run.expires_mono_ms or now.mono_ms) - stream.ttl_ms
            metadata = describe(now.mono_ms - ready_ms, hops=0)
            if request.metadata_size is not None and request.metadata_size < len(metadata):
                # Table 2, status 8: nothing delivered, nothing lost.
                reply = KeyReply(
                    status=Status.METADATA_SIZE_INSUFFICIENT,
                    message=f"metadata needs {METADATA_BYTES_MAX} octets",
                    index=index,
                    metadata_size=METADATA_BYTES_MAX,
                )
                self._register.answer(waiting, reply, out)
                return
        assert run.material is not None, "a chunk that waits lies somewhere"
        span = Span(first=index, count=1, material=run.material, material_first=run.material_first)
        stamp = now.mono_ms // limits.WIPE_STEP_MS + 1
        stream.runs.move(span, KeyEvent.DELIVER, now=now, reason=DELIVERED, stamp=stamp)
        stream.pace.delivered(now.mono_ms)
        delay_ms = now.mono_ms - waiting.asked_ms
        stream.meter.delivered(now.mono_ms, delay_ms, size)
        self._register.service(record.link).delivered(now.mono_ms, delay_ms, size)
        stream.delivered += 1
        stream.touch(now)
        self._register.touch(stream)
        self._register.unwait(waiting)
        self._ending.delivered(stream, out)
        out.audit(
            "key-delivered",
            actor=waiting.caller,
            subject=stream.subject,
            index=index,
            count=1,
            peer=record.remote,
            link=record.link,
        )
        out.add(
            DeliverKey(
                request_id=waiting.request_id,
                index=index,
                material=span.material,
                offset=(index - span.material_first) * size,
                length=size,
                metadata=metadata,
            )
        )
