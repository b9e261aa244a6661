"""Payload to message and back, one table each way."""

import struct
from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID

from kms.adapters.etsi004_binary.fault import MessageFault
from kms.adapters.etsi004_binary.messages import (
    HEADER_BYTES,
    MAJOR_MAX,
    METADATA_BYTES_MAX,
    MIMETYPE_BYTES_MAX,
    URI_BYTES_MAX,
    VERSION,
    CloseRequest,
    CloseResponse,
    Dialect,
    ErrorReply,
    GetKeyRequest,
    GetKeyResponse,
    Message,
    OpenConnectRequest,
    OpenConnectResponse,
    Service,
    Version,
)
from kms.domain.limits import BLOCK_BYTES_MAX
from kms.domain.secret import Secret
from kms.domain.status import QoS, Status

_HEADER: Final = struct.Struct("!BBBBI")
_U32: Final = struct.Struct("!I")
_QOS: Final = struct.Struct("!7I")
_NULL: Final = bytes(16)
_MIMETYPE_FIELD_BYTES: Final = MIMETYPE_BYTES_MAX + 1
Part = bytes | memoryview


def encode(message: Message, *, version: Version = VERSION) -> bytearray:
    """The whole frame. It may hold key bits: the caller wipes it when it is sent.

    A field that does not fit its form is our own mistake and asserts.
    """
    service, parts = _parts(message)
    size = sum(map(len, parts))
    # Filled in place: joining or growing would leave copies of key bits behind.
    frame = bytearray(HEADER_BYTES + size)
    _HEADER.pack_into(frame, 0, *version, service, size)
    at = HEADER_BYTES
    for part in parts:
        frame[at : at + len(part)] = part
        at += len(part)
    assert at == len(frame), "the frame is as long as its parts"
    return frame


def decode(service: Service, payload: bytearray | memoryview | bytes) -> Message:
    """The message, read to its last byte. Raises ``MessageFault``. The payload is not kept."""
    reader = _Payload(memoryview(payload))
    message = _DECODERS[service](reader)
    reader.end()
    return message


def read_header(header: bytearray, versions: frozenset[Version]) -> tuple[Version, Service, int]:
    """The version, the service and the payload's size. Raises ``MessageFault`` for what is no
    header, or one of another version."""
    major, minor, micro, number, size = _HEADER.unpack(header)
    version = (major, minor, micro)
    if version not in versions:
        wanted = " or ".join(".".join(map(str, each)) for each in sorted(versions))
        raise MessageFault(
            "wrong-version" if 1 <= major <= MAJOR_MAX else "garbage",
            f"version {major}.{minor}.{micro}, not {wanted}",
        )
    try:
        return version, Service(number), size
    except ValueError:
        raise MessageFault("wrong-service", f"service 0x{number:02x} does not exist") from None


def _parts(message: Message) -> tuple[Service, Sequence[Part]]:
    match message:
        case OpenConnectRequest():
            return Service.OPEN_CONNECT_REQUEST, (
                _text(message.source, URI_BYTES_MAX),
                _text(message.destination, URI_BYTES_MAX),
                *_qos(message.qos, message.dialect),
                _ksid(message.ksid),
            )
        case OpenConnectResponse():
            return Service.OPEN_CONNECT_RESPONSE, (
                _U32.pack(message.status),
                *_qos(message.qos, message.dialect),
                _ksid(message.ksid),
            )
        case GetKeyRequest():
            return Service.GET_KEY_REQUEST, (
                message.ksid.bytes,
                _U32.pack(message.index),
                _U32.pack(message.metadata_size),
                message.metadata,
            )
        case GetKeyResponse():
            return Service.GET_KEY_RESPONSE, (
                _U32.pack(message.status),
                _U32.pack(message.index),
                _U32.pack(len(message.key)),
                message.key.expose(),
                _U32.pack(len(message.metadata)),
                message.metadata,
            )
        case CloseRequest():
            return Service.CLOSE_REQUEST, (message.ksid.bytes,)
        case CloseResponse():
            return Service.CLOSE_RESPONSE, (_U32.pack(message.status),)
        case ErrorReply():
            # The reference library cannot take a payload of no bytes.
            return Service.ERROR, (_U32.pack(0),)


def _text(text: str, bytes_max: int) -> bytes:
    raw = text.encode("ascii")
    assert len(raw) <= bytes_max, "text longer than its field"
    assert b"\0" not in raw, "text with an end inside"
    return raw + b"\0"


def _ksid(ksid: UUID | None) -> bytes:
    return _NULL if ksid is None else ksid.bytes


def _qos(qos: QoS, dialect: Dialect) -> tuple[bytes, bytes]:
    numbers = (
        qos.key_chunk_size,
        qos.max_bps,
        qos.min_bps,
        qos.jitter,
        qos.priority,
        qos.timeout,
        qos.ttl,
    )
    mimetype = _text(qos.metadata_mimetype, MIMETYPE_BYTES_MAX)
    if dialect is Dialect.B:
        mimetype = mimetype.ljust(_MIMETYPE_FIELD_BYTES, b"\0")
    return _QOS.pack(*numbers), mimetype


class _Payload:
    """A payload and how far it has been read."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0

    def raw(self, length: int) -> memoryview:
        if length > self.left:
            raise MessageFault("garbage", "the payload ends inside a field")
        self._at += length
        return self._data[self._at - length : self._at]

    def u32(self) -> int:
        return int(_U32.unpack(self.raw(4))[0])

    def sized(self, bytes_max: int, what: str) -> memoryview:
        length = self.u32()
        if length > bytes_max:
            raise MessageFault("oversized", f"{what} of {length} B, at most {bytes_max}")
        return self.raw(length)

    def text(self, bytes_max: int, what: str, *, lowest: int = 0x21) -> str:
        """Visible ASCII, as URIs are, ended by NUL. ``lowest``: the lowest octet in it."""
        candidates = bytes(self._data[self._at : self._at + bytes_max + 1])
        length = candidates.find(0)
        if length < 0:
            raise MessageFault("garbage", f"the {what} has no end within {bytes_max} B")
        self._at += length + 1
        if any(not lowest <= octet <= 0x7E for octet in candidates[:length]):
            raise MessageFault("garbage", f"the {what} is not visible ASCII")
        return candidates[:length].decode("ascii")

    def uuid(self) -> UUID:
        return UUID(bytes=bytes(self.raw(16)))

    def ksid(self) -> UUID | None:
        ksid = self.uuid()
        return ksid if ksid.int else None

    def status(self) -> Status:
        number = self.u32()
        try:
            return Status(number)
        except ValueError:
            raise MessageFault("bad-status", f"status {number} is not in table 2") from None

    def qos_and_ksid(self) -> tuple[QoS, UUID | None, Dialect]:
        """The two fields that end an OPEN_CONNECT. What is left after the QoS's numbers tells the
        dialects apart; in dialect A only a mimetype of 255 characters is as long."""
        chunk, max_bps, min_bps, jitter, priority, timeout, ttl = _QOS.unpack(self.raw(28))
        fixed = self.left == _MIMETYPE_FIELD_BYTES + len(_NULL)
        begin = self._at
        # With the blanks that its parameters may have: "application/json; charset=utf-8".
        mimetype = self.text(MIMETYPE_BYTES_MAX, "mimetype", lowest=0x20)
        if fixed:
            # A string in char[256] (table 2): behind its zero is whatever the caller's memory had.
            self.raw(begin + _MIMETYPE_FIELD_BYTES - self._at)
        qos = QoS(
            key_chunk_size=chunk,
            max_bps=max_bps,
            min_bps=min_bps,
            jitter=jitter,
            priority=priority,
            timeout=timeout,
            ttl=ttl,
            metadata_mimetype=mimetype,
        )
        return qos, self.ksid(), Dialect.B if fixed else Dialect.A

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def rest(self) -> None:
        self._at = len(self._data)

    def end(self) -> None:
        if self.left:
            raise MessageFault("garbage", f"{self.left} B after the last field")


def _error(payload: _Payload) -> ErrorReply:
    payload.rest()
    return ErrorReply()


def _open_connect_request(payload: _Payload) -> OpenConnectRequest:
    source = payload.text(URI_BYTES_MAX, "source")
    destination = payload.text(URI_BYTES_MAX, "destination")
    qos, ksid, dialect = payload.qos_and_ksid()
    return OpenConnectRequest(
        source=source, destination=destination, qos=qos, ksid=ksid, dialect=dialect
    )


def _open_connect_response(payload: _Payload) -> OpenConnectResponse:
    status = payload.status()
    qos, ksid, dialect = payload.qos_and_ksid()
    return OpenConnectResponse(status=status, qos=qos, ksid=ksid, dialect=dialect)


def _get_key_request(payload: _Payload) -> GetKeyRequest:
    ksid, index = payload.uuid(), payload.u32()
    if payload.left == _U32.size:
        # Dialect B ends with the size of the buffer; so does A where none is offered.
        return GetKeyRequest(ksid=ksid, index=index, metadata_size=payload.u32())
    metadata = bytes(payload.sized(METADATA_BYTES_MAX, "metadata"))
    return GetKeyRequest(ksid=ksid, index=index, metadata=metadata)


def _get_key_response(payload: _Payload) -> GetKeyResponse:
    status, index = payload.status(), payload.u32()
    key = payload.sized(BLOCK_BYTES_MAX, "key")
    metadata = bytes(payload.sized(METADATA_BYTES_MAX, "metadata"))
    # The end is checked before the key is copied: a refused message leaves no copy.
    payload.end()
    return GetKeyResponse(status=status, index=index, key=Secret(key), metadata=metadata)


def _close_request(payload: _Payload) -> CloseRequest:
    return CloseRequest(ksid=payload.uuid())


def _close_response(payload: _Payload) -> CloseResponse:
    return CloseResponse(status=payload.status())


_DECODERS: Final[dict[Service, Callable[[_Payload], Message]]] = {
    Service.ERROR: _error,
    Service.OPEN_CONNECT_REQUEST: _open_connect_request,
    Service.OPEN_CONNECT_RESPONSE: _open_connect_response,
    Service.GET_KEY_REQUEST: _get_key_request,
    Service.GET_KEY_RESPONSE: _get_key_response,
    Service.CLOSE_REQUEST: _close_request,
    Service.CLOSE_RESPONSE: _close_response,
}
