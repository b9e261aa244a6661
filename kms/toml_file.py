"""Reads a TOML file into frozen attrs classes, and says everything that is wrong with it at once.

Rules: unknown fields are refused; nothing is coerced (``"8443"`` is not 8443, ``true`` is not 1);
every fault names its place as the operator sees it, ``[link.2] address``, tables counted from 1.

Theory of operation: ``tomllib`` parses, a cattrs converter structures with detailed validation,
and the tree of errors that this yields is flattened into places and sentences. Rules that span
fields live in the classes' own ``faults()``, which the reader calls after structuring.
"""

import math
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import attrs
from cattrs import Converter
from cattrs.cols import homogenous_tuple_structure_factory
from cattrs.errors import (
    BaseValidationError,
    ClassValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
)
from cattrs.gen import make_dict_structure_fn
from cattrs.preconf.tomllib import TomllibConverter, make_converter

from kms.domain import limits, names
from kms.domain.errors import KMSError, LocalFault
from kms.domain.names import KSID, DeviceId, NodeId, SAEId

T = TypeVar("T")


class Wrong(ValueError):
    """A value that cannot be used, and what would be."""


@attrs.frozen
class Fault:
    """One thing that is wrong in a file."""

    place: str
    """``line 3``, ``[link.2] address``, or empty for the whole file"""
    sentence: str

    def __str__(self) -> str:
        return f"{self.place}: {self.sentence}" if self.place else self.sentence


@attrs.frozen
class Address:
    """Where to listen or to dial."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


_ADDRESS = re.compile(
    r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?)):(\d{1,5})"
)


def address(text: object) -> Address:
    """``host:port`` or ``[IPv6]:port``. Raises ``Wrong``."""
    found = _ADDRESS.fullmatch(text) if isinstance(text, str) else None
    if found is None or int(found[4]) > 65535:
        raise Wrong(f"{_shown(text)} is not an address: give host:port or [IPv6]:port")
    return Address(found[1] or found[2], int(found[4]))


def converter(directory: Path) -> TomllibConverter:
    """A strict converter; paths are relative to ``directory``."""
    made = make_converter(forbid_extra_keys=True, detailed_validation=True)
    for kind, word in ((str, "a text"), (int, "a whole number"), (float, "a number")):
        made.register_structure_hook(kind, _exactly(kind, word))
    made.register_structure_hook(bool, _exactly(bool, "true or false"))
    made.register_structure_hook_factory(attrs.has, _table)
    made.register_structure_hook_factory(_is_list, _list)
    made.register_structure_hook_func(_is_choice, _choice)
    made.register_structure_hook(Address, lambda text, _: address(text))
    made.register_structure_hook(Path, lambda text, _: directory / _path(text))
    made.register_structure_hook(NodeId, lambda text, _: names.node_id(text))
    made.register_structure_hook(SAEId, lambda text, _: names.sae_id(text))
    made.register_structure_hook(KSID, lambda text, _: names.ksid(text))
    made.register_structure_hook(DeviceId, lambda text, _: DeviceId(names.node_id(text)))
    return made


def read(path: Path) -> dict[str, Any]:
    """The file's tables. Raises ``LocalFault`` that names the file, and the line."""
    try:
        with path.open("rb") as file:
            data = file.read(limits.CONFIG_FILE_BYTES_MAX + 1)
        if len(data) > limits.CONFIG_FILE_BYTES_MAX:
            raise Wrong(f"longer than {limits.CONFIG_FILE_BYTES_MAX} bytes")
        return tomllib.loads(data.decode())
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise LocalFault(f"{path}: {reason}", hint="give the path of a readable file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, Wrong, RecursionError) as error:
        sentence = str(error) or "nested too deep"
        line = re.search(r" \(at (line \d+, column \d+|end of document)\)", sentence)
        place = line[1] if line else ""
        raise refusal(path, [Fault(place, sentence.replace(line[0] if line else "", ""))]) from None


def structure(tables: dict[str, Any], kind: type[T], converter: TomllibConverter, path: Path) -> T:
    """The tables as ``kind``. Raises ``LocalFault`` with every fault of the file."""
    try:
        return converter.structure(tables, kind)
    except BaseValidationError as error:
        raise refusal(path, list(_faults(error, ()))) from None


def refusal(path: Path, faults: list[Fault]) -> LocalFault:
    """The fault to raise for a file with these faults, one to a line."""
    assert faults, "a refusal has a reason"
    reason = "\n".join(f"{path}: {fault}" for fault in faults)
    return LocalFault(reason, hint=f"correct {path}; docs/configuration.md lists every field")


def place(table: str, number: int | None = None, field: str = "") -> str:
    """The operator's words for a field: ``[link.2] address``, tables counted from 1."""
    name = f"[{table}]" if number is None else f"[{table}.{number}]"
    return f"{name} {field}".rstrip()


def _faults(error: BaseException, path: tuple[str | int, ...]) -> Iterator[Fault]:
    if isinstance(error, ClassValidationError | IterableValidationError):
        for inner, note in error.group_exceptions()[0]:
            step = note.name if hasattr(note, "name") else note.index
            yield from _faults(inner, (*path, step))
        for inner in error.group_exceptions()[1]:
            yield from _faults(inner, path)
    elif isinstance(error, ForbiddenExtraKeysError):
        known = ", ".join(sorted(field.name for field in attrs.fields(error.cl)))
        for extra in sorted(error.extra_fields):
            yield Fault(_place((*path, extra)), f"unknown; there are: {known}")
    else:
        yield Fault(_place(path), _sentence(error))


def _place(path: tuple[str | int, ...]) -> str:
    steps = [str(step + 1) if isinstance(step, int) else step for step in path]
    tables = 2 if len(path) > 1 and isinstance(path[1], int) else 1
    if len(path) > tables and isinstance(path[tables], str):
        return f"[{'.'.join(steps[:tables])}] {'.'.join(steps[tables:])}"
    return ".".join(steps)


def _sentence(error: BaseException) -> str:
    if isinstance(error, KeyError):
        return "missing"
    if isinstance(error, KMSError):
        return f"{error.reason}: {error.hint}"
    if isinstance(error, Wrong):
        return str(error)
    # What cattrs and Python say about a table where a list should be, and the like.
    return "not the right kind of value"


def _exactly(kind: type, word: str) -> Callable[[Any, Any], Any]:
    def hook(value: Any, _: Any) -> Any:
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is kind and not (isinstance(value, float) and not math.isfinite(value)):
            return value
        raise Wrong(f"{_shown(value)} is not {word}")

    return hook


def _is_choice(kind: Any) -> bool:
    origin: Any = get_origin(kind)
    return origin is Literal


def _choice(value: Any, kind: Any) -> Any:
    if not isinstance(value, str) or value not in get_args(kind):
        raise Wrong(f"{_shown(value)} is not one of {', '.join(get_args(kind))}")
    return value


def _is_list(kind: Any) -> bool:
    """Whether this is ``tuple[X, ...]``, the only kind of list in our files."""
    return get_origin(kind) is tuple and get_args(kind)[-1] is Ellipsis


def _list(kind: Any, converter: Converter) -> Callable[[Any, Any], Any]:
    """Without this a text would pass as the list of its letters, and ``[link]`` for ``[[link]]``
    as the list of its fields."""
    inner = homogenous_tuple_structure_factory(kind, converter)

    def hook(value: Any, kind: Any) -> Any:
        if isinstance(value, dict):
            raise Wrong("one table where a list of tables belongs: write [[...]]")
        if not isinstance(value, list):
            raise Wrong(f"{_shown(value)} is not a list")
        return inner(value, kind)

    return hook


def _table(kind: Any, converter: Converter) -> Callable[[Any, Any], Any]:
    inner = make_dict_structure_fn(
        kind, converter, _cattrs_forbid_extra_keys=True, _cattrs_detailed_validation=True
    )

    def hook(value: Any, kind: Any) -> Any:
        if isinstance(value, list):
            raise Wrong("a list where one table belongs: write [...]")
        if not isinstance(value, dict):
            raise Wrong(f"{_shown(value)} is not a table")
        return inner(value, kind)

    return hook


def _path(text: object) -> str:
    if not isinstance(text, str) or not text or "\0" in text:
        raise Wrong(f"{_shown(text)} is not a file name")
    return text


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."
