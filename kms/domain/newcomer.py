"""Whether a stream that a neighbour announces, and nobody here knows, may be.

Rules: this end checks the directory and the policy as the other did (I3), and its own bounds; a
leader also judges the follower's Min_bps, so that two openings at once cannot both fit.
"""

from kms.domain import limits
from kms.domain.names import LinkId, SAEId, leader_of, sae_id
from kms.domain.qos import cost_bps, is_pairs, is_settled, spare_bps, too_much
from kms.domain.register import Register
from kms.domain.speech import announced_qos, ksid_of
from kms.domain.status import Status
from kms.domain.wire import Announce, AnnouncePair


def judge_new(register: Register, link: LinkId, message: Announce) -> tuple[Status, str]:
    """The verdict on the announcement, whose names read, and its reason."""
    ksid, qos = ksid_of(message.ksid), announced_qos(message)
    here, there = sae_id(message.remote), sae_id(message.local)
    channel = register.channels.get(link)
    peer = channel.peer if channel is not None else None
    if ksid in register.tombstones:
        return Status.KSID_IN_USE, "the stream of this Key_stream_ID is closed"
    # Both ends check the directory and the policy (I3).
    lives = register.directory.get
    if peer is None or (lives(here), lives(there)) != (register.node, peer):
        return Status.NO_QKD_CONNECTION, "the applications do not live at these nodes"
    opened = (there, here, peer) if message.designates else (here, there, register.node)
    rule = register.policy.rule_for(*opened)
    if rule is None:
        return Status.NO_QKD_CONNECTION, "policy does not let these applications share"
    full = _full(register, link, here, there)
    if full:
        return Status.NO_QKD_CONNECTION, full
    if isinstance(message, AnnouncePair):
        if not is_pairs(qos):
            return Status.QOS_NOT_MET, "a QoS that no pair has"
        ends = (there, here) if message.designates else (here, there)
        if register.names_keys(ksid):
            return Status.KSID_IN_USE, "another stream's key IDs begin like this Key_stream_ID"
        if not register.pairs.has_room(*ends, qos.key_chunk_size):
            return Status.NO_QKD_CONNECTION, "the pair already has too many sizes of key"
    if not is_settled(qos):
        return Status.QOS_NOT_MET, "a QoS beyond this node's bounds"
    new = message.next_index == 0
    if new and rule.max_bps is not None and qos.min_bps > rule.max_bps:
        return Status.QOS_NOT_MET, f"policy permits {rule.max_bps} bit/s"
    # The leader admits for both ends, so that two openings at once cannot both fit.
    leads = leader_of(link) == register.node
    if leads and channel is not None and new:
        spare = spare_bps(channel, register.promised_bps[link], channel.peer_level())
        if qos.min_bps and cost_bps(qos) > spare:
            return Status.QOS_NOT_MET, too_much(qos, spare)
    return Status.SUCCESS, ""


def _full(register: Register, link: LinkId, here: SAEId, there: SAEId) -> str:
    """Which limit keeps the neighbour from one more stream here; empty for none. None of them is
    that of what ``here`` opens itself: a neighbour's streams take nothing from it (I10)."""
    if register.announced_of[here, there] >= limits.STREAMS_ANNOUNCED_PER_PAIR_MAX:
        most = limits.STREAMS_ANNOUNCED_PER_PAIR_MAX
        return f"the applications already have {most} streams that were opened at the other node"
    if register.announced_on[link] >= limits.STREAMS_ANNOUNCED_PER_LINK_MAX:
        most = limits.STREAMS_ANNOUNCED_PER_LINK_MAX
        return f"this node already has {most} streams that were opened at the other node"
    if register.announced_on.total() >= limits.STREAMS_ANNOUNCED_MAX:
        most = limits.STREAMS_ANNOUNCED_MAX
        return f"this node already has {most} streams that were opened at other nodes"
    if len(register.streams) >= limits.STREAMS_MAX:
        return f"this node already has {limits.STREAMS_MAX} streams"
    return ""
