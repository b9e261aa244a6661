"""Every message between nodes, with each of its fields at its ends and past them.

Theory of operation: the messages and the bounds of their fields are read off the types of
``kms.domain.wire``, so a message or a field that is added later is tried without anybody's thinking
of it. A *base* is one right message of each kind, of values that mean something at the victim; from
it one field at a time goes to each of its extremes. Past its bounds a field can only be written
raw, as the array that MessagePack makes of a message.
"""

from collections.abc import Iterator
from random import Random
from typing import Any, get_args
from uuid import UUID

import msgspec
from msgspec.inspect import (
    BoolType,
    ByteArrayType,
    BytesType,
    IntType,
    ListType,
    StrType,
    StructType,
    Type,
    type_info,
)

from kms.domain import limits, wire
from tests.siege import Siege

MESSAGES: tuple[type[msgspec.Struct], ...] = get_args(wire.Message)
OPENINGS: tuple[type[msgspec.Struct], ...] = get_args(wire.Opening)
# Beyond what an int on the wire can be.
_INT_MAX = 2**62
# More, and hardly a message would read; less, and hardly a bound would be tried.
_EXTREME_SHARE = 0.05
Raw = list[Any]
"""A message as its array: tag, then the fields."""


def raws(
    kind: type[msgspec.Struct], siege: Siege, right: msgspec.Struct | None = None
) -> Iterator[tuple[str, Raw]]:
    """The base, then each field at each extreme and at each value that is known at the victim;
    each with its name. ``right``: the base, if not one of the first known values."""
    info = _struct(type_info(kind))
    known = known_values(siege)
    base: Raw = [info.tag, *(_plain(field.type, field.encode_name, known) for field in info.fields)]
    if right is not None:
        base = msgspec.msgpack.decode(msgspec.msgpack.encode(right))
    yield f"{kind.__name__} base", base
    for place, field in enumerate(info.fields, 1):
        values = [*known.get(field.encode_name, ()), *_extremes(field.type, known)]
        for number, value in enumerate(values):
            yield (
                f"{kind.__name__} {field.encode_name} {number}",
                [*base[:place], value, *base[place + 1 :]],
            )
    yield f"{kind.__name__} a field short", base[:-1]
    yield f"{kind.__name__} a field more", [*base, 0]


def drawn(kind: type[msgspec.Struct], siege: Siege, random: Random) -> Raw:
    """A message whose fields mostly mean something at the victim, though not together."""
    known = known_values(siege)
    info = _struct(type_info(kind))
    return [info.tag, *(_drawn(each.type, each.encode_name, known, random) for each in info.fields)]


def _drawn(kind: Type, name: str, known: dict[str, list[Any]], random: Random) -> Any:
    if random.random() < _EXTREME_SHARE:
        return random.choice([*_extremes(kind, known)])
    if known.get(name):
        return random.choice(known[name])
    match kind:
        case BoolType():
            return random.random() < 0.5
        case ListType():
            count = random.choice((kind.min_length or 0, 1, 1, 2, 5))
            return [_drawn(kind.item_type, "", known, random) for _ in range(count)]
        case StructType():
            return [_drawn(each.type, each.encode_name, known, random) for each in kind.fields]
    return _plain(kind, name, known)


def packed(*messages: Raw) -> bytes:
    """The secret part of a frame with these."""
    return msgspec.msgpack.encode(list(messages))


def reads(raw: Raw) -> bool:
    """Whether this is a message within its bounds."""
    try:
        msgspec.msgpack.decode(packed(raw), type=list[wire.Message])
    except msgspec.DecodeError:
        return False
    return True


def known_values(siege: Siege) -> dict[str, list[Any]]:
    """By a field's name, what means something at the victim."""
    memory, agreement = siege.link.memory, siege.link.agreement
    streams = siege.node.streams._register
    other = siege.node.links[siege.far].memory
    nexts = {n for s in streams.streams.values() for n in _around(s.record.next_index)}
    seqs = [0, *_around(memory.log_count), *_around(agreement.log.settled)]
    ends = [*_around(memory.writer.extents.end), *_around(memory.reader.extents.end)]
    grants = [*_around(memory.writer.granted), *_around(memory.reader.granted)]
    ksids = [ksid.bytes for ksid in [*streams.streams, *streams.tombstones]]
    blocks = [each.bytes for each in [*agreement.held, *agreement._offered, *agreement.log._known]]
    epochs = _around(memory.epoch)
    return {
        "ksid": ksids,
        "block_id": blocks,
        "granted": grants,
        "recorded": grants,
        "mark": [*_around(memory.writer.mark), *_around(memory.reader.mark)],
        "end": ends,
        "start": [*ends, *grants],
        "seq": seqs,
        "count": [*seqs, *sorted(nexts)],
        "log_count": seqs,
        "log_hash": [memory.log_hash, other.log_hash],
        "missing": [[seq] for seq in seqs],
        "block_ids": [[block] for block in blocks] + [blocks],
        "next_index": sorted(nexts),
        "first": sorted(nexts),
        "last": [*sorted(nexts), 2**32 - 1],
        "wanted": [1, 100],
        "chunk_bytes": [32, 31, 1],
        "length": [4096, 16384, 32],
        "name": [
            *(each.bytes for each in streams.bundles.by_name),
            UUID(int=0x4000 << 64 | 0x8000 << 48).bytes,
            *ksids,
        ],
        "master": ["sae:ben", "sae:ann", "sae:cat", "no name"],
        "slaves": [["sae:ann"], ["sae:ben"], ["sae:cat", "sae:nobody"], ["sae:ann", "sae:ann"]],
        "key_bytes": [32, 31, 1],
        "keys": [bytes(32), bytes(64), bytes(31)],
        "local": ["sae:ann", "sae:ben", "sae:cat", "sae:nobody", "no name"],
        "remote": ["sae:ben", "sae:ann", "sae:cat"],
        "qos": [
            [32, 0, 0, 0, 0, 5000, 60],
            [32, 0, 0, 0, 0, limits.KEYS_TIMEOUT_MS, limits.KEYS_TTL_S],
            [0] * 7,
            [32, 0, 2**32 - 1, 0, 0, 5000, 60],
        ],
        "status": list(range(9)),
        "epoch": [*epochs, memory.epoch + 1024, memory.epoch + 1025],
        "boot": [0, 1, 2],
        "seen_boot": [0, 1, 2],
        "node": [memory.peer, memory.node, other.peer],
        "link": [memory.link, other.link],
        "secret_id": [memory.secret_id, other.secret_id],
        "protocols": [list(wire.PROTOCOLS), ["kms/0"]],
        "protocol": list(wire.PROTOCOLS),
        "kind": ["", "qber"],
        "alarm": ["", "mismatch"],
        "reason": ["because"],
    }


def _around(value: int) -> list[int]:
    return [each for each in (value - 1, value, value + 1) if each >= 0]


def _plain(kind: Type, name: str, known: dict[str, list[Any]]) -> Any:
    """A value within the bounds: a known one, if there is one."""
    if known.get(name):
        return known[name][0]
    match kind:
        case IntType():
            return kind.ge or 0
        case BytesType() | ByteArrayType():
            return bytes(kind.min_length or 0)
        case StrType():
            return "x" * (kind.min_length or 0)
        case BoolType():
            return False
        case ListType():
            return [
                _plain(kind.item_type, name, known) for _ in range(max(1, kind.min_length or 0))
            ]
        case StructType():
            return [_plain(each.type, each.encode_name, known) for each in kind.fields]
    raise AssertionError(f"{name} has a type whose extremes are not known here: {kind}")


def _extremes(kind: Type, known: dict[str, list[Any]]) -> Iterator[Any]:
    """The ends of a type's values, the first ones past them, and what is of another type."""
    yield from (None, -1, 2**64 - 1, 1.5, "x", b"\xff", [], {}, True)
    match kind:
        case IntType():
            top = kind.lt or _INT_MAX
            yield from (kind.ge or 0, top - 1, top, 2**32 - 1, 2**32, 2**53, -(2**63))
        case BytesType() | ByteArrayType() | StrType():
            unit: Any = "\0" if isinstance(kind, StrType) else b"\0"
            shortest, longest = kind.min_length or 0, kind.max_length or 0
            for length in {0, max(0, shortest - 1), shortest, longest, longest + 1, 60_000}:
                yield unit * length
            if isinstance(kind, StrType):
                yield "\u2028" * min(longest, 50)
        case ListType():
            longest = kind.max_length or 0
            one = _plain(kind.item_type, "", known)
            for length in (1, longest, longest + 1):
                yield [one] * length
            for value in _extremes(kind.item_type, known):
                yield [value]
        case StructType():
            base = [_plain(each.type, each.encode_name, known) for each in kind.fields]
            for place, field in enumerate(kind.fields):
                for value in [*known.get(field.encode_name, ()), *_extremes(field.type, known)]:
                    yield [*base[:place], value, *base[place + 1 :]]


def _struct(info: Type) -> StructType:
    assert isinstance(info, StructType), "messages are structs"
    return info
