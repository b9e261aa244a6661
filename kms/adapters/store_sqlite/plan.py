"""What one commit changes, worked out before anything is written.

Theory of operation. Writes are taken in order. Records become statements. Stored and wiped
material becomes *drafts*, one per unit that will differ: how many of its bytes are left, and where
its plaintext is (in the call, or sealed in the unit that it replaces). However often a commit
touches a unit, it is sealed once.
"""

from collections.abc import Iterable

import attrs

from kms.adapters.store_sqlite import spans
from kms.adapters.store_sqlite.catalogue import Catalogue, Material
from kms.adapters.store_sqlite.limits import UNIT_BYTES_MAX
from kms.adapters.store_sqlite.rows import TABLES, Value
from kms.adapters.store_sqlite.spans import Spans
from kms.adapters.store_sqlite.unit import Unit, context, cut, seal
from kms.domain.effects import Forget, Save, WipeMaterial
from kms.domain.errors import StoreFault
from kms.domain.names import MaterialId
from kms.domain.records import Record
from kms.ports.entropy import Entropy
from kms.ports.sealer import Sealer


@attrs.frozen(kw_only=True)
class Store:
    """``StoreMaterial`` with the bits already copied, unit by unit: its caller may be cancelled,
    and wipe its own, while the transaction goes on."""

    material: MaterialId
    unit_bytes: int
    units: tuple[bytes, ...] = attrs.field(repr=False)


Change = Save | Forget | WipeMaterial | Store


@attrs.define(kw_only=True)
class Draft:
    """A unit as it will be."""

    material: Material
    number: int
    left: Spans
    """empty: gone"""
    plain: bytes | None = attrs.field(default=None, repr=False)
    """the whole unit's bytes; None: sealed in ``old``"""
    old: Unit | None = None


@attrs.define(kw_only=True)
class Plan:
    """One transaction."""

    statements: list[tuple[str, list[tuple[Value, ...]]]] = attrs.Factory(list)
    added: dict[MaterialId, Material] = attrs.Factory(dict)
    drafts: dict[tuple[MaterialId, int], Draft] = attrs.Factory(dict)

    def execute(self, sql: str, values: tuple[Value, ...]) -> None:
        """After the statements so far; neighbours of one kind go in one call."""
        if self.statements and self.statements[-1][0] == sql:
            self.statements[-1][1].append(values)
        else:
            self.statements.append((sql, [values]))


def plan(catalogue: Catalogue, changes: Iterable[Change]) -> Plan:
    """The transaction that makes ``changes``; nothing is changed yet."""
    made = Plan()
    records: dict[tuple[object, ...], Save | Forget] = {}
    for change in changes:
        if isinstance(change, Save | Forget):
            # What a batch says of a record again and again, it means once, at its last place.
            key = _key(change.record)
            records.pop(key, None)
            records[key] = change
        elif isinstance(change, Store):
            _store(made, catalogue, change)
        else:
            _wipe(made, catalogue, change)
    for each in records.values():
        table = TABLES[type(each.record)]
        if isinstance(each, Save):
            made.execute(table.save, table.row(each.record))
        else:
            made.execute(table.forget, table.key_of(each.record))
    return made


def _key(record: Record) -> tuple[object, ...]:
    return type(record), *(getattr(record, name) for name in record.KEY)


def _store(made: Plan, catalogue: Catalogue, change: Store) -> None:
    name = change.material
    if name in catalogue.materials or name in made.added:
        raise StoreFault(
            f"material {name} is there already",
            hint="this is a mistake of the program: please report it",
        )
    material = Material(
        row=catalogue.next_row + len(made.added),
        name=name,
        length=sum(len(unit) for unit in change.units),
        unit_bytes=change.unit_bytes,
    )
    made.added[name] = material
    for number, plain in enumerate(change.units):
        left = (material.whole(number),)
        made.drafts[name, number] = Draft(material=material, number=number, left=left, plain=plain)


def _wipe(made: Plan, catalogue: Catalogue, change: WipeMaterial) -> None:
    name, end = change.material, change.offset + change.length
    material = made.added.get(name) or catalogue.materials.get(name)
    if material is None:
        return
    for number in material.numbers(change.offset, change.length):
        draft = made.drafts.get((name, number))
        if draft is None:
            old = material.units.get(number)
            if old is None:
                continue
            draft = Draft(material=material, number=number, left=old.spans, old=old)
        left = spans.subtract(draft.left, change.offset, end)
        if left != draft.left:
            draft.left = left
            made.drafts[name, number] = draft


def split(bits: memoryview, unit_bytes: int) -> tuple[bytes, ...]:
    """A copy of the bits, unit by unit."""
    assert 0 < unit_bytes <= UNIT_BYTES_MAX and len(bits), "a material has bytes, in units"
    return tuple(bytes(bits[at : at + unit_bytes]) for at in range(0, len(bits), unit_bytes))


def sealed(
    drafts: Iterable[Draft], sealer: Sealer, entropy: Entropy
) -> tuple[list[memoryview], list[bytes]]:
    """Texts and slot images of drafts that stay; their plaintext is let go. Raises as ``seal``."""
    texts, images = [], []
    for draft in drafts:
        plain, start, end = draft.plain, draft.left[0][0], draft.left[-1][1]
        assert plain is not None, "a unit that stays has its plaintext"
        if draft.old is None:
            plain = cut(plain, draft.material.whole(draft.number)[0], draft.left)
        assert len(plain) == end - start, "a unit is sealed from its first span to its last"
        bound = context(draft.material.name, draft.number, start, end)
        text, image = seal(sealer, entropy, plain, bound)
        texts.append(text)
        images.append(image)
        draft.plain = None
    return texts, images
