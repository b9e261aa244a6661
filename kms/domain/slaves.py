"""The slaves of one request: where they live, whether policy lets their master share with all of
them, and at which rate (I3)."""

from kms.domain import limits
from kms.domain.errors import BadName
from kms.domain.keyrequests import EncKeys
from kms.domain.names import LinkId, NodeId, SAEId, link_id
from kms.domain.policy import Rule
from kms.domain.register import Register
from kms.domain.unserved import Unserved, bad_request, forbidden, unavailable

Ways = dict[LinkId | None, list[SAEId]]
"""who lives behind which link; None: here"""


def ways_to(register: Register, caller: SAEId, request: EncKeys) -> Ways:
    """Where the slaves live. Raises ``Unserved``."""
    slaves = (request.slave, *request.additional_slaves)
    if len(slaves) > limits.ADDITIONAL_SLAVES_MAX + 1:
        raise bad_request(f"at most {limits.ADDITIONAL_SLAVES_MAX} additional slaves")
    if len({caller, *slaves}) <= len(slaves):
        raise bad_request("an additional slave SAE is the caller, or is named twice")
    ways: Ways = {}
    for slave in slaves:
        if register.policy.rule_for(caller, slave, register.node) is None:
            raise forbidden("policy does not let these applications share keys")
        node = register.directory.get(slave)
        if node is None:
            raise bad_request(f"it is not known where {slave} lives: check its ID")
        try:
            link = link_id(register.node, node)
        except BadName:
            ways.setdefault(None, []).append(slave)
            continue
        if link not in register.channels:
            raise no_neighbour(slave, node)
        ways.setdefault(link, []).append(slave)
    return ways


def no_neighbour(slave: SAEId, node: NodeId) -> Unserved:
    """The slave lives where no link of this node goes."""
    return bad_request(f"{slave} lives at {node}, which is no neighbour: no key is relayed yet")


Paid = dict[SAEId, Rule]
"""the rule by which each slave's share was used"""


def pay(register: Register, caller: SAEId, request: EncKeys, now_ms: int) -> Paid:
    """The rate that policy allows the master and each slave is used for these keys. Raises
    ``Unserved``; none of it is used then."""
    caps, size = register.caps, request.number * request.key_bytes
    rules = {
        slave: register.policy.rule_for(caller, slave, register.node)
        for slave in (request.slave, *request.additional_slaves)
    }
    barred = [
        rule.max_bps
        for slave, rule in rules.items()
        if rule and not caps.lets(rule, caller, slave, size, now_ms)
    ]
    if barred:
        raise unavailable(f"try again later: policy permits {barred[0]} bit/s")
    paid: Paid = {}
    for slave, rule in rules.items():
        assert rule is not None, "checked"
        caps.made(rule, caller, slave, size, now_ms)
        paid[slave] = rule
    return paid


def pay_back(register: Register, caller: SAEId, request: EncKeys, paid: Paid, now_ms: int) -> None:
    """What was paid for keys that the node could not make is there again."""
    size = request.number * request.key_bytes
    for slave, rule in paid.items():
        register.caps.made(rule, caller, slave, -size, now_ms)
