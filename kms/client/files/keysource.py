"""Where the keys of a file come from: a key stream, or keys with IDs. Here only the shape."""

from typing import Protocol
from uuid import UUID

import attrs


@attrs.define(eq=False, repr=False)
class Drawn:
    """One key for the encrypting end."""

    reference: bytes
    """what the other end finds it by: 4 octets of an index, or 16 of a key ID"""
    bits: bytearray
    """wiped by whoever drew it"""


class KeySource(Protocol):
    """Keys at one end. Each of them can be had once."""

    ksid: UUID | None
    """of the key stream; None for keys with IDs"""

    def pad_bytes(self, total: int) -> int:
        """How long each key is best taken that hides so many bytes in all."""
        ...

    def draw(self, length: int) -> Drawn:
        """A fresh key of this length, for the encrypting end. Raises ``ClientError``."""
        ...

    def fetch(self, reference: bytes, length: int) -> bytearray:
        """The same key for the decrypting end. Raises ``ClientError``."""
        ...
