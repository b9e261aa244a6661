"""OPEN_CONNECT, GET_KEY and CLOSE of ETSI GS QKD 004 V2.1.1 in HTTP and JSON, as pure functions.

Rules: what a node answers is checked before it is believed: types and ranges here, what they mean
in ``outcome``. Members we do not know are passed over, so that an older client goes on with a newer
node.
"""

import binascii
from base64 import b64decode
from typing import Annotated, Final
from uuid import UUID

import msgspec
from msgspec import Meta, Struct, field

from kms.client.answers import read_json
from kms.client.errors import BadAnswer, MetadataTooSmall
from kms.client.exchange import JSON, OCTETS, Answer, Call
from kms.client.key import Key
from kms.client.outcome import Opened, checked, fail, opened, patience_s
from kms.domain.status import QoS, Status

U32 = Annotated[int, Meta(ge=0, lt=2**32)]

_PREFIX: Final = "/etsi004/v2.1.1"


class _QoS(Struct):
    Key_chunk_size: U32 = 0
    Max_bps: U32 = 0
    Min_bps: U32 = 0
    Jitter: U32 = 0
    Priority: U32 = 0
    Timeout: U32 = 0
    TTL: U32 = 0
    Metadata_mimetype: str = ""


class _Metadata(Struct):
    Metadata_size: U32 = 0
    Metadata_buffer: str = ""


class _Open(Struct):
    status: U32
    message: str = ""
    Key_stream_ID: UUID | None = None
    qos: _QoS | None = field(name="QoS", default=None)


class _Get(Struct):
    status: U32
    message: str = ""
    index: U32 = 0
    Key_buffer: str = ""
    metadata: _Metadata = field(name="Metadata", default_factory=_Metadata)


class _Close(Struct):
    status: U32
    message: str = ""


def open_connect(
    source: str, destination: str, qos: QoS | None, ksid: UUID | None
) -> Call[Answer, Opened]:
    body: dict[str, object] = {"source": source, "destination": destination}
    if qos is not None:
        # 0 and '' leave the choice to the node, as absent members do.
        asked = {
            "Key_chunk_size": qos.key_chunk_size,
            "Max_bps": qos.max_bps,
            "Min_bps": qos.min_bps,
            "Jitter": qos.jitter,
            "Priority": qos.priority,
            "Timeout": qos.timeout,
            "TTL": qos.ttl,
            "Metadata_mimetype": qos.metadata_mimetype,
        }
        body["QoS"] = {name: value for name, value in asked.items() if value}
    if ksid is not None:
        body["Key_stream_ID"] = str(ksid)

    def read(answer: Answer) -> Opened:
        reply = read_json(answer, _Open)
        held = _qos(reply.qos or _QoS())
        return opened(reply.status, reply.message, held, reply.Key_stream_ID, asked=ksid)

    return Call(
        function="open_connect",
        path=f"{_PREFIX}/open_connect",
        body=msgspec.json.encode(body),
        # What is asked for is only a wish until the node has answered.
        patience_s=patience_s(0),
        read=read,
    )


def get_key(
    ksid: UUID, qos: QoS, index: int | None, metadata_size: int | None
) -> Call[Answer, Key]:
    body: dict[str, object] = {"Key_stream_ID": str(ksid)}
    if index is not None:
        body["index"] = index
    if metadata_size is not None:
        body["Metadata"] = {"Metadata_size": metadata_size}

    def read(answer: Answer) -> Key:
        return checked(_key(answer), index=index, qos=qos)

    return Call(
        function="get_key",
        path=f"{_PREFIX}/get_key",
        body=msgspec.json.encode(body),
        patience_s=patience_s(qos.timeout),
        read=read,
        accept=f"{OCTETS}, {JSON};q=0.5",
    )


def close(ksid: UUID, qos: QoS) -> Call[Answer, None]:
    def read(answer: Answer) -> None:
        reply = read_json(answer, _Close)
        if reply.status != Status.SUCCESS:
            fail(reply.status, reply.message)

    return Call(
        function="close",
        path=f"{_PREFIX}/close",
        body=msgspec.json.encode({"Key_stream_ID": str(ksid)}),
        patience_s=patience_s(qos.timeout),
        read=read,
    )


def _key(answer: Answer) -> Key:
    if answer.http_status == 200 and answer.media_type == OCTETS:
        index, status = _number(answer, "kms-index"), _number(answer, "kms-status")
        if status != Status.SUCCESS:
            raise BadAnswer(f"a key with status {status}")
        metadata = _base64(answer.headers.get("kms-metadata", ""))
        return Key(index=index, bits=answer.body, metadata=metadata)
    reply = read_json(answer, _Get)
    if reply.status == Status.METADATA_SIZE_INSUFFICIENT:
        raise MetadataTooSmall(reply.message, reply.metadata.Metadata_size)
    if reply.status != Status.SUCCESS:
        fail(reply.status, reply.message)
    return Key(
        index=reply.index,
        bits=bytearray(_base64(reply.Key_buffer)),
        metadata=reply.metadata.Metadata_buffer.encode(),
    )


def _number(answer: Answer, name: str) -> int:
    text = answer.headers.get(name, "")
    if not (text.isascii() and text.isdigit()) or len(text) > 10 or int(text) >= 2**32:
        raise BadAnswer(f"header {name} is no uint32")
    return int(text)


def _base64(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadAnswer("base64 that does not read") from None


def _qos(qos: _QoS) -> QoS:
    return QoS(
        key_chunk_size=qos.Key_chunk_size,
        max_bps=qos.Max_bps,
        min_bps=qos.Min_bps,
        jitter=qos.Jitter,
        priority=qos.Priority,
        timeout=qos.Timeout,
        ttl=qos.TTL,
        metadata_mimetype=qos.Metadata_mimetype,
    )
