"""Keys for several slaves (ETSI GS QKD 014 V1.1.1, ``additional_slave_SAE_IDs``), at the master's
node: fresh random keys, one copy at each slave's node, under one ID each.

Rules: the master is answered when every slave's node has said that it holds all keys durably
(I5), within ``KEYS_TIMEOUT_MS``; else nobody is given any, and what was entrusted is withdrawn, or
expires where the word does not reach. Policy and directory are asked for the master with each
slave, when it begins and when it ends (I3). Nothing goes over a link under alarm (I13), or below
its reserve.

Theory of operation: the keys are one *bundle*. It is stored here, then goes to each node in parts,
each in a frame of its own under one-time pad: pad is spent once per node. What many bundles have
for one link goes in turns; at the begin of a batch one turn before the streams, unless Min_bps is
owed to one, and the rest behind them.
"""

from collections import deque

import attrs

from kms.domain import limits
from kms.domain.bundle import Bundle
from kms.domain.effects import Answer
from kms.domain.errors import PeerFault
from kms.domain.events import Asked
from kms.domain.handout import HandOut
from kms.domain.keyids import key_ids
from kms.domain.keyrequests import EncKeys, KeysReply, Outcome
from kms.domain.names import KSID, LinkId, SAEId
from kms.domain.outbox import Outbox
from kms.domain.records import BundleRecord, BundleState
from kms.domain.register import Register
from kms.domain.secret import Secret, zero
from kms.domain.slaves import Paid, Ways, pay, pay_back, ways_to
from kms.domain.supply import Supply
from kms.domain.unserved import Unserved, bad_request, unavailable
from kms.domain.wire import Entrust, Withdraw, entrust_bytes


@attrs.define(eq=False, kw_only=True)
class Flight:
    """A bundle on its way to other nodes."""

    request_id: int
    caller: SAEId
    request: EncKeys
    bundle: Bundle
    keys: Secret
    ways: Ways
    deadline_ms: int
    sent: dict[LinkId, int]
    """keys, by link"""
    unanswered: set[LinkId]
    paid: Paid

    @property
    def begun_ms(self) -> int:
        """on the monotonic clock"""
        return self.deadline_ms - limits.KEYS_TIMEOUT_MS


class Entrusting:
    """Bundles of masters who live here."""

    def __init__(self, register: Register, supply: Supply, hand_out: HandOut) -> None:
        self._register = register
        self._supply = supply
        self._hand_out = hand_out
        self._flights: dict[KSID, Flight] = {}
        """the oldest, whose time ends first, first"""
        self._lines: dict[LinkId, deque[Flight]] = {}
        """who has something for each link, in turn"""
        self._withdrawals: dict[LinkId, dict[KSID, None]] = {}
        """for the next session"""

    # ---- requests ---------------------------------------------------------------------------

    def asked(self, event: Asked, request: EncKeys, out: Outbox) -> None:
        """The request is answered, now or within ``KEYS_TIMEOUT_MS``. Raises ``Unserved``; nothing
        is consumed then. The keys that came with it are this call's to wipe."""
        try:
            ways = ways_to(self._register, event.caller, request)
            self._check(event.caller, request, ways)
            fresh = self._fresh(event, request)
            paid = pay(self._register, event.caller, request, out.now.mono_ms)
        except Unserved:
            if event.drawn is not None:
                event.drawn.wipe()
            raise
        flight = self._begin(event, request, ways, fresh, paid, out)
        self._flights[flight.bundle.name] = flight
        for link in flight.sent:
            self._lines.setdefault(link, deque()).append(flight)
        if not flight.unanswered:
            self._complete(flight, out)

    def wanted(self, caller: SAEId, request: EncKeys) -> int:
        """Random bytes that the request's keys are to be; 0 if it would be refused whatever came
        with it, so that nobody without a right draws any."""
        try:
            self._check(caller, request, ways_to(self._register, caller, request))
        except Unserved:
            return 0
        return request.number * request.key_bytes

    def hung_up(self, request_id: int, out: Outbox) -> None:
        """Nobody waits for the answer any more: nothing is given."""
        for flight in list(self._flights.values()):
            if flight.request_id == request_id:
                self._give_up(flight, "the caller hung up", out)

    def refuse(self, name: KSID, reason: str, out: Outbox) -> None:
        """What is on its way is given to nobody."""
        self._refuse(self._flights[name], reason, out)

    def tick(self, out: Outbox) -> None:
        """What is late is given up, before its bundle's hour ends that."""
        for flight in list(self._flights.values()):
            if flight.deadline_ms <= out.now.mono_ms:
                late = " and ".join(sorted(flight.unanswered))
                self._refuse(flight, f"not all nodes have the keys in time ({late})", out)
            elif flight.bundle.expired(out.now):
                self._refuse(flight, _JUMPED, out)

    def deadline_ms(self) -> int | None:
        """When the next one is late, on the monotonic clock."""
        flight = next(iter(self._flights.values()), None)
        return None if flight is None else flight.deadline_ms

    # ---- what goes ----------------------------------------------------------------------------

    def take_turn(self, out: Outbox) -> None:
        """One part goes over each link, before the streams of this batch: as if it were one of
        them, and none of those that Min_bps is owed to."""
        for link in list(self._lines):
            if not self._supply.owes(link):
                self._fill(link, 1, out)

    def fill(self, out: Outbox) -> None:
        """What the streams of this batch left goes to those on their way."""
        left = limits.ENTRUSTS_PER_BATCH_MAX
        for link in list(self._lines):
            left -= self._fill(link, left, out)

    def _fill(self, link: LinkId, most: int, out: Outbox) -> int:
        """How many parts went."""
        line, channel, gone = self._lines[link], self._register.channels[link], 0
        while line and gone < most:
            flight = line[0]
            if self._flights.get(flight.bundle.name) is not flight:
                line.popleft()
                continue
            count = _turn(flight, link)
            size = count * flight.request.key_bytes
            need = entrust_bytes(flight.caller, flight.ways[link], size)
            if min(channel.drawable(), self._supply.free(channel)) < need:
                channel.want(need)
                break
            part = _part(flight, link, count)
            went = channel.entrust(part, out)
            zero(part.keys)
            if not went:
                break
            gone += 1
            flight.sent[link] += count
            line.rotate(-1)
            if flight.sent[link] == flight.request.number:
                line.remove(flight)
        if not line:
            del self._lines[link]
        return gone

    # ---- what comes -----------------------------------------------------------------------------

    def entrusted(self, link: LinkId, name: KSID, out: Outbox) -> None:
        """The other node holds the whole bundle."""
        flight = self._flight(link, name)
        if flight is None:
            return
        if flight.sent[link] < flight.request.number:
            raise PeerFault("keys are acknowledged that were not sent", hint=_HINT)
        flight.unanswered.remove(link)
        if not flight.unanswered:
            self._complete(flight, out)

    def declined(self, link: LinkId, name: KSID, reason: str, out: Outbox) -> None:
        """The other node does not take it, and holds nothing of it."""
        flight = self._flight(link, name)
        if flight is not None:
            flight.sent[link] = 0
            self._refuse(flight, f"{link}: {reason}", out)

    def _flight(self, link: LinkId, name: KSID) -> Flight | None:
        """What the neighbour answers; None if it was given up meanwhile."""
        flight = self._flights.get(name)
        if flight is None:
            return None
        if link not in flight.unanswered or not flight.sent[link]:
            raise PeerFault("an answer about keys that it was not given", hint=_HINT)
        return flight

    # ---- links ----------------------------------------------------------------------------------

    def linked(self, link: LinkId) -> None:
        """What could not be said before is withdrawn."""
        for name in self._withdrawals.pop(link, ()):
            self._register.channels[link].send(Withdraw(name.bytes))

    def unlinked(self, link: LinkId, reason: str, out: Outbox) -> None:
        """What is on its way over this link does not arrive."""
        for flight in list(self._flights.values()):
            if link in flight.unanswered:
                self._refuse(flight, f"{link}: {reason}", out)

    def compromised(self, link: LinkId, reason: str, out: Outbox) -> None:
        """What went over this link, and nobody has, is given to nobody."""
        for flight in list(self._flights.values()):
            if link in flight.sent:
                self._refuse(flight, f"{link}: {reason}", out)

    def withdraw(self, bundle: Bundle) -> None:
        """No key of it was given, or will be: whoever has it destroys it."""
        for link in bundle.record.links:
            self._say_withdrawn(link, bundle.name)

    # ---- inside -----------------------------------------------------------------------------

    def _check(self, caller: SAEId, request: EncKeys, ways: Ways) -> None:
        register, size = self._register, request.number * request.key_bytes
        if not 1 <= request.key_bytes <= limits.KEY_BYTES_MAX:
            raise bad_request(f"a key for several slaves has 1 to {limits.KEY_BYTES_MAX} octets")
        if not 1 <= request.number <= limits.KEYS_PER_REQUEST_MAX:
            raise bad_request(f"a request is for 1 to {limits.KEYS_PER_REQUEST_MAX} keys")
        for link in filter(None, ways):
            channel = register.channels[link]
            stopped = register.stopped(link)
            if stopped:
                raise unavailable(f"no key is served over {link}: {stopped}")
            if not channel.up:
                raise unavailable(f"try again: {link} is down")
            if self._supply.free(channel) < size:
                raise unavailable(f"{link} has not enough key left")
        flights = self._flights.values()
        mine = sum(each.caller == caller for each in flights)
        under_way = sum(len(each.keys) for each in flights)
        crowd = register.bundles.full(None, caller, size)
        if len(flights) >= limits.FLIGHTS_MAX or under_way + size > limits.FLIGHT_BYTES_MAX:
            crowd = "too many keys are on their way to several nodes"
        if mine >= limits.FLIGHTS_PER_APPLICATION_MAX:
            crowd = f"{mine} such requests of this application wait"
        if crowd:
            raise unavailable(f"try again: {crowd}")

    def _fresh(self, event: Asked, request: EncKeys) -> tuple[KSID, Secret]:
        """A name for the keys, which nothing has, and their bits. Raises ``Unserved``."""
        register, size = self._register, request.number * request.key_bytes
        name = register.named(event)
        if name is None or event.drawn is None or len(event.drawn) != size:
            raise unavailable("the node has no randomness to make new keys of")
        if register.names_keys(name) or register.knows(name):
            raise unavailable("the name of the new keys is taken: try again")
        return name, event.drawn

    def _begin(
        self,
        event: Asked,
        request: EncKeys,
        ways: Ways,
        fresh: tuple[KSID, Secret],
        paid: Paid,
        out: Outbox,
    ) -> Flight:
        """The keys are durable here with this batch."""
        name, keys = fresh
        links, now = [link for link in ways if link is not None], out.now
        bundles = self._register.bundles
        record = BundleRecord(
            name=name,
            state=BundleState.FILLING,
            master=event.caller,
            slaves=tuple(ways.get(None, ())),
            count=request.number,
            key_bytes=request.key_bytes,
            own=True,
            links=tuple(links),
            filled=0,
            part_keys=request.number,
            serial=0,
            taken=b"",
            created_ms=now.wall_ms,
            expires_ms=now.wall_ms + limits.KEYS_TTL_S * 1000,
        )
        bundle = bundles.add(record, out)
        bundles.store(bundle, keys.part(0, len(keys)), out)
        for link, slaves in ways.items():
            out.audit(
                "keys-entrusted",
                actor=event.caller,
                subject=str(bundle.name),
                first=0,
                count=request.number,
                peer=" ".join(slaves),
                link=link or "",
            )
        return Flight(
            request_id=event.request_id,
            caller=event.caller,
            request=request,
            bundle=bundle,
            keys=keys,
            ways=ways,
            deadline_ms=now.mono_ms + limits.KEYS_TIMEOUT_MS,
            sent=dict.fromkeys(links, 0),
            unanswered=set(links),
            paid=paid,
        )

    def _complete(self, flight: Flight, out: Outbox) -> None:
        """Every node holds the keys: they are the master's, if it may still have them."""
        trouble = _JUMPED if flight.bundle.expired(out.now) else self._trouble(flight)
        if trouble:
            self._refuse(flight, trouble, out)
            return
        self._land(flight)
        bundle, number = flight.bundle, flight.request.number
        self._register.bundles.whole(bundle, out)
        found = [(bundle, span) for span in bundle.spans(0, number)]
        ids = key_ids(bundle.name, 0, number)
        delay_ms = out.now.mono_ms - flight.begun_ms
        self._hand_out.deliver(
            flight.request_id, flight.caller, ids, [*found], out, delay_ms=delay_ms
        )

    def _trouble(self, flight: Flight) -> str:
        """What forbids it by now."""
        try:
            if ways_to(self._register, flight.caller, flight.request) != flight.ways:
                return "a slave SAE has moved: try again"
        except Unserved as why:
            return why.message
        for link in flight.sent:
            stopped = self._register.stopped(link)
            if stopped:
                return f"no key is served over {link}: {stopped}"
        return ""

    def _refuse(self, flight: Flight, message: str, out: Outbox) -> None:
        """The keys did not come to be, through no fault of the caller's."""
        for link in flight.unanswered:
            self._register.service(link).meter.lost()
        pay_back(self._register, flight.caller, flight.request, flight.paid, out.now.mono_ms)
        reply = KeysReply(outcome=Outcome.UNAVAILABLE, message=f"try again: {message}")
        out.add(Answer(request_id=flight.request_id, reply=reply))
        self._give_up(flight, message, out)

    def _give_up(self, flight: Flight, reason: str, out: Outbox) -> None:
        self._land(flight)
        for link, sent in flight.sent.items():
            if sent:
                self._say_withdrawn(link, flight.bundle.name)
        self._register.bundles.end(flight.bundle, reason, out)

    def _land(self, flight: Flight) -> None:
        del self._flights[flight.bundle.name]
        flight.keys.wipe()

    def _say_withdrawn(self, link: LinkId, name: KSID) -> None:
        channel = self._register.channels.get(link)
        if channel is not None and channel.up:
            channel.send(Withdraw(name.bytes))
            return
        waiting = self._withdrawals.setdefault(link, {})
        waiting[name] = None
        if len(waiting) > limits.WITHDRAWALS_PER_LINK_MAX:
            del waiting[next(iter(waiting))]


_JUMPED = "a clock has jumped beyond their hour"
_HINT = "the neighbour breaks the protocol; its link begins again"


def _turn(flight: Flight, link: LinkId) -> int:
    """Keys that go next over this link."""
    request = flight.request
    left = request.number - flight.sent[link]
    return min(left, limits.ENTRUST_BYTES_MAX // request.key_bytes)


def _part(flight: Flight, link: LinkId, count: int) -> Entrust:
    """These keys. Whoever asks for it wipes them."""
    request, first = flight.request, flight.sent[link]
    size = request.key_bytes
    return Entrust(
        name=flight.bundle.name.bytes,
        master=flight.caller,
        slaves=list(flight.ways[link]),
        count=request.number,
        key_bytes=size,
        first=first,
        keys=bytearray(flight.keys.expose()[first * size : (first + count) * size]),
    )
