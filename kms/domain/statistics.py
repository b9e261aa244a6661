"""How the node is, at one moment: what ``kms status``, the metrics and the controller print.

Rules: figures and names only, never key bits. A figure is counted where the thing happens; this
file only says what it is called and in which unit, so that every printout agrees. ``total``
counts since the start of the process and never falls.
"""

from bisect import bisect_left
from enum import Enum

import attrs

from kms.domain.names import KSID, DeviceId, LinkId, NodeId, SAEId


class NodeState(Enum):
    """What the node can do for an application now."""

    READY = "ready"
    DEGRADED = "degraded"
    """serves, but not on every link: ``why`` says which"""
    SEALED = "sealed"
    """no epoch key: nothing is served until ``kms unseal``"""
    STANDING = "standing"
    """the store is an old copy, or may be: nothing is served until ``kms restore``"""
    STOPPING = "stopping"


@attrs.frozen(kw_only=True)
class PadStatus:
    """One direction of a link."""

    mark: int
    """first byte that is not spent"""
    granted: int
    """bytes below this offset may be spent"""
    end: int
    """first offset after the last append"""

    @property
    def level_bytes(self) -> int:
        """Unspent bytes, granted or not, the reserve included."""
        return max(self.end - self.mark, 0)


@attrs.frozen(kw_only=True)
class LatencyStatus:
    """How long something took: counts per bound, not cumulative, the last one for the rest."""

    bounds_ms: tuple[float, ...]
    counts: tuple[int, ...]
    sum_ms: float

    @property
    def count(self) -> int:
        return sum(self.counts)

    def quantile_ms(self, share: float) -> float | None:
        """The bound below which ``share`` of the observations lie; None without any, infinity
        when it is above the last bound."""
        assert 0 < share <= 1, "share"
        wanted, seen = share * self.count, 0
        if not self.count:
            return None
        for bound, count in zip((*self.bounds_ms, float("inf")), self.counts, strict=True):
            seen += count
            if seen >= wanted:
                return bound
        raise AssertionError("the counts do not add up")


@attrs.frozen(kw_only=True)
class ServiceStatus:
    """The parameters of ITU-T Y.3807, of one stream or of all on a link, at this end and since the
    start of the process. Requests that are the application's own mistake count in none of them."""

    throughput_bps: float = 0.0
    """key delivered, bit/s, averaged over the last half or whole minute"""
    keys_total: int = 0
    """chunks delivered"""
    bytes_total: int = 0
    delay_ms_mean: float = 0.0
    """response delay (KKRD): from the request's batch to the answer's, disk and transport apart"""
    delay_ms_max: int = 0
    variation_ms: float = 0.0
    """KKRDV: mean difference of neighbouring delays, the last sixteen or so (as in RFC 3550)"""
    errors_total: int = 0
    """chunks asked for that this end has lost, though the peer may have had them"""
    error_ratio: float = 0.0
    """KKDER: of all chunks that were due"""
    losses_total: int = 0
    """requests that got no key within their Timeout"""
    loss_ratio: float = 0.0
    """KKDLR"""
    availability: float = 1.0
    """share of the time in which the link was up and under no alarm"""
    outages_total: int = 0
    outage_ms_max: int = 0
    """the longest service restoration time of the link in this process"""


@attrs.frozen(kw_only=True)
class LinkStatus:
    """One link, as this end sees it."""

    link: LinkId
    peer: NodeId
    state: str
    """new, open or doubted"""
    epoch: int
    connected: bool
    """a session to the neighbour stands"""
    up: bool
    """both hellos are durable: messages flow"""
    rate_in_bps: float
    """agreed key, bit/s, averaged over the last minute or so"""
    outgoing: PadStatus
    """the pad this end writes"""
    incoming: PadStatus
    """the pad the neighbour writes"""
    reserve_bytes: int
    """kept in each direction for the nodes' own frames"""
    held_blocks: int = 0
    """at one end only, waiting for the other"""
    own_frames_total: int = 0
    """frames the nodes sent each other from this end"""
    own_pad_bytes_total: int = 0
    """pad bytes those frames cost"""
    blocks_total: int = 0
    """blocks agreed"""
    blocks_refused_total: int = 0
    """duplicates, mismatches and blocks over a limit"""
    burnt_bytes_total: int = 0
    """given up because they might have been used"""
    alarm: str = ""
    """why no key of this link is served (I13); empty when it is"""
    ordered: str = ""
    """what an operator has ordered about the whole link; empty for nothing"""
    order_told: bool = True
    """the neighbour knows of it, as this session has shown"""
    connects_total: int = 0
    frames_in_total: int = 0
    frames_out_total: int = 0
    bytes_in_total: int = 0
    bytes_out_total: int = 0
    refused_connections_total: int = 0
    promised_bps: int = 0
    """what the Min_bps of the link's streams costs, bit/s, designations included"""
    service: ServiceStatus | None = None
    """of all its streams"""
    delays: LatencyStatus | None = None
    """their response delays (KKRD)"""


@attrs.frozen(kw_only=True)
class StreamStatus:
    """One stream, as this end sees it."""

    ksid: KSID
    link: LinkId
    local: SAEId
    remote: SAEId
    state: str
    """opening, pending, established, closing or closed"""
    next_index: int
    """chunks designated so far"""
    ready: int
    """chunks made and not delivered here"""
    delivered: int
    """chunks delivered here since the start of the process"""
    waiting: int
    """requests that wait"""
    promised_bps: int = 0
    """Min_bps as admitted"""
    got_bps: int = 0
    """what was delivered here in the last whole second"""
    max_bps: int = 0
    """Max_bps as admitted; 0: none"""
    priority: int = 0
    service: ServiceStatus | None = None
    suspended: int = 0
    """chunks made, not delivered here, and held back by an operator"""
    ordered: str = ""
    """which indices operators have suspended or compromised; empty for none"""
    order_told: bool = True
    """the neighbour knows of it, as this session has shown"""


@attrs.frozen(kw_only=True)
class DeviceStatus:
    """One local QKD device."""

    device: DeviceId
    link: LinkId
    connected: bool
    blocks_total: int
    bytes_total: int
    connects_total: int
    fault: str = ""
    """stable name of the fault that holds it now; empty when it answers"""
    faults_total: dict[str, int] = attrs.Factory(dict)
    """by fault name"""


@attrs.frozen(kw_only=True)
class StoreStatus:
    """The store."""

    commits_total: int
    writes_total: int
    material_bytes: int
    slots_live: int
    file_bytes: int


@attrs.frozen(kw_only=True)
class AlarmStatus:
    """An alarm that stands."""

    kind: str
    link: LinkId | None
    detail: str
    since_ms: int
    """wall clock, for a person"""


@attrs.frozen(kw_only=True)
class StakeStatus:
    """What of one link is given up if nothing of before is ever used."""

    link: LinkId
    pad_bytes: int
    """agreed and unused, both directions, as this store has it"""
    held_blocks: int
    streams: int


@attrs.frozen(kw_only=True)
class StandingStatus:
    """Why a node stands, and what is at stake."""

    ground: str
    """old, foreign or unknown"""
    reason: str
    generation: int
    """of the store"""
    written_ms: int
    """wall clock, when the store had it; 0: never"""
    witnessed_generation: int | None
    witnessed_ms: int | None
    """when the witness was last written"""
    links: tuple[StakeStatus, ...] = ()


@attrs.frozen(kw_only=True)
class NodeStatus:
    """The whole node."""

    node: NodeId
    version: str
    state: NodeState
    why: tuple[str, ...]
    """one sentence for each thing that keeps the node from being ready"""
    uptime_s: float
    links: tuple[LinkStatus, ...] = ()
    streams: tuple[StreamStatus, ...] = ()
    """at most ``limits.STATUS_STREAMS_MAX`` of them"""
    streams_open: int = 0
    """all of them"""
    devices: tuple[DeviceStatus, ...] = ()
    alarms: tuple[AlarmStatus, ...] = ()
    store: StoreStatus | None = None
    get_key: LatencyStatus | None = None
    journal_number: int = 0
    """of the last audit record"""
    journal_hash: str = ""
    standing: StandingStatus | None = None
    """None while the node does not stand"""
    counters: dict[str, int] = attrs.Factory(dict)
    """further totals: stable words of a-z and _, such as keys_delivered_total"""


class Latencies:
    """Counts observations into bounds; the one mutable thing here, owned by who observes."""

    # From the cost of one commit on a fast disk to the longest agreed Timeout.
    BOUNDS_MS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 1e4, 6e4)

    def __init__(self) -> None:
        self._counts = [0] * (len(self.BOUNDS_MS) + 1)
        self._sum_ms = 0.0

    def observe(self, taken_ms: float) -> None:
        """One more observation."""
        self._counts[bisect_left(self.BOUNDS_MS, taken_ms)] += 1
        self._sum_ms += taken_ms

    def statistics(self) -> LatencyStatus:
        return LatencyStatus(
            bounds_ms=self.BOUNDS_MS, counts=tuple(self._counts), sum_ms=self._sum_ms
        )
