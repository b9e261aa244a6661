"""Which method of the standard a request line asks for (ETSI GS QKD 014 V1.1.1 table 1).

Rules. The path is read as it came: a SAE ID is one segment, percent-encoded, and may hold an
encoded slash. Nothing is decoded before the path was cut, and nothing twice. No URL is redirected.
"""

import re
from enum import Enum
from http import HTTPStatus
from urllib.parse import unquote_to_bytes

import attrs

from kms.adapters.edge import Answer
from kms.adapters.etsi014_http import answering

PREFIX = "/api/v1/keys"
OPENAPI = "/api/v1/openapi.json"
_KEYS = PREFIX.encode() + b"/"
_BROKEN = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_NOT_HERE = f"not a URL of this interface: {PREFIX}/SAE_ID/ and status, enc_keys or dec_keys"
_NOBODY = "\N{REPLACEMENT CHARACTER}"


class Method(Enum):
    """By the last segment of the URL."""

    STATUS = b"status"
    ENC_KEYS = b"enc_keys"
    DEC_KEYS = b"dec_keys"
    OPENAPI = OPENAPI.encode()


_VERBS = {
    Method.STATUS: ("GET",),
    Method.ENC_KEYS: ("GET", "POST"),
    Method.DEC_KEYS: ("GET", "POST"),
    Method.OPENAPI: ("GET",),
}


@attrs.frozen(kw_only=True, cache_hash=True)
class Route:
    """A request line that means something here."""

    method: Method
    verb: str
    other: str
    """the SAE ID in the URL, decoded and not looked at yet: the slave, or the master in dec_keys"""
    query: str


def route(verb: str, target: bytes) -> Route | Answer:
    """Where the request goes; or the answer, 404 or 405."""
    path, _, query = target.partition(b"?")
    segment, method = _method(path)
    if method is None:
        return answering.failed(
            HTTPStatus.NOT_FOUND, f"there is {PREFIX}/SAE_ID/{{status,enc_keys,dec_keys}}"
        )
    if verb not in _VERBS[method]:
        allowed = ", ".join(_VERBS[method])
        return answering.failed(
            HTTPStatus.METHOD_NOT_ALLOWED, f"the method is {allowed}", {"allow": allowed}
        )
    # h11 lets through visible ASCII only.
    return Route(method=method, verb=verb, other=_decoded(segment), query=query.decode("latin-1"))


def _decoded(segment: bytes) -> str:
    """What is no percent-encoded UTF-8 becomes a text that is no SAE ID."""
    if _BROKEN.search(segment):
        return _NOBODY
    return unquote_to_bytes(segment).decode("utf-8", "replace")


def _method(path: bytes) -> tuple[bytes, Method | None]:
    if path == Method.OPENAPI.value:
        return b"", Method.OPENAPI
    if not path.startswith(_KEYS):
        return b"", None
    segment, slash, last = path[len(_KEYS) :].partition(b"/")
    known = (Method.STATUS, Method.ENC_KEYS, Method.DEC_KEYS)
    return segment, next((one for one in known if slash and one.value == last), None)
