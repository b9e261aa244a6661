"""Key bits in memory: never printed, wiped by their owner.

Rules: key material is a ``Secret`` from the socket it came in by to the one it leaves by; whoever
holds the last reference calls ``wipe``. What Python cannot keep is in docs/limits-of-python.md.
"""

from collections.abc import Sequence
from typing import Final, Self

import numpy as np
from nacl.bindings import sodium_memcmp

# Below this a slice of zeros is quicker; above, making one costs far more than writing it.
_SMALL_BYTES: Final = 4096


def zero(bits: bytearray | memoryview) -> None:
    """Every byte is zero, in place; the length stays."""
    if len(bits) <= _SMALL_BYTES:
        bits[:] = bytes(len(bits))
    else:
        np.frombuffer(bits, np.uint8).fill(0)


class Secret:
    """A fixed run of key bits in a buffer of its own."""

    __slots__ = ("_bits",)

    def __init__(self, bits: bytes | bytearray | memoryview) -> None:
        """Copies ``bits``; the caller still owns, and wipes, what it passed."""
        self._bits = bytearray(bits)

    @classmethod
    def adopt(cls, bits: bytearray) -> Self:
        """The secret over this very buffer, without a copy; the caller forgets the buffer."""
        secret = cls.__new__(cls)
        secret._bits = bits
        return secret

    @classmethod
    def joined(cls, parts: Sequence["Secret"]) -> Self:
        """All parts in one buffer, one behind the other; the parts are wiped."""
        bits = bytearray(sum(map(len, parts)))
        at = 0
        for each in parts:
            bits[at : at + len(each)] = each._bits
            at += len(each)
            each.wipe()
        return cls.adopt(bits)

    def __len__(self) -> int:
        return len(self._bits)

    def expose(self) -> memoryview:
        """A read-only view of the bits. Keep it no longer than the statement needs."""
        return memoryview(self._bits).toreadonly()

    def part(self, start: int, length: int) -> "Secret":
        """A copy of ``length`` bytes from ``start``; both must lie inside."""
        assert start >= 0 and length >= 0 and start + length <= len(self._bits), "outside"
        return Secret(memoryview(self._bits)[start : start + length])

    def wipe(self) -> None:
        """The bits are zero; the length stays."""
        zero(self._bits)

    def __eq__(self, other: object) -> bool:
        """Equal bits, compared in constant time."""
        if not isinstance(other, Secret):
            return NotImplemented
        return len(self) == len(other) and sodium_memcmp(bytes(self._bits), bytes(other._bits))

    __hash__ = None  # type: ignore[assignment]  # a secret is no dictionary key

    def __repr__(self) -> str:
        return f"Secret({len(self._bits)} B)"

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not pickled")
