"""OPEN_CONNECT, GET_KEY and CLOSE of ETSI GS QKD 004 V2.1.1 in ETSI's binary framing, dialect A.

Rules: as over HTTP (``etsi004``). What the framing cannot say is known here only by its status: a
refusal by policy is 4 (``NoConnection``), an overloaded node is 6 (``TimedOut``). A request that no
frame can carry is refused before anything is sent.
"""

from collections.abc import Callable
from typing import Final, NoReturn, TypeVar
from uuid import UUID

import attrs

from kms.adapters.etsi004_binary import (
    INDEX_ANY,
    CloseRequest,
    CloseResponse,
    ErrorReply,
    GetKeyRequest,
    GetKeyResponse,
    Message,
    MessageFault,
    OpenConnectRequest,
    OpenConnectResponse,
    Reader,
    Request,
    Service,
    encode,
)
from kms.adapters.etsi004_binary.messages import MIMETYPE_BYTES_MAX, URI_BYTES_MAX
from kms.client.errors import BadAnswer, Malformed, MetadataTooSmall
from kms.client.exchange import Call, ended
from kms.client.key import Key
from kms.client.outcome import Opened, checked, fail, opened, patience_s
from kms.domain import limits
from kms.domain.status import QoS, Status

# A node's answer is one TLS record. Another key manager's may be longer; not by much.
_PAYLOAD_BYTES_MAX: Final = 2 * limits.CHUNK_BYTES_MAX
# What there is of metadata has room in this.
_METADATA_BYTES: Final = 256
_U32_MAX: Final = 2**32 - 1
# A node ends a connection after 100,000 requests, and a frame cannot say so: the request after it
# would be lost on the way. So a client in a hurry ends it long before.
REQUESTS_MAX: Final = 1_000
_ANSWERS: Final = {
    "open_connect": Service.OPEN_CONNECT_RESPONSE,
    "get_key": Service.GET_KEY_RESPONSE,
    "close": Service.CLOSE_RESPONSE,
}

_Told = TypeVar("_Told", OpenConnectResponse, GetKeyResponse, CloseResponse)


class FrameExchange:
    """The frames of one connection. After an error it is of no further use."""

    def __init__(self) -> None:
        self._reader: Reader | None = None
        self._requests = 0
        self.used = False

    def request(self, call: Call[Message, object]) -> bytes:
        """The bytes to send."""
        self._requests += 1
        self._reader = Reader(
            payload_bytes_max=_PAYLOAD_BYTES_MAX,
            services=frozenset({_ANSWERS[call.function], Service.ERROR}),
        )
        return call.body

    def receive(self, data: bytes | bytearray) -> Message | None:
        """The answer once these bytes, empty at the end of the connection, complete it.

        Raises ``AnswerLost`` or ``BadAnswer``.
        """
        assert self._reader is not None, "asked before it is answered"
        if not data:
            self._reader.wipe()
            raise ended(used=self.used)
        try:
            answers = list(self._reader.feed(data))
            if answers:
                self._reader.end()
        except MessageFault as fault:
            self._reader.wipe()
            raise BadAnswer(fault.reason) from None
        if len(answers) > 1:
            raise BadAnswer("bytes after the answer")
        self.used = self.used or bool(answers)
        return answers[0] if answers else None

    def again(self) -> bool:
        """The connection is ready for another request; or not, and is to be closed."""
        return self._requests < REQUESTS_MAX


def open_connect(
    source: str, destination: str, qos: QoS | None, ksid: UUID | None
) -> Call[Message, Opened]:
    asked = OpenConnectRequest(
        source=_text(source, "source", URI_BYTES_MAX),
        destination=_text(destination, "destination", URI_BYTES_MAX),
        qos=_sayable(qos or QoS()),
        ksid=ksid,
    )

    def read(answer: Message) -> Opened:
        told = _told(answer, OpenConnectResponse)
        return opened(told.status, "", told.qos, told.ksid, asked=ksid)

    # What is asked for is only a wish until the node has answered.
    return _call("open_connect", asked, patience_s(0), read)


def get_key(
    ksid: UUID, qos: QoS, index: int | None, metadata_size: int | None
) -> Call[Message, Key]:
    if index is not None and not 0 <= index < INDEX_ANY:
        raise Malformed(f"must be 0 to {INDEX_ANY - 1}", "index")
    offered = metadata_size
    if offered is None:
        offered = _METADATA_BYTES if qos.metadata_mimetype else 0
    if offered == 2:
        # Two octets would ask for a kind of key; no metadata is so short that it matters.
        offered = 1
    asked = GetKeyRequest(
        ksid=ksid,
        index=INDEX_ANY if index is None else index,
        metadata=bytes(min(offered, _METADATA_BYTES)),
    )

    def read(answer: Message) -> Key:
        told = _told(answer, GetKeyResponse)
        if told.status == Status.METADATA_SIZE_INSUFFICIENT:
            raise MetadataTooSmall("", len(told.metadata))
        if told.status != Status.SUCCESS:
            told.key.wipe()
            fail(told.status, "")
        key = Key(index=told.index, bits=bytearray(told.key.expose()), metadata=told.metadata)
        told.key.wipe()
        return checked(key, index=index, qos=qos)

    return _call("get_key", asked, patience_s(qos.timeout), read)


def close(ksid: UUID, qos: QoS) -> Call[Message, None]:
    def read(answer: Message) -> None:
        told = _told(answer, CloseResponse)
        if told.status != Status.SUCCESS:
            fail(told.status, "")

    return _call("close", CloseRequest(ksid=ksid), patience_s(qos.timeout), read)


_Outcome = TypeVar("_Outcome")


def _call(
    function: str, asked: Request, patience: float, read: Callable[[Message], _Outcome]
) -> Call[Message, _Outcome]:
    return Call(function=function, body=bytes(encode(asked)), patience_s=patience, read=read)


def _told(answer: Message, kind: type[_Told]) -> _Told:
    if isinstance(answer, ErrorReply):
        raise BadAnswer("the node answers ERROR: it could not read the request, or is at fault")
    assert isinstance(answer, kind), "the reader lets only its answer through"
    return answer


def _text(text: str, member: str, bytes_max: int) -> str:
    if len(text) > bytes_max or any(not 0x21 <= ord(character) <= 0x7E for character in text):
        raise Malformed(f"must be at most {bytes_max} characters of visible ASCII", member)
    return text


def _sayable(qos: QoS) -> QoS:
    for member, value in attrs.asdict(qos).items():
        if isinstance(value, str):
            _text(value, member, MIMETYPE_BYTES_MAX)
        elif not 0 <= value <= _U32_MAX:
            _not_u32(member)
    return qos


def _not_u32(member: str) -> NoReturn:
    raise Malformed(f"must be 0 to {_U32_MAX}", member)
