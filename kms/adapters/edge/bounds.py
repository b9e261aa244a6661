"""How long and how much a client may take of us.

Each bound is for one listener, so that an operations listener may have its own. None of them
limits how long a handler thinks: the Timeout agreed for a stream does.
"""

from math import inf

import attrs

from kms.domain.limits import KIB


@attrs.frozen(kw_only=True)
class Bounds:
    """What one client, one address and all clients together may take."""

    connections_max: int = 200
    """all together; also kept to half of the process's file descriptors"""
    connections_per_address_max: int = 64
    """from one IP address; a site's gateway may carry many applications. Not for unix sockets."""
    connections_per_identity_max: int = 32
    """with one client certificate"""
    requests_per_connection_max: int = 100_000
    """then the answer says ``Connection: close``"""

    handshake_s: float = 5.0
    """for the TLS handshake"""
    header_s: float = 5.0
    """from the first byte of a request, or the handshake, to the end of its header"""
    receive_s: float = 30.0
    """from the end of the header to the end of the body"""
    send_s: float = 30.0
    """from the first to the last byte of an answer: the slowest reader of 1 MiB has 280 kbit/s"""
    idle_s: float = 60.0
    """between two requests; clients are asked to keep connections, a handshake costs 30 requests"""
    connection_s: float = 3600.0
    """then a connection closes after its answer, so that no trust outlives its removal by more"""
    linger_s: float = 1.0
    """for the last words of a connection that we close"""
    graceful_s: float = 5.0
    """for requests under way when the server stops"""

    header_bytes_max: int = 16 * KIB
    body_bytes_max: int = 64 * KIB
    """of a request"""
    linger_bytes_max: int = 256 * KIB
    """read and dropped after an early answer, so that the client gets to read it"""

    def __attrs_post_init__(self) -> None:
        finite = (self.handshake_s, self.header_s, self.receive_s, self.linger_s, self.graceful_s)
        assert all(0 < seconds < inf for seconds in finite), "only send_s and idle_s may be endless"
