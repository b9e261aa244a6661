"""Records as rows: one table per record class, one column per field.

Columns hold what SQLite can: enums by value, UUIDs as text, tuples and QoS as JSON text. Reading is
strict (cattrs with hooks that never convert), so a row that was tampered with is a ``StoreFault``
that names table and key, never a record that nearly fits.
"""

import json
import math
import re
import types
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, NewType, TypeVar, Union, get_args, get_origin
from uuid import UUID

import attrs
import cattrs

from kms.domain.errors import StoreFault
from kms.domain.records import RECORDS, Record

Value = int | float | str | bytes | None
R = TypeVar("R")

_CONVERTER = cattrs.Converter(forbid_extra_keys=True)


def _exactly(kind: type) -> Callable[[object, Any], object]:
    def structure(value: object, _: Any) -> object:
        if type(value) is not kind:
            raise ValueError(f"{type(value).__name__}, not {kind.__name__}")
        return value

    return structure


def _uuid(value: object, _: Any) -> UUID:
    uuid = UUID(value) if isinstance(value, str) else None
    if uuid is None or str(uuid) != value:
        raise ValueError("no UUID")
    return uuid


def _flag(value: object, _: Any) -> bool:
    if value is not True and value is not False:
        raise ValueError("no truth value")
    return value


for _kind in (int, float, str, bytes):
    _CONVERTER.register_structure_hook(_kind, _exactly(_kind))
_CONVERTER.register_structure_hook(bool, _flag)
_CONVERTER.register_structure_hook(UUID, _uuid)
_CONVERTER.register_unstructure_hook(UUID, str)


@attrs.frozen
class _Column:
    name: str
    sql: type
    """the type that sqlite-utils makes a column of"""
    required: bool
    write: Callable[[Any], Value]
    read: Callable[[Any], Any]
    """from the column's value to what cattrs structures; raises ``ValueError``"""


def _plain(kind: Any) -> tuple[Any, bool]:
    """The type under a NewType and an optional; whether None is refused."""
    while isinstance(kind, NewType):
        kind = kind.__supertype__
    if get_origin(kind) in (types.UnionType, Union):
        inner = [each for each in get_args(kind) if each is not type(None)]
        assert len(inner) == 1, "a column has one type"
        return _plain(inner[0])[0], False
    return kind, True


def _same(value: Any) -> Any:
    return value


def _float(value: float) -> Value:
    """As SQLite gives it back: never -0.0, never an int, and no number is NULL."""
    return None if math.isnan(value) else value + 0.0


def _boolean(value: object) -> bool:
    if value not in (0, 1) or type(value) is not int:
        raise ValueError("neither 0 nor 1")
    return bool(value)


def _dump(value: Any) -> str:
    return json.dumps(_CONVERTER.unstructure(value), separators=(",", ":"), allow_nan=False)


def _column(field: "attrs.Attribute[Any]") -> _Column:
    kind, required = _plain(field.type)
    if kind is bool:
        parts: tuple[type, Callable[..., Value], Callable[..., Any]] = (int, int, _boolean)
    elif kind is float:
        parts = (float, _float, _same)
    elif kind in (int, str, bytes):
        parts = (kind, _same, _same)
    elif kind is UUID:
        parts = (str, str, _same)
    elif isinstance(kind, type) and issubclass(kind, Enum):
        parts = (str, lambda value: value.value, _same)
    else:  # tuples and attrs classes
        parts = (str, _dump, json.loads)
    return _Column(field.name, parts[0], required, parts[1], parts[2])


class Table:
    """How one record class is kept."""

    def __init__(self, record: type[Record]) -> None:
        attrs.resolve_types(record)
        self.record = record
        self.name = table_name(record)
        self.key = record.KEY
        self.columns = tuple(_column(field) for field in attrs.fields(record))
        names_in_order = [column.name for column in self.columns]
        self._key_places = tuple(names_in_order.index(name) for name in self.key)
        self._by_name = {column.name: column for column in self.columns}
        names = ", ".join(f'"{column.name}"' for column in self.columns)
        marks = ", ".join("?" for _ in self.columns)
        where = " AND ".join(f'"{name}" = ?' for name in self.key)
        self.select = f'SELECT {names} FROM "{self.name}" ORDER BY rowid'
        self.save = f'INSERT OR REPLACE INTO "{self.name}" ({names}) VALUES ({marks})'
        self.forget = f'DELETE FROM "{self.name}" WHERE {where}'

    def row(self, record: Record) -> tuple[Value, ...]:
        """The record's values, one per column."""
        return tuple(self._write(column, record) for column in self.columns)

    def key_of(self, record: Record) -> tuple[Value, ...]:
        """The values of the primary key."""
        return tuple(self._write(self._by_name[name], record) for name in self.key)

    def key_in(self, row: tuple[Value, ...]) -> tuple[Value, ...]:
        """The values of the primary key, out of a row."""
        return tuple(row[place] for place in self._key_places)

    @staticmethod
    def _write(column: _Column, record: Record) -> Value:
        value = getattr(record, column.name)
        return None if value is None else column.write(value)

    def structure(self, row: tuple[Value, ...]) -> Record:
        """The record, or ``StoreFault`` that names the table and the key."""
        values = dict(zip((column.name for column in self.columns), row, strict=True))
        try:
            raw: Mapping[str, Any] = {
                column.name: None if (value := values[column.name]) is None else column.read(value)
                for column in self.columns
            }
            record: Record = _CONVERTER.structure(raw, self.record)
        except (ValueError, TypeError, RecursionError, cattrs.BaseValidationError):
            key = ", ".join(f"{name}={str(values[name])[:80]!r}" for name in self.key)
            raise StoreFault(
                f"the row {key} of table {self.name} is no {self.record.__name__}",
                hint="the database was altered or damaged: restore it from a backup",
            ) from None
        return record


def table_name(record: type[Record]) -> str:
    """``KeyRunRecord`` is kept in ``key_run``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", record.__name__.removesuffix("Record")).lower()


TABLES: dict[type[Record], Table] = {record: Table(record) for record in RECORDS}
