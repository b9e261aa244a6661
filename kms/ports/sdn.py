"""SDN: topology, directory and policy in; state out."""

from collections.abc import Mapping
from typing import Protocol

import attrs

from kms.domain.names import NodeId, SAEId
from kms.domain.policy import Policy


@attrs.frozen(kw_only=True)
class Network:
    """One consistent view of the network, as the controller or its file gives it."""

    nodes: frozenset[NodeId]
    links: frozenset[tuple[NodeId, NodeId]]
    """neighbours with a QKD link, smaller name first"""
    directory: Mapping[SAEId, NodeId]
    """which application lives at which node"""
    policy: Policy


class SDN(Protocol):
    """The controller, or the file that stands in for it."""

    async def network(self) -> Network:
        """The view as it is now. Raises ``LocalFault`` that names the file and field; the last
        good view then stays in force."""
        ...

    async def changed(self) -> None:
        """Returns when ``network`` would give another view than last time. Cancellation: safe."""
        ...

    async def report(self, state: Mapping[str, object]) -> None:
        """The node's state is handed to the controller; lost if there is none."""
        ...
