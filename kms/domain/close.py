"""CLOSE, and every other way in which chunks and streams end.

Rules: a side that closes loses its unread chunks at once and its requests are answered; the other
side may read what was made until it closes too or its TTL ends; when both have closed nothing is
left but a tombstone. Delivered chunks become unreadable in whole units soon after the delivery and
in any case within ``DESTROY_WITHIN_MS`` (I6), but not before the shell had time to read them.
"""

from collections.abc import Iterable, Sequence

import attrs

from kms.domain import limits
from kms.domain.effects import Answer
from kms.domain.events import Asked
from kms.domain.keyrequests import EncKeys, KeysReply, Outcome
from kms.domain.keyruns import SEVERAL, TAKEN, UNREAD
from kms.domain.leftouts import left_out
from kms.domain.lifecycle import KeyEvent, KeyState
from kms.domain.outbox import Outbox
from kms.domain.register import Register
from kms.domain.requests import Close, CloseReply, KeyReply, OpenReply, Reply
from kms.domain.run import Run, Span
from kms.domain.speech import Speech
from kms.domain.status import Status
from kms.domain.stream import Stream, StreamState

DELIVERED = "delivered"
"""why a chunk that its application has is gone"""
OUTDATED = "this store is an old copy: it may have been delivered since"
UNKNOWN = "no stream of this application has this Key_stream_ID"


def was_lost(run: Run | None) -> bool:
    """Whether this end had, or should have had, a chunk of this run and did not deliver it."""
    if run is None or run.state in (KeyState.ACTIVE, KeyState.DEACTIVATED):
        return False
    known = run.state in UNREAD or run.reason.startswith(DELIVERED)
    return not known and run.reason != SEVERAL


class Ending:
    """Ends of streams and of chunks."""

    def __init__(self, register: Register, speech: Speech) -> None:
        self._register = register
        self._speech = speech

    def asked(self, event: Asked, request: Close, out: Outbox) -> None:
        """CLOSE is answered; on SUCCESS this side is closed."""
        stream = self._register.streams.get(request.ksid)
        buried = self._register.tombstones.get(request.ksid)
        status, message = Status.SUCCESS, "closed"
        if stream is not None and stream.record.local == event.caller and not stream.record.paired:
            if stream.record.local_joined or stream.record.local_closed:
                self.close(stream, "closed by the application", out, actor=event.caller)
            else:
                status, message = Status.PEER_NOT_CONNECTED, UNKNOWN
        elif buried is None or buried.record.local != event.caller or buried.record.paired:
            status, message = Status.PEER_NOT_CONNECTED, UNKNOWN
        out.add(
            Answer(request_id=event.request_id, reply=CloseReply(status=status, message=message))
        )

    def close(self, stream: Stream, reason: str, out: Outbox, *, actor: str = "node") -> None:
        """This side is closed; closing twice is closing once."""
        if stream.record.local_closed:
            return
        stream.touch(out.now)
        stream.record = attrs.evolve(
            stream.record, local_closed=True, touched_ms=out.now.wall_ms, reason=reason
        )
        self._register.touch(stream)
        out.audit("stream-closed", actor=actor, subject=str(stream.ksid), reason=reason)
        self._answer_all(stream, reason, out)
        waiting = stream.runs.spans(UNREAD)
        self._destroy(stream, waiting, reason, out)
        if stream.record.remote_closed:
            self._speech.say_closed(stream.record)
            self._finish(stream, out)
        else:
            self._speech.say(stream)
            self._set_timer(stream)

    def remote_closed(self, stream: Stream, reason: str, out: Outbox) -> None:
        """The other side is closed: nothing more is made. Chunks that it never acknowledged are
        destroyed; a side without application here is closed with it, and so is a pair of which
        nobody can fetch a key any more."""
        if not stream.record.remote_closed:
            stream.record = attrs.evolve(stream.record, remote_closed=True)
            self._register.touch(stream)
            unmet = stream.runs.spans(UNREAD, stream.deliverable)
            self._destroy(stream, unmet, reason, out)
        if stream.record.local_closed:
            self._finish(stream, out)
        elif not stream.record.local_joined or stream.widowed:
            self.close(stream, reason, out)

    def outdated(self, stream: Stream, out: Outbox) -> None:
        """No chunk that lies here is delivered: the store has forgotten which were (I1: an
        application must not get the same key as another one)."""
        self._destroy(stream, stream.runs.spans(UNREAD), OUTDATED, out)

    def roll_back(
        self, stream: Stream, out: Outbox, reason: str = "its opening is rolled back"
    ) -> None:
        """The opening never was: forgotten here, withdrawn at the neighbour."""
        self._answer_all(stream, reason, out)
        waiting = stream.runs.spans(UNREAD)
        self._destroy(stream, waiting, "opening rolled back", out)
        assert not stream.runs.spans(TAKEN), "what was delivered is not rolled back"
        self._speech.say_closed(stream.record, withdrawn=True)
        self._register.drop(stream, out)
        out.audit("stream-rolled-back", actor="node", subject=str(stream.ksid))

    def compromised(self, stream: Stream, reason: str, out: Outbox) -> None:
        """Undelivered keys are compromised, then wiped (I13)."""
        self._register.destroy(
            stream,
            stream.runs.spans(UNREAD),
            KeyEvent.COMPROMISE,
            KeyEvent.DESTROY,
            reason=f"compromised: {reason}",
            out=out,
        )
        if stream.passive:
            self._speech.say(stream)

    def delivered(self, stream: Stream, out: Outbox) -> None:
        """A chunk left: it is wiped in time."""
        now_ms = out.now.mono_ms
        if stream.wipe_by_ms is None:
            stream.wipe_by_ms = now_ms + limits.DESTROY_WITHIN_MS // 2
        soon_ms = now_ms + limits.WIPE_AFTER_MS + limits.WIPE_STEP_MS
        self._register.due.set(("stream", stream), soon_ms)

    def hasten(self, stream: Stream, out: Outbox) -> None:
        """What was delivered is wiped as soon as it cannot be under way to its reader any more."""
        soon_ms = out.now.mono_ms + limits.WIPE_AFTER_MS + limits.WIPE_STEP_MS
        stream.wipe_by_ms = min(stream.wipe_by_ms or soon_ms, soon_ms)
        self._register.due.set(("stream", stream), stream.wipe_by_ms)

    def restored(self, stream: Stream, out: Outbox) -> None:
        """After a restart: what was delivered is wiped now, the timers run."""
        stream.runs.age(0)
        if stream.runs.delivered_long_ago():
            stream.wipe_by_ms = out.now.mono_ms
            self._register.due.set(("stream", stream), out.now.mono_ms)
        self._set_timer(stream)

    def expire(self, stream: Stream, out: Outbox) -> None:
        """Chunks whose TTL ended while they waited are destroyed."""
        expired = stream.runs.expired(out.now)
        self._destroy(stream, expired, "its TTL ended before it was delivered", out)
        if expired and stream.passive:
            self._speech.say(stream)

    def drop_left_out(self, stream: Stream, taken: Sequence[Span], out: Outbox) -> None:
        """Of a pair, at the slave's end: once ``taken``, in order, leave too, no more keys are left
        out below others than may be. The oldest are destroyed, and the master's end is told."""
        spans = left_out(stream.runs, taken, limits.LEFT_OUT_PER_PAIR_MAX)
        self._destroy(stream, spans, "left out too long ago, while newer ones were fetched", out)
        if spans:
            self._speech.say(stream)

    def attend(self, stream: Stream, out: Outbox) -> None:
        """The stream's timer fired: what is over is ended, and the timer is set again."""
        now = out.now
        self.expire(stream, out)
        self._wipe_delivered(stream, out)
        if stream.state is StreamState.CLOSED:
            self._finish(stream, out)
            return
        idle = (
            now.mono_ms - stream.touched_mono_ms >= stream.idle_ms
            or now.wall_ms - stream.touched_wall_ms >= stream.idle_ms
        )
        if idle and stream.gets:
            # It waits for key, perhaps longer than its TTL: looked at when nobody waits any more.
            self._register.due.set(("stream", stream), now.mono_ms + limits.WIPE_AFTER_MS)
        elif idle and stream.record.local_closed:
            # The other side never said that it closed; its own TTL ends it there.
            self.remote_closed(stream, "the TTL ended after this side closed", out)
        elif idle:
            self.close(stream, f"the application did nothing for {stream.idle_ms // 1000} s", out)
        else:
            self._set_timer(stream)

    def _finish(self, stream: Stream, out: Outbox) -> None:
        """Both sides are closed: a tombstone, as soon as what was delivered is wiped."""
        assert stream.state is StreamState.CLOSED, "both sides are closed"
        waiting = stream.runs.spans(UNREAD)
        self._destroy(stream, waiting, stream.record.reason, out)
        if stream.runs.spans(TAKEN):
            self._set_timer(stream)
            return
        self._speech.say_closed(stream.record)
        self._register.bury(stream, out)

    def _wipe_delivered(self, stream: Stream, out: Outbox) -> None:
        now_ms = out.now.mono_ms
        stream.runs.age((now_ms - limits.WIPE_AFTER_MS) // limits.WIPE_STEP_MS)
        all_of_it = stream.wipe_by_ms is not None and now_ms >= stream.wipe_by_ms
        if all_of_it or stream.state is StreamState.CLOSED:
            spans = stream.runs.delivered_long_ago()
        else:
            spans = stream.runs.settled(stream.unit_chunks)
        for span in spans:
            run = stream.runs.at(span.first)
            assert run is not None, "a span lies in a run"
            if run.state is KeyState.COMPROMISED:
                stream.runs.move(span, KeyEvent.DESTROY, now=out.now, reason=run.reason)
            else:
                stream.runs.move(
                    span, KeyEvent.DEACTIVATE, KeyEvent.DESTROY, now=out.now, reason=DELIVERED
                )
            self._register.wipe(stream, span, out)
            self._register.touch(stream)
        if not stream.runs.spans(TAKEN):
            stream.wipe_by_ms = None
        elif all_of_it:
            stream.wipe_by_ms = now_ms + limits.DESTROY_WITHIN_MS // 2

    def _set_timer(self, stream: Stream) -> None:
        due, name = self._register.due, ("stream", stream)
        due.set(
            name,
            stream.touched_mono_ms + stream.idle_ms,
            stream.touched_wall_ms + stream.idle_ms,
        )
        expiry = stream.runs.expiry()
        if expiry is not None:
            due.set(name, *expiry)
        if stream.wipe_by_ms is not None:
            assert self._register.now is not None, "a timer is set in an event"
            now_ms = self._register.now.mono_ms
            step_ms = limits.WIPE_AFTER_MS + limits.WIPE_STEP_MS
            due.set(name, min(max(stream.wipe_by_ms, now_ms + 1), now_ms + step_ms))

    def _destroy(self, stream: Stream, spans: Iterable[Span], reason: str, out: Outbox) -> None:
        self._register.destroy(stream, spans, KeyEvent.DESTROY, reason=reason, out=out)

    def _answer_all(self, stream: Stream, reason: str, out: Outbox) -> None:
        message = f"the stream is closed: {reason}"
        for waiting in list(stream.gets.values()):
            reply: Reply = KeyReply(status=Status.PEER_NOT_CONNECTED, message=message)
            if isinstance(waiting.request, EncKeys):
                reply = KeysReply(outcome=Outcome.UNAVAILABLE, message=f"try again: {message}")
            self._register.answer(waiting, reply, out)
        for waiting in list(stream.openings.values()):
            refusal = OpenReply(
                status=Status.NO_QKD_CONNECTION,
                message=message,
                qos=stream.record.qos,
                ksid=stream.ksid,
            )
            self._register.answer(waiting, refusal, out)
