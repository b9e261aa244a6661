"""What operators order about keys, at this end and at the other: suspend, resume, compromise.

Rules: an order is durable here, with what it does to the chunks, before it is answered; it is said
to the neighbour in this session or the next, and again until the neighbour has said the same; from
the batch on that has it nothing it speaks of is delivered. A wrong order changes nothing.

Theory of operation: orders are kept as what they come to (``holds``), one record for a stream and
one for a link, so saying them again costs nothing and their sequence does not matter. Whole streams
that are compromised are closed at both ends. A link that is compromised serves nothing from the
order on and takes its streams with it. As soon as the neighbour is known to know, the node doubts
it, and it waits for a second secret. Not earlier: a doubted link can say nothing.
"""

from uuid import UUID

import attrs

from kms.domain import limits
from kms.domain.bundleorders import BundleOrders
from kms.domain.close import Ending
from kms.domain.effects import Answer
from kms.domain.enforcing import LOST, enforce
from kms.domain.errors import LocalFault, PeerFault
from kms.domain.events import KeysOrdered
from kms.domain.getkey import Reading
from kms.domain.holds import ALL, COMPROMISED, fresh, merged, same
from kms.domain.holdwords import hold_of
from kms.domain.keyids import PREFIX_BYTES, stretches
from kms.domain.keyruns import UNREAD
from kms.domain.names import KSID, WHOLE_LINK, LinkId, NodeId
from kms.domain.ordering import asked_for, journal, ordered_at, refused
from kms.domain.orders import Act, KeyOrder, OrderDone
from kms.domain.outbox import Outbox
from kms.domain.ranges import Ranges
from kms.domain.records import HoldRecord
from kms.domain.register import Register
from kms.domain.speech import Speech
from kms.domain.stream import Stream
from kms.domain.supply import Supply
from kms.domain.wireheld import Held


class Revocation:
    """Orders of both ends' operators, and what they come to."""

    def __init__(
        self,
        register: Register,
        speech: Speech,
        supply: Supply,
        ending: Ending,
        reading: Reading,
        bundles: BundleOrders,
    ) -> None:
        self._register = register
        self._speech = speech
        self._supply = supply
        self._ending = ending
        self._reading = reading
        self._bundles = bundles

    # ---- orders at this end -----------------------------------------------------------------

    def ordered(self, event: KeysOrdered, out: Outbox) -> None:
        """The order is answered: it is done here, or it was wrong and has changed nothing."""
        order = event.order
        try:
            if order.link is not None:
                done = self._order_link(order.link, order, out)
            elif order.key_id is not None:
                done = self._order_key(order.key_id, order, out)
            else:
                assert order.ksid is not None, "an order names one of three"
                done = self._order_stream(*self._stream_of(order.ksid, order), order, out)
        except LocalFault as fault:
            done = OrderDone(refused=fault.reason, hint=fault.hint)
        out.add(Answer(request_id=event.request_id, reply=done))

    def _stream_of(self, ksid: KSID, order: KeyOrder) -> tuple[Stream, Ranges]:
        """The stream that the order is about, and which of its indices."""
        stream = self._register.streams.get(ksid)
        if stream is None:
            raise refused(f"this node has no stream {ksid}", "kms status lists them")
        if order.count is None:
            return stream, ALL
        last, end = order.first + order.count - 1, stream.record.next_index
        if last >= end:
            made = f"its indices so far are 0 to {end - 1}" if end else "it has no keys yet"
            raise refused(f"stream {ksid} has no index {last}: {made}", "name others")
        return stream, ((order.first, last + 1),)

    def _order_key(self, key_id: UUID, order: KeyOrder, out: Outbox) -> OrderDone:
        """The order about one key with an ID is done: of a pair's stream, or for several slaves."""
        register, prefix = self._register, key_id.bytes[:PREFIX_BYTES]
        ksid, bundle = register.pairs.named(prefix), register.bundles.named(prefix)
        stream = register.streams.get(ksid) if ksid is not None else None
        if stream is not None:
            ((index, _),) = stretches(stream.ksid, key_id.bytes)
            if index < stream.record.next_index:
                return self._order_stream(stream, ((index, index + 1),), order, out)
        if bundle is not None:
            ((index, _),) = stretches(bundle.name, key_id.bytes)
            return self._bundles.ordered(bundle, index, order, out)
        hint = "name the stream and the index, as kms status and the audit show them"
        raise refused(f"there is no key here with the ID {key_id}", hint)

    def _order_stream(
        self, stream: Stream, wanted: Ranges, order: KeyOrder, out: Outbox
    ) -> OrderDone:
        record = stream.record
        old = self._register.holds.of(record.link, stream.ksid) or fresh(record.link, stream.ksid)
        suspended, compromised = asked_for(old, wanted, order)
        (first, end) = wanted[0]
        # What a master has got is held back at the other end, where its slave is to fetch it.
        waits = stream.runs.spans(UNREAD, first, end) or (record.paired and record.designates)
        if order.act is Act.SUSPEND and wanted != ALL and not waits:
            raise refused(
                f"no key of stream {stream.ksid} from index {first} to {end - 1} waits here",
                "what was delivered cannot be held back: kms key compromise says that it is lost",
            )
        done = OrderDone(
            link=record.link,
            ksid=stream.ksid,
            first=first,
            count=None if wanted == ALL else end - first,
            delivered=stream.runs.delivered(first, end),
        )
        if (suspended, compromised) == (old.suspended, old.compromised):
            return done
        if len(suspended) + len(compromised) > limits.HOLD_RANGES_MAX:
            raise refused(
                f"stream {stream.ksid} would have more than {limits.HOLD_RANGES_MAX} such ranges",
                "order about a larger range, or the whole stream",
            )
        new = ordered_at(self._register.node, old, (suspended, compromised), order, out)
        waiting = self._take_stream(stream, old, new, self._register.node, out)
        return attrs.evolve(done, changed=True, waiting=waiting)

    def _order_link(self, link: LinkId, order: KeyOrder, out: Outbox) -> OrderDone:
        if link not in self._register.channels:
            raise refused(f"this node has no link {link}", "kms status lists them")
        old = self._register.holds.of(link) or fresh(link, WHOLE_LINK)
        suspended, compromised = asked_for(old, ALL, order)
        if (suspended, compromised) == (old.suspended, old.compromised):
            return OrderDone(link=link)
        new = ordered_at(self._register.node, old, (suspended, compromised), order, out)
        waiting = delivered = 0
        for stream in self._streams_on(link):
            waiting += stream.runs.ready + stream.runs.suspended
            delivered += stream.runs.delivered(*ALL[0])
        self._take_link(old, new, self._register.node, out)
        return OrderDone(link=link, changed=True, waiting=waiting, delivered=delivered)

    # ---- the neighbour's --------------------------------------------------------------------

    def heard(self, link: LinkId, message: Held, out: Outbox) -> None:
        """The neighbour's word is taken in, and answered unless it has heard the same from here.
        Raises ``PeerFault``; nothing changed then."""
        theirs = hold_of(link, message, out.now)
        if theirs is None:
            raise PeerFault(
                "an operator's word that makes no sense",
                hint="the neighbour breaks the protocol of streams: compare the two versions",
            )
        stream = None
        if theirs.ksid != WHOLE_LINK:
            stream = self._register.streams.get(theirs.ksid)
            ends = (link, message.remote, message.local)
            if stream is None or ends != _ends(stream):
                # Another stream of that name, or one that is gone: it will be announced, or not.
                return
        old = self._register.holds.of(link, theirs.ksid) or fresh(link, theirs.ksid)
        new = merged(old, theirs)
        if len(new.suspended) + len(new.compromised) > 2 * limits.HOLD_RANGES_MAX:
            raise PeerFault(
                "more suspended or compromised ranges than two ends can order",
                hint="the neighbour breaks the protocol of streams: compare the two versions",
            )
        self._speech.heard_hold(theirs)
        if same(new, old):
            self._tell(new, stream)
        elif stream is not None:
            self._take_stream(stream, old, new, self._register.channels[link].peer, out)
        else:
            self._take_link(old, new, self._register.channels[link].peer, out)

    def compromised(self) -> list[LinkId]:
        """Links that an operator of either end has said are compromised."""
        holds = self._register.holds
        if not len(holds):
            return []
        found = [(link, holds.of(link)) for link in self._register.channels]
        return [link for link, hold in found if hold is not None and hold.compromised]

    def renewed(self, link: LinkId, out: Outbox) -> None:
        """The link has another secret: what was compromised of the old one's is gone."""
        hold = self._register.holds.of(link)
        if hold is not None and hold.compromised:
            self._register.unhold(link, out)

    def told(self, link: LinkId, ksid: KSID) -> bool:
        """Whether the neighbour knows, as this session has shown, of all orders about the stream,
        or the whole link; also when there are none any more."""
        hold = self._register.holds.of(link, ksid)
        return hold is None or self._speech.settled(hold)

    # ---- both -------------------------------------------------------------------------------

    def _take_stream(
        self, stream: Stream, old: HoldRecord, new: HoldRecord, node: NodeId, out: Outbox
    ) -> int:
        """The record stands, and the chunks are as it says; how many undelivered ones moved."""
        self._register.hold(new, out)
        journal(old, new, node, stream.ksid, stream.runs.delivered, out)
        moved = enforce(self._register, stream, out)
        if stream.runs.spans(LOST):
            self._ending.hasten(stream, out)
        self._tell(new, stream)
        if new.compromised == ALL:
            self._ending.close(stream, COMPROMISED, out, actor="operator")
        else:
            self._reading.serve(stream, out)
        return moved

    def _take_link(self, old: HoldRecord, new: HoldRecord, node: NodeId, out: Outbox) -> None:
        link = new.link
        self._register.hold(new, out)
        journal(old, new, node, link, None, out)
        self._tell(new, None)
        for stream in self._streams_on(link):
            if not new.compromised:
                self._reading.serve(stream, out)
                continue
            before = self._register.holds.of(link, stream.ksid) or fresh(link, stream.ksid)
            after = ordered_at(self._register.node, before, ((), ALL), new, out)
            self._take_stream(stream, before, after, node, out)

    def _tell(self, hold: HoldRecord, stream: Stream | None) -> None:
        if self._speech.settled(hold):
            return
        if stream is not None:
            self._speech.say(stream)
        else:
            self._speech.say_link(hold.link)

    def _streams_on(self, link: LinkId) -> list[Stream]:
        found = self._register.on_link.get(link, ())
        return [self._register.streams[ksid] for ksid in found]


def _ends(stream: Stream) -> tuple[LinkId, str, str]:
    return stream.record.link, stream.record.local, stream.record.remote
