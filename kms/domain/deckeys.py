"""Get key with key IDs (ETSI GS QKD 014 V1.1.1 clause 5.3): a slave SAE gets what its master has.

Rules: all keys that are named leave, or none does; each leaves once; only to the slave that it was
made for (I3), never from a link under alarm (I13). A key that the slave's node does not hold, has
delivered or has ended, or that an operator holds back, is one and the same answer; one that was
made for another is another.
"""

from collections.abc import Iterator

from kms.domain import limits
from kms.domain.bundle import Bundle
from kms.domain.close import Ending, was_lost
from kms.domain.events import Asked
from kms.domain.handout import HandOut, first_of
from kms.domain.keyids import ID_BYTES, grouped, stretches
from kms.domain.keyrequests import DecKeys, Outcome
from kms.domain.lifecycle import KeyState
from kms.domain.names import SAEId
from kms.domain.outbox import Outbox
from kms.domain.records import BundleRecord
from kms.domain.register import Register
from kms.domain.run import Span, span_of
from kms.domain.stream import Stream
from kms.domain.unserved import Unserved, bad_request, forbidden, unavailable

NOT_FOUND = "one or more keys specified are not found on KME"
"""clause 6.4's words"""


class Claiming:
    """Keys to slaves."""

    def __init__(self, register: Register, ending: Ending, hand_out: HandOut) -> None:
        self._register = register
        self._ending = ending
        self._hand_out = hand_out

    def asked(self, event: Asked, request: DecKeys, out: Outbox) -> None:
        """The request is answered. Raises ``Unserved``; nothing is consumed then."""
        _check(request)
        groups = list(self._entitled(event, request))
        found: list[tuple[Stream | Bundle, Span]] = []
        for source, ids in groups:
            if isinstance(source, Bundle) and source.record.master == request.master:
                for first, count in stretches(source.name, ids):
                    there = source.waits_for(event.caller, first, count)
                    barred = self._register.holds.bars(source.record, first, count)
                    if barred or not there or source.expired(out.now):
                        raise bad_request(NOT_FOUND)
                    found += [(source, span) for span in source.spans(first, count)]
            elif isinstance(source, Stream) and source.record.remote == request.master:
                for first, count in stretches(source.ksid, ids):
                    found += [(source, span) for span in self._spans(source, first, count, out)]
            else:
                raise bad_request(NOT_FOUND)
        if len({source.chunk_bytes for source, _ in found}) > 1:
            raise bad_request("the keys have several sizes: ask for those of one size at a time")
        taken: dict[Stream, list[Span]] = {}
        for source in dict.fromkeys(source for source, _ in found):
            record = source.record
            for link in record.links if isinstance(record, BundleRecord) else (record.link,):
                stopped = self._register.stopped(link)
                if stopped:
                    raise unavailable(f"no key is served: {stopped}")
            spans = sorted((span for each, span in found if each is source), key=first_of)
            holes = _holes(spans)
            if isinstance(source, Stream):
                self._check_room(source, holes, out)
                taken[source] = spans
        for stream, spans in taken.items():
            self._ending.drop_left_out(stream, spans, out)
        self._hand_out.deliver(event.request_id, event.caller, request.key_ids, found, out)

    def _entitled(
        self, event: Asked, request: DecKeys
    ) -> Iterator[tuple[Stream | Bundle | None, bytes]]:
        """Where each group of IDs is from, None if that is not known any more."""
        for prefix, ids in grouped(request.key_ids):
            ksid = self._register.pairs.named(prefix)
            stream = self._register.streams.get(ksid) if ksid is not None else None
            bundle = self._register.bundles.named(prefix)
            named = True
            if stream is not None:
                named = not stream.record.designates and stream.record.local == event.caller
            elif bundle is not None:
                named = event.caller in bundle.record.slaves
            if not named:
                message = "one of the keys was not made for this application"
                raise Unserved(Outcome.NOT_ENTITLED, message)
            if bundle is not None and not self._may_share(event.caller, bundle):
                raise forbidden("policy does not let these applications share keys")
            yield stream or bundle, ids

    def _may_share(self, caller: SAEId, bundle: Bundle) -> bool:
        # The stream of a pair is closed when policy changes; here one slave may be left out.
        return self._register.policy.may_share(bundle.record.master, caller)

    def _spans(self, stream: Stream, first: int, count: int, out: Outbox) -> Iterator[Span]:
        """All these keys, which wait to be delivered here."""
        index, end = first, first + count
        while index < end:
            run = stream.runs.at(index)
            if run is not None and run.state is KeyState.PRE_ACTIVATION and run.expired(out.now):
                self._ending.expire(stream, out)
                run = None
            if run is None or run.state is not KeyState.PRE_ACTIVATION:
                if was_lost(run):
                    stream.meter.erred()
                    self._register.service(stream.record.link).meter.erred()
                raise bad_request(NOT_FOUND)
            yield span_of(run, index, min(run.end, end))
            index = run.end

    def _check_room(self, stream: Stream, holes: int, out: Outbox) -> None:
        """What is fetched here and there leaves holes, which are to be remembered one by one, and
        the keys between them until they are wiped. Raises ``Unserved``."""
        if stream.runs.crowded(2 * holes, limits.RUNS_PER_PAIR_MAX):
            self._ending.hasten(stream, out)
            raise unavailable("too many keys are fetched here and there: try again in 3 s")


def _check(request: DecKeys) -> None:
    count, rest = divmod(len(request.key_ids), ID_BYTES)
    if rest or not 1 <= count <= limits.KEYS_PER_REQUEST_MAX:
        raise bad_request(f"a request names 1 to {limits.KEYS_PER_REQUEST_MAX} keys")


def _holes(spans: list[Span]) -> int:
    """Stretches without a gap; no key is there twice. ``spans`` in order."""
    end, holes = -1, 0
    for span in spans:
        if span.first < end:
            raise bad_request("a key is named twice")
        holes += span.first != end
        end = span.first + span.count
    return holes
