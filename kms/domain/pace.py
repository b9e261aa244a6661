"""How much key one stream is to have made ahead: its goal, and what Min_bps and Max_bps allow.

Rules: ``goal`` chunks lie ready while nobody waits; it doubles each time somebody waits for key
that is not there, follows what was delivered in the last second, and halves when nobody had to wait
for ``GOAL_HALVES_S``, but not below twice what was delivered in any second of that time: who asks
now and then, many keys at once, finds them ready also when others have drained the link.
Key beyond Max_bps is never made: over any time it is at most Max_bps x (time + 1 s), a chunk at the
least. Up to Min_bps the stream goes before the others. All arithmetic is whole numbers, bit x ms.
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
        "_goal",
        "_goal_max",
        "_last_second",
        "_most_bitms",
        "_peak",
        "_promise_bitms",
        "_qos",
        "_rested_s",
        "_second_ms",
        "_this_second",
        "queued",
        "share",
        "wanted",
    )

    def __init__(self, qos: QoS, now_ms: int) -> None:
        chunk = qos.key_chunk_size
        self._qos = qos
        self._chunk_bitms = chunk * 8 * _SECOND_MS
        self._goal_max = stock_chunks(chunk)
        self._goal = min(limits.STOCK_CHUNKS_MIN, self._goal_max)
        self._doubled = False
        self._at_ms = self._second_ms = now_ms
        self._this_second = self._last_second = self._rested_s = self._peak = 0
        self._most_bitms = self._burst(qos.max_bps)
        self._promise_bitms = self._burst(qos.min_bps)
        self.wanted = 0
        """chunks beyond the last one made that the peer's application waits for"""
        self.queued = 0
        """number of the pacer's entry for this stream; 0 none"""
        self.share = 0
        """bytes got, as the pacer counts them"""

    def delivered(self, now_ms: int) -> None:
        """One chunk more was delivered here."""
        self._turn(now_ms)
        self._this_second += 1

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

    def allowed(self, now_ms: int) -> int:
        """Chunks that Max_bps allows now."""
        self._turn(now_ms)
        if not self._qos.max_bps:
            return self._goal_max
        return self._most_bitms // self._chunk_bitms

    def allowed_at_ms(self, now_ms: int) -> int:
        """When Max_bps allows one chunk again."""
        lacking = self._chunk_bitms - self._most_bitms
        return now_ms + max(1, -(-lacking // max(self._qos.max_bps, 1)))

    def promised(self, now_ms: int) -> int:
        """Chunks that Min_bps promises now."""
        self._turn(now_ms)
        return self._promise_bitms // self._chunk_bitms if self._qos.min_bps else 0

    def promised_at_ms(self, now_ms: int) -> int | None:
        """When Min_bps promises one chunk again; None without a promise."""
        if not self._qos.min_bps:
            return None
        lacking = self._chunk_bitms - self._promise_bitms
        return now_ms + max(1, -(-lacking // self._qos.min_bps))

    def made(self, chunks: int) -> None:
        """So many chunks were designated."""
        self.wanted = max(0, self.wanted - chunks)
        self._doubled = False
        self._most_bitms = max(0, self._most_bitms - chunks * self._chunk_bitms)
        self._promise_bitms = max(0, self._promise_bitms - chunks * self._chunk_bitms)

    def _burst(self, bps: int) -> int:
        return max(bps * _SECOND_MS, self._chunk_bitms) if bps else 0

    def _turn(self, now_ms: int) -> None:
        past_ms = now_ms - self._at_ms
        if past_ms <= 0:
            return
        self._at_ms = now_ms
        most, least = self._qos.max_bps, self._qos.min_bps
        if most:
            self._most_bitms = min(self._most_bitms + most * past_ms, self._burst(most))
        if least:
            self._promise_bitms = min(self._promise_bitms + least * past_ms, self._burst(least))
        seconds = (now_ms - self._second_ms) // _SECOND_MS
        if seconds > 0:
            self._last_second = self._this_second if seconds == 1 else 0
            halves, self._rested_s = divmod(self._rested_s + seconds, limits.GOAL_HALVES_S)
            rest = self._goal >> min(halves, 32)
            self._peak = max(self._peak, self._this_second) if halves < 2 else 0
            least = max(limits.STOCK_CHUNKS_MIN, self._last_second, 2 * self._peak)
            self._goal = min(max(least, rest), self._goal_max)
            if halves:
                self._peak = 0
            self._this_second = 0
            self._second_ms += seconds * _SECOND_MS


def stock_chunks(chunk_bytes: int) -> int:
    """Most chunks of this size that are made ahead for one stream."""
    return max(1, min(limits.STOCK_BYTES_MAX // chunk_bytes, limits.STOCK_CHUNKS_MAX))
