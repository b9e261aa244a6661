"""Randomness that a test can have again: a seed, and a failure on demand."""

import random
from uuid import UUID

from kms.domain.errors import LocalFault
from kms.domain.secret import Secret


class SeededEntropy:
    """The same seed gives the same draws, in the same order. For tests and simulations only."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._random = random.Random(seed)
        self._failed = False

    def fail(self) -> None:
        """From now on the source fails, as a broken one does."""
        self._failed = True

    def bits(self, length_bytes: int) -> Secret:
        assert length_bytes >= 0, "length"
        self._check()
        return Secret(self._random.randbytes(length_bytes))

    def uuid4(self) -> UUID:
        self._check()
        return UUID(bytes=self._random.randbytes(16), version=4)

    def _check(self) -> None:
        if self._failed:
            raise LocalFault(
                "the random generator fails", hint=f"a test asked for it ({self.seed})"
            )
