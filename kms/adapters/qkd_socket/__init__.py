"""A QKD device end over a raw socket, spoken to as ETSI GS QKD 004 in its binary form.

Reason: the key sources of most links (FR-1). The node is the application of the device: it opens
the device pair's predefined Key_stream_ID and fetches the stream's chunks by index.

Rules:
- The node asks for room before each GET_KEY: what it cannot keep stays in the device.
- Whatever the device does ends as a ``DeviceFault`` with a stable name (``FAULTS``): reported,
  counted, the connection dropped, and tried again after a jittered back-off. Never a crash.
- What a bad answer says changes nothing but counters (I9); its bits are wiped.
- Nothing is closed at a stop. CLOSE would make the device discard what it keeps for us, at both
  ends in the end; a node that comes back goes on with the same stream.

Theory of operation, in files: ``config`` what an operator sets; ``line`` one question and its
answer within a deadline; ``cursor`` which index is asked next, after restarts, losses and
repetitions; ``metadata`` the JSON beside each key; ``sanity`` bits that cannot be key;
``backoff`` how long to wait; ``device`` the loop over these.
"""

from kms.adapters.qkd_socket.config import Connections, QKDSocketConfig
from kms.adapters.qkd_socket.device import QKDSocketDevice
from kms.adapters.qkd_socket.faults import FAULTS

__all__ = ["FAULTS", "Connections", "QKDSocketConfig", "QKDSocketDevice"]
