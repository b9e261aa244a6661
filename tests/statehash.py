"""One hash of all that a node is, so that a test can say: this changed nothing (I9).

Rules: the whole object graph behind a ``Node`` is walked, whatever its classes are, so that state
that is added later is in the hash without anybody's thinking of it. What is left out is named here,
in three lists: counters (I9 leaves them free), what passes, and what belongs to one
connection (a neighbour that breaks the protocol loses that, and nothing else).
"""

import hashlib
from collections import deque
from collections.abc import Iterator, Mapping
from enum import Enum
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Final
from uuid import UUID

import numpy as np

from kms.domain.node import Node
from kms.domain.secret import Secret

COUNTERS: Final = frozenset(
    {
        "Link.forgeries",
        "Link._forged",
        "Outgoing.frames",
        "Outgoing.own_bytes",
        "BlockIntake.refused",
        "Agreement.mismatches",
        "Agreement.expired",
        "Agreement.duplicates",
        "AgreedLog.burnt_bytes",
        "AgreedLog.agreed_blocks",
        "AgreedLog.agreed_bytes",
        "Window.burnt_bytes",
        "Stream.delivered",
        "ServiceMeter._errors",
    }
)
"""Figures that nothing is decided by."""

PASSING: Final = frozenset(
    {
        "Register.now",
        "Node._ticked_ms",
        "Link.stirred",
        "Upkeep.due_ms",
        "Window._run",
        "Policy._found",
    }
)
"""The moment of the last event, whatever that was; what the end of a batch looks at again; and what
is counted, or looked up, again when it is asked."""

SESSION: Final = frozenset(
    {
        "Greeting.phase",
        "Greeting.session",
        "Greeting.refused",
        "Greeting._outcome",
        "Greeting._greeted_ms",
        "Outgoing._grants",
        "Outgoing._agreement",
        "Outgoing._streams",
        "Link._wanted",
        "Upkeep._mute_since_ms",
        "LinkGuard._said",
        "Speech.sessions",
        "Speech._unsaid",
        "Stream.said",
        "Stream.synced",
    }
)
"""What ends with a connection, and is said or counted anew in the next."""

_WORDS: Final = (str, int, float, bool, bytes, type(None), UUID)
_CODE: Final = (FunctionType, MethodType, BuiltinFunctionType, type)


def state_hash(node: Node, *, without: frozenset[str] = frozenset()) -> str:
    """Equal for two nodes that differ in counters only, and in what ``without`` names."""
    total = hashlib.sha256()
    for path, leaf in _leaves(node, without):
        total.update(f"{path}={leaf}\n".encode())
    return total.hexdigest()


def state(node: Node, *, without: frozenset[str] = frozenset()) -> dict[str, str]:
    """What the hash is of, by path; secrets by their digests."""
    return dict(_leaves(node, without))


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """The paths at which two states differ, each with both values."""
    return [
        f"{path}: {before.get(path, 'absent')} -> {after.get(path, 'absent')}"
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path)
    ]


def _leaves(node: Node, without: frozenset[str]) -> Iterator[tuple[str, str]]:
    return _Walk(COUNTERS | PASSING | without).walk("node", node)


class _Walk:
    def __init__(self, left_out: frozenset[str]) -> None:
        self._left_out = left_out
        self._seen: dict[int, str] = {}
        self._attributes: dict[type, list[str]] = {}
        self._kept: list[object] = []

    def walk(self, path: str, value: object) -> Iterator[tuple[str, str]]:
        if isinstance(value, Enum):
            yield path, value.name
        elif isinstance(value, _WORDS):
            yield path, repr(value)
        elif isinstance(value, Secret):
            yield path, hashlib.sha256(value.expose()).hexdigest()
        elif isinstance(value, bytearray | memoryview):
            yield path, hashlib.sha256(value).hexdigest()
        elif isinstance(value, np.ndarray):
            yield path, hashlib.sha256(value.tobytes()).hexdigest()
        elif isinstance(value, _CODE):
            yield path, value.__qualname__
        elif id(value) in self._seen:
            yield path, f"is {self._seen[id(value)]}"
        else:
            self._seen[id(value)] = path
            # An object made on the way must not die, or another would get its id.
            self._kept.append(value)
            yield from self._inside(path, value)

    def _inside(self, path: str, value: object) -> Iterator[tuple[str, str]]:
        if isinstance(value, Mapping):
            # Order is state: who is first is served first.
            yield path, f"{len(value)} entries"
            for number, (key, each) in enumerate(value.items()):
                at, name = f"{path}[{number}]", _name(key)
                if type(key).__repr__ is object.__repr__:
                    # Its name would be an address.
                    yield from self.walk(at, key)
                    name = f"value {number}"
                else:
                    yield at, name
                yield from self.walk(f"{path}[{name}]", each)
        elif isinstance(value, list | tuple | deque):
            yield path, f"{len(value)} items"
            for number, each in enumerate(value):
                yield from self.walk(f"{path}[{number}]", each)
        elif isinstance(value, set | frozenset):
            yield path, repr(sorted(map(_name, value)))
        else:
            name = type(value).__name__
            attributes = self._names(value)
            assert attributes, f"{name} at {path} has nothing that could be hashed"
            for attribute in attributes:
                if hasattr(value, attribute):
                    yield from self.walk(f"{path}.{attribute}", getattr(value, attribute))

    def _names(self, value: object) -> list[str]:
        """Attributes that are not left out: under the name of the class that one sees, or of one it
        is made from."""
        kind = type(value)
        if kind not in self._attributes:
            slots = [
                name
                for base in kind.__mro__
                for name in _slots(base)
                if name not in ("__weakref__", "__dict__")
            ]
            self._attributes[kind] = slots
        names = [*self._attributes[kind], *getattr(value, "__dict__", ())]
        return [
            name
            for name in names
            if not any(f"{base.__name__}.{name}" in self._left_out for base in kind.__mro__)
        ]


def _slots(base: type) -> tuple[str, ...]:
    slots = base.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _name(key: object) -> str:
    return key.name if isinstance(key, Enum) else str(key)
