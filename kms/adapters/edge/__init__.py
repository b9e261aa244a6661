"""The edge: hypercorn made fit to face strangers, over mutual TLS, plain TCP or a unix socket.

Reason: hypercorn 0.18.0 gives no client certificate to the application, lets one bad connection
end the whole server, and waits for ever on clients that do not read (docs/adr/0006). We keep its
translation between HTTP/1.1 and ASGI and own everything around it: accepting, TLS, deadlines,
caps, containment, closing.

Theory of operation. A ``Reception`` accepts and counts (``door``), hands each stream to a visitor
in a task of its own, and contains whatever that task raises. ``Server`` is the one that speaks
HTTP; ``kms.adapters.etsi004_tls`` has another. ``Accepted`` is a stream with its TLS, its age and
its end. The HTTP visitor, a ``Connection``, puts the certificate into the ASGI scope's state, and
reads; ``OneProtocol`` speaks HTTP/1.1 and nothing else. One task, the reader, owns the connection:
it alone closes it, and when it ends the request's task is cancelled. Nothing is shielded.
"""

from kms.adapters.edge.accepted import Accepted, TLSSource
from kms.adapters.edge.bounds import Bounds
from kms.adapters.edge.connection import PEER_DER, PEER_UID
from kms.adapters.edge.hot import Answer, Handler, HotRoutes
from kms.adapters.edge.listen import listen_tcp, listen_unix
from kms.adapters.edge.plain import plain_headers
from kms.adapters.edge.quiet import place_of
from kms.adapters.edge.reception import EdgeStatistics, Listener, Reception
from kms.adapters.edge.server import Server, serve

__all__ = [
    "PEER_DER",
    "PEER_UID",
    "Accepted",
    "Answer",
    "Bounds",
    "EdgeStatistics",
    "Handler",
    "HotRoutes",
    "Listener",
    "Reception",
    "Server",
    "TLSSource",
    "listen_tcp",
    "listen_unix",
    "place_of",
    "plain_headers",
    "serve",
]
