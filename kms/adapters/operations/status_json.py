"""The node's status as JSON, and back: what ``kms status`` and the admin socket exchange."""

from typing import Any

import msgspec

from kms.domain.errors import LocalFault
from kms.domain.statistics import NodeStatus


def encode(status: NodeStatus) -> bytes:
    """One JSON object; names and units as in ``domain.statistics``, and each pad's level."""
    fields: dict[str, Any] = msgspec.to_builtins(status)
    for shown, link in zip(fields["links"], status.links, strict=True):
        shown["outgoing"]["level_bytes"] = link.outgoing.level_bytes
        shown["incoming"]["level_bytes"] = link.incoming.level_bytes
    return msgspec.json.encode(fields)


def decode(data: bytes) -> NodeStatus:
    """The status in ``data``; what a newer node adds is ignored. Raises ``LocalFault``."""
    try:
        return msgspec.json.decode(data, type=NodeStatus)
    except (msgspec.DecodeError, RecursionError) as error:
        raise LocalFault(
            f"the node's status does not read: {error}",
            hint="the command and the node are of different versions",
        ) from None
