"""Get key (ETSI GS QKD 014 V1.1.1 clause 5.2): whole keys to a master SAE, with their IDs.

Rules: all keys of a request leave, or none does; each is durable at the slave's node before (I5),
recorded and journalled (I11), never from a link under alarm (I13). Keys that an operator has
suspended or compromised are passed over; a pair or a link that is suspended as a whole gives none.
Requests of one pair are served in the order in which they came, each within ``KEYS_TIMEOUT_MS``.

Theory of operation: the keys of a pair (master, slave, size) are the chunks of one stream inside,
which this end designates. The first request opens it; the node of the slave joins at once, for the
slave asks for keys by ID and for nothing else. An ID names the stream and the index (``keyids``).
A stream that is closed, or has used its last index, is followed by another one.
"""

from kms.domain import limits
from kms.domain.bundle import Bundle
from kms.domain.close import Ending
from kms.domain.events import Asked
from kms.domain.handout import HandOut
from kms.domain.holds import SUSPENDED
from kms.domain.keyids import key_ids
from kms.domain.keyrequests import EncKeys, KeysReply, Outcome
from kms.domain.lifecycle import KeyState
from kms.domain.names import LinkId
from kms.domain.open import Opening
from kms.domain.outbox import Outbox
from kms.domain.qos import pair_qos
from kms.domain.register import Register
from kms.domain.run import Span, span_of
from kms.domain.stream import Stream, Waiting
from kms.domain.supply import Supply
from kms.domain.unserved import bad_request, unavailable


class Issuing:
    """Keys to masters."""

    def __init__(
        self,
        register: Register,
        supply: Supply,
        ending: Ending,
        opening: Opening,
        hand_out: HandOut,
    ) -> None:
        self._register = register
        self._supply = supply
        self._ending = ending
        self._opening = opening
        self._hand_out = hand_out

    def asked(self, event: Asked, request: EncKeys, link: LinkId, out: Outbox) -> None:
        """The request is answered, now or within ``KEYS_TIMEOUT_MS``. ``link``: to the slave's
        node. Raises ``Unserved``; nothing is consumed then."""
        _check(request)
        stream = self._of_pair(event, request, link)
        stopped = self._register.stopped(link)
        if stopped:
            raise unavailable(f"no key is served: {stopped}")
        if stream is None:
            stream = self._open(event, request, link, out)
        waiting = Waiting(
            request_id=event.request_id,
            caller=event.caller,
            ksid=stream.ksid,
            request=request,
            deadline_ms=out.now.mono_ms + limits.KEYS_TIMEOUT_MS,
            asked_ms=out.now.mono_ms,
        )
        if not stream.gets and self.serve(stream, waiting, request, out):
            self._supply.consider(stream, out.now.mono_ms)
            return
        crowd = self._register.crowd(event.caller, stream)
        if crowd:
            raise unavailable(f"try again: {crowd}")
        stream.touch(out.now)
        self._register.touch(stream)
        self._register.wait(stream, waiting)
        if stream.waited():
            stream.pace.missed()
        self._supply.consider(stream, out.now.mono_ms)

    def serve(self, stream: Stream, waiting: Waiting, request: EncKeys, out: Outbox) -> bool:
        """Whether the request is answered."""
        record = stream.record
        stopped = self._register.stopped(record.link)
        spans = [] if stopped else self._ready(stream, request.number, out)
        if not (stopped or spans) and self._register.holds.pauses(record):
            stopped = f"the pair's keys are {SUSPENDED}"
        if stopped:
            message = f"no key is served: {stopped}"
            reply = KeysReply(outcome=Outcome.UNAVAILABLE, message=message)
            self._register.answer(waiting, reply, out)
            return True
        if not spans:
            return False
        self._register.unwait(waiting)
        named = b"".join(key_ids(stream.ksid, each.first, each.count) for each in spans)
        found: list[tuple[Stream | Bundle, Span]] = [(stream, span) for span in spans]
        delay_ms = out.now.mono_ms - waiting.asked_ms
        self._hand_out.deliver(
            waiting.request_id, waiting.caller, named, found, out, delay_ms=delay_ms
        )
        return True

    def _of_pair(self, event: Asked, request: EncKeys, link: LinkId) -> Stream | None:
        """The pair's stream, if one stands that has keys to give."""
        for ksid in self._register.pairs.of(event.caller, request.slave, request.key_bytes):
            stream = self._register.streams[ksid]
            record = stream.record
            lasts = record.next_index <= limits.INDEX_MAX or stream.runs.ready >= request.number
            if record.designates and record.link == link and lasts and not record.local_closed:
                return stream
        return None

    def _open(self, event: Asked, request: EncKeys, link: LinkId, out: Outbox) -> Stream:
        register, ksid = self._register, self._register.named(event)
        pair, size = (event.caller, request.slave), request.key_bytes
        trouble = self._opening.trouble(event.caller, register.channels.get(link))
        if not register.pairs.has_room(*pair, size):
            trouble = f"the pair has keys of {limits.PAIR_SIZES_MAX} other sizes: use one of them"
        if ksid is None:
            trouble = trouble or "the node has no randomness to name a new stream with"
        elif register.names_keys(ksid) or register.knows(ksid):
            trouble = trouble or "the name of the new stream is taken: try again"
        if trouble or ksid is None:
            raise unavailable(trouble)
        return self._opening.begin(ksid, link, pair, pair_qos(size), out, paired=True)

    def _ready(self, stream: Stream, number: int, out: Outbox) -> list[Span]:
        """The ``number`` lowest keys that both ends hold and nobody has; empty if there are fewer.
        Those whose TTL is over are ended on the way."""
        runs, below, lacking = stream.runs, stream.deliverable, number
        if runs.ready < number:
            return []
        spans: list[Span] = []
        index = runs.next_ready(below)
        while lacking and index is not None and index < below:
            run = runs.at(index)
            assert run is not None, "every index below next_index is in a run"
            if run.state is KeyState.PRE_ACTIVATION:
                if run.expired(out.now):
                    self._ending.expire(stream, out)
                    return self._ready(stream, number, out)
                spans.append(span_of(run, index, min(run.end, below, index + lacking)))
                lacking -= spans[-1].count
            index = run.end
        return [] if lacking else spans


def _check(request: EncKeys) -> None:
    if not limits.KEY_BYTES_MIN <= request.key_bytes <= limits.KEY_BYTES_MAX:
        least, most = limits.KEY_BYTES_MIN, limits.KEY_BYTES_MAX
        raise bad_request(f"a key has {least} to {most} octets")
    if not 1 <= request.number <= limits.KEYS_PER_REQUEST_MAX:
        raise bad_request(f"a request is for 1 to {limits.KEYS_PER_REQUEST_MAX} keys")
