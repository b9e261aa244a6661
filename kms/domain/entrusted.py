"""Keys for several slaves, at a slave's node: what a neighbour entrusts, checked and kept.

Rules: a message is checked as a whole before anything changes; what a right neighbour never sends
is a ``PeerFault`` (I9). A bundle comes in order, all of it in one session, or nothing of it stays.
Its master lives at that neighbour, its slaves here, and policy allows each of them (I3); who does
not is declined, with the reason. It is acknowledged with the batch that stores its last key (I5).
"""

from kms.domain import limits
from kms.domain.bundle import Bundle
from kms.domain.errors import BadName, PeerFault
from kms.domain.names import KSID, LinkId, SAEId, sae_id
from kms.domain.outbox import Outbox
from kms.domain.records import BundleRecord, BundleState
from kms.domain.register import Register
from kms.domain.secret import Secret, zero
from kms.domain.wire import Declined, Entrust, Entrusted


class Holding:
    """Bundles of masters who live elsewhere."""

    def __init__(self, register: Register) -> None:
        self._register = register
        self._number = 0
        """of bundles in this process"""

    def on_entrust(self, link: LinkId, name: KSID, message: Entrust, out: Outbox) -> None:
        """The keys are durable with the batch, or the neighbour hears why not."""
        try:
            master, slaves = _checked(message)
            bundle = self._register.bundles.by_name.get(name)
            if bundle is not None and _from(bundle, link):
                self._go_on(bundle, link, message, (master, slaves), out)
            elif message.first == 0:
                self._begin(link, name, message, (master, slaves), out)
            # Else the rest of what was declined, on its way before the neighbour knew.
        finally:
            zero(message.keys)

    def on_withdraw(self, link: LinkId, name: KSID, out: Outbox) -> None:
        """Nothing is left of the neighbour's bundle."""
        bundle = self._register.bundles.by_name.get(name)
        if bundle is not None and _from(bundle, link):
            self._end(bundle, "withdrawn: not every node has these keys", out)

    def unlinked(self, link: LinkId, out: Outbox) -> None:
        """What did not come whole never will."""
        for bundle in self._register.bundles.over(link):
            if bundle.record.state is BundleState.FILLING and not bundle.record.own:
                self._end(bundle, "the session ended on the way", out)

    # ---- inside -----------------------------------------------------------------------------

    def _begin(
        self,
        link: LinkId,
        name: KSID,
        message: Entrust,
        who: tuple[SAEId, tuple[SAEId, ...]],
        out: Outbox,
    ) -> None:
        channel = self._register.channels[link]
        reason = self._unfit(link, name, message, who)
        if reason:
            channel.send(Declined(name.bytes, reason[:200]))
            return
        self._number += 1
        now, (master, slaves) = out.now, who
        record = BundleRecord(
            name=name,
            state=BundleState.FILLING,
            master=master,
            slaves=slaves,
            count=message.count,
            key_bytes=message.key_bytes,
            own=False,
            links=(link,),
            filled=0,
            part_keys=len(message.keys) // message.key_bytes,
            # No other process has this one's number.
            serial=channel.boot + self._number,
            taken=b"",
            created_ms=now.wall_ms,
            expires_ms=now.wall_ms + limits.KEYS_TTL_S * 1000,
        )
        self._keep(self._register.bundles.add(record, out), link, message, out)

    def _go_on(
        self,
        bundle: Bundle,
        link: LinkId,
        message: Entrust,
        who: tuple[SAEId, tuple[SAEId, ...]],
        out: Outbox,
    ) -> None:
        record = bundle.record
        if record.state is BundleState.ENDED and message.first:
            return  # It ended here while the rest was on its way.
        said = (*who, message.count, message.key_bytes, message.first)
        known = (record.master, record.slaves, record.count, record.key_bytes, record.filled)
        if record.state is not BundleState.FILLING or said != known:
            raise _fault("keys under a name that has others, or out of order")
        left = record.count - record.filled
        if len(message.keys) // record.key_bytes != min(record.part_keys, left):
            raise _fault("parts of one bundle that differ in size")
        self._keep(bundle, link, message, out)

    def _keep(self, bundle: Bundle, link: LinkId, message: Entrust, out: Outbox) -> None:
        bundles, first = self._register.bundles, bundle.record.filled
        bundles.store(bundle, Secret(message.keys), out)
        record = bundle.record
        out.audit(
            "keys-entrusted",
            actor="node",
            subject=str(bundle.name),
            first=first,
            count=record.filled - first,
            peer=record.master,
            link=link,
        )
        if record.filled == record.count:
            bundles.whole(bundle, out)
            self._register.channels[link].send(Entrusted(bundle.name.bytes))

    def _unfit(
        self, link: LinkId, name: KSID, message: Entrust, who: tuple[SAEId, tuple[SAEId, ...]]
    ) -> str:
        """Why the bundle is not taken; empty when it is."""
        register, (master, slaves) = self._register, who
        channel, lives = register.channels[link], register.directory.get
        if lives(master) != channel.peer or any(lives(each) != register.node for each in slaves):
            return "the applications do not live at these nodes"
        rule_for = register.policy.rule_for
        if not all(rule_for(master, each, channel.peer) for each in slaves):
            return "policy does not let these applications share"
        if register.names_keys(name) or register.knows(name):
            return "other keys have this name"
        stopped = register.stopped(link)
        if stopped:
            return f"no key is served: {stopped}"
        return register.bundles.full(link, master, message.count * message.key_bytes)

    def _end(self, bundle: Bundle, reason: str, out: Outbox) -> None:
        if bundle.record.state is not BundleState.ENDED:
            self._register.bundles.end(bundle, reason, out)


def _from(bundle: Bundle, link: LinkId) -> bool:
    return not bundle.record.own and bundle.record.links == (link,)


def _checked(message: Entrust) -> tuple[SAEId, tuple[SAEId, ...]]:
    """Master and slaves. Raises ``PeerFault``."""
    try:
        master, slaves = sae_id(message.master), tuple(map(sae_id, message.slaves))
    except BadName as error:
        raise _fault(error.reason) from None
    if len({master, *slaves}) <= len(slaves):
        raise _fault("an application is named twice in a bundle")
    if not 1 <= message.key_bytes <= limits.KEY_BYTES_MAX:
        raise _fault(f"entrusted keys of {message.key_bytes} bytes")
    count, rest = divmod(len(message.keys), message.key_bytes)
    if rest or message.first + count > message.count or not count:
        raise _fault("entrusted keys that do not add up")
    if message.count > limits.KEYS_PER_REQUEST_MAX:
        raise _fault(f"a bundle of {message.count} keys")
    return master, slaves


def _fault(what: str) -> PeerFault:
    return PeerFault(what, hint="the neighbour breaks the protocol; its link begins again")
