"""The fast way: what ``app`` does, on the connection's own task (docs/adr/0015).

Rules. Only a header that has one obvious meaning is taken (``edge.plain_headers``), and a URL of
the standard. The reading, the answers and what they say of faults are the ``Desk``'s.
"""

from functools import partial

import h11
from structlog.typing import FilteringBoundLogger

from kms.adapters.edge import Handler, plain_headers
from kms.adapters.etsi014_http.desk import Desk
from kms.adapters.etsi014_http.routes import PREFIX, Route, route
from kms.adapters.identity import Identities
from kms.domain.names import NodeId
from kms.ports.northbound import Northbound


class HotKeys:
    """Implements ``edge.HotRoutes``."""

    request_lines = tuple(f"{verb} {PREFIX}/".encode() for verb in ("GET", "POST"))

    def __init__(
        self,
        northbound: Northbound,
        node: NodeId,
        log: FilteringBoundLogger,
        identities: Identities | None = None,
    ) -> None:
        """``identities`` None: an application is its URI SAN."""
        self._desk = Desk(northbound, node, log, identities)

    def handler(self, request: h11.Request) -> Handler | None:
        """See ``edge.HotRoutes``."""
        headers = plain_headers(request)
        found = route(request.method.decode("ascii"), request.target)
        if headers is None or not isinstance(found, Route):
            return None
        said = headers.get(b"content-type", b"").decode("latin-1")
        return partial(self._desk.answer, found, said)
