"""How the node shows itself: every part's figures, put together for status, health and metrics."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping

import attrs
import structlog

from kms import __version__
from kms.domain import limits
from kms.domain.link import Link
from kms.domain.names import LinkId
from kms.domain.node import Node
from kms.domain.pad import Pad
from kms.domain.records import LinkState
from kms.domain.statistics import (
    AlarmStatus,
    DeviceStatus,
    LinkStatus,
    NodeState,
    NodeStatus,
    PadStatus,
    StandingStatus,
    StoreStatus,
)
from kms.ports.clock import Clock
from kms.ports.device import Device
from kms.ports.journal import Journal
from kms.ports.peer import PeerLinks, PeerStatistics
from kms.ports.storage import Storage
from kms.shell.counter import Counter
from kms.shell.pump import Fields, Pump

# Alarms are kept for a person to read; the journal has them all.
ALARMS_MAX = 100


class Alarms:
    """Implements ``pump.Watcher``: alarms are kept, newest last, and everything is logged."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._log = structlog.get_logger()
        self._alarms: OrderedDict[tuple[str, LinkId | None], AlarmStatus] = OrderedDict()
        self.total = 0

    def noted(self, name: str, fields: Fields) -> None:
        self._log.info(name, **fields)
        if name == "alarm-ended":
            link = fields.get("link")
            self._alarms.pop((str(fields["kind"]), LinkId(str(link)) if link else None), None)

    def alarmed(self, kind: str, link: LinkId | None, detail: str) -> None:
        self.total += 1
        self._log.warning("alarm", kind=kind, link=link, detail=detail)
        self._alarms.pop((kind, link), None)
        self._alarms[kind, link] = AlarmStatus(
            kind=kind, link=link, detail=detail, since_ms=self._clock.now().wall_ms
        )
        if len(self._alarms) > ALARMS_MAX:
            self._alarms.popitem(last=False)

    def ended(self, link: LinkId) -> None:
        """The operator began the link anew: what was said of it is over."""
        for key in [each for each in self._alarms if each[1] == link]:
            del self._alarms[key]

    def statistics(self) -> tuple[AlarmStatus, ...]:
        return tuple(self._alarms.values())


class RunningView:
    """The figures of a node that is open."""

    def __init__(
        self,
        pump: Pump,
        *,
        counter: Counter,
        storage: Storage,
        journal: Journal,
        peers: PeerLinks,
        devices: Mapping[LinkId, list[Device]],
        alarms: Alarms,
    ) -> None:
        self._pump, self._counter = pump, counter
        self._storage, self._journal, self._peers = storage, journal, peers
        self._devices, self._alarms = devices, alarms

    def status(self, *, stopping: bool, uptime_s: float) -> NodeStatus:
        """The whole node, now."""
        node = self._pump.node
        peers = {each.link: each for each in self._peers.statistics()}
        links = tuple(
            attrs.evolve(
                _link(link, peers.get(name), node),
                ordered=node.streams.stopped(name),
                order_told=node.streams.told(name),
            )
            for name, link in node.links.items()
        )
        devices = tuple(self._device_statuses())
        why = tuple(_why(links, devices))
        standing = _standing(node)
        if standing is not None:
            why = (f"{standing.reason}: nothing is served until kms restore",)
        store, head = self._storage.statistics(), self._journal.head()
        state = NodeState.DEGRADED if why else NodeState.READY
        state = NodeState.STANDING if standing is not None else state
        return NodeStatus(
            node=node.node,
            version=__version__,
            state=NodeState.STOPPING if stopping else state,
            why=("the node is stopping", *why) if stopping else why,
            uptime_s=uptime_s,
            links=links,
            streams=self._pump.node.streams.statistics(limits.STATUS_STREAMS_MAX),
            streams_open=node.streams.count,
            devices=devices,
            alarms=self._alarms.statistics(),
            store=StoreStatus(
                commits_total=store.commits,
                writes_total=store.writes,
                material_bytes=store.material_bytes,
                slots_live=store.slots_live,
                file_bytes=store.file_bytes,
            ),
            get_key=self._counter.latencies.statistics(),
            journal_number=head.number,
            journal_hash=head.hash,
            standing=standing,
            counters={
                "keys_delivered_total": self._counter.delivered,
                "key_bytes_delivered_total": self._counter.delivered_bytes,
                "alarms_total": self._alarms.total,
                "events_total": self._pump.events,
                "batches_total": self._pump.batches,
            },
        )

    def _device_statuses(self) -> Iterable[DeviceStatus]:
        faults = self._pump.node.device_faults
        for link, devices in self._devices.items():
            for device in devices:
                figures = device.statistics()
                yield DeviceStatus(
                    device=figures.device,
                    link=link,
                    connected=figures.connected,
                    blocks_total=figures.blocks,
                    bytes_total=figures.bytes,
                    connects_total=figures.connects,
                    fault=faults.get(figures.device, ""),
                    faults_total=figures.faults,
                )


def _standing(node: Node) -> StandingStatus | None:
    if node.standing is None:
        return None
    found = node.standing.standing
    seen = found.witnessed
    return StandingStatus(
        ground=found.ground.value,
        reason=found.reason,
        generation=found.generation,
        written_ms=found.written_ms,
        witnessed_generation=seen.generation if seen is not None else None,
        witnessed_ms=seen.wall_ms if seen is not None else None,
        links=node.stakes(),
    )


def _link(link: Link, peer: PeerStatistics | None, node: Node) -> LinkStatus:
    memory, agreement = link.memory, link.agreement
    promised_bps, service, delays = node.streams.service(link.link)
    return LinkStatus(
        link=link.link,
        peer=link.peer,
        state=memory.state.value,
        epoch=memory.epoch,
        connected=peer is not None and peer.connected,
        up=link.up,
        rate_in_bps=link.rate_bps(),
        outgoing=_pad(memory.writer),
        incoming=_pad(memory.reader),
        reserve_bytes=memory.writer.reserve(),
        held_blocks=len(agreement.held),
        own_frames_total=link.outgoing.frames,
        own_pad_bytes_total=link.outgoing.own_bytes,
        blocks_total=agreement.log.agreed_blocks,
        blocks_refused_total=link.intake.refused + agreement.mismatches + agreement.expired,
        burnt_bytes_total=agreement.log.burnt_bytes
        + sum(pad.window.burnt_bytes for pad in memory.pads),
        alarm=link.alarmed or memory.reason or link.greeting.refused,
        connects_total=peer.connects if peer else 0,
        frames_in_total=peer.frames_in if peer else 0,
        frames_out_total=peer.frames_out if peer else 0,
        bytes_in_total=peer.bytes_in if peer else 0,
        bytes_out_total=peer.bytes_out if peer else 0,
        refused_connections_total=peer.refused if peer else 0,
        promised_bps=promised_bps,
        service=service,
        delays=delays,
    )


def _pad(pad: Pad) -> PadStatus:
    return PadStatus(mark=pad.mark, granted=pad.granted, end=pad.extents.end)


def _why(links: Iterable[LinkStatus], devices: Iterable[DeviceStatus]) -> Iterable[str]:
    for link in links:
        if link.state == LinkState.NEW.value:
            yield f"link {link.link} has no secret yet (kms link-secret, kms link restart)"
        elif link.state == LinkState.DOUBTED.value:
            yield f"link {link.link} is doubted: {link.alarm} (kms link restart)"
        elif link.ordered:
            yield f"{link.ordered} (kms key)"
        elif link.up and link.alarm:
            yield f"link {link.link} is under alarm: {link.alarm}"
        elif link.up and link.outgoing.level_bytes < link.reserve_bytes:
            left = link.outgoing.level_bytes
            yield f"link {link.link} is drained: {left} bytes of pad are left for its own frames"
        elif not link.up:
            yield f"link {link.link} is down: {link.alarm or 'the neighbour is not there'}"
    for device in devices:
        if device.fault:
            yield f"device {device.device}: {device.fault}"
        elif not device.connected:
            yield f"device {device.device} is not connected"
