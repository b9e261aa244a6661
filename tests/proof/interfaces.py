"""How a case is asked on each interface of a node, and what its answer says.

Rules: the requests are bytes made here, not by the client library. On the slow ways a request has
headers that say something of its sender: they carry no weight, and keep it off the fast way.
"""

import base64
import json
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID

import attrs
import trio

from kms.adapters.etsi004_binary import (
    INDEX_ANY,
    RESPONSES,
    CloseRequest,
    ErrorReply,
    GetKeyRequest,
    GetKeyResponse,
    Message,
    OpenConnectRequest,
    Reader,
    Request,
    encode,
)
from kms.adapters.etsi004_tls import FRAME_BYTES_MAX
from kms.domain.status import QoS, Status
from tests.edge.support import Stream, reply
from tests.proof.entitled import (
    FAST_014,
    FRAMES_004,
    SERVED,
    SLOW_004,
    SLOW_014,
    Case,
    status,
)
from tests.proof.people import ANN, FORBIDDEN, NO_ANSWER

_PATIENCE_S: Final = 20.0
_FORBIDDEN_HTTP: Final = {"004": 403, "014": 401}
_SAID_OF_THE_SENDER: Final = f"X-SSL-Client-SAN: URI:{ANN}\r\nX-Forwarded-User: {ANN}\r\n"


@attrs.frozen(kw_only=True)
class Answered:
    """What came back."""

    outcome: str
    """in the words of ``Case.expected``"""
    key: bytes = b""
    name: object = None
    """index or ID of the key"""
    words: str = ""
    """for whoever reads of a leak"""


async def ask(case: Case, stream: Stream) -> Answered:
    """The case was asked on this connection, and answered or not."""
    try:
        if case.interface == FRAMES_004:
            return await _in_frames(case, stream)
        await stream.send_all(_request(case))
        raw = await reply(stream, seconds=_PATIENCE_S)
    except trio.BrokenResourceError:
        return Answered(outcome=NO_ANSWER)
    return (_answer_014 if case.interface in (FAST_014, SLOW_014) else _answer_004)(raw)


# ---- HTTP -----------------------------------------------------------------------------------


def _request(case: Case) -> bytes:
    if case.interface in (FAST_014, SLOW_014):
        other = quote(str(case.body["other"]), safe="")
        path = f"/api/v1/keys/{other}/{case.function}"
        key_id = case.body.get("key_ID")
        body = json.dumps({"key_IDs": [{"key_ID": key_id}]} if key_id else {}).encode()
    else:
        path = f"/etsi004/v2.1.1/{case.function}"
        body = json.dumps(case.body).encode()
    accept = "application/octet-stream" if case.octets else "application/json"
    return (
        f"POST {path} HTTP/1.1\r\nHost: node\r\nAccept: {accept}\r\n"
        + (_SAID_OF_THE_SENDER if case.interface in (SLOW_004, SLOW_014) else "")
        + f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def _answer_004(raw: bytes) -> Answered:
    http, headers, body = _parsed(raw)
    octets = headers.get("content-type", "").startswith("application/octet-stream")
    members: dict[str, Any] = json.loads(body) if body and not octets else {}
    if http != 200:
        return Answered(
            outcome=_outcome(http, "004"), words=repr(body[:200]), key=_any_key(members)
        )
    if octets:
        name, number = int(headers["kms-index"]), int(headers["kms-status"])
        return Answered(outcome=status(Status(number)), key=body, name=name)
    return Answered(
        outcome=status(Status(members["status"])),
        key=_any_key(members),
        name=members.get("index"),
    )


def _answer_014(raw: bytes) -> Answered:
    http, _, body = _parsed(raw)
    members: dict[str, Any] = json.loads(body) if body else {}
    keys = members.get("keys", [])
    return Answered(
        outcome=SERVED if http == 200 else _outcome(http, "014"),
        key=b"".join(base64.b64decode(each["key"]) for each in keys),
        name=keys[0]["key_ID"] if len(keys) == 1 else None,
        words=repr(body[:200]) if http != 200 else "",
    )


def _any_key(members: dict[str, Any]) -> bytes:
    return base64.b64decode(members.get("Key_buffer", ""))


def _outcome(http: int, standard: str) -> str:
    if not http:
        return NO_ANSWER
    return FORBIDDEN if http == _FORBIDDEN_HTTP[standard] else f"HTTP {http}"


def _parsed(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    """HTTP status (0 without an answer), headers in lower case, body."""
    if not answer.startswith(b"HTTP/1.1 "):
        return 0, {}, b""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(":") for line in lines[1:])
    }
    return int(lines[0].split(" ")[1]), headers, body


# ---- frames ---------------------------------------------------------------------------------


async def _in_frames(case: Case, stream: Stream) -> Answered:
    await stream.send_all(encode(_frame(case)))
    message = await _message(stream)
    if message is None:
        return Answered(outcome=NO_ANSWER)
    if isinstance(message, ErrorReply):
        return Answered(outcome="an error frame")
    refused = message.status is Status.NO_QKD_CONNECTION
    outcome = FORBIDDEN if refused else status(message.status)
    if not isinstance(message, GetKeyResponse):
        return Answered(outcome=outcome)
    return Answered(outcome=outcome, key=bytes(message.key.expose()), name=message.index)


def _frame(case: Case) -> Request:
    ksid = UUID(str(case.body["Key_stream_ID"]))
    if case.function == "close":
        return CloseRequest(ksid=ksid)
    if case.function == "get_key":
        index = case.body.get("index", INDEX_ANY)
        assert isinstance(index, int), "a number"
        return GetKeyRequest(ksid=ksid, index=index)
    source, destination = str(case.body["source"]), str(case.body["destination"])
    return OpenConnectRequest(source=source, destination=destination, qos=QoS(), ksid=ksid)


async def _message(stream: Stream) -> Message | None:
    """None: the connection ended, or nothing came in time."""
    reader = Reader(payload_bytes_max=FRAME_BYTES_MAX, services=RESPONSES)
    with trio.move_on_after(_PATIENCE_S):
        while True:
            data = await stream.receive_some(len(reader.space()))
            if not data:
                return None
            reader.space()[: len(data)] = data
            message = reader.filled(len(data))
            if message is not None:
                return message
    return None
