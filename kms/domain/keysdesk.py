"""Requests in whole keys with IDs (ETSI GS QKD 014 V1.1.1 clause 5): who may ask, and who serves.

Rules: a caller that does not live here, or that policy keeps from the other application, is refused
before anything is looked up; every other refusal is an answer that says whose fault it is. Nothing
is consumed by a request that is not served.
"""

from kms.domain import limits
from kms.domain.deckeys import Claiming
from kms.domain.effects import Answer, Refuse
from kms.domain.enckeys import Issuing
from kms.domain.entrusting import Entrusting
from kms.domain.errors import BadName
from kms.domain.events import Asked
from kms.domain.keyrequests import (
    DecKeys,
    EncKeys,
    KeysReply,
    Outcome,
    PairStatus,
    PairStatusReply,
)
from kms.domain.names import LinkId, NodeId, SAEId, link_id
from kms.domain.outbox import Outbox
from kms.domain.pace import stock_chunks
from kms.domain.register import Register
from kms.domain.requests import KeysRequest
from kms.domain.slaves import no_neighbour
from kms.domain.unserved import Unserved, bad_request, forbidden

_METHODS = {EncKeys: "enc_keys", DecKeys: "dec_keys", PairStatus: "status"}


class KeysDesk:
    """The three methods."""

    def __init__(
        self,
        register: Register,
        issuing: Issuing,
        entrusting: Entrusting,
        claiming: Claiming,
    ) -> None:
        self._register = register
        self._issuing = issuing
        self._entrusting = entrusting
        self._claiming = claiming

    def asked(self, event: Asked, request: KeysRequest, out: Outbox) -> None:
        """The request is answered, now or within ``KEYS_TIMEOUT_MS``."""
        try:
            if self._register.directory.get(event.caller) != self._register.node:
                raise forbidden("the caller does not live at this node")
            if isinstance(request, EncKeys) and request.additional_slaves:
                self._entrusting.asked(event, request, out)
            elif isinstance(request, EncKeys):
                node, link = self._way_to(event.caller, request.slave)
                if link not in self._register.channels:
                    raise no_neighbour(request.slave, node)
                self._issuing.asked(event, request, link, out)
            elif isinstance(request, DecKeys):
                self._claiming.asked(event, request, out)
            else:
                reply = self._status(event.caller, request.slave)
                out.add(Answer(request_id=event.request_id, reply=reply))
        except Unserved as why:
            _answer(event, request, why, out)

    def _way_to(self, caller: SAEId, slave: SAEId) -> tuple[NodeId, LinkId]:
        """The node that serves the slave, and the link there. Raises ``Unserved``."""
        if caller == slave:
            raise bad_request("the slave SAE is the caller itself")
        if self._register.policy.rule_for(caller, slave, self._register.node) is None:
            raise forbidden("policy does not let these applications share keys")
        node = self._register.directory.get(slave)
        if node is None:
            raise bad_request("it is not known where the slave SAE lives: check its ID")
        try:
            return node, link_id(self._register.node, node)
        except BadName:
            message = "both applications live at this node: it shares keys between nodes only"
            raise bad_request(message) from None

    def _status(self, caller: SAEId, slave: SAEId) -> PairStatusReply:
        """What could be had now: what lies ready, and what the pad above its reserve would give."""
        node, link = self._way_to(caller, slave)
        size, stored, most = limits.KEY_BYTES_DEFAULT, 0, stock_chunks(limits.KEY_BYTES_DEFAULT)
        channel = self._register.channels.get(link)
        if channel is not None:
            most += channel.level_max() // size
        if channel is not None and not self._register.stopped(link):
            streams = map(self._register.streams.get, self._register.pairs.of(caller, slave, size))
            stored = sum(each.runs.ready for each in streams if each and each.record.link == link)
            stored += channel.level() // size if channel.up else 0
        return PairStatusReply(
            outcome=Outcome.DELIVERED,
            slave_node=node,
            key_bytes=size,
            stored_keys=min(stored, most),
            stored_keys_max=most,
        )


def _answer(event: Asked, request: KeysRequest, why: Unserved, out: Outbox) -> None:
    if why.outcome in (None, Outcome.NOT_ENTITLED):
        subject = _METHODS[type(request)]
        out.audit("refused", actor=event.caller, subject=subject, reason=why.message)
    if why.outcome is None:
        out.add(Refuse(request_id=event.request_id, message=why.message))
        return
    kind = PairStatusReply if isinstance(request, PairStatus) else KeysReply
    reply = kind(outcome=why.outcome, message=why.message)
    out.add(Answer(request_id=event.request_id, reply=reply))
