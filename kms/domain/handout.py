"""Keys with IDs leave: recorded, journalled and answered in one batch (I11).

They come out of the stream of a pair of applications, or out of a bundle that several nodes hold.
"""

from collections.abc import Iterable, Sequence

from kms.domain import limits
from kms.domain.bundle import Bundle
from kms.domain.close import DELIVERED, Ending
from kms.domain.effects import DeliverKeys, Stretch
from kms.domain.lifecycle import KeyEvent
from kms.domain.names import LinkId, SAEId
from kms.domain.outbox import Outbox
from kms.domain.register import Register
from kms.domain.run import Span
from kms.domain.stream import Stream


class HandOut:
    """Deliveries of whole ranges of keys."""

    def __init__(self, register: Register, ending: Ending) -> None:
        self._register = register
        self._ending = ending

    def deliver(
        self,
        request_id: int,
        caller: SAEId,
        key_ids: bytes,
        found: list[tuple[Stream | Bundle, Span]],
        out: Outbox,
        *,
        delay_ms: int = 0,
    ) -> None:
        """The keys of ``found``, which all wait to be delivered and are named by ``key_ids`` in
        this order, are ``caller``'s: the request's answer, once this batch is durable.
        ``delay_ms``: how long it waited."""
        stretches = tuple(_stretch(source, span) for source, span in found)
        for source, in_order in _by_source(found):
            count = sum([span.count for span in in_order])
            size, now_ms = count * source.chunk_bytes, out.now.mono_ms
            if isinstance(source, Bundle):
                self._take(source, caller, in_order, out)
                links: tuple[LinkId, ...] = source.record.links
            else:
                self._move(source, caller, in_order, out)
                source.meter.delivered(now_ms, delay_ms, size, count)
                links = (source.record.link,)
            for link in links:
                self._register.service(link).delivered(now_ms, delay_ms, size, count)
        out.add(DeliverKeys(request_id=request_id, key_ids=key_ids, stretches=stretches))

    def _take(self, bundle: Bundle, caller: SAEId, spans: list[Span], out: Outbox) -> None:
        record = bundle.record
        self._register.bundles.take(bundle, caller, spans, out)
        for span in spans:
            out.audit(
                "key-delivered",
                actor=caller,
                subject=str(bundle.name),
                index=span.first,
                count=span.count,
                peer=record.master,
                link=" ".join(record.links),
            )

    def _move(self, stream: Stream, caller: SAEId, spans: Iterable[Span], out: Outbox) -> None:
        now, record = out.now, stream.record
        stamp = now.mono_ms // limits.WIPE_STEP_MS + 1
        count = 0
        for span in spans:
            stream.runs.move(span, KeyEvent.DELIVER, now=now, reason=DELIVERED, stamp=stamp)
            count += span.count
            out.audit(
                "key-delivered",
                actor=caller,
                subject=stream.subject,
                index=span.first,
                count=span.count,
                peer=record.remote,
                link=record.link,
            )
        stream.pace.delivered(now.mono_ms, count)
        stream.delivered += count
        stream.touch(now)
        self._register.touch(stream)
        self._ending.delivered(stream, out)


def _by_source(
    found: Sequence[tuple[Stream | Bundle, Span]],
) -> Iterable[tuple[Stream | Bundle, list[Span]]]:
    """Each source with its spans in order of index: what melts together does so at once, whatever
    was asked for first."""
    if len(found) == 1:
        return [(source, [span]) for source, span in found]
    by_source: dict[Stream | Bundle, list[Span]] = {}
    for source, span in sorted(found, key=lambda each: each[1].first):
        by_source.setdefault(source, []).append(span)
    return by_source.items()


def first_of(span: Span) -> int:
    """What spans of a stream are put in order by."""
    return span.first


def _stretch(source: Stream | Bundle, span: Span) -> Stretch:
    size = source.chunk_bytes
    return Stretch(
        index=span.first,
        count=span.count,
        material=span.material,
        offset=(span.first - span.material_first) * size,
        length=span.count * size,
    )
