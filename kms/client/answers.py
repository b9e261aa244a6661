"""What an HTTP answer of a node comes to, for both of its HTTP interfaces.

Rules: a body is data to check, never words to repeat: what does not read may be a key.
"""

from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from kms.client.errors import BadAnswer, ClientError, Malformed, Refused, Unavailable
from kms.client.exchange import Answer

_MALFORMED: Final = frozenset({400, 404, 405, 406, 411, 413, 414, 415, 431})
# What we wait before trying again if the node does not say; and the longest it may say.
_RETRY_S: Final = 1.0
_RETRY_S_MAX: Final = 3600.0

_Read = TypeVar("_Read")


class _Refusal(Struct):
    message: str = ""
    field: str = ""
    details: Any = None
    """of ETSI GS QKD 014 clause 6.4: a list of objects"""


def read_json(answer: Answer, shape: type[_Read]) -> _Read:
    """The body, checked. Raises ``BadAnswer``, or what another status than 200 means."""
    if answer.http_status != 200:
        raise refusal(answer)
    try:
        return msgspec.json.decode(answer.body, type=shape)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        # Without the cause: its words may quote the body, and that may be a key.
        raise BadAnswer(f"{answer.media_type or 'something'} that does not read") from None


def refusal(answer: Answer) -> ClientError:
    """What to raise for an HTTP status that is no success."""
    try:
        told = msgspec.json.decode(answer.body, type=_Refusal)
        # Shown, not stored: an error cuts what is long.
        details = f": {msgspec.json.encode(told.details).decode()}" if told.details else ""
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        told, details = _Refusal(), ""
    message = (told.message or f"HTTP {answer.http_status}") + details
    if answer.http_status in _MALFORMED:
        return Malformed(message, told.field)
    if answer.http_status in (401, 403):
        return Refused(message)
    if answer.http_status in (429, 503):
        return Unavailable(message, _retry_after_s(answer))
    return BadAnswer(f"HTTP {answer.http_status}: {message}")


def _retry_after_s(answer: Answer) -> float:
    text = answer.headers.get("retry-after", "")
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        return _RETRY_S  # absent, or a date: clocks of two machines are not compared
    return min(float(text), _RETRY_S_MAX)
