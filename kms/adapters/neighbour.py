"""Who a neighbour is: by configuration, and by what its certificate proves."""

import attrs

from kms.adapters.tls import uri_sans
from kms.domain.errors import BadName
from kms.domain.names import NodeId, node_id

_SCHEME = "kms:"


@attrs.frozen(kw_only=True)
class Neighbour:
    """A node that shares a link with us."""

    node: NodeId
    host: str = ""
    """where it listens; not needed where the neighbour dials"""
    port: int = 0


def peer_node(der: bytes | None) -> NodeId | None:
    """The one node that a certificate names; None if it names none, or more than one."""
    names = [uri for uri in uri_sans(der or b"") if uri.startswith(_SCHEME)]
    if len(names) != 1:
        return None
    try:
        return node_id(names[0].removeprefix(_SCHEME))
    except BadName:
        return None
