"""A reply becomes an HTTP answer.

Every outcome that ETSI GS QKD 004 names is HTTP 200 with its ``status``; what the standard does not
name is an HTTP status of its own with a ``message``. The answer with a key is built last and in one
go, and the key is wiped before the answer leaves this module; what Python and the libraries below
copy of it is in docs/limits-of-python.md.
"""

from base64 import b64encode
from collections.abc import Mapping
from http import HTTPStatus

import msgspec

from kms.adapters.edge import Answer
from kms.adapters.etsi004_http.strict import Malformed, shown
from kms.domain.errors import AppFault, KMSError, Sealed
from kms.domain.requests import CloseReply, KeyReply, OpenReply
from kms.domain.secret import Secret
from kms.domain.status import QoS
from kms.ports.northbound import Forbidden, Overloaded

JSON = "application/json"
OCTETS = "application/octet-stream"
_RETRY_OVERLOADED_S = 1
# A person, or the service manager, has to unseal.
_RETRY_SEALED_S = 30
_ENCODER = msgspec.json.Encoder()


class _Metadata(msgspec.Struct, frozen=True):
    """As table 2 names its members."""

    size: int = msgspec.field(name="Metadata_size")
    buffer: str = msgspec.field(name="Metadata_buffer")


class _Key(msgspec.Struct, frozen=True):
    """GET_KEY's outputs: an application asks for little else, so they are not a table."""

    status: int
    message: str
    index: int
    metadata: _Metadata = msgspec.field(name="Metadata")
    buffer: memoryview | msgspec.UnsetType = msgspec.field(name="Key_buffer")


def opened(reply: OpenReply) -> Answer:
    """OPEN_CONNECT's outputs: QoS, Key_stream_ID, status."""
    return answer(
        HTTPStatus.OK,
        {
            "status": int(reply.status),
            "message": reply.message,
            "Key_stream_ID": None if reply.ksid is None else str(reply.ksid),
            "QoS": _qos(reply.qos),
        },
    )


def key(reply: KeyReply, wanted: str) -> Answer:
    """GET_KEY's outputs in the media type that the client wants. The key is wiped."""
    if reply.key is not None and wanted == OCTETS:
        return _in_octets(reply, reply.key)
    return _in_json(reply)


def _in_json(reply: KeyReply) -> Answer:
    """Index, Key_buffer, Metadata, status."""
    key = reply.key
    found = _Key(
        status=int(reply.status),
        message=reply.message,
        index=reply.index,
        metadata=_Metadata(size=reply.metadata_size, buffer=reply.metadata.decode("utf-8")),
        # msgspec writes a buffer as base64, straight into the answer.
        buffer=msgspec.UNSET if key is None else key.expose(),
    )
    try:
        return _response(HTTPStatus.OK, _ENCODER.encode(found), JSON, {})
    finally:
        if key is not None:
            key.wipe()


def _in_octets(reply: KeyReply, key: Secret) -> Answer:
    """The key as the body, everything else in headers."""
    headers = {
        "kms-status": str(int(reply.status)),
        "kms-message": shown(reply.message.replace("\r", " ").replace("\n", " ")),
        "kms-index": str(reply.index),
        "kms-metadata": b64encode(reply.metadata).decode("ascii"),
        "kms-metadata-size": str(reply.metadata_size),
    }
    try:
        return _response(HTTPStatus.OK, bytes(key.expose()), OCTETS, headers)
    finally:
        key.wipe()


def closed(reply: CloseReply) -> Answer:
    """CLOSE's output: status."""
    return answer(HTTPStatus.OK, {"status": int(reply.status), "message": reply.message})


def answer(
    status: HTTPStatus, members: Mapping[str, object], headers: Mapping[str, str] | None = None
) -> Answer:
    """A JSON answer that nobody on the way may keep."""
    return _response(status, msgspec.json.encode(members), JSON, headers or {})


def malformed(error: Malformed) -> Answer:
    """HTTP 400, with the member at fault."""
    return answer(HTTPStatus.BAD_REQUEST, {"message": error.reason, "field": error.field})


def fault(error: KMSError) -> Answer | None:
    """What the standard has no status for; None for a fault of our own, whose words stay here."""
    message = {"message": f"{error.reason}: {error.hint}"}
    match error:
        case Forbidden():
            return answer(HTTPStatus.FORBIDDEN, message)
        case Overloaded():
            retry = {"retry-after": str(_RETRY_OVERLOADED_S)}
            return answer(HTTPStatus.SERVICE_UNAVAILABLE, message, retry)
        case Sealed():
            # The hint is for the operator; the application can only wait.
            retry = {"retry-after": str(_RETRY_SEALED_S)}
            return answer(HTTPStatus.SERVICE_UNAVAILABLE, {"message": error.reason}, retry)
        case AppFault():
            return answer(HTTPStatus.BAD_REQUEST, {**message, "field": "body"})
        case _:
            return None


def failed(
    status: HTTPStatus, message: str | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """An HTTP status and its words."""
    return answer(status, {"message": message or status.phrase}, headers)


def _response(
    status: HTTPStatus, body: bytes, media_type: str, headers: Mapping[str, str]
) -> Answer:
    return Answer(
        status=int(status),
        headers={"cache-control": "no-store", **headers, "content-type": media_type},
        body=body,
    )


def _qos(qos: QoS) -> dict[str, object]:
    """Table 2, in its order and spelling."""
    return {
        "Key_chunk_size": qos.key_chunk_size,
        "Max_bps": qos.max_bps,
        "Min_bps": qos.min_bps,
        "Jitter": qos.jitter,
        "Priority": qos.priority,
        "Timeout": qos.timeout,
        "TTL": qos.ttl,
        "Metadata_mimetype": qos.metadata_mimetype,
    }
