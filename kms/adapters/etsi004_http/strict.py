"""JSON as a border control reads it: one meaning or none.

Refused: what is not UTF-8, a member given twice or in two spellings, an unknown member, NaN and
infinities, a number that is a boolean or not whole, anything outside uint32. 1.0 and 1e3 are whole
numbers, as JSON Schema has it. The standard library's parser is used because its hooks see
duplicate members, which faster ones drop silently; a request is some 300 bytes, and this costs a
hundredth of it.
"""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Never

UINT32_MAX = 2**32 - 1
_SHOWN_CHARACTERS = 80


class Malformed(Exception):
    """HTTP 400. ``field`` is the path of the member at fault, ``body`` for the whole."""

    def __init__(self, field: str, reason: str) -> None:
        # A member may be called "", and is named all the same.
        field = field or '""'
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class Members:
    """One JSON object. Take each member once, then say ``done``."""

    def __init__(self, values: Mapping[str, object], *, path: str = "") -> None:
        self._left = dict(values)
        self._path = path

    def at(self, name: str) -> str:
        """The member's path, for messages."""
        return f"{self._path}.{name}" if self._path else name

    def take(self, name: str) -> object:
        """The member in the standard's spelling or in lower case; None if absent or null."""
        spellings = [one for one in dict.fromkeys((name, name.lower())) if one in self._left]
        if len(spellings) > 1:
            raise Malformed(self.at(name), "is given in two spellings")
        return self._left.pop(spellings[0]) if spellings else None

    def uint32(self, name: str) -> int | None:
        """None if absent or null."""
        value = self.take(name)
        if value is None:
            return None
        if type(value) is not int and not isinstance(value, Decimal):
            raise Malformed(self.at(name), "must be a whole number")
        if not 0 <= value <= UINT32_MAX:
            raise Malformed(self.at(name), f"must be 0 to {UINT32_MAX}")
        # Not before the bound: 1e99999 would be as many digits.
        if value != int(value):
            raise Malformed(self.at(name), "must be a whole number")
        return int(value)

    def text(self, name: str, *, characters_max: int) -> str | None:
        """None if absent or null."""
        value = self.take(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise Malformed(self.at(name), "must be a string")
        if len(value) > characters_max:
            raise Malformed(self.at(name), f"must have at most {characters_max} characters")
        return value

    def members(self, name: str) -> "Members":
        """The object inside; an empty one if absent or null."""
        value = self.take(name)
        if value is None:
            return Members({}, path=self.at(name))
        if not isinstance(value, dict):
            raise Malformed(self.at(name), "must be an object")
        return Members(value, path=self.at(name))

    def done(self) -> None:
        """Nothing is left that we would ignore."""
        for name in self._left:
            raise Malformed(self.at(shown(name)), "is not known here")


def read(body: bytes) -> Members:
    """The one object of a request's body. Raises ``Malformed``."""
    try:
        value = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_once,
            parse_constant=_no_constant,
            parse_float=_exact,
        )
    except UnicodeDecodeError:
        raise Malformed("body", "is not UTF-8") from None
    except RecursionError:
        raise Malformed("body", "is nested too deep") from None
    except json.JSONDecodeError as error:
        raise Malformed("body", f"is not JSON: {error.msg} at {error.pos}") from None
    except ValueError:
        # What is left of ValueError: more digits than the interpreter converts.
        raise Malformed("body", "holds a number that is too long") from None
    if not isinstance(value, dict):
        raise Malformed("body", "must be a JSON object")
    return Members(value)


def shown(text: str) -> str:
    """A stranger's word, fit for a message: ASCII and short."""
    text = text.encode("ascii", "backslashreplace").decode("ascii")
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise Malformed(shown(name), "is given twice")
            seen.add(name)
    return members


def _exact(digits: str) -> Decimal:
    """No rounding to a neighbour that happens to be whole."""
    try:
        return Decimal(digits)
    except ArithmeticError:
        raise ValueError("an exponent beyond all bounds") from None


def _no_constant(name: str) -> Never:
    raise Malformed("body", f"holds {name}, which is not JSON")
