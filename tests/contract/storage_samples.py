"""Records and material for the storage tests: made from the record classes, whatever their fields.

``samples`` gives every class twice, once with each optional field set and once without.
"""

import random
import types
from enum import Enum
from typing import Any, NewType, TypeVar, Union, get_args, get_origin
from uuid import UUID

import attrs

from kms.domain.effects import StoreMaterial, Stretch, WipeMaterial
from kms.domain.names import MaterialId
from kms.domain.records import RECORDS, Record
from kms.domain.secret import Secret
from kms.domain.status import QoS

R = TypeVar("R", bound=Record)


def _value(kind: Any, number: int, *, full: bool) -> Any:
    while isinstance(kind, NewType):
        kind = kind.__supertype__
    if get_origin(kind) in (types.UnionType, Union):
        inner = next(each for each in get_args(kind) if each is not type(None))
        return _value(inner, number, full=full) if full else None
    if get_origin(kind) is tuple:
        return tuple(_value(get_args(kind)[0], n, full=full) for n in range(2 if full else 0))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return list(kind)[number % len(kind)]
    simple = {
        bool: full,
        int: 2**40 + number,
        float: 0.0625,
        str: f"näme {number}; DROP 'TABLE'",
        bytes: bytes([0, number % 256, 255]),
        UUID: UUID(int=number, version=4),
        QoS: QoS(key_chunk_size=32, priority=number, metadata_mimetype="application/json"),
    }
    return simple[kind]


def sample(kind: type[R], number: int, *, full: bool = True) -> R:
    """One record; its key differs for every ``number`` (but enums repeat)."""
    attrs.resolve_types(kind)
    values = {field.name: _value(field.type, number, full=full) for field in attrs.fields(kind)}
    return kind(**values)


def samples() -> list[Record]:
    """Two of each record class, in the order of ``RECORDS``."""
    return [
        sample(kind, number, full=full)
        for kind in RECORDS
        for number, full in ((1, True), (2, False))
    ]


def bits(length: int, seed: int = 0) -> bytes:
    """Key material that no two seeds share."""
    return random.Random(seed).randbytes(length)


def store(name: str, material: bytes, unit_bytes: int = 4096) -> StoreMaterial:
    return StoreMaterial(material=MaterialId(name), bits=Secret(material), unit_bytes=unit_bytes)


def wipe(name: str, offset: int, length: int) -> WipeMaterial:
    return WipeMaterial(material=MaterialId(name), offset=offset, length=length)


def stretch(name: str, offset: int, length: int) -> Stretch:
    return Stretch(index=0, count=1, material=MaterialId(name), offset=offset, length=length)
