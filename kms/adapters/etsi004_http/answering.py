"""A reply becomes an HTTP answer.

Every outcome that ETSI GS QKD 004 names is HTTP 200 with its ``status``; what the standard does not
name is an HTTP status of its own with a ``message``. The answer with a key is built last and in one
go, and the key is wiped before the answer leaves this module; what Python and the libraries below
copy of it is in docs/limits-of-python.md.
"""

from base64 import b64encode
from collections.abc import Mapping
from http import HTTPStatus

import msgspec.json
from quart_trio.wrappers import TrioResponse

from kms.adapters.etsi004_http.strict import shown
from kms.domain.requests import CloseReply, KeyReply, OpenReply
from kms.domain.secret import Secret
from kms.domain.status import QoS

JSON = "application/json"
OCTETS = "application/octet-stream"


def opened(reply: OpenReply) -> TrioResponse:
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


def key_in_json(reply: KeyReply) -> TrioResponse:
    """GET_KEY's outputs: index, Key_buffer, Metadata, status. The key is wiped."""
    members: dict[str, object] = {
        "status": int(reply.status),
        "message": reply.message,
        "index": reply.index,
        "Metadata": {
            "Metadata_size": reply.metadata_size,
            "Metadata_buffer": reply.metadata.decode("utf-8"),
        },
    }
    if reply.key is None:
        return answer(HTTPStatus.OK, members)
    try:
        # msgspec writes a buffer as base64, straight into the answer.
        return answer(HTTPStatus.OK, {**members, "Key_buffer": reply.key.expose()})
    finally:
        reply.key.wipe()


def key_in_octets(reply: KeyReply, key: Secret) -> TrioResponse:
    """The key as the body, everything else in headers. The key is wiped."""
    headers = {
        "KMS-Status": str(int(reply.status)),
        "KMS-Message": shown(reply.message.replace("\r", " ").replace("\n", " ")),
        "KMS-Index": str(reply.index),
        "KMS-Metadata": b64encode(reply.metadata).decode("ascii"),
        "KMS-Metadata-Size": str(reply.metadata_size),
    }
    try:
        return _response(HTTPStatus.OK, bytes(key.expose()), OCTETS, headers)
    finally:
        key.wipe()


def closed(reply: CloseReply) -> TrioResponse:
    """CLOSE's output: status."""
    return answer(HTTPStatus.OK, {"status": int(reply.status), "message": reply.message})


def answer(
    status: HTTPStatus, members: Mapping[str, object], headers: Mapping[str, str] | None = None
) -> TrioResponse:
    """A JSON answer that nobody on the way may keep."""
    return _response(status, msgspec.json.encode(members), JSON, headers or {})


def _response(
    status: HTTPStatus, body: bytes, media_type: str, headers: Mapping[str, str]
) -> TrioResponse:
    return TrioResponse(
        body,
        status=int(status),
        headers={"Cache-Control": "no-store", **headers},
        content_type=media_type,
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
