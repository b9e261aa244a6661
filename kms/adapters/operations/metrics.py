"""The node's figures in the words of Prometheus.

Rules: one table per owner (link, pad, device, store), each row a name, its sentence and where it
is read; a new figure is a new row. Names end in their unit, totals in ``_total``. Labels come from
the configuration, so their number is bounded by it; streams are counted, never listed.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from kms.domain.statistics import (
    DeviceStatus,
    LatencyStatus,
    LinkStatus,
    NodeState,
    NodeStatus,
    PadStatus,
)
from kms.ports.admin import NodeView

_Row = tuple[str, str, Callable[[Any], float]]

_LINK: tuple[_Row, ...] = (
    ("link_connected", "1 while a session to the neighbour stands", lambda x: x.connected),
    ("link_up", "1 while messages flow", lambda x: x.up),
    ("link_alarmed", "1 while no key of the link is served", lambda x: bool(x.alarm)),
    ("link_epoch", "epoch of the link", lambda x: x.epoch),
    ("link_rate_in_bps", "agreed key, bit/s", lambda x: x.rate_in_bps),
    ("link_promised_bps", "cost of its streams' Min_bps, bit/s", lambda x: x.promised_bps),
    ("link_reserve_bytes", "kept per direction for the nodes' frames", lambda x: x.reserve_bytes),
    ("link_held_blocks", "blocks at one end only", lambda x: x.held_blocks),
    ("link_own_frames_total", "frames the node sent for itself", lambda x: x.own_frames_total),
    ("link_own_pad_bytes_total", "pad they cost", lambda x: x.own_pad_bytes_total),
    ("link_blocks_total", "blocks agreed", lambda x: x.blocks_total),
    ("link_blocks_refused_total", "blocks refused", lambda x: x.blocks_refused_total),
    ("link_burnt_bytes_total", "pad given up unused", lambda x: x.burnt_bytes_total),
    ("link_connects_total", "sessions to the neighbour", lambda x: x.connects_total),
    ("link_frames_in_total", "frames received", lambda x: x.frames_in_total),
    ("link_frames_out_total", "frames sent", lambda x: x.frames_out_total),
    ("link_bytes_in_total", "bytes received", lambda x: x.bytes_in_total),
    ("link_bytes_out_total", "bytes sent", lambda x: x.bytes_out_total),
    ("link_refused_connections_total", "refused", lambda x: x.refused_connections_total),
)
# The parameters of ITU-T Y.3807, of all streams of a link.
_SERVICE: tuple[_Row, ...] = (
    ("service_throughput_bps", "key delivered, bit/s", lambda x: x.throughput_bps),
    ("service_keys_total", "keys delivered", lambda x: x.keys_total),
    ("service_bytes_total", "key delivered", lambda x: x.bytes_total),
    ("service_delay_variation_ms", "KKRDV", lambda x: x.variation_ms),
    ("service_errors_total", "keys asked for that this end lost", lambda x: x.errors_total),
    ("service_losses_total", "requests without key in their Timeout", lambda x: x.losses_total),
    ("service_error_ratio", "KKDER", lambda x: x.error_ratio),
    ("service_loss_ratio", "KKDLR", lambda x: x.loss_ratio),
    ("service_availability_ratio", "time the link could serve in", lambda x: x.availability),
    ("service_outages_total", "times it could not", lambda x: x.outages_total),
    ("service_outage_longest_ms", "longest restoration", lambda x: x.outage_ms_max),
)
_PAD: tuple[_Row, ...] = (
    ("pad_level_bytes", "unspent key, the reserve included", lambda x: x.level_bytes),
    ("pad_mark_bytes", "first byte that is not spent", lambda x: x.mark),
    ("pad_granted_bytes", "bytes below may be spent", lambda x: x.granted),
    ("pad_end_bytes", "first offset after the last append", lambda x: x.end),
)
_DEVICE: tuple[_Row, ...] = (
    ("device_connected", "1 while the device answers", lambda x: x.connected),
    ("device_blocks_total", "blocks delivered", lambda x: x.blocks_total),
    ("device_bytes_total", "key delivered", lambda x: x.bytes_total),
    ("device_connects_total", "connections to the device", lambda x: x.connects_total),
)
_STORE: tuple[_Row, ...] = (
    ("store_commits_total", "transactions made durable", lambda x: x.commits_total),
    ("store_writes_total", "effects in them", lambda x: x.writes_total),
    ("store_material_bytes", "sealed bytes still readable", lambda x: x.material_bytes),
    ("store_slots_live", "data keys in place", lambda x: x.slots_live),
    ("store_file_bytes", "size of the files", lambda x: x.file_bytes),
)


class NodeCollector(Collector):
    """Asks ``view`` once per scrape."""

    def __init__(self, view: NodeView) -> None:
        self._view = view

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not ask a node that is still starting."""
        return ()

    def collect(self) -> Iterator[Metric]:
        status = self._view.status()
        yield from _node(status)
        links = [((link.link,), link) for link in status.links]
        yield from _families(_LINK, ("link",), links)
        yield from _families(_PAD, ("link", "direction"), list(_pads(status.links)))
        served = [((link.link,), link.service) for link in status.links if link.service]
        yield from _families(_SERVICE, ("link",), served)
        yield _delays(status.links)
        devices = [((device.device, device.link), device) for device in status.devices]
        yield from _families(_DEVICE, ("device", "link"), devices)
        yield _faults(status.devices)
        if status.store is not None:
            yield from _families(_STORE, (), [((), status.store)])
        if status.get_key is not None:
            yield _latency(status.get_key)
        for name, value in sorted(status.counters.items()):
            yield CounterMetricFamily(f"kms_{name}", name.replace("_", " "), value)


def _node(status: NodeStatus) -> Iterator[Metric]:
    info = GaugeMetricFamily("kms_info", "always 1", labels=("node", "version"))
    info.add_metric((status.node, status.version), 1)
    yield info
    states = GaugeMetricFamily("kms_state", "1 for the state the node is in", labels=("state",))
    for state in NodeState:
        states.add_metric((state.value,), status.state is state)
    yield states
    yield GaugeMetricFamily("kms_uptime_seconds", "since the start", status.uptime_s)
    yield GaugeMetricFamily("kms_streams_open", "open streams", status.streams_open)
    yield CounterMetricFamily("kms_audit_records", "in the journal", status.journal_number)
    alarms = GaugeMetricFamily("kms_alarms", "alarms that stand", labels=("kind", "link"))
    standing = Counter((alarm.kind, alarm.link or "") for alarm in status.alarms)
    for labels, count in sorted(standing.items()):
        alarms.add_metric(labels, count)
    yield alarms


def _pads(links: Iterable[LinkStatus]) -> Iterator[tuple[tuple[str, ...], PadStatus]]:
    for link in links:
        yield (link.link, "outgoing"), link.outgoing
        yield (link.link, "incoming"), link.incoming


def _families(
    rows: tuple[_Row, ...],
    labels: tuple[str, ...],
    owners: Sequence[tuple[tuple[str, ...], Any]],
) -> Iterator[Metric]:
    for name, sentence, read in rows:
        kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
        family = kind(f"kms_{name}", sentence, labels=labels)
        for values, owner in owners:
            family.add_metric(values, float(read(owner)))
        yield family


def _faults(devices: Iterable[DeviceStatus]) -> Metric:
    family = CounterMetricFamily(
        "kms_device_faults", "faults of devices", labels=("device", "link", "fault")
    )
    for device in devices:
        for fault, count in sorted(device.faults_total.items()):
            family.add_metric((device.device, device.link, fault), count)
    return family


def _latency(taken: LatencyStatus) -> Metric:
    family = HistogramMetricFamily("kms_get_key_seconds", "from the request to the answer")
    family.add_metric((), _buckets(taken), taken.sum_ms / 1000)
    return family


def _delays(links: Iterable[LinkStatus]) -> Metric:
    family = HistogramMetricFamily(
        "kms_service_delay_seconds", "KKRD, disk and transport apart", labels=("link",)
    )
    for link in links:
        if link.delays is not None:
            family.add_metric((link.link,), _buckets(link.delays), link.delays.sum_ms / 1000)
    return family


def _buckets(taken: LatencyStatus) -> list[tuple[str, float]]:
    buckets, below = [], 0
    for bound_ms, count in zip((*taken.bounds_ms, float("inf")), taken.counts, strict=True):
        below += count
        label = "+Inf" if bound_ms == float("inf") else repr(bound_ms / 1000)
        buckets.append((label, float(below)))
    return buckets
