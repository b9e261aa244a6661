"""The bundles of a node: keys that several nodes hold, until the slaves here have fetched them.

Rules: a bundle is in every index or in none; what changed is in the same batch's writes. Keys that
every slave here has are unreadable within ``DESTROY_WITHIN_MS``, all of a bundle at its expiry
(I6). The name of one that is over is remembered until then: it never means other keys.
"""

from collections import Counter
from collections.abc import Iterable

import attrs

from kms.domain import limits
from kms.domain.bundle import DELIVERED, Bundle, BundleEvent, Range
from kms.domain.due import Due
from kms.domain.effects import StoreMaterial, WipeMaterial
from kms.domain.holds import Holds
from kms.domain.keyids import prefix_of
from kms.domain.moment import Moment
from kms.domain.names import HERE, KSID, LinkId, SAEId
from kms.domain.outbox import Outbox
from kms.domain.ranges import Ranges
from kms.domain.records import BundleRecord, BundleState
from kms.domain.run import Span
from kms.domain.secret import Secret

_Whose = tuple[str, str]
"""("link", link, "" for this node's own) or ("master", application)"""


class Bundles:
    """Bundles by name and by what their key IDs begin with; what they cost; their timers."""

    def __init__(self, records: Iterable[BundleRecord], holds: Holds) -> None:
        self._holds = holds
        self.by_name: dict[KSID, Bundle] = {}
        self._named: dict[bytes, Bundle] = {}
        self._ended: dict[KSID, None] = {}
        """the oldest first"""
        self._count: Counter[_Whose] = Counter()
        self._bytes: Counter[_Whose] = Counter()
        self._due: Due[Bundle] = Due()
        for record in sorted(records, key=lambda each: each.expires_ms):
            self._index(Bundle(record))

    def named(self, prefix: bytes) -> Bundle | None:
        """The bundle whose key IDs begin with ``prefix``; it may be over."""
        return self._named.get(prefix)

    def over(self, link: LinkId) -> list[Bundle]:
        """Those that went or came over this link and are not over."""
        return [
            each
            for each in self.by_name.values()
            if link in each.record.links and each.record.state is not BundleState.ENDED
        ]

    def full(self, origin: LinkId | None, master: SAEId, size_bytes: int) -> str:
        """Which limit keeps one more bundle of this size out; empty for none. ``origin``: the link
        it came over; None: made here."""
        bounds = (
            (_LINK, origin or "", limits.BUNDLES_PER_LINK_MAX, limits.BUNDLE_BYTES_PER_LINK_MAX),
            (_MASTER, master, limits.BUNDLES_PER_MASTER_MAX, limits.BUNDLE_BYTES_PER_MASTER_MAX),
        )
        for kind, whose, most, bytes_most in bounds:
            bytes_then = self._bytes[kind, whose] + size_bytes
            if self._count[kind, whose] >= most or bytes_then > bytes_most:
                return f"too many keys wait for their slaves ({kind} {whose or 'of this node'})"
        return ""

    def add(self, record: BundleRecord, out: Outbox) -> Bundle:
        """The bundle is known and saved; no key of it is there yet."""
        bundle = Bundle(record)
        bundle.expires_mono_ms = out.now.mono_ms + record.expires_ms - out.now.wall_ms
        self._index(bundle)
        self._set_timer(bundle)
        out.save(record)
        return bundle

    def store(self, bundle: Bundle, keys: Secret, out: Outbox) -> None:
        """The next keys of the bundle are durable with the batch."""
        record = bundle.record
        count, unit = len(keys) // record.key_bytes, limits.ENTRUST_BYTES_MAX // record.key_bytes
        out.add(
            StoreMaterial(
                material=bundle.material(record.filled),
                bits=keys,
                unit_bytes=max(1, unit) * record.key_bytes,
            )
        )
        bundle.record = attrs.evolve(record, filled=record.filled + count)
        out.save(bundle.record)

    def whole(self, bundle: Bundle, out: Outbox) -> None:
        """The slaves here may fetch."""
        bundle.move(BundleEvent.WHOLE)
        out.save(bundle.record)

    def take(self, bundle: Bundle, caller: SAEId, spans: list[Span], out: Outbox) -> None:
        """The caller, the master or a slave, has these keys: what nobody waits for any more is
        wiped soon."""
        if caller in bundle.record.slaves:
            bundle.take(caller, spans)
        out.save(bundle.record)
        ranges = bundle.go()
        if ranges:
            # They are read from the store behind this commit.
            bundle.going.append((out.now.mono_ms + limits.WIPE_AFTER_MS, ranges))
            self._set_timer(bundle)

    def lose(self, bundle: Bundle, ranges: Ranges, reason: str, out: Outbox) -> None:
        """These keys are compromised: nobody fetches them any more, and they are unreadable with
        the batch; those that somebody here has are wiped soon."""
        unread, taken = bundle.lose(ranges)
        for first, count in unread:
            self._journal("keys-compromised", bundle, first, count, reason, out)
        out.save(bundle.record)
        self._wipe(bundle, unread, out)
        if taken:
            bundle.going.append((out.now.mono_ms + limits.WIPE_AFTER_MS, taken))
        elif bundle.all_gone and not bundle.going:
            self._over(bundle, DELIVERED, out)
        self._set_timer(bundle)

    def end(self, bundle: Bundle, reason: str, out: Outbox, *, event: str = "destroyed") -> None:
        """What somebody has not taken is unreadable with the batch; nothing more is fetched."""
        left = bundle.left()
        for first, count in left:
            self._journal(f"keys-{event}", bundle, first, count, reason, out)
        self._wipe(bundle, left, out)
        self._over(bundle, reason, out)

    def end_all(self, reason: str, out: Outbox) -> None:
        """None of them is fetched any more."""
        for bundle in list(self.by_name.values()):
            if bundle.record.state is not BundleState.ENDED:
                self.end(bundle, reason, out)

    def tick(self, out: Outbox) -> None:
        """What time ends is ended."""
        for bundle in self._due.fire(out.now, limits.DUE_PER_TICK_MAX):
            self._attend(bundle, out)

    def restored(self, out: Outbox) -> list[Bundle]:
        """The monotonic clock begins here. What was delivered before is unreadable with the batch,
        what was under way is over: returns that."""
        cut = []
        for bundle in list(self.by_name.values()):
            record = bundle.record
            if self.by_name.get(bundle.name) is not bundle:
                continue  # Forgotten for one that has ended just now.
            bundle.expires_mono_ms = out.now.mono_ms + max(0, record.expires_ms - out.now.wall_ms)
            if record.state is BundleState.ENDED:
                if record.filled:
                    self._wipe(bundle, [(0, record.filled)], out)
                    self._clear(bundle, out)
            elif record.state is BundleState.FILLING:
                self.end(bundle, "a restart cut it off", out)
                cut.append(bundle)
            else:
                self._wipe(bundle, bundle.go(), out)
                if bundle.all_gone:
                    self._over(bundle, DELIVERED, out)
            self._set_timer(bundle)
        return cut

    def deadline_ms(self, now: Moment) -> int | None:
        """When ``tick`` has something to do, on the monotonic clock."""
        return self._due.deadline_ms(now)

    # ---- inside -----------------------------------------------------------------------------

    def _attend(self, bundle: Bundle, out: Outbox) -> None:
        while bundle.going and bundle.going[0][0] <= out.now.mono_ms:
            self._wipe(bundle, bundle.going.popleft()[1], out)
        if not bundle.going:
            state = bundle.record.state
            if bundle.expired(out.now):
                if state is not BundleState.ENDED:
                    self.end(bundle, "not fetched in time", out)
                self._forget(bundle, out)
                return
            if state is BundleState.ENDED and bundle.record.filled:
                self._clear(bundle, out)
            elif state is BundleState.HELD and bundle.all_gone:
                self._over(bundle, DELIVERED, out)
        self._set_timer(bundle)

    def _over(self, bundle: Bundle, reason: str, out: Outbox) -> None:
        bundle.move(BundleEvent.END, reason)
        self._cost(bundle, -1)
        self._ended[bundle.name] = None
        if bundle.going:
            out.save(bundle.record)
        else:
            self._clear(bundle, out)
        while len(self._ended) > limits.BUNDLES_ENDED_MAX:
            self._forget(self.by_name[next(iter(self._ended))], out)

    def _clear(self, bundle: Bundle, out: Outbox) -> None:
        """No byte of it is readable any more."""
        bundle.clear()
        out.save(bundle.record)

    def _wipe(self, bundle: Bundle, ranges: Iterable[Range], out: Outbox) -> None:
        size = bundle.chunk_bytes
        for first, count in ranges:
            for span in bundle.spans(first, count):
                offset = (span.first - span.material_first) * size
                length = span.count * size
                out.add(WipeMaterial(material=span.material, offset=offset, length=length))

    def _set_timer(self, bundle: Bundle) -> None:
        if self.by_name.get(bundle.name) is not bundle:
            return
        if bundle.going:
            self._due.set(bundle, bundle.going[0][0])
        else:
            self._due.set(bundle, bundle.expires_mono_ms, bundle.record.expires_ms)

    def _index(self, bundle: Bundle) -> None:
        assert bundle.name not in self.by_name, "a name means one bundle"
        self.by_name[bundle.name] = self._named[prefix_of(bundle.name)] = bundle
        if bundle.record.state is BundleState.ENDED:
            self._ended[bundle.name] = None
        else:
            self._cost(bundle, 1)

    def _forget(self, bundle: Bundle, out: Outbox) -> None:
        """Nobody knows the name any longer."""
        assert bundle.record.state is BundleState.ENDED, "what is forgotten is over"
        if bundle.record.filled:
            self._wipe(bundle, [(0, bundle.record.filled)], out)
        del self.by_name[bundle.name], self._named[prefix_of(bundle.name)]
        del self._ended[bundle.name]
        self._due.clear(bundle)
        out.forget(bundle.record)
        for link in bundle.record.links or (HERE,):
            hold = self._holds.drop(link, bundle.name)
            if hold is not None:
                out.forget(hold)

    def _journal(
        self, event: str, bundle: Bundle, first: int, count: int, reason: str, out: Outbox
    ) -> None:
        out.audit(
            event,
            actor="node",
            subject=str(bundle.name),
            first=first,
            count=count,
            reason=reason,
        )

    def _cost(self, bundle: Bundle, sign: int) -> None:
        record = bundle.record
        origin = "" if record.own else record.links[0]
        for whose in ((_LINK, origin), (_MASTER, record.master)):
            self._count[whose] += sign
            self._bytes[whose] += sign * bundle.size_bytes
            if not self._count[whose]:
                del self._count[whose], self._bytes[whose]


_LINK, _MASTER = "link", "master"
