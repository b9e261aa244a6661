"""The node: hands each event to the part that owns it.

Rules: no part knows another; all of them write into one ``Outbox``. An event that a part refuses
(``PeerFault``) ends that neighbour's session and changes nothing else (I9, I10). An assertion that
fails is our own mistake: that link stops, is doubted, and says why; the node and its other links
go on.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from uuid import UUID

from kms.domain import limits, standing
from kms.domain.effects import BlockStored, Effect
from kms.domain.errors import PeerFault
from kms.domain.events import (
    Asked,
    BlockArrived,
    DeviceChanged,
    Event,
    HungUp,
    KeysOrdered,
    LinkAdded,
    MaterialOpened,
    NetworkChanged,
    PeerConnected,
    PeerFrame,
    PeerLost,
    Restored,
    SecretCarried,
    Started,
    Tick,
)
from kms.domain.generation import Generation
from kms.domain.holds import COMPROMISED
from kms.domain.link import Link
from kms.domain.linkmemory import LinkSettings
from kms.domain.moment import Moment
from kms.domain.names import KSID, DeviceId, LinkId, NodeId, SAEId, SecretId, link_id
from kms.domain.outbox import Outbox
from kms.domain.records import (
    BlockRecord,
    BundleRecord,
    HoldRecord,
    KeyRunRecord,
    LinkRecord,
    LinkState,
    PadRecord,
    Record,
    StreamRecord,
    Way,
)
from kms.domain.requests import Request
from kms.domain.retention import KEEP, Retention
from kms.domain.statistics import StakeStatus
from kms.domain.streams import Streams

RESTORED = "this end was put back to an old copy, and burnt what it held"
"""Why a link waits for a secret after ``Way.BURN``."""


# Of a process's digest, in its number.
_PROCESS_BYTES = 4


class Node:
    """One site's whole state. Rebuilt from its records by the same constructor."""

    def __init__(
        self,
        node: NodeId,
        links: Mapping[NodeId, LinkSettings],
        records: Iterable[Record] = (),
        retention: Retention = KEEP,
    ) -> None:
        self.node = node
        self.links: dict[LinkId, Link] = {}
        self.device_faults: dict[DeviceId, str] = {}
        kept = list(records)
        self.generation = Generation(node, kept)
        self._process = b""
        self._ticked_ms = 0
        self._told_ms: dict[LinkId, int] = {}
        """since when the neighbours of compromised links know"""
        self.standing: standing.Gate | None = None
        """who answers while the node stands (docs/operations.md); None when it does not"""
        streams = StreamRecord | KeyRunRecord | BundleRecord | HoldRecord
        found = [each for each in kept if isinstance(each, streams)]
        self.streams = Streams(node, found, self.links, retention, self._named)
        of_link: dict[LinkId, list[LinkRecord | PadRecord | BlockRecord]] = {}
        for record in kept:
            if isinstance(record, LinkRecord | PadRecord | BlockRecord):
                of_link.setdefault(record.link, []).append(record)
        for peer, settings in links.items():
            link = self._new_link(peer, settings)
            _restore(link, of_link.get(link.link, ()))

    def handle(self, now: Moment, event: Event) -> list[Effect]:
        """What must happen because of this one event."""
        return self.handle_all(now, [event])

    def handle_all(self, now: Moment, events: Iterable[Event]) -> list[Effect]:
        """What must happen because of these events, in order: one batch, one commit."""
        out = Outbox(now)
        for event in events:
            self._handle(event, out)
        if self.standing is None:
            self.streams.replenish(out)
            for link in self.links.values():
                if link.stirred:
                    self._guarded(link, out, link.flush)
            self._condemn(out)
            self.generation.close(out)
        return out.effects

    def deadline_ms(self) -> int | None:
        """When (monotonic) the next ``Tick`` has something to do for a stream."""
        return self.streams.deadline_ms() if self.standing is None else None

    def room(self, link: LinkId, size_bytes: int) -> bool:
        """Whether a block of this size would be taken now."""
        if self.standing is not None:
            return False
        return link in self.links and self.links[link].room(size_bytes)

    def bytes_wanted(self, caller: SAEId, request: Request) -> int:
        """Random bytes to bring with the request, as things stand now."""
        return self.streams.bytes_wanted(caller, request) if self.standing is None else 0

    def _handle(self, event: Event, out: Outbox) -> None:
        if self.standing is not None:
            self._handle_standing(self.standing, event, out)
            return
        match event:
            case Asked():
                self.streams.asked(event, out)
            case HungUp():
                self.streams.hung_up(event, out)
            case PeerFrame(session=session, data=data):
                self._with(event.link, out, lambda link, out: link.on_frame(session, data, out))
            case Tick():
                self._tick(out)
            case MaterialOpened():
                self._opened(event, out)
            case BlockArrived():
                self._block_arrived(event, out)
            case PeerConnected(session=session):
                self._with(event.link, out, lambda link, out: link.connected(session, out))
            case PeerLost(session=session):
                self._with(event.link, out, lambda link, out: link.lost(session, out))
            case SecretCarried():
                self._secret_carried(event, out)
            case NetworkChanged():
                self.streams.network(event, out)
            case DeviceChanged():
                self._device_changed(event, out)
            case LinkAdded():
                self._link_added(event, out)
            case KeysOrdered():
                self.streams.ordered(event, out)
            case Started():
                self._started(event, out)
            case _:
                assert isinstance(event, Restored), "each event has an owner"
                out.note("nothing-to-restore")

    def _tick(self, out: Outbox) -> None:
        before_ms, self._ticked_ms = self._ticked_ms, out.now.mono_ms
        self.streams.tick(out)
        for link in self.links.values():
            if link.upkeep.due_ms <= self._ticked_ms:
                self._guarded(link, out, partial(link.tick, before_ms=before_ms))

    def _new_link(self, peer: NodeId, settings: LinkSettings) -> Link:
        link = Link(self.node, peer, settings, on_stream_message=self.streams.on_message)
        if self.standing is not None:
            link.memory.standing = self.standing.reason
        self.links[link.link] = link
        return link

    def _named(self, event: Asked) -> KSID | None:
        """A stream's name is not left to chance alone: no process had the number twice."""
        if event.fresh is None:
            return None
        name = _digest(self._process, event.request_id, event.fresh)
        return KSID(UUID(bytes=name, version=4))

    def _started(self, event: Started, out: Outbox) -> None:
        self._process = _digest(self.node, event.fresh, out.now.wall_ms, out.now.mono_ms)
        if event.watched:
            found = self.generation.judge(attestation=event.attestation, trouble=event.trouble)
            self.generation.watch(event.fresh)
            if found is not None:
                self._stand(standing.Gate(found), out)
                return
        self._begin(out)

    def _begin(self, out: Outbox) -> None:
        self.generation.begin(out)
        boot = self.generation.boot
        out.audit("node-started", actor=self.node, subject=self.node, boot=boot)
        for link in self.links.values():
            link.started(self._number(), out)

    def _number(self) -> int:
        """Of this process. A copy of the store counts the same starts: chance and the time of the
        start tell them apart, so that a random source which repeats itself does no harm."""
        process = int.from_bytes(self._process[-_PROCESS_BYTES:])
        return self.generation.boot << 8 * _PROCESS_BYTES | process

    # ---- an old store -------------------------------------------------------------------

    def _stand(self, gate: standing.Gate, out: Outbox) -> None:
        self.standing = gate
        for link in self.links.values():
            link.memory.standing = gate.reason
        self.streams.wake(out)
        out.alarm(gate.alarm, None, gate.reason)

    def _handle_standing(self, gate: standing.Gate, event: Event, out: Outbox) -> None:
        match event:
            case PeerConnected(session=session):
                self._with(event.link, out, lambda link, out: link.connected(session, out))
            case PeerLost(session=session):
                self._with(event.link, out, lambda link, out: link.lost(session, out))
            case DeviceChanged():
                self._device_changed(event, out)
            case LinkAdded():
                if link_id(self.node, event.peer) not in self.links:
                    self._new_link(event.peer, event.settings)
            case Restored():
                self._restored(gate, event.way, out)
            case _:
                gate.handle(event, out)

    def stakes(self) -> tuple[StakeStatus, ...]:
        """What the links of this store hold, link by link."""
        return tuple(
            StakeStatus(
                link=link.link,
                pad_bytes=sum(pad.level() for pad in link.memory.pads),
                held_blocks=len(link.agreement.held),
                streams=self.streams.count_on(link.link),
            )
            for link in self.links.values()
        )

    def _restored(self, gate: standing.Gate, way: Way, out: Outbox) -> None:
        """The store is the newest again, and what it may not use any more is burnt, or asked for:
        all in this batch's writes."""
        found = gate.standing
        self.standing = None
        self.generation.pass_over(found.witnessed)
        out.audit(
            "store-restored",
            actor="operator",
            subject=self.node,
            way=way.value,
            ground=found.ground.value,
            generation=found.generation,
            witnessed=found.witnessed.generation if found.witnessed else None,
        )
        out.note("alarm-ended", link=None, kind=gate.alarm)
        for link in self.links.values():
            link.memory.standing = ""
            if way is Way.BURN:
                self._stir(link, out, partial(link.burn, RESTORED))
                # A link that was doubted before is not doubted anew, and its streams end as well.
                self.streams.end(link.link, RESTORED, out)
            else:
                link.memory.restored = way
                link.memory.save(out)
        self.streams.disown(RESTORED, out)
        self._begin(out)
        if gate.network is not None:
            self.streams.network(gate.network, out)

    # ---- links --------------------------------------------------------------------------

    def _link_added(self, event: LinkAdded, out: Outbox) -> None:
        if link_id(self.node, event.peer) not in self.links:
            link = self._new_link(event.peer, event.settings)
            link.started(self._number(), out)
            out.audit("link-added", actor="operator", subject=link.link)

    def _condemn(self, out: Outbox) -> None:
        """A compromised link stops when the neighbour knows, and has had the time to read the last
        word of it. A neighbour that refuses to talk has stopped by itself."""
        found, now_ms = self.streams.compromised(), out.now.mono_ms
        if not found:
            return
        for name in found:
            link = self.links[name]
            if self.streams.told(name):
                self._told_ms.setdefault(name, now_ms)
            over = now_ms - self._told_ms.get(name, now_ms) >= limits.LAST_WORD_MS
            if link.memory.state is LinkState.OPEN and (over or link.greeting.refused):
                self._stir(link, out, partial(link.doubt, COMPROMISED))

    def refuses_secret(self, link: LinkId, secret_id: SecretId) -> str:
        """Why ``SecretCarried`` would be refused; empty when it would not."""
        if self.standing is not None:
            return self.standing.reason
        if link not in self.links:
            return f"{self.node} has no link {link}: add it first (kms link add)"
        if secret_id in self.links[link].memory.secrets:
            return f"link secret {secret_id} was used before: make a new one (kms link-secret)"
        return ""

    def _secret_carried(self, event: SecretCarried, out: Outbox) -> None:
        reason = self.refuses_secret(event.link, event.secret_id)
        if reason:
            event.bits.wipe()
            out.alarm("secret-refused", event.link, reason)
            return
        memory = self.links[event.link].memory
        if memory.restored is Way.ASK_PEERS:
            # What the neighbour knew of the old pads will not be asked any more, and of the streams
            # it may know as little.
            memory.restored = Way.BURN
            self.streams.end(event.link, RESTORED, out)
        self.streams.renewed(event.link, out)
        self._told_ms.pop(event.link, None)
        self._with(event.link, out, lambda link, out: link.secret_carried(event, out))

    def _block_arrived(self, event: BlockArrived, out: Outbox) -> None:
        if event.link in self.links:
            self._with(event.link, out, lambda link, out: link.block_arrived(event, out))
        else:
            event.bits.wipe()
            out.add(
                BlockStored(device=event.device, block_id=event.block_id, refused="no such link")
            )

    def _device_changed(self, event: DeviceChanged, out: Outbox) -> None:
        before = self.device_faults.get(event.device)
        self.device_faults[event.device] = event.fault
        if event.fault and event.fault != before:
            out.alarm("device", event.link, f"{event.device}: {event.fault}: {event.reason}")
        elif before and not event.fault:
            out.audit("device-up", actor=event.device, subject=event.link)

    def _opened(self, event: MaterialOpened, out: Outbox) -> None:
        for link in self.links.values():
            if link.asked_for(event):
                self._stir(link, out, partial(link.material_opened, event))
                return
        if event.bits is not None:
            event.bits.wipe()

    def _with(self, name: LinkId, out: Outbox, act: Callable[[Link, Outbox], object]) -> None:
        link = self.links.get(name)
        if link is not None:
            self._stir(link, out, lambda out: act(link, out))

    def _stir(self, link: Link, out: Outbox, act: Callable[[Outbox], object]) -> None:
        """Something happens to the link: the end of the batch asks what it has to say."""
        link.stirred = True
        self._guarded(link, out, act)

    def _guarded(self, link: Link, out: Outbox, act: Callable[[Outbox], object]) -> None:
        """``act``, with the neighbour's faults and our own mistakes kept to this link."""
        was_up, was_doubted = link.up, link.memory.state is LinkState.DOUBTED
        try:
            act(out)
        except PeerFault as fault:
            out.alarm("peer-fault", link.link, fault.reason)
            link.disconnect(fault.reason, out)
        except AssertionError as mistake:
            link.doubt(f"a mistake of this program: {mistake}", out)
        if link.memory.state is LinkState.DOUBTED and not was_doubted:
            if link.memory.restored:
                self.streams.end(link.link, link.memory.reason, out)
            else:
                self.streams.compromise(link.link, link.memory.reason, out)
        if link.greeting.aged:
            link.greeting.aged = False
            self.streams.outdated(link.link, out)
        if link.up and not was_up:
            self.streams.linked(link.link, out)
        elif was_up and not link.up:
            self.streams.unlinked(link.link, out)


def _restore(link: Link, records: Sequence[Record]) -> None:
    blocks = [each for each in records if isinstance(each, BlockRecord)]
    link.restore(
        next((each for each in records if isinstance(each, LinkRecord)), None),
        [each for each in records if isinstance(each, PadRecord)],
        sorted(blocks, key=lambda each: -1 if each.seq is None else each.seq),
    )


def _digest(*parts: object) -> bytes:
    """16 bytes."""
    return blake2b(repr(parts).encode(), digest_size=16).digest()
