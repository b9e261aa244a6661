"""Bits that cannot be key: zeros, and those that came before.

A device that fails stuck gives the same bits at both ends, so the agreement between the nodes
would pass them; it must be seen here. A false alarm on random bits of ``CHECKED_BYTES_MIN`` has a
chance of 2**-117 a key.
"""

from collections import OrderedDict
from hashlib import blake2b
from typing import Final

from kms.adapters.qkd_socket.faults import device_fault
from kms.domain.secret import Secret

# Shorter keys repeat by chance: they are checked as the block they are gathered to.
CHECKED_BYTES_MIN: Final = 16
# Two keys whose first page is the same are no two keys.
DIGESTED_BYTES: Final = 4096
REMEMBERED_MAX: Final = 1024


class Sanity:
    """The digests of the last keys. Digests, since the node wipes the bits themselves."""

    def __init__(self, salt: bytes) -> None:
        self._salt = salt
        self._seen: OrderedDict[bytes, None] = OrderedDict()

    def check(self, bits: Secret) -> None:
        """The bits are remembered, or ``DeviceFault`` ``repeated-bits``."""
        if len(bits) < CHECKED_BYTES_MIN:
            return
        view = bits.expose()
        if not any(view):
            raise device_fault("repeated-bits", f"{len(view)} B of zeros")
        digest = blake2b(view[:DIGESTED_BYTES], digest_size=16, key=self._salt).digest()
        if digest in self._seen:
            raise device_fault("repeated-bits", "the bits of an earlier key")
        self._seen[digest] = None
        if len(self._seen) > REMEMBERED_MAX:
            self._seen.popitem(last=False)
