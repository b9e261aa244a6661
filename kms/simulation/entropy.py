"""A machine's source of randomness, and how it can fail.

Theory of operation. What a node asks of it are names, of its process and of streams whose
applications brought none, and the keys that several nodes are to hold. A source that repeats itself
gives the last one again, as a stuck generator does, or those from an earlier one on, as a machine
does that was put back with its memory: then a process has the number of one before it, and a new
stream the name of an old one.
"""

import hashlib
import random
from collections.abc import Callable
from uuid import UUID

from kms.domain.secret import Secret

# What is repeated was drawn at most so many draws ago.
KEPT_MAX = 64
MOODS = ("entropy fails", "entropy stuck", "entropy replays")
"""what a source can be; no mood: it works"""


class EntropyError(Exception):
    """The source fails: what needs it is refused."""


class Entropy:
    """One machine's; the same seed gives the same draws. ``fired`` is told of a mood once it has
    hurt somebody."""

    def __init__(self, seed: str, fired: Callable[[str], None]) -> None:
        self._random, self._fired = random.Random(seed), fired
        self._drawn: list[UUID] = []
        self._mood = ""
        self._bad_draws = 0

    def take(self, mood: str) -> None:
        """From now on the source is like this."""
        self._mood, self._bad_draws = mood, 0

    def uuid4(self) -> UUID:
        """Raises ``EntropyError``."""
        if self._mood and self._drawn:
            return self._bad()
        drawn = UUID(int=self._random.getrandbits(128), version=4)
        self._drawn.append(drawn)
        del self._drawn[:-KEPT_MAX]
        return drawn

    def bits(self, length_bytes: int) -> Secret:
        """Raises ``EntropyError``. A source that repeats itself repeats these as well."""
        return Secret(hashlib.shake_256(self.uuid4().bytes).digest(length_bytes))

    def _bad(self) -> UUID:
        if not self._bad_draws:
            self._fired(self._mood)
        self._bad_draws += 1
        if self._mood == "entropy fails":
            raise EntropyError
        if self._mood == "entropy stuck":
            return self._drawn[-1]
        return self._drawn[(self._bad_draws - 1) % len(self._drawn)]

    def be_like(self, other: "Entropy") -> None:
        """A machine that was copied with its generator has drawn what the other has."""
        self._drawn = list(other._drawn)
        self.take(other._mood)
