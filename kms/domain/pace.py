"""How much key one stream is to have made ahead: its goal, and what Min_bps and Max_bps allow.

Rules: ``goal`` chunks lie ready while nobody waits; it doubles each time somebody waits for key
that is not there, follows what was delivered in the last second, and halves when nobody had to wait
for ``GOAL_HALVES_S``, but not below twice what was delivered in any second of that time: who asks
now and then, many keys at once, finds them ready also when others have drained the link. A second
of Min_bps always lies ready.

Key beyond Max_bps is never made: over any time it is at most Max_bps x (time + 1 s), a chunk at the
least. Nor is it delivered, at either end: over any time at most Max_bps x (time +
``DELIVERY_BURST_MS``) and a chunk, or Max_bps x time and Jitter.

Up to Min_bps the stream goes before the others, in parts of ``PROMISE_TURN_MS``: a designation
costs as much as several small chunks. What it was promised and did not get while it lacked key
stays owed for ``PROMISE_OWED_MS``: on a slow link key comes in blocks. All arithmetic is whole
numbers, bit x ms.
"""

from kms.domain import limits
from kms.domain.status import QoS

_SECOND_MS = 1000


class Pace:
    """The pace of one stream."""

    __slots__ = (
        "_at_ms",
        "_chunk_bitms",
        "_doubled",
        "_gate_bitms",
        "_goal",
        "_goal_max",
        "_goal_min",
        "_last_second",
        "_most_bitms",
        "_peak",
        "_promise_bitms",
        "_rested_s",
        "_second_ms",
        "_this_second",
        "_turn_bitms",
        "qos",
        "queued",
        "rank",
        "share",
        "wanted",
    )

    def __init__(self, qos: QoS, now_ms: int) -> None:
        chunk = qos.key_chunk_size
        self.qos = qos
        self._chunk_bitms = chunk * 8 * _SECOND_MS
        self._goal_max = stock_chunks(chunk)
        second = -(-qos.min_bps * _SECOND_MS // self._chunk_bitms)
        self._goal_min = min(max(limits.STOCK_CHUNKS_MIN, second), self._goal_max)
        self._goal = self._goal_min
        self._doubled = False
        self._at_ms = self._second_ms = now_ms
        self._this_second = self._last_second = self._rested_s = self._peak = 0
        self._most_bitms = self._burst(qos.max_bps)
        self._promise_bitms = self._burst(qos.min_bps)
        # Whole chunks, no more of them than a second promises.
        turn = max(1, qos.min_bps * limits.PROMISE_TURN_MS // self._chunk_bitms)
        self._turn_bitms = min(turn, self._goal_max) * self._chunk_bitms
        self._gate_bitms = self._gate_burst()
        self.wanted = 0
        """chunks beyond the last one made that the peer's application waits for"""
        self.queued = 0
        """number of the pacer's entry for this stream; 0 none"""
        self.rank = 0
        """of that entry"""
        self.share = 0
        """bytes got beyond Min_bps, as the pacer counts them"""

    def delivered(self, now_ms: int, chunks: int = 1) -> None:
        """So many chunks more were delivered here."""
        self._turn(now_ms)
        self._this_second += chunks
        self._gate_bitms = max(0, self._gate_bitms - chunks * self._chunk_bitms)

    def held_until_ms(self, now_ms: int) -> int | None:
        """When Max_bps lets one more chunk be delivered here; None: now."""
        if not self.qos.max_bps:
            return None
        self._turn(now_ms)
        lacking = self._chunk_bitms - self._gate_bitms
        return now_ms - (-lacking // self.qos.max_bps) if lacking > 0 else None

    def rate(self, now_ms: int) -> int:
        """Chunks delivered here in the last whole second."""
        self._turn(now_ms)
        return self._last_second

    def missed(self) -> None:
        """Somebody waits for key that is not there: once per designation the goal doubles."""
        self._rested_s = 0
        if not self._doubled:
            self._doubled = True
            self._goal = min(self._goal * 2, self._goal_max)

    def need(self, now_ms: int, ready: int, waited: int) -> int:
        """Chunks to make now. ``waited``: beyond the last one made, that somebody waits for."""
        self._turn(now_ms)
        waited = max(waited, self.wanted)
        if waited:
            return min(max(self._goal, waited), self._goal_max)
        # Half of it at a time: a designation costs the same however many chunks it names.
        missing = self._goal - ready
        return missing if missing * 2 >= self._goal else 0

    def urgent(self, now_ms: int, ready: int, waited: int) -> bool:
        """Whether somebody waits, or less lies ready than was used in a second lately."""
        self._turn(now_ms)
        used = max(self._this_second, self._last_second, self._peak)
        return bool(waited or self.wanted) or ready < max(used, limits.STOCK_CHUNKS_MIN)

    def allowed(self, now_ms: int) -> int:
        """Chunks that Max_bps allows now."""
        self._turn(now_ms)
        if not self.qos.max_bps:
            return self._goal_max
        return self._most_bitms // self._chunk_bitms

    def allowed_at_ms(self, now_ms: int) -> int:
        """When Max_bps allows one chunk again."""
        lacking = self._chunk_bitms - self._most_bitms
        return now_ms + max(1, -(-lacking // max(self.qos.max_bps, 1)))

    def promised(self, now_ms: int) -> int:
        """Chunks that Min_bps promises now; 0 until they are worth a designation."""
        self._turn(now_ms)
        if not self.qos.min_bps or self._promise_bitms < self._turn_bitms:
            return 0
        return self._promise_bitms // self._chunk_bitms

    def promised_at_ms(self, now_ms: int) -> int | None:
        """When Min_bps promises a turn again; None without a promise."""
        if not self.qos.min_bps:
            return None
        lacking = self._turn_bitms - self._promise_bitms
        return now_ms + max(1, -(-lacking // self.qos.min_bps))

    def made(self, chunks: int) -> None:
        """So many chunks were designated."""
        self.wanted = max(0, self.wanted - chunks)
        self._doubled = False
        self._most_bitms = max(0, self._most_bitms - chunks * self._chunk_bitms)
        self._promise_bitms = max(0, self._promise_bitms - chunks * self._chunk_bitms)

    def _burst(self, bps: int) -> int:
        return max(bps * _SECOND_MS, self._chunk_bitms) if bps else 0

    def _gate_burst(self) -> int:
        # No second may carry more than Max_bps and Jitter, which is a chunk at the least.
        burst = self.qos.max_bps * limits.DELIVERY_BURST_MS + self._chunk_bitms
        if self.qos.jitter:
            burst = min(burst, max(self.qos.jitter * _SECOND_MS, self._chunk_bitms))
        return burst

    def _promise_most(self) -> int:
        # Who lacks nothing saves up a second; who stands in line is owed what it does not get.
        burst = self._burst(self.qos.min_bps)
        owed = self.qos.min_bps * limits.PROMISE_OWED_MS if self.queued else 0
        return max(burst, owed, self._turn_bitms)

    def _turn(self, now_ms: int) -> None:
        past_ms = now_ms - self._at_ms
        if past_ms <= 0:
            return
        self._at_ms = now_ms
        most, least = self.qos.max_bps, self.qos.min_bps
        if most:
            self._most_bitms = min(self._most_bitms + most * past_ms, self._burst(most))
            self._gate_bitms = min(self._gate_bitms + most * past_ms, self._gate_burst())
        if least:
            self._promise_bitms = min(self._promise_bitms + least * past_ms, self._promise_most())
        seconds = (now_ms - self._second_ms) // _SECOND_MS
        if seconds > 0:
            self._last_second = self._this_second if seconds == 1 else 0
            halves, self._rested_s = divmod(self._rested_s + seconds, limits.GOAL_HALVES_S)
            rest = self._goal >> min(halves, 32)
            self._peak = max(self._peak, self._this_second) if halves < 2 else 0
            least = max(self._goal_min, self._last_second, 2 * self._peak)
            self._goal = min(max(least, rest), self._goal_max)
            if halves:
                self._peak = 0
            self._this_second = 0
            self._second_ms += seconds * _SECOND_MS


def stock_chunks(chunk_bytes: int) -> int:
    """Most chunks of this size that are made ahead for one stream."""
    return max(1, min(limits.STOCK_BYTES_MAX // chunk_bytes, limits.STOCK_CHUNKS_MAX))
