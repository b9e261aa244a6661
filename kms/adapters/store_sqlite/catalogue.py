"""Every material that the store holds, in memory: which units, where, and which bytes are left."""

from collections.abc import Iterator

import attrs

from kms.adapters.store_sqlite import spans
from kms.adapters.store_sqlite.unit import Unit
from kms.domain.errors import StoreFault
from kms.domain.names import MaterialId


@attrs.define(kw_only=True)
class Material:
    """One name and its units. A unit that is not there was wiped or taken."""

    row: int
    name: MaterialId
    length: int
    unit_bytes: int
    units: dict[int, Unit] = attrs.Factory(dict)

    @property
    def unit_count(self) -> int:
        return -(-self.length // self.unit_bytes)

    def whole(self, number: int) -> tuple[int, int]:
        """Where the unit begins and ends while nothing of it is wiped."""
        start = number * self.unit_bytes
        return start, min(start + self.unit_bytes, self.length)

    def numbers(self, offset: int, length: int) -> range:
        """The units that the bytes lie in; those outside the material are not."""
        first, last = max(offset, 0), min(offset + length, self.length)
        return range(first // self.unit_bytes, -(-last // self.unit_bytes) if first < last else 0)


class Catalogue:
    """All materials, by name; all live slots, by number."""

    def __init__(self) -> None:
        self.materials: dict[MaterialId, Material] = {}
        self.by_slot: dict[int, tuple[Material, Unit]] = {}
        self.bytes = 0
        """bytes left in all units"""
        self.next_row = 1

    def add(self, material: Material) -> None:
        """The material is there, without units."""
        assert material.name not in self.materials, "a material's name is used once"
        self.materials[material.name] = material
        self.next_row = max(self.next_row, material.row + 1)

    def put(self, material: Material, unit: Unit) -> None:
        """The unit is there; it takes the place of the one with its number."""
        self.drop(material, unit.number)
        assert unit.slot not in self.by_slot, "a slot belongs to one unit"
        material.units[unit.number] = unit
        self.by_slot[unit.slot] = material, unit
        self.bytes += spans.size(unit.spans)

    def drop(self, material: Material, number: int) -> Unit | None:
        """The unit is not there; what it was."""
        unit = material.units.pop(number, None)
        if unit is not None:
            del self.by_slot[unit.slot]
            self.bytes -= spans.size(unit.spans)
        return unit

    def find(self, name: MaterialId, offset: int, length: int) -> tuple[Material, list[Unit]]:
        """The units that hold the bytes, every byte of which is left; else ``StoreFault``."""
        material = self.materials.get(name)
        if material is None:
            raise _gone(name)
        if offset < 0 or length <= 0 or offset + length > material.length:
            raise StoreFault(
                f"{name} has no bytes {offset} to {offset + length}",
                hint="this is a mistake of the program: please report it",
            )
        found = []
        for number in material.numbers(offset, length):
            start, end = material.whole(number)
            unit = material.units.get(number)
            wanted = max(start, offset), min(end, offset + length)
            if unit is None or not spans.covers(unit.spans, *wanted):
                raise _gone(name)
            found.append(unit)
        return material, found

    def units(self) -> Iterator[Unit]:
        for material in self.materials.values():
            yield from material.units.values()


def _gone(name: MaterialId) -> StoreFault:
    return StoreFault(f"{name} is wiped there", hint="it was used or burnt; nothing to do")
