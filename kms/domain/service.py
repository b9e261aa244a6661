"""How well keys are supplied: the QoS parameters of ITU-T Y.3807, per stream and per link.

Rules: counted where it happens, at this end, since the start of the process; fixed memory for each
meter, whatever it counts; time is passed in, whole milliseconds.

    throughput            key delivered, bit/s
    response delay        KKRD; its variation KKRDV
    error ratio           KKDER: chunks asked for that this end has lost, of those that were due
    loss ratio            KKDLR: requests that got no key in their Timeout, of those that were due
    availability          the link is up and under no alarm; outages, and the longest

Due is what was delivered, lost or late. An index that was read already, too far ahead or of
somebody else is the application's mistake and counts nowhere.
"""

from kms.domain.statistics import Latencies, ServiceStatus

# Half of the time that a throughput is averaged over: a stream that is read now and then has one.
HALF_MS = 30_000
# Share of a new difference in the variation: 1/16, as RFC 3550 has it for packets.
_SMOOTH = 16


class ServiceMeter:
    """One stream's deliveries, or all of a link's."""

    __slots__ = (
        "_before",
        "_began_ms",
        "_bytes",
        "_delay_max_ms",
        "_delay_sum_ms",
        "_errors",
        "_half",
        "_half_ms",
        "_keys",
        "_last_delay_ms",
        "_losses",
        "_variation_16",
        "outage_base_ms",
        "outages_base",
    )

    def __init__(self, now_ms: int) -> None:
        self._began_ms = self._half_ms = now_ms
        self._keys = self._bytes = self._errors = self._losses = 0
        self._half = self._before = 0
        """bytes delivered in this half of the throughput's time, and in the one before"""
        self._delay_sum_ms = self._delay_max_ms = self._variation_16 = 0
        self._last_delay_ms: int | None = None
        self.outage_base_ms = self.outages_base = 0
        """what the link's outages came to when this began"""

    def delivered(self, now_ms: int, delay_ms: int, size_bytes: int, chunks: int = 1) -> None:
        """So many chunks were delivered, together so large, so long after they were asked for."""
        self._turn(now_ms)
        self._keys += chunks
        self._bytes += size_bytes
        self._half += size_bytes
        self._delay_sum_ms += chunks * delay_ms
        self._delay_max_ms = max(self._delay_max_ms, delay_ms)
        if self._last_delay_ms is not None:
            difference_ms = abs(delay_ms - self._last_delay_ms)
            self._variation_16 += difference_ms - self._variation_16 // _SMOOTH
        self._last_delay_ms = delay_ms

    def erred(self) -> None:
        """A chunk was asked for that this end has lost."""
        self._errors += 1

    def lost(self) -> None:
        """A request got no key within its Timeout."""
        self._losses += 1

    def statistics(self, now_ms: int, outages: "Outages") -> ServiceStatus:
        """``outages``: the link's."""
        self._turn(now_ms)
        due = self._keys + self._errors + self._losses
        counted_ms = min(now_ms - self._began_ms, now_ms - self._half_ms + HALF_MS)
        past_ms = now_ms - self._began_ms
        out_ms = outages.total_ms(now_ms) - self.outage_base_ms
        return ServiceStatus(
            throughput_bps=8000 * (self._half + self._before) / counted_ms if counted_ms else 0.0,
            keys_total=self._keys,
            bytes_total=self._bytes,
            delay_ms_mean=self._delay_sum_ms / self._keys if self._keys else 0.0,
            delay_ms_max=self._delay_max_ms,
            variation_ms=self._variation_16 / _SMOOTH,
            errors_total=self._errors,
            error_ratio=self._errors / due if due else 0.0,
            losses_total=self._losses,
            loss_ratio=self._losses / due if due else 0.0,
            availability=1 - min(out_ms, past_ms) / past_ms if past_ms else 1.0,
            outages_total=outages.count - self.outages_base,
            outage_ms_max=outages.longest_ms(now_ms),
        )

    def _turn(self, now_ms: int) -> None:
        halves = (now_ms - self._half_ms) // HALF_MS
        if halves > 0:
            self._before = self._half if halves == 1 else 0
            self._half = 0
            self._half_ms += halves * HALF_MS


class Outages:
    """When a link could not serve."""

    __slots__ = ("_longest_ms", "_since_ms", "_total_ms", "count")

    def __init__(self) -> None:
        self.count = 0
        self._since_ms: int | None = None
        self._total_ms = 0
        self._longest_ms = 0

    def look(self, now_ms: int, *, serves: bool) -> None:
        """The link can serve now, or cannot: asked once a second."""
        if not serves and self._since_ms is None:
            self.count += 1
            self._since_ms = now_ms
        elif serves and self._since_ms is not None:
            out_ms = now_ms - self._since_ms
            self._total_ms += out_ms
            self._longest_ms = max(self._longest_ms, out_ms)
            self._since_ms = None

    def total_ms(self, now_ms: int) -> int:
        """The outages together, the one that lasts included."""
        return self._total_ms + self._lasting_ms(now_ms)

    def longest_ms(self, now_ms: int) -> int:
        """The longest of this process, the one that lasts included."""
        return max(self._longest_ms, self._lasting_ms(now_ms))

    def _lasting_ms(self, now_ms: int) -> int:
        return now_ms - self._since_ms if self._since_ms is not None else 0


class LinkService:
    """All streams of one link."""

    def __init__(self, now_ms: int) -> None:
        self.meter = ServiceMeter(now_ms)
        self.outages = Outages()
        self.delays = Latencies()

    def delivered(self, now_ms: int, delay_ms: int, size_bytes: int, chunks: int = 1) -> None:
        """So many chunks were delivered, so long after they were asked for."""
        self.meter.delivered(now_ms, delay_ms, size_bytes, chunks)
        self.delays.observe(delay_ms)

    def statistics(self, now_ms: int) -> ServiceStatus:
        return self.meter.statistics(now_ms, self.outages)
