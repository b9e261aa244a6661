"""Plaintext of chunks that were just designated, kept for the applications that will ask for them.

Bounded in bytes; the least recently used go first, wiped. What a commit wipes is wiped here before
the commit returns. Owned by the event loop's thread.
"""

from collections import OrderedDict

import attrs

from kms.adapters.store_sqlite import spans
from kms.adapters.store_sqlite.engine import Opened
from kms.adapters.store_sqlite.limits import FRESH_BYTES_MAX
from kms.domain.names import MaterialId
from kms.domain.secret import Secret, zero


class Fresh:
    """Opened units, by material and number."""

    def __init__(self, bytes_max: int = FRESH_BYTES_MAX) -> None:
        self.bytes = self.hits = self.misses = 0
        self._bytes_max = bytes_max
        self._units: OrderedDict[tuple[MaterialId, int], Opened] = OrderedDict()
        self._unit_bytes: dict[MaterialId, tuple[int, int]] = {}
        """(unit length, units kept)"""

    def put(self, material: MaterialId, unit_bytes: int, unit: Opened) -> None:
        """The unit is kept, ours to wipe, and others make room for it."""
        self._drop((material, unit.number))
        if len(unit.bits) > self._bytes_max:
            zero(unit.bits)
            return
        self._units[material, unit.number] = unit
        self.bytes += len(unit.bits)
        self._unit_bytes[material] = unit_bytes, self._unit_bytes.get(material, (0, 0))[1] + 1
        while self.bytes > self._bytes_max:
            self._drop(next(iter(self._units)))

    def read(self, material: MaterialId, offset: int, length: int) -> Secret | None:
        """The bytes; None if one of them is not kept."""
        found: list[memoryview] = []
        if offset >= 0 and length > 0 and material in self._unit_bytes:
            unit_bytes = self._unit_bytes[material][0]
            for number in range(offset // unit_bytes, -(-(offset + length) // unit_bytes)):
                unit = self._units.get((material, number))
                start = max(number * unit_bytes, offset)
                end = min((number + 1) * unit_bytes, offset + length)
                if unit is None or not spans.covers(unit.left, start, end):
                    found = []
                    break
                self._units.move_to_end((material, number))
                found.append(unit.part(start, end))
        if not found:
            self.misses += 1
            return None
        self.hits += 1
        bits = bytearray(length)
        at = 0
        for part in found:
            bits[at : at + len(part)] = part
            at += len(part)
        return Secret.adopt(bits)

    def wipe(self, material: MaterialId, offset: int, length: int) -> None:
        """Nothing is kept of these bytes."""
        if length <= 0 or material not in self._unit_bytes:
            return
        unit_bytes = self._unit_bytes[material][0]
        first, last = offset // unit_bytes, -(-(offset + length) // unit_bytes)
        if last - first > len(self._units):  # A range is as long as its caller says.
            numbers = [number for name, number in self._units if name == material]
        else:
            numbers = list(range(first, last))
        for key in [(material, number) for number in numbers]:
            if (unit := self._units.get(key)) is not None:
                self._cut(key, unit, offset, offset + length)

    def _cut(self, key: tuple[MaterialId, int], unit: Opened, start: int, end: int) -> None:
        left = spans.subtract(unit.left, start, end)
        if not left:
            self._drop(key)
            return
        begin, stop = max(start, unit.base), min(end, unit.base + len(unit.bits))
        if begin < stop:
            zero(unit.part(begin, stop))
        self._units[key] = attrs.evolve(unit, left=left)

    def _drop(self, key: tuple[MaterialId, int]) -> None:
        unit = self._units.pop(key, None)
        if unit is None:
            return
        zero(unit.bits)
        self.bytes -= len(unit.bits)
        unit_bytes, count = self._unit_bytes[key[0]]
        if count == 1:
            del self._unit_bytes[key[0]]
        else:
            self._unit_bytes[key[0]] = unit_bytes, count - 1

    def pour(self, other: "Fresh") -> None:
        """What was kept here is kept there, and nothing here."""
        while self._units:
            (material, _), unit = self._units.popitem(last=False)
            other.put(material, self._unit_bytes[material][0], unit)
        self._unit_bytes.clear()
        self.bytes = 0

    def clear(self) -> None:
        """Nothing is kept."""
        while self._units:
            self._drop(next(iter(self._units)))
