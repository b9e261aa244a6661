"""What an operator sets for one device; every default is safe."""

import re
import ssl
from enum import Enum
from typing import Final

import attrs

from kms.adapters.etsi004_binary.messages import URI_BYTES_MAX
from kms.domain import limits
from kms.domain.errors import LocalFault
from kms.domain.names import KSID, DeviceId

# Timers of a day and more are a mistyped unit.
SECONDS_MAX: Final = 24 * 60 * 60.0
# Labels of 1 to 63, as resolvers take them without complaint; colons are IPv6's.
_HOST: Final = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_:-]{1,63}(\.[A-Za-z0-9_:-]{1,63})*\.?")


class Connections(Enum):
    """How many exchanges a connection to the device carries."""

    KEPT = "kept"
    """all, until a fault"""
    PER_CALL = "per-call"
    """one, as the reference C library does"""


@attrs.frozen(kw_only=True)
class QKDSocketConfig:
    """One device end. Raises ``LocalFault`` for values that cannot work."""

    device_id: DeviceId
    host: str
    port: int
    ksid: KSID
    """agreed beforehand, the same at both ends of the device pair"""
    source: str
    """URI of the device (clause 6.1: in client/server use the server's)"""
    destination: str
    """URI of this node's end"""
    key_chunk_size: int
    """bytes of one device key; smaller ones than ``BLOCK_BYTES_MIN`` are gathered"""
    tls: ssl.SSLContext | None = attrs.field(default=None, repr=False)
    """None: plain TCP, for a device inside the site's own perimeter"""
    server_hostname: str | None = None
    """the name in the device's certificate, if it is not ``host``"""
    connections: Connections = Connections.KEPT
    answer_timeout_s: float = 10.0
    """for connecting, and for each whole answer; half of it is the stream's agreed Timeout"""
    poll_s_min: float = 0.05
    poll_s_max: float = 5.0
    """between questions while the device has no key"""
    backoff_s_min: float = 0.5
    backoff_s_max: float = 30.0
    """after a fault"""

    def __attrs_post_init__(self) -> None:
        for name, fits, wanted in (
            ("host", bool(_HOST.fullmatch(self.host)), "a name or an address"),
            ("port", 1 <= self.port <= 65535, "1 to 65535"),
            ("source", _is_uri(self.source), "a URI of visible ASCII"),
            ("destination", _is_uri(self.destination), "a URI of visible ASCII"),
            (
                "key_chunk_size",
                1 <= self.key_chunk_size <= limits.BLOCK_BYTES_MAX,
                f"1 to {limits.BLOCK_BYTES_MAX} bytes",
            ),
            ("answer_timeout_s", 0 < self.answer_timeout_s <= SECONDS_MAX, "seconds above 0"),
            ("poll_s", 0 < self.poll_s_min <= self.poll_s_max <= SECONDS_MAX, "0 < min <= max"),
            (
                "backoff_s",
                0 < self.backoff_s_min <= self.backoff_s_max <= SECONDS_MAX,
                "0 < min <= max",
            ),
        ):
            if not fits:
                raise LocalFault(
                    f"device {self.device_id}: {name} cannot be used", hint=f"give {wanted}"
                )


def _is_uri(text: str) -> bool:
    return 0 < len(text) <= URI_BYTES_MAX and all("!" <= letter <= "~" for letter in text)
