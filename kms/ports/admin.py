"""Admin: what the operator of this node may ask of it, and how the node shows itself."""

from typing import Protocol

import attrs

from kms.domain.names import NodeId, SecretId
from kms.domain.orders import KeyOrder, OrderDone
from kms.domain.records import Way
from kms.domain.secret import Secret
from kms.domain.statistics import NodeStatus


class NodeView(Protocol):
    """Shows the node. Never blocks, changes nothing."""

    def status(self) -> NodeStatus: ...


@attrs.frozen(kw_only=True)
class CarriedSecret:
    """A link's secret, as an operator brought it on a file (docs/protocol.md, 3)."""

    secret_id: SecretId
    nodes: tuple[NodeId, NodeId]
    """the two ends, smaller name first"""
    bits: Secret
    """``limits.SECRET_BYTES``"""


class Admin(NodeView, Protocol):
    """The operator's counter. Who may call is decided by the file mode of the admin socket.

    Every method is recorded in the audit by the node. Raises ``LocalFault`` with a hint when it
    cannot be done; nothing changed then.
    """

    async def unseal(self, passphrase: Secret) -> None:
        """The node has its epoch keys and serves. The caller wipes the passphrase."""
        ...

    async def rekey(self) -> int:
        """A new epoch key seals everything that is readable; older ones are destroyed. Its
        number."""
        ...

    async def add_link(
        self, peer: NodeId, address: str | None, secret: CarriedSecret | None
    ) -> None:
        """The neighbour is known until the process ends (node.toml is the operator's to edit);
        with a secret, the link is bootstrapped durably. The node owns the secret's bits."""
        ...

    async def restart_link(self, secret: CarriedSecret) -> None:
        """The link goes on in a new epoch from this secret, durably at this end. The node owns
        the secret's bits."""
        ...

    async def restore(self, way: Way) -> None:
        """The node goes on, durably, with a store that was old or may be; what ``way`` burns is
        unreadable. Refused when the node does not stand."""
        ...

    async def order_keys(self, order: KeyOrder) -> tuple[OrderDone, bool]:
        """The order is done, durably at this end. True: the neighbour knows, or all nodes
        that hold the key do; else they are told as soon as they are there."""
        ...

    async def reload(self) -> tuple[str, ...]:
        """The network file and the certificates are as they are on disk now; what changed, in
        sentences."""
        ...

    async def stop(self) -> None:
        """The node has begun to stop; it answers this first."""
        ...
