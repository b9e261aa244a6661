"""Two foreign clients of ETSI GS QKD 004 in frames, by the rules that they read with.

Nothing of ours is in them but a socket: they lay out and read octets on their own, as blocking
programs. ``ReferenceLike`` follows ETSI's C library (dialect A): a connection for each call, the
payload by ONE read after the header, and every field of it whatever the status says.
``FixedFieldLike`` follows the Python programs of dialect B: one connection, a mimetype of fixed
256 octets, version 1.0.1, and nothing read after a status that is not 0.
"""

import socket
import ssl
import struct
from types import TracebackType
from typing import NamedTuple, Self
from uuid import UUID

NULL = bytes(16)
PATIENCE_S = 10.0


class Asked(NamedTuple):
    """A QoS in the standard's order."""

    key_chunk_size: int = 32
    max_bps: int = 0
    min_bps: int = 0
    jitter: int = 0
    priority: int = 0
    timeout: int = 0
    ttl: int = 0


class Opened(NamedTuple):
    status: int
    qos: Asked
    mimetype: bytes
    ksid: bytes


class Got(NamedTuple):
    status: int
    index: int = 0
    key: bytes = b""
    metadata: bytes = b""


def _dial(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
    return context.wrap_socket(plain, server_hostname="127.0.0.1")


class ReferenceLike:
    """Dialect A."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self._port, self._context = port, context

    def open_connect(
        self, source: str, destination: str, qos: Asked, mimetype: str, ksid: bytes = NULL
    ) -> Opened:
        names = source.encode() + b"\0" + destination.encode() + b"\0"
        body = names + struct.pack("!7I", *qos) + mimetype.encode() + b"\0" + ksid
        payload = self._call(0x02, body, 0x03)
        (status,) = struct.unpack_from("!I", payload)
        told = Asked(*struct.unpack_from("!7I", payload, 4))
        end = payload.index(b"\0", 32)
        ksid = payload[end + 1 : end + 17]
        assert len(ksid) == 16, "the structure is whole, whatever the status"
        return Opened(status, told, payload[32:end], ksid)

    def get_key(self, ksid: bytes, index: int, buffer: bytes) -> Got:
        body = ksid + struct.pack("!II", index, len(buffer)) + buffer
        payload = self._call(0x04, body, 0x05)
        status, index, key_size = struct.unpack_from("!III", payload)
        key = payload[12 : 12 + key_size]
        (size,) = struct.unpack_from("!I", payload, 12 + key_size)
        metadata = payload[16 + key_size : 16 + key_size + size]
        # Its copying checks no bounds: what is announced must be there.
        assert (len(key), len(metadata)) == (key_size, size)
        return Got(status, index, key, metadata)

    def close(self, ksid: bytes) -> int:
        (status,) = struct.unpack("!I", self._call(0x08, ksid, 0x09))
        return int(status)

    def _call(self, service: int, body: bytes, answer: int) -> bytes:
        with _dial(self._port, self._context) as tls:
            tls.sendall(bytes([2, 1, 1, service]) + struct.pack("!I", len(body)) + body)
            header = tls.recv(8)
            assert (len(header), header[3]) == (8, answer), header
            (size,) = struct.unpack("!I", header[4:])
            assert size, "a payload of no octets makes it hang"
            payload = tls.recv(size)
        assert len(payload) == size, "one read gives the payload"
        return payload


class FixedFieldLike:
    """Dialect B."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self._tls = _dial(port, context)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._tls.close()

    def open_connect(
        self, source: str, destination: str, qos: Asked, mimetype: str, ksid: UUID | None = None
    ) -> Opened:
        names = source.encode() + b"\0" + destination.encode() + b"\0"
        body = names + struct.pack("!7I256s", *qos, mimetype.encode())
        payload = self._call(0x02, body + (ksid.bytes if ksid else NULL), 0x03)
        status, *numbers = struct.unpack("!8I", payload[:32])
        mime, name = struct.unpack("!256s16s", payload[32:])
        return Opened(status, Asked(*numbers), mime.rstrip(b"\0"), name)

    def get_key(self, ksid: bytes, index: int, metadata_size: int) -> Got:
        body = ksid + struct.pack("!II", index, metadata_size)
        payload = self._call(0x04, body, 0x05)
        (status,) = struct.unpack_from("!I", payload)
        if status:
            return Got(status)
        index, size = struct.unpack_from("!II", payload, 4)
        key = payload[12 : 12 + size]
        (told,) = struct.unpack_from("!I", payload, 12 + size)
        return Got(status, index, key, payload[16 + size : 16 + size + told])

    def close(self, ksid: bytes) -> int:
        (status,) = struct.unpack_from("!I", self._call(0x08, ksid, 0x09))
        return int(status)

    def _call(self, service: int, body: bytes, answer: int) -> bytes:
        self._tls.sendall(bytes([1, 0, 1, service]) + struct.pack("!I", len(body)) + body)
        header = self._exactly(8)
        assert header[:4] == bytes([1, 0, 1, answer]), header
        return self._exactly(struct.unpack("!I", header[4:])[0])

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self._tls.recv(count - len(data))
            assert more, "the connection ended"
            data += more
        return data
