"""Entropy: the one source of randomness."""

from typing import Protocol
from uuid import UUID

from kms.domain.secret import Secret


class Entropy(Protocol):
    """Cryptographic randomness in the real node, a seed in tests."""

    def bits(self, length_bytes: int) -> Secret:
        """Fresh random bytes. Raises ``LocalFault`` when the source fails or repeats itself."""
        ...

    def uuid4(self) -> UUID:
        """A fresh UUID version 4."""
        ...
