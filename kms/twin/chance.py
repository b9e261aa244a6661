"""Faults drawn by a seed: the same run again fails at the same blocks."""

from hashlib import blake2b
from typing import Final

_SCALE: Final = float(2**64)


class Chance:
    """The draws of one end."""

    def __init__(self, seed: str, link: str, end: str) -> None:
        self._key = blake2b(f"{seed}\0{link}\0{end}".encode(), digest_size=32).digest()

    def happens(self, knob: str, number: int, probability: float) -> bool:
        """Whether this knob strikes at this number; always the same."""
        if not probability:
            return False
        drawn = blake2b(f"{knob}/{number}".encode(), digest_size=8, key=self._key).digest()
        return int.from_bytes(drawn, "big") / _SCALE < probability
