"""Northbound: what an application interface may ask of the node."""

from typing import Protocol

from kms.domain.errors import AppFault
from kms.domain.keyrequests import DecKeys, EncKeys, KeysReply, PairStatus, PairStatusReply
from kms.domain.names import SAEId
from kms.domain.requests import Close, CloseReply, GetKey, KeyReply, OpenConnect, OpenReply


class Forbidden(AppFault):
    """Policy refuses this caller: HTTP 403 (ETSI GS QKD 014: 401), binary status 4."""


class Overloaded(AppFault):
    """A bound of the node is reached: HTTP 503. Nothing changed; try again later."""


class Northbound(Protocol):
    """The counter. ``caller`` is the URI SAN of the client certificate, from the TLS layer.

    Cancellation (a client that hangs up): the caller stops waiting; key consumption never runs
    in the caller's task, so a chunk is either still undelivered or recorded as delivered and lost
    at this end (docs/flow.md). Raises ``Forbidden``, ``Overloaded`` or ``Sealed``; every
    protocol outcome is a reply.
    """

    async def open_connect(self, caller: SAEId, request: OpenConnect) -> OpenReply:
        """Returns within the agreed Timeout, at the latest. On SUCCESS the stream is recorded
        at both nodes."""
        ...

    async def get_key(self, caller: SAEId, request: GetKey) -> KeyReply:
        """Returns within the agreed Timeout. With SUCCESS the delivery is durable and audited
        before this returns; the caller wipes the key."""
        ...

    async def close(self, caller: SAEId, request: Close) -> CloseReply:
        """On SUCCESS this side is closed, durably."""
        ...

    async def enc_keys(self, caller: SAEId, request: EncKeys) -> KeysReply:
        """Returns within a bound of the node's own. With DELIVERED the keys lie at the slave's
        node, the delivery is durable and audited before this returns, and each key is delivered
        here once; the caller wipes them. Else nothing was taken, or keys were and are lost at this
        end (a disk that cannot be read in time): the message says so."""
        ...

    async def dec_keys(self, caller: SAEId, request: DecKeys) -> KeysReply:
        """With DELIVERED all the keys named, in the order named, durably and audited, each
        delivered here once; the caller wipes them. Else as ``enc_keys``."""
        ...

    async def pair_status(self, caller: SAEId, request: PairStatus) -> PairStatusReply:
        """What the two could have now. Nothing changes."""
        ...

    def is_revoked(self, fingerprint: str) -> bool:
        """Whether policy refuses the certificate with this SHA-256 fingerprint, right now."""
        ...
