"""ETSI GS QKD 004 V2.1.1 over TLS, in ETSI's binary framing.

Reason: 004 fixes functions, not a transport. ETSI publishes code that speaks this framing over TLS
at port 25575, so applications for other key managers exist that speak it, and work here unchanged.
Nothing is decided here: frames become requests of ``kms.domain.requests``, replies become frames.

``answering`` translates, ``conversation`` is one client's connection, ``server`` joins them to the
edge's reception. The frames themselves are ``kms.adapters.etsi004_binary``'s.
"""

from kms.adapters.etsi004_tls.answering import CHUNK_BYTES_MAX, FRAME_BYTES_MAX
from kms.adapters.etsi004_tls.server import BinaryServer, serve

__all__ = ["CHUNK_BYTES_MAX", "FRAME_BYTES_MAX", "BinaryServer", "serve"]
