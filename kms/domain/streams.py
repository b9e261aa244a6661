"""All streams of a node: what applications ask for, what neighbours say, what time ends.

Rules: pure; a restart is the same constructor over the records of the last commit. Every public
method leaves its effects in the ``Outbox`` of its batch. What requests change is written once, by
``replenish``, at the end of the batch: a busy stream has dozens in one.

The parts, each with its reason on top of its file:

    open, getkey, close    the three functions of ETSI GS QKD 004
    keysdesk, enckeys,     the methods of ETSI GS QKD 014: whole keys with IDs, out of a stream
    deckeys, handout       for each pair of applications and size of key
    keyids, pairs          what names a key; how its stream is found
    entrusting, entrusted, keys for several slaves: one copy at each slave's node
    bundle, bundles
    streamagreement        one stream at two ends: what is heard from the other
    comparison, speech     what two ends that compare come to; what is said
    supply, pace, qos      the QoS provider: admission, goals, whose turn it is
    qoswatch, service      whether promises are kept; the meters of ITU-T Y.3807
    stream, keyruns,       one stream; its chunks and their life-cycle states
    leftouts
    revocation, ordering,  what operators order about keys: suspend, resume, compromise; of a
    bundleorders, holds    stream, a link, keys for several slaves
    register, due          what can be looked up; what happens when
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import islice

import attrs

from kms.domain import limits
from kms.domain.bundleorders import BundleOrders
from kms.domain.channel import Channel
from kms.domain.close import OUTDATED, Ending
from kms.domain.deckeys import Claiming
from kms.domain.enckeys import Issuing
from kms.domain.entrusted import Holding
from kms.domain.entrusting import Entrusting
from kms.domain.errors import BadName, PeerFault
from kms.domain.events import Asked, HungUp, KeysOrdered, NetworkChanged
from kms.domain.getkey import Reading
from kms.domain.handout import HandOut
from kms.domain.holds import ordered
from kms.domain.keyrequests import EncKeys
from kms.domain.keysdesk import KeysDesk
from kms.domain.moment import Moment
from kms.domain.names import KSID, WHOLE_LINK, LinkId, NodeId, SAEId, link_id
from kms.domain.open import Opening
from kms.domain.outbox import Outbox
from kms.domain.policy import Rule
from kms.domain.qoswatch import QoSWatch
from kms.domain.records import BundleRecord, HoldRecord, KeyRunRecord, StreamRecord
from kms.domain.register import Register, as_it_came
from kms.domain.requests import Close, GetKey, OpenConnect, Request, bytes_wanted
from kms.domain.retention import KEEP, Retention
from kms.domain.revocation import Revocation
from kms.domain.secret import Secret
from kms.domain.speech import Speech, ksid_of
from kms.domain.statistics import LatencyStatus, ServiceStatus, StreamStatus
from kms.domain.stream import Stream, Waiting
from kms.domain.streamagreement import StreamAgreement
from kms.domain.supply import Supply
from kms.domain.wire import BundleMessage, Declined, Entrust, Entrusted, StreamMessage
from kms.domain.wireheld import HeldKeys


class Streams:
    """The owner of all streams of one node."""

    def __init__(
        self,
        node: NodeId,
        records: Iterable[StreamRecord | KeyRunRecord | BundleRecord | HoldRecord],
        channels: Mapping[LinkId, Channel],
        retention: Retention = KEEP,
        named: Callable[[Asked], KSID | None] = as_it_came,
    ) -> None:
        """``channels`` is read live: links may be added. Requests of before are forgotten.
        ``named``: what a request that needs a name is named."""
        self._register = Register(node, records, channels, retention, named)
        self._speech = Speech(self._register)
        self._supply = Supply(self._register)
        self._watch = QoSWatch(self._register, self._supply)
        self._ending = Ending(self._register, self._speech)
        self._opening = Opening(self._register, self._speech, self._supply, self._ending)
        hand_out = HandOut(self._register, self._ending)
        issuing = Issuing(self._register, self._supply, self._ending, self._opening, hand_out)
        claiming = Claiming(self._register, self._ending, hand_out)
        self._entrusting = Entrusting(self._register, self._supply, hand_out)
        self._holding = Holding(self._register)
        self._desk = KeysDesk(self._register, issuing, self._entrusting, claiming)
        self._reading = Reading(self._register, self._speech, self._supply, self._ending, issuing)
        self._bundle_orders = BundleOrders(self._register, self._speech, self._entrusting)
        self._revocation = Revocation(
            self._register,
            self._speech,
            self._supply,
            self._ending,
            self._reading,
            self._bundle_orders,
        )
        self._agreement = StreamAgreement(
            self._register,
            self._speech,
            self._supply,
            self._ending,
            self._opening,
            self._reading,
            self._revocation,
        )

    def wake(self, out: Outbox) -> None:
        """The records are streams again."""
        self._begin(out)

    def network(self, event: NetworkChanged, out: Outbox) -> None:
        """Directory and policy are these; streams that they do not allow are closed, the others
        are as fast as they may be now."""
        self._begin(out)
        self._register.directory, self._register.policy = event.directory, event.policy
        judged: dict[tuple[SAEId, SAEId, LinkId, bool], tuple[str, Rule | None]] = {}
        for stream in list(self._register.streams.values()):
            record = stream.record
            pair = (record.local, record.remote, record.link, record.designates)
            if pair not in judged:
                rule = self._register.rule_of(record)
                judged[pair] = self._forbidden(*pair[:3], rule), rule
            reason, rule = judged[pair]
            if reason:
                self._ending.close(stream, reason, out)
            else:
                self._register.cap(stream, rule)
                self._supply.consider(stream, out.now.mono_ms)
        self._register.flush(out)

    def asked(self, event: Asked, out: Outbox) -> None:
        """The application's request is answered, or waits with a deadline."""
        self._begin(out)
        request = event.request
        if isinstance(request, GetKey):
            self._reading.asked(event, request, out)
        elif isinstance(request, OpenConnect):
            self._opening.asked(event, request, out)
        elif isinstance(request, Close):
            self._ending.asked(event, request, out)
        else:
            self._desk.asked(event, request, out)

    def bytes_wanted(self, caller: SAEId, request: Request) -> int:
        """Random bytes that the request's keys are to be: 0 for most, whose keys come out of a pad,
        and for those that would be refused anyway."""
        if not bytes_wanted(request) or self._register.now is None:
            return 0
        assert isinstance(request, EncKeys), "other keys come out of a pad"
        return self._entrusting.wanted(caller, request)

    def hung_up(self, event: HungUp, out: Outbox) -> None:
        """Nobody waits for this answer: no key is spent on it. An opening goes its way."""
        self._begin(out)
        waiting = self._register.waiting.get(event.request_id)
        if waiting is not None and isinstance(waiting.request, OpenConnect):
            waiting.hung_up = True
        elif waiting is not None:
            self._register.unwait(waiting)
            if isinstance(waiting.request, EncKeys):
                # What was too little for it may be enough for the next one.
                self._reading.serve(self._register.streams[waiting.ksid], out)
        else:
            self._entrusting.hung_up(event.request_id, out)

    def tick(self, out: Outbox) -> None:
        """What time ends is ended: requests, chunks, streams, tombstones."""
        self._begin(out)
        register = self._register
        for kind, whose in register.due.fire(out.now, limits.DUE_PER_TICK_MAX):
            if isinstance(whose, Waiting):
                self._timed_out(whose, out)
            elif kind == "pace":
                self._supply.paced(whose, out.now.mono_ms)
            elif kind == "gate":
                self._reading.serve(whose, out)
            else:
                self._ending.attend(whose, out)
                if whose.ksid in register.streams:
                    self._reading.serve(whose, out)
        register.forget_tombstones(out)
        self._entrusting.tick(out)
        register.bundles.tick(out)
        self._watch.look(out)
        register.flush(out)

    def deadline_ms(self) -> int | None:
        """When ``tick`` has something to do, on the monotonic clock."""
        now = self._register.now
        if now is None:
            return None
        if self._speech.waits() or self._supply.pressed:
            return now.mono_ms
        register, bundles = self._register, self._register.bundles
        deadlines = (
            register.deadline_ms(),
            bundles.deadline_ms(now),
            self._entrusting.deadline_ms(),
        )
        return min([each for each in deadlines if each is not None], default=None)

    def linked(self, link: LinkId, out: Outbox) -> None:
        """Both hellos are durable: every stream of the link is said, in this and the next batches,
        then ``Marked``."""
        self._begin(out)
        self._speech.linked(link)
        self._entrusting.linked(link)
        self._register.flush(out)

    def unlinked(self, link: LinkId, out: Outbox) -> None:
        """The session is over. What waits goes on waiting."""
        self._begin(out)
        self._speech.unlinked(link)
        self._entrusting.unlinked(link, "the link went down", out)
        self._holding.unlinked(link, out)

    def on_message(
        self,
        link: LinkId,
        message: StreamMessage,
        drawn: Secret | None,
        out: Outbox,
    ) -> None:
        """The neighbour's message has had its effect. ``drawn``: the bytes behind a ``Designate``,
        owned by this call. Raises ``PeerFault``; nothing changed then (I9)."""
        self._begin(out)
        if isinstance(message, BundleMessage):
            self._on_bundle(link, message, out)
        else:
            self._agreement.on_message(link, message, drawn, out)
        self._register.flush(out)

    def _on_bundle(self, link: LinkId, message: BundleMessage, out: Outbox) -> None:
        name = ksid_of(message.name)
        if name.version != 4:
            hint = "the neighbour breaks the protocol; its link begins again"
            raise PeerFault("a bundle whose name is no UUID version 4", hint=hint)
        if isinstance(message, Entrust):
            self._holding.on_entrust(link, name, message, out)
        elif isinstance(message, Entrusted):
            self._entrusting.entrusted(link, name, out)
        elif isinstance(message, Declined):
            self._entrusting.declined(link, name, message.reason, out)
        elif isinstance(message, HeldKeys):
            self._bundle_orders.heard(link, message, out)
        else:
            self._holding.on_withdraw(link, name, out)

    def replenish(self, out: Outbox) -> None:
        """End of a batch: what is to be said is said, streams that lack key have some more."""
        self._begin(out)
        self._reading.alarms_over(out)
        self._speech.flush(out)
        self._entrusting.take_turn(out)
        self._supply.fill(out)
        self._entrusting.fill(out)
        self._register.flush(out)

    def compromise(self, link: LinkId, reason: str, out: Outbox) -> None:
        """Undelivered keys of the link are compromised, then destroyed (I13)."""
        self._begin(out)
        for ksid in list(self._register.on_link.get(link, ())):
            self._ending.compromised(self._register.streams[ksid], reason, out)
        self._entrusting.compromised(link, reason, out)
        for bundle in self._register.bundles.over(link):
            self._register.bundles.end(bundle, reason, out, event="compromised")
        self._register.flush(out)

    def disown(self, reason: str, out: Outbox) -> None:
        """The store may be an older one: which bundles were fetched since nobody knows, so none of
        them is any more."""
        self._begin(out)
        self._register.bundles.end_all(reason, out)

    def outdated(self, link: LinkId, out: Outbox) -> None:
        """The neighbour knows that the store here is an old copy: which keys were delivered since
        nobody knows, so that none that lies here is any more."""
        self._begin(out)
        for ksid in list(self._register.on_link.get(link, ())):
            self._ending.outdated(self._register.streams[ksid], out)
        for bundle in self._register.bundles.over(link):
            self._register.bundles.end(bundle, OUTDATED, out)
        self._register.flush(out)

    def end(self, link: LinkId, reason: str, out: Outbox) -> None:
        """Undelivered keys of the link are compromised and destroyed, its streams closed at this
        end: how far their indices went nobody knows."""
        self.compromise(link, reason, out)
        for ksid in list(self._register.on_link.get(link, ())):
            self._ending.close(self._register.streams[ksid], reason, out)
        self._register.flush(out)

    def ordered(self, event: KeysOrdered, out: Outbox) -> None:
        """The operator's order about keys is answered: done here, or refused."""
        self._begin(out)
        self._revocation.ordered(event, out)
        self._register.flush(out)

    def compromised(self) -> list[LinkId]:
        """Links that an operator has said are compromised."""
        return self._revocation.compromised()

    def renewed(self, link: LinkId, out: Outbox) -> None:
        """The link has another secret: it is not compromised any longer. Its streams stay so."""
        self._begin(out)
        self._revocation.renewed(link, out)

    def told(self, link: LinkId, ksid: KSID = WHOLE_LINK) -> bool:
        """Whether the neighbour knows of all orders about the stream, or the whole link."""
        return self._revocation.told(link, ksid)

    def told_keys(self, name: KSID) -> bool:
        """Whether all nodes that hold these keys for several slaves know of all orders."""
        return self._bundle_orders.told(name)

    def stopped(self, link: LinkId) -> str:
        """Which operator's order stops all streams of the link; empty for none."""
        return self._register.holds.stopped(link)

    def count_on(self, link: LinkId) -> int:
        """Streams of one link, tombstones left out; 0 before the first event."""
        return len(self._register.on_link.get(link, ()))

    @property
    def count(self) -> int:
        """Streams, tombstones left out."""
        return len(self._register.streams)

    def statistics(self, most: int | None = None) -> tuple[StreamStatus, ...]:
        """All streams, or so many of them; tombstones left out."""
        now = self._register.now
        if now is None:
            return ()
        some = islice(self._register.streams.values(), most)
        return tuple(self._statistics(stream, now) for stream in some)

    def _statistics(self, stream: Stream, now: Moment) -> StreamStatus:
        link = stream.record.link
        found = stream.statistics(now, self._register.service(link).outages)
        hold = self._register.holds.of(link, stream.ksid)
        if hold is None:
            return found
        told = self._speech.settled(hold)
        return attrs.evolve(found, ordered=ordered(hold), order_told=told)

    def service(self, link: LinkId) -> tuple[int, ServiceStatus | None, LatencyStatus | None]:
        """What is promised on the link, bit/s with designations, and how its streams are served;
        nothing before the first event."""
        now = self._register.now
        if now is None:
            return 0, None, None
        service = self._register.service(link)
        promised_bps = self._register.promised_bps[link]
        return promised_bps, service.statistics(now.mono_ms), service.delays.statistics()

    def _begin(self, out: Outbox) -> None:
        if self._register.now is not out.now and self._register.at(out.now):
            for stream in list(self._register.streams.values()):
                self._ending.restored(stream, out)
            for bundle in self._register.bundles.restored(out):
                self._entrusting.withdraw(bundle)

    def _timed_out(self, waiting: Waiting, out: Outbox) -> None:
        if isinstance(waiting.request, OpenConnect):
            self._opening.timed_out(waiting, out)
        else:
            self._reading.timed_out(waiting, out)

    def _forbidden(self, local: SAEId, remote: SAEId, link: LinkId, rule: Rule | None) -> str:
        """Why the two may not have a stream over the link; empty when they may."""
        register = self._register
        there = register.directory.get(remote)
        if register.directory.get(local) != register.node or there is None:
            return "the directory no longer has its applications at these nodes"
        try:
            if link_id(register.node, there) != link:
                return "the peer application has moved to another node"
        except BadName:
            return "the peer application has moved to this node"
        if rule is None:
            return "policy no longer allows it"
        return ""
