"""One number over all records, so that an altered, lost or outdated row is found when they load.

SQLite finds a page that makes no sense; it does not find a bit that flipped within a value, nor
pages of different ages (a write-ahead log that rots after some of its pages were moved leaves
such). So each row has a digest, and the ``store`` table holds the sum of all of them. A commit
changes it by what the commit changes, within its transaction.

It is no seal: whoever can write the database can write the sum. It is there for disks, not thieves.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final

from kms.adapters.store_sqlite.rows import TABLES, Table, Value

FACT: Final = "sum"
_DIGEST_BYTES: Final = 16
_MODULUS: Final = 2 ** (8 * _DIGEST_BYTES)
_SAVES: Final = {table.save: table for table in TABLES.values()}
_FORGETS: Final = {table.forget: table for table in TABLES.values()}

Place = tuple[str, tuple[Value, ...]]
"""a table and the values of a primary key in it"""


class Sum:
    """The digests of all rows, and their sum."""

    def __init__(self) -> None:
        """Of no rows."""
        self._digests: dict[Place, int] = {}
        self._value = 0

    def text(self, changed: Mapping[Place, int] | None = None) -> str:
        """As the database keeps it; with these changes."""
        return f"{self._with(changed or {}):0{2 * _DIGEST_BYTES}x}"

    def changes(
        self, statements: Iterable[tuple[str, list[tuple[Value, ...]]]]
    ) -> dict[Place, int]:
        """What the statements, in their order, make of which rows; 0: gone. Nothing is changed."""
        changed: dict[Place, int] = {}
        for sql, rows in statements:
            if (table := _SAVES.get(sql)) is not None:
                for row in rows:
                    changed[table.name, table.key_in(row)] = _digest(table, row)
            elif (table := _FORGETS.get(sql)) is not None:
                changed.update({(table.name, key): 0 for key in rows})
        return changed

    def _with(self, changed: Mapping[Place, int]) -> int:
        value = self._value
        for place, digest in changed.items():
            value += digest - self._digests.get(place, 0)
        return value % _MODULUS

    def apply(self, changed: Mapping[Place, int]) -> None:
        """The changes are durable."""
        self._value = self._with(changed)
        for place, digest in changed.items():
            if digest:
                self._digests[place] = digest
            else:
                self._digests.pop(place, None)

    def add(self, table: Table, rows: Iterable[tuple[Value, ...]]) -> None:
        """The rows are there, as the database gives them."""
        self.apply({(table.name, table.key_in(row)): _digest(table, row) for row in rows})


def _digest(table: Table, row: tuple[Value, ...]) -> int:
    text = repr((table.name, *row)).encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=_DIGEST_BYTES).digest(), "big") or 1
