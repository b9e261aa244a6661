"""Bits that say where they come from, and look like chance.

Every 16 bytes that a simulated device or operator makes are one block of AES over (source number,
place): whoever has the key of the simulation can read from any 31 bytes, wherever they turn up, of
which source they are and from which place on. So a checker finds where key came from without asking
a node, and finds key where there should be none. Nothing is kept: a history may make gigabytes.
"""

import hashlib
from struct import Struct
from typing import Final

import attrs
import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

CELL_BYTES: Final = 16
# Shorter bits hold no whole cell at some alignment: where they come from cannot be told.
LOCATABLE_BYTES_MIN: Final = 2 * CELL_BYTES - 1
# A cell's number and place are far below these; what decrypts to more is no cell (p < 2**-60).
_SOURCE_MAX: Final = 1 << 40
_PLACE_MAX: Final = 1 << 24
_CELL: Final = Struct(">QQ")
"""source, place in cells"""


@attrs.frozen
class Place:
    """Bytes ``start`` to ``start + length`` of source ``source``."""

    source: int
    start: int
    length: int


class PhysicalBits:
    """All bits of one simulation."""

    def __init__(self, seed: object) -> None:
        key = hashlib.blake2b(f"physical bits of {seed}".encode(), digest_size=16).digest()
        # ECB is right here: each cell is one value of a permutation, and must be found alone.
        self._decrypt = Cipher(algorithms.AES(key), modes.ECB()).decryptor().update
        # Cells that follow each other are blocks of a counter.
        self._cells = Cipher(algorithms.AES(key), modes.CTR(bytes(CELL_BYTES))).encryptor()

    def make(self, source: int, length: int, start: int = 0) -> bytes:
        """The bits of this source from ``start`` on."""
        assert 0 <= source < _SOURCE_MAX, "a source number is small"
        first, skip = divmod(start, CELL_BYTES)
        self._cells.reset_nonce(_CELL.pack(source, first))
        return self._cells.update(bytes(skip + length))[skip:]

    def locate(self, raw: bytes) -> list[Place] | None:
        """Where these bits come from, one place after the other; None when that is nowhere.

        Parts of fewer than 31 bytes at a seam between two sources are not named.
        """
        places: list[Place] = []
        done = 0
        while len(raw) - done >= LOCATABLE_BYTES_MIN:
            found = self._first_cell(raw, done)
            if found is None:
                break
            at, source, place = found
            back = min(at - done, place)
            start, at = place - back, at - back
            expected = self.make(source, len(raw) - at, start)
            length = _common(expected, raw[at:])
            places.append(Place(source, start, length))
            done = at + length
        return places or None

    def anywhere(self, data: bytes) -> Place | None:
        """One cell of any source in these bytes, at any alignment; None when there is none."""
        found = self._scan(data)
        return Place(found[1], found[2], CELL_BYTES) if found else None

    def _first_cell(self, raw: bytes, done: int) -> tuple[int, int, int] | None:
        found = self._scan(raw[done : done + LOCATABLE_BYTES_MIN]) or self._scan(raw[done:])
        return (done + found[0], *found[1:]) if found else None

    def _scan(self, data: bytes) -> tuple[int, int, int] | None:
        """(index in ``data``, source, first byte) of the first whole cell."""
        windows = len(data) - CELL_BYTES + 1
        if windows <= 0:
            return None
        # One window at each byte: an array whose rows overlap.
        shape, strides = (windows, CELL_BYTES), (1, 1)
        rows = np.ndarray(shape, np.uint8, buffer=data, strides=strides).tobytes()
        plain = self._decrypt(rows)
        # A place is small: the first of its bytes is 0 in each cell, and in few other windows.
        tops = plain[_CELL.size // 2 :: CELL_BYTES]
        at = tops.find(0)
        while at >= 0:
            source, place = _CELL.unpack_from(plain, at * CELL_BYTES)
            if source < _SOURCE_MAX and place < _PLACE_MAX:
                return at, source, place * CELL_BYTES
            at = tops.find(0, at + 1)
        return None


def _common(one: bytes, other: bytes) -> int:
    """How many bytes both have in common from the first on."""
    if one == other:
        return len(one)
    length = min(len(one), len(other))
    differ = np.frombuffer(one, np.uint8, length) != np.frombuffer(other, np.uint8, length)
    return int(np.argmax(differ)) if differ.any() else length
