"""What policy lets streams have: a bound on the rate at which key is made, alone or together.

Rules: key beyond a cap is never made: over any time the streams under it get at most
``max_bps`` x (time + 1 s), and one chunk at the least. A cap binds the streams that were opened at
this node, since their chunks are made here; the two ends of a pair that both open have it twice.
Closing and opening again does not fill a cap. After a restart it is full.

Theory of operation: a leaky bucket that may go below nothing by one chunk, so that a chunk larger
than a second's worth is made all the same, and then paid for. Who finds it empty waits until a
tenth of a second's worth is there, or more if many wait, and until then so does everybody else
under it: then they stand in the link's queue together and go by its order, and nobody who asks
often takes what others wait for. All arithmetic is whole numbers, bit x ms, as in ``pace``.
"""

from kms.domain import limits
from kms.domain.names import KSID, SAEId
from kms.domain.policy import Rule, Share
from kms.domain.records import StreamRecord

_SECOND_MS = 1000
_Key = tuple[object, ...]


class Cap:
    """One bucket, and the streams that have it together."""

    __slots__ = ("_at_ms", "_closed_until_ms", "_level_bitms", "_members", "bps", "promised_bps")

    def __init__(self, bps: int) -> None:
        self.bps = bps
        self.promised_bps = 0
        """sum of Min_bps of its streams"""
        self._members: dict[KSID, int] = {}
        self._level_bitms = bps * _SECOND_MS
        self._at_ms: int | None = None
        self._closed_until_ms = 0

    def admits(self, ksid: KSID, min_bps: int) -> None:
        """The stream is under it, with this promise."""
        self.promised_bps += min_bps - self._members.get(ksid, 0)
        self._members[ksid] = min_bps

    def leaves(self, ksid: KSID) -> None:
        """The stream is under it no longer."""
        self.promised_bps -= self._members.pop(ksid, 0)

    def changes(self, bps: int, now_ms: int) -> None:
        """It is another rate from now on; who waits, waits by the new one."""
        self._turn(now_ms)
        self.bps = bps
        self._level_bitms = min(self._level_bitms, bps * _SECOND_MS)
        self._closed_until_ms = 0

    def allowed(self, chunk_bytes: int, now_ms: int) -> int:
        """Chunks of this size that may be made now."""
        self._turn(now_ms)
        if now_ms < self._closed_until_ms:
            return 0
        chunk_bitms = chunk_bytes * 8 * _SECOND_MS
        if self._level_bitms >= chunk_bitms:
            return self._level_bitms // chunk_bitms
        return 1 if self._level_bitms >= self.bps * _SECOND_MS else 0

    def allowed_at_ms(self, chunk_bytes: int, now_ms: int) -> int:
        """When to ask again: nobody under it gets anything until then."""
        self._turn(now_ms)
        if now_ms >= self._closed_until_ms:
            chunk_bitms = chunk_bytes * 8 * _SECOND_MS
            pause_ms = len(self._members) * limits.CAP_PAUSE_MS_PER_STREAM
            pause_ms = min(max(pause_ms, limits.CAP_PAUSE_MS_MIN), limits.CAP_PAUSE_MS_MAX)
            worth = max(chunk_bitms, self.bps * pause_ms)
            lacking = min(worth, self.bps * _SECOND_MS) - self._level_bitms
            self._closed_until_ms = now_ms + max(1, -(-lacking // self.bps))
        return self._closed_until_ms

    def made(self, length_bytes: int) -> None:
        """So much key was made for a stream under it."""
        self._level_bitms -= length_bytes * 8 * _SECOND_MS

    def rests(self, now_ms: int) -> bool:
        """Whether a new one would be the same."""
        self._turn(now_ms)
        return not self._members and self._level_bitms >= self.bps * _SECOND_MS

    def _turn(self, now_ms: int) -> None:
        past_ms = now_ms - (now_ms if self._at_ms is None else self._at_ms)
        self._at_ms = now_ms
        full = self.bps * _SECOND_MS
        self._level_bitms = min(self._level_bitms + self.bps * past_ms, full)


class Caps:
    """All caps of a node, by what shares them."""

    def __init__(self) -> None:
        self._caps: dict[_Key, Cap] = {}
        self._of: dict[KSID, Cap] = {}
        self._look_at = limits.CAPS_KEPT_MIN

    def of(self, ksid: KSID) -> Cap | None:
        """The cap that the stream is under; None for none."""
        return self._of.get(ksid)

    def spare_bps(self, rule: Rule, opener: SAEId, peer: SAEId) -> int | None:
        """What may be promised to one more stream of the two; None: policy sets no bound."""
        if rule.max_bps is None:
            return None
        cap = self._caps.get(_shared(rule, opener, peer))
        return max(0, rule.max_bps - (cap.promised_bps if cap else 0))

    def lets(self, rule: Rule, master: SAEId, slave: SAEId, length_bytes: int, now_ms: int) -> bool:
        """Whether so much key may be made for the two now, outside a stream."""
        cap = self._outside(rule, master, slave, now_ms)
        return cap is None or cap.allowed(length_bytes, now_ms) > 0

    def made(self, rule: Rule, master: SAEId, slave: SAEId, length_bytes: int, now_ms: int) -> None:
        """So much key was made for the two, outside a stream; less than nothing: it was not."""
        cap = self._outside(rule, master, slave, now_ms)
        if cap is not None:
            cap.made(length_bytes)

    def _outside(self, rule: Rule, master: SAEId, slave: SAEId, now_ms: int) -> Cap | None:
        """What is in no stream has the cap of its pair, where each stream has its own."""
        if rule.max_bps is None:
            return None
        return self._cap(_shared(rule, master, slave) or ("bundles", master, slave), rule, now_ms)

    def _cap(self, key: _Key, rule: Rule, now_ms: int) -> Cap:
        assert rule.max_bps is not None, "who has no bound has no cap"
        cap = self._caps.get(key)
        if cap is None:
            self._forget_idle(now_ms)
            cap = self._caps[key] = Cap(rule.max_bps)
        elif cap.bps != rule.max_bps:
            cap.changes(rule.max_bps, now_ms)
        return cap

    def put(self, record: StreamRecord, rule: Rule | None, now_ms: int) -> None:
        """The stream, opened here, is under what ``rule`` says now."""
        if rule is None or rule.max_bps is None or not record.designates:
            self.drop(record.ksid)
            return
        key = _shared(rule, record.local, record.remote) or ("stream", record.ksid)
        cap = self._cap(key, rule, now_ms)
        if self._of.get(record.ksid) is not cap:
            self.drop(record.ksid)
            self._of[record.ksid] = cap
        cap.admits(record.ksid, record.qos.min_bps)

    def drop(self, ksid: KSID) -> None:
        """The stream is under no cap."""
        cap = self._of.pop(ksid, None)
        if cap is not None:
            cap.leaves(ksid)

    def _forget_idle(self, now_ms: int) -> None:
        if len(self._caps) < self._look_at:
            return
        # A full one without streams is as good as new, so nobody gains by its going.
        for key in [key for key, cap in self._caps.items() if cap.rests(now_ms)]:
            del self._caps[key]
        self._look_at = 2 * len(self._caps) + limits.CAPS_KEPT_MIN


def _shared(rule: Rule, opener: SAEId, peer: SAEId) -> _Key:
    """What shares the rule's rate; empty for a stream alone. Not of the rule's rate: a reload that
    changes it finds the same cap."""
    if rule.per is Share.PAIR:
        return ("pair", opener, peer)
    if rule.per is Share.RULE:
        return ("rule", rule.one, rule.other, rule.at)
    return ()
