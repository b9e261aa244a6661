"""A body becomes a request, or ``Malformed`` names the member at fault.

ETSI GS QKD 004 V2.1.1 tables 1 and 2. A QoS that is null, and a member of it that is absent, null
or 0, leaves the choice to the KMS; so does an absent or null Key_stream_ID or index.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

from kms.adapters.etsi004_http.strict import Malformed, Members, read
from kms.domain.errors import BadName
from kms.domain.limits import INDEX_MAX
from kms.domain.names import KSID, ksid, sae_id
from kms.domain.requests import Close, GetKey, OpenConnect
from kms.domain.status import QoS

# Table 2: char[256], of which one is the final zero.
MIMETYPE_CHARACTERS_MAX = 255
# GS QKD 020 allows 64; the names' own parser says so. This bounds what it is shown.
_NAME_CHARACTERS_MAX = 256
# What a client sends of its own buffer is not looked at.
BUFFER_CHARACTERS_MAX = 64 * 1024
# Requests to remember: those of the streams that are read at one time, 256 KiB of them.
_REMEMBERED_MAX = 1024
_REMEMBERED_BYTES_MAX = 256

Name = TypeVar("Name")


def open_connect(body: Members) -> OpenConnect:
    """OPEN_CONNECT(source, destination, QoS, Key_stream_ID)."""
    request = OpenConnect(
        source=_needed(body, "source", sae_id),
        destination=_needed(body, "destination", sae_id),
        qos=_qos(body.members("QoS")),
        ksid=_name(body, "Key_stream_ID", ksid),
    )
    body.done()
    return request


def get_key(body: Members) -> GetKey:
    """GET_KEY(Key_stream_ID, index, Metadata)."""
    stream = _stream(body)
    index = body.uint32("index")
    assert index is None or index <= INDEX_MAX, "an index is a uint32"
    metadata = body.members("Metadata")
    size = metadata.uint32("Metadata_size")
    # An output of the function: taken, so that a client may send its whole structure.
    metadata.text("Metadata_buffer", characters_max=BUFFER_CHARACTERS_MAX)
    metadata.done()
    body.done()
    return GetKey(ksid=stream, index=index, metadata_size=size)


def get_key_again(raw: bytes) -> GetKey:
    """As ``get_key`` of ``read``. A client asks for the next chunk in the same words each time, so
    they are read once."""
    return _remembered(raw) if len(raw) <= _REMEMBERED_BYTES_MAX else get_key(read(raw))


@lru_cache(maxsize=_REMEMBERED_MAX)
def _remembered(raw: bytes) -> GetKey:
    return get_key(read(raw))


def close(body: Members) -> Close:
    """CLOSE(Key_stream_ID)."""
    stream = _stream(body)
    body.done()
    return Close(ksid=stream)


def _qos(members: Members) -> QoS:
    mimetype = members.text("Metadata_mimetype", characters_max=MIMETYPE_CHARACTERS_MAX) or ""
    if not (mimetype.isascii() and (mimetype.isprintable())):
        raise Malformed(members.at("Metadata_mimetype"), "must be printable ASCII")
    qos = QoS(
        key_chunk_size=members.uint32("Key_chunk_size") or 0,
        max_bps=members.uint32("Max_bps") or 0,
        min_bps=members.uint32("Min_bps") or 0,
        jitter=members.uint32("Jitter") or 0,
        priority=members.uint32("Priority") or 0,
        timeout=members.uint32("Timeout") or 0,
        ttl=members.uint32("TTL") or 0,
        metadata_mimetype=mimetype,
    )
    members.done()
    return qos


def _stream(body: Members) -> KSID:
    return _needed(body, "Key_stream_ID", ksid)


def _needed(body: Members, name: str, parser: Callable[[object], Name]) -> Name:
    value = _name(body, name, parser)
    if value is None:
        raise Malformed(body.at(name), "is needed")
    return value


def _name(body: Members, name: str, parser: Callable[[object], Name]) -> Name | None:
    text = body.text(name, characters_max=_NAME_CHARACTERS_MAX)
    if text is None:
        return None
    try:
        return parser(text)
    except BadName as error:
        raise Malformed(body.at(name), f"{error.reason}; {error.hint}") from None
