"""Headers that have one obvious meaning: what routes of the fast way look at first."""

import re

import h11

# Those that say nothing to our routes, and those that they look at.
_NAMES = frozenset(
    {b"accept", b"accept-encoding", b"accept-language", b"cache-control", b"connection"}
    | {b"content-length", b"content-type", b"host", b"user-agent"}
)
_HOST = re.compile(rb"[A-Za-z0-9.:\[\]-]{1,255}")


def plain_headers(request: h11.Request) -> dict[bytes, bytes] | None:
    """The request's headers, each there once; None if one is strange, or is not known here."""
    headers = dict(request.headers)
    plain = (
        len(headers) == len(request.headers)
        and headers.keys() <= _NAMES
        and _HOST.fullmatch(headers.get(b"host", b""))
    )
    return headers if plain else None
