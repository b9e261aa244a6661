"""Everything that can happen: the core's whole input. ``Node.handle(moment, event)``."""

from collections.abc import Mapping

import attrs

from kms.domain.attestation import Attestation
from kms.domain.linkmemory import LinkSettings
from kms.domain.names import (
    KSID,
    BlockId,
    DeviceId,
    LinkId,
    MaterialId,
    NodeId,
    SAEId,
    SecretId,
)
from kms.domain.orders import KeyOrder
from kms.domain.policy import Policy
from kms.domain.records import Way
from kms.domain.requests import Request
from kms.domain.secret import Secret


@attrs.frozen(kw_only=True)
class Started:
    """The records are loaded and the shell runs. First event, once."""

    watched: bool = False
    """there is a witness outside the store: it is believed, and told of every rise"""
    attestation: Attestation | None = None
    """what it says; None: nothing"""
    trouble: str = ""
    """why it says nothing"""
    fresh: str = ""
    """random: the name of a store that has none"""


@attrs.frozen
class Restored:
    """An operator has seen why the node stands and says how it goes on."""

    way: Way


@attrs.frozen
class Tick:
    """Time has passed."""


@attrs.frozen(kw_only=True)
class NetworkChanged:
    """The SDN port's view: neighbours, who lives where, who may do what. Replaces the last one."""

    neighbours: frozenset[NodeId]
    directory: Mapping[SAEId, NodeId]
    policy: Policy


@attrs.frozen(kw_only=True)
class SecretCarried:
    """An operator brought a link's secret (docs/protocol.md, 3).

    ``bits``: 32 bytes of hash key, then two halves of pad, from the leader first.
    """

    link: LinkId
    secret_id: SecretId
    bits: Secret


@attrs.frozen(kw_only=True)
class LinkAdded:
    """An operator added a neighbour to the running node. A link that is there already stays."""

    peer: NodeId
    settings: LinkSettings


@attrs.frozen(kw_only=True)
class BlockArrived:
    """A device delivered a block. Answered by ``BlockStored`` once durable or refused."""

    device: DeviceId
    link: LinkId
    block_id: BlockId
    bits: Secret
    origin: str = "quantum"
    qber: float | None = None
    age_ms: int = 0


@attrs.frozen(kw_only=True)
class DeviceChanged:
    """The device came up (fault empty) or went down, with the fault's name."""

    device: DeviceId
    link: LinkId
    fault: str = ""
    reason: str = ""


@attrs.frozen(kw_only=True)
class MaterialOpened:
    """Answer to ``TakeMaterial`` and ``ReadMaterial``. ``bits`` None: unreadable, and why."""

    material: MaterialId
    offset: int
    length: int
    bits: Secret | None
    reason: str = ""


@attrs.frozen(kw_only=True)
class PeerConnected:
    """The mutual-TLS connection to the neighbour stands; its certificate names that node.

    ``session``: a number that this process never gives twice.
    """

    link: LinkId
    session: int


@attrs.frozen(kw_only=True)
class PeerFrame:
    """One frame from the neighbour, whole, as it came."""

    link: LinkId
    session: int
    data: bytes


@attrs.frozen(kw_only=True)
class PeerLost:
    """The connection is gone; frames under way may or may not have arrived."""

    link: LinkId
    session: int
    reason: str


@attrs.frozen(kw_only=True)
class Asked:
    """An application asks. ``caller`` is its certificate's URI SAN, never what a body said.

    ``fresh``: a random UUID version 4 for a request that ``wants_name`` or ``may_want_name``, out
    of which the node makes the name; the second kind may come without. ``drawn``: as many random
    bytes as ``bytes_wanted`` says, if they could be had; the node wipes them. Answered exactly
    once.
    """

    request_id: int
    caller: SAEId
    request: Request
    fresh: KSID | None = None
    drawn: Secret | None = None


@attrs.frozen(kw_only=True)
class HungUp:
    """The caller stopped waiting: its request is no longer answered; nothing else changes."""

    request_id: int


@attrs.frozen(kw_only=True)
class KeysOrdered:
    """An operator orders about keys. Answered exactly once, by an ``OrderDone``.

    ``request_id``: a number that no application's request has.
    """

    request_id: int
    order: KeyOrder


Event = (
    Started
    | Restored
    | Tick
    | NetworkChanged
    | SecretCarried
    | LinkAdded
    | BlockArrived
    | DeviceChanged
    | MaterialOpened
    | PeerConnected
    | PeerFrame
    | PeerLost
    | Asked
    | HungUp
    | KeysOrdered
)
