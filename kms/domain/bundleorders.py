"""Operators' orders about keys for several slaves, by key ID: at the master's node and at each
slave's.

Rules: an order is durable here before it is answered, and said to the nodes that hold the keys
until they have said the same; from the batch on that has it none of its keys is delivered at this
node. Compromised keys are unreadable with that batch, but what is being read a little later.

Theory of operation: the master's node knows all slaves' nodes, and each of those knows the master's
alone. So there is a hold for each link over which the keys went, and one (``HERE``) for keys that
went over none. What the master's node hears over one link it orders over the others. A key is held
back while any of the holds says so.
"""

import attrs

from kms.domain.bundle import Bundle
from kms.domain.entrusting import Entrusting
from kms.domain.errors import PeerFault
from kms.domain.holds import COMPROMISED, fresh, merged, same
from kms.domain.holdwords import keys_hold_of
from kms.domain.names import HERE, KSID, LinkId, NodeId
from kms.domain.ordering import asked_for, journal, moved, ordered_at, refused
from kms.domain.orders import Act, KeyOrder, OrderDone
from kms.domain.outbox import Outbox
from kms.domain.ranges import Ranges, minus, overlap, union
from kms.domain.records import BundleState, HoldRecord
from kms.domain.register import Register
from kms.domain.speech import Speech, ksid_of
from kms.domain.wireheld import HeldKeys


class BundleOrders:
    """Orders about bundles, of this node's operators and of others'."""

    def __init__(self, register: Register, speech: Speech, entrusting: Entrusting) -> None:
        self._register = register
        self._speech = speech
        self._entrusting = entrusting

    def ordered(self, bundle: Bundle, index: int, order: KeyOrder, out: Outbox) -> OrderDone:
        """The order about one key of the bundle is done here. Raises ``LocalFault``."""
        if index >= bundle.record.count or not bundle.stands:
            reason = f"there is no key here with the ID {order.key_id}"
            raise refused(reason, "its hour may be over, or it is on its way yet: see the audit")
        wanted, before = ((index, index + 1),), self._of_all(bundle)
        to = asked_for(before, wanted, order)
        waits = any(bundle.waits_for(slave, index, 1) for slave in bundle.record.slaves)
        if order.act is Act.SUSPEND and not waits and bundle.record.own and not bundle.record.links:
            raise refused(
                f"the key {order.key_id} does not wait here",
                "what was delivered cannot be held back: kms key compromise says that it is lost",
            )
        done = OrderDone(
            bundle=bundle.name, first=index, count=1, delivered=bundle.delivered(index, index + 1)
        )
        if to == (before.suspended, before.compromised):
            return done
        for link in _links(bundle):
            old = self._of(bundle, link)
            self._hold(
                ordered_at(self._register.node, old, moved(old, wanted, order.act), order, out), out
            )
        self._take(bundle, before, self._register.node, out)
        return attrs.evolve(done, changed=True, waiting=int(waits))

    def heard(self, link: LinkId, message: HeldKeys, out: Outbox) -> None:
        """The neighbour's word is taken in, told to the other nodes, and answered unless it has
        heard the same from here. Raises ``PeerFault``; nothing changed then."""
        bundle = self._register.bundles.by_name.get(ksid_of(message.name))
        if bundle is None or link not in bundle.record.links:
            return  # Its hour is over here.
        theirs = keys_hold_of(link, message, out.now, bundle.record)
        under_way = bundle.record.state is BundleState.FILLING and not bundle.record.own
        if theirs is None or under_way or message.master != bundle.record.master:
            raise PeerFault(
                "an operator's word about keys for several slaves that makes no sense",
                hint="the neighbour breaks the protocol of streams: compare the two versions",
            )
        self._speech.heard_hold(theirs)
        before, old = self._of_all(bundle), self._of(bundle, link)
        new = merged(old, theirs)
        if same(new, old):
            self._tell(new)
            return
        self._hold(new, out)
        for other in _links(bundle):
            if other != link:
                self._pass_on(self._of(bundle, other), old, new, out)
        self._take(bundle, before, self._register.channels[link].peer, out)

    def told(self, name: KSID) -> bool:
        """Whether all nodes that hold the keys know, as their sessions have shown, of all orders;
        also when there are none any more."""
        bundle = self._register.bundles.by_name.get(name)
        holds = (
            [self._register.holds.of(link, name) for link in bundle.record.links] if bundle else []
        )
        return all(hold is None or self._speech.settled(hold) for hold in holds)

    # ---- inside -----------------------------------------------------------------------------

    def _pass_on(self, mine: HoldRecord, old: HoldRecord, new: HoldRecord, out: Outbox) -> None:
        """What one neighbour's word has changed is ordered over another link."""
        added, gone = minus(new.suspended, old.suspended), minus(old.suspended, new.suspended)
        compromised = union(mine.compromised, new.compromised)
        suspended = minus(minus(union(mine.suspended, added), gone), compromised)
        if (suspended, compromised) != (mine.suspended, mine.compromised):
            self._hold(
                ordered_at(self._register.node, mine, (suspended, compromised), new, out), out
            )

    def _take(self, bundle: Bundle, before: HoldRecord, node: NodeId, out: Outbox) -> None:
        """The holds stand, and the keys are as they say."""
        after, name = self._of_all(bundle), bundle.name
        journal(before, after, node, name, bundle.delivered, out)
        left: Ranges = tuple((first, first + count) for first, count in bundle.left())
        resumed = minus(minus(before.suspended, after.suspended), after.compromised)
        for event, ranges in (
            ("keys-suspended", minus(after.suspended, before.suspended)),
            ("keys-released", resumed),
        ):
            for first, end in overlap(ranges, left):
                out.audit(event, actor="node", subject=str(name), first=first, count=end - first)
        lost = minus(after.compromised, before.compromised)
        if bundle.record.state is BundleState.FILLING:
            self._entrusting.refuse(name, "an operator has ordered about these keys", out)
        elif lost and bundle.record.state is BundleState.HELD:
            self._register.bundles.lose(bundle, lost, COMPROMISED, out)

    def _hold(self, hold: HoldRecord, out: Outbox) -> None:
        self._register.hold(hold, out)
        self._tell(hold)

    def _tell(self, hold: HoldRecord) -> None:
        if not self._speech.settled(hold):
            self._speech.say_keys(hold.link, hold.ksid)

    def _of(self, bundle: Bundle, link: LinkId) -> HoldRecord:
        return self._register.holds.of(link, bundle.name) or fresh(link, bundle.name)

    def _of_all(self, bundle: Bundle) -> HoldRecord:
        """What any of the holds says, in the newest's words."""
        holds = [self._of(bundle, link) for link in _links(bundle)]
        newest = max(holds, key=lambda each: each.since_ms)
        compromised = union(*(each.compromised for each in holds))
        suspended = minus(union(*(each.suspended for each in holds)), compromised)
        return attrs.evolve(newest, suspended=suspended, compromised=compromised)


def _links(bundle: Bundle) -> tuple[LinkId, ...]:
    return bundle.record.links or (HERE,)
