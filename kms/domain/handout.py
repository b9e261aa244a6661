"""Keys with IDs leave: recorded, journalled and answered in one batch (I11)."""

from collections.abc import Iterable

from kms.domain import limits
from kms.domain.close import DELIVERED, Ending
from kms.domain.effects import DeliverKeys, Stretch
from kms.domain.lifecycle import KeyEvent
from kms.domain.names import SAEId
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
        found: list[tuple[Stream, Span]],
        out: Outbox,
        *,
        delay_ms: int = 0,
    ) -> None:
        """The keys of ``found``, which all wait to be delivered and are named by ``key_ids`` in
        this order, are ``caller``'s: the request's answer, once this batch is durable.
        ``delay_ms``: how long it waited."""
        stretches = tuple(_stretch(stream, span) for stream, span in found)
        by_stream: dict[Stream, list[Span]] = {}
        for stream, span in found:
            by_stream.setdefault(stream, []).append(span)
        for stream, spans in by_stream.items():
            # In order of index: what melts together does so at once, whatever was asked for first.
            count = self._move(stream, caller, sorted(spans, key=first_of), out)
            size, now_ms = count * stream.chunk_bytes, out.now.mono_ms
            stream.meter.delivered(now_ms, delay_ms, size, count)
            service = self._register.service(stream.record.link)
            service.delivered(now_ms, delay_ms, size, count)
        out.add(DeliverKeys(request_id=request_id, key_ids=key_ids, stretches=stretches))

    def _move(self, stream: Stream, caller: SAEId, spans: Iterable[Span], out: Outbox) -> int:
        """How many were moved."""
        now, record = out.now, stream.record
        stamp = now.mono_ms // limits.WIPE_STEP_MS + 1
        count = 0
        for span in spans:
            stream.runs.move(span, KeyEvent.DELIVER, now=now, reason=DELIVERED, stamp=stamp)
            count += span.count
            out.audit(
                "key-delivered",
                actor=caller,
                subject=str(stream.ksid),
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
        return count


def first_of(span: Span) -> int:
    """What spans of a stream are put in order by."""
    return span.first


def _stretch(stream: Stream, span: Span) -> Stretch:
    size = stream.chunk_bytes
    return Stretch(
        index=span.first,
        count=span.count,
        material=span.material,
        offset=(span.first - span.material_first) * size,
        length=span.count * size,
    )
