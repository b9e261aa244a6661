"""One end of the pair behind its socket: the device side of ETSI GS QKD 004, binary form.

Rules: an application opens the predefined stream (a NULL Key_stream_ID gets it too) and fetches
keys by index, many on one connection or one connection for each. A stream outlives its
connections, and a CLOSE. What a stranger sends ends that connection and nothing else.
"""

import json
import ssl
import time
from collections.abc import Callable
from functools import partial
from typing import Final, Never
from uuid import UUID

import attrs
import trio

from kms.adapters.etsi004_binary import (
    REQUEST_PAYLOAD_BYTES_MAX,
    REQUESTS,
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
    encode,
)
from kms.domain.secret import Secret, zero
from kms.domain.status import QoS, Status
from kms.twin.bits import block_bits, block_id
from kms.twin.chance import Chance
from kms.twin.config import TwinConfig
from kms.twin.misbehaviour import SPOILT_BYTES, SPOILT_MEANINGS, Then
from kms.twin.stock import Found, Missing, Stock

# A node holds one connection; the others are a restarted node's, and strangers.
CONNECTIONS_MAX: Final = 16
# Within a request; between requests a node may have no room for days.
REQUEST_TIMEOUT_S: Final = 10.0
# The oblivious-key extension's selector has this many octets: no offer of a buffer.
SELECTOR_BYTES: Final = 2


# What our five members can take.
METADATA_BYTES: Final = 192


@attrs.frozen(kw_only=True)
class Address:
    """Where the twin listens."""

    host: str
    port: int


@attrs.frozen
class _Reply:
    frame: bytearray | bytes
    then: Then = Then.GO_ON


def wall_ms() -> int:
    """This machine's wall time."""
    return time.time_ns() // 1_000_000


async def serve(
    config: TwinConfig,
    *,
    now_ms: Callable[[], int] = wall_ms,
    tls: ssl.SSLContext | None = None,
    task_status: trio.TaskStatus[Address] = trio.TASK_STATUS_IGNORED,
) -> Never:
    """Serves until cancelled; started with the address once it listens. Raises ``OSError`` if it
    cannot listen there."""
    twin = DeviceTwin(config, now_ms=now_ms)
    listeners = await trio.open_tcp_listeners(config.port, host=config.host)
    host, port = listeners[0].socket.getsockname()[:2]
    task_status.started(Address(host=host, port=port))
    await trio.serve_listeners(partial(_secured, twin, tls), listeners)


async def _secured(
    twin: "DeviceTwin", tls: ssl.SSLContext | None, stream: trio.SocketStream
) -> None:
    if tls is None:
        await twin.converse(stream)
    else:
        await twin.converse(trio.SSLStream(stream, tls, server_side=True, https_compatible=True))


class DeviceTwin:
    """The device end: its stock, and how it answers."""

    def __init__(self, config: TwinConfig, *, now_ms: Callable[[], int]) -> None:
        self._config = config
        self._now_ms = now_ms
        self._started_ms = now_ms()
        self._chance = Chance(config.seed, config.link, config.end)
        self._stock = Stock(config, self._chance, self._started_ms)
        self._connections = 0
        self._opens = 0

    async def converse(self, stream: trio.abc.Stream) -> None:
        """Answers until the other side hangs up, breaks the protocol, or this end goes down; the
        stream is then closed. A stranger's faults raise nothing."""
        if self._connections >= CONNECTIONS_MAX or not self._up_for_s():
            await trio.aclose_forcefully(stream)
            return
        self._connections += 1
        try:
            with trio.move_on_after(self._up_for_s()):
                await self._answer_all(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError, OSError):
            pass  # The other side is gone or hangs: it has its own log.
        finally:
            self._connections -= 1
            await trio.aclose_forcefully(stream)

    def _up_for_s(self) -> float:
        """How long this end stays up; 0 while it is down."""
        since_s = (self._now_ms() - self._started_ms) / 1000
        if any(start <= since_s < end for start, end in self._config.knobs.down):
            return 0.0
        return min(
            (start - since_s for start, _ in self._config.knobs.down if start > since_s),
            default=float("inf"),
        )

    async def _answer_all(self, stream: trio.abc.Stream) -> None:
        reader = Reader(payload_bytes_max=REQUEST_PAYLOAD_BYTES_MAX, services=REQUESTS)
        while True:
            try:
                request = await _read(stream, reader)
                if request is None:
                    return
                reply = self._reply(request)
            except MessageFault:
                reply = _Reply(encode(ErrorReply()), Then.HANG_UP)
            with trio.fail_after(REQUEST_TIMEOUT_S):
                await stream.send_all(reply.frame)
            if isinstance(reply.frame, bytearray):
                zero(reply.frame)
            if reply.then is Then.HANG_UP:
                return
            while reply.then is Then.HANG:
                # Deaf too, but not for the end: a connection that is gone makes room.
                if not await stream.receive_some(4096):
                    return

    def _reply(self, request: Message) -> _Reply:
        match request:
            case OpenConnectRequest():
                return _Reply(encode(self._open(request)))
            case GetKeyRequest():
                return self._get_key(request)
            case CloseRequest():
                known = request.ksid == self._config.ksid
                status = Status.SUCCESS if known else Status.PEER_NOT_CONNECTED
                return _Reply(encode(CloseResponse(status=status)))
        raise AssertionError("the reader lets only requests through")

    def _open(self, request: OpenConnectRequest) -> OpenConnectResponse:
        config = self._config
        granted = attrs.evolve(
            request.qos,
            key_chunk_size=config.key_chunk_size,
            max_bps=min(config.rate_bps, 2**32 - 1),
            metadata_mimetype="application/json" if request.qos.metadata_mimetype else "",
        )
        if request.ksid not in (None, config.ksid):
            return _refusal(Status.NO_QKD_CONNECTION, granted, request.ksid)
        if request.qos.key_chunk_size not in (0, config.key_chunk_size):
            return _refusal(Status.QOS_NOT_MET, granted, request.ksid)
        self._opens += 1
        ksid: UUID = config.ksid
        if self._chance.happens("wrong_ksid", self._opens, config.knobs.wrong_ksid):
            ksid = UUID(int=ksid.int ^ 1)
        return OpenConnectResponse(status=Status.SUCCESS, qos=granted, ksid=ksid)

    def _get_key(self, request: GetKeyRequest) -> _Reply:
        if request.ksid != self._config.ksid:
            return _no_key(Status.PEER_NOT_CONNECTED, request.index)
        offered = request.metadata_size
        if SELECTOR_BYTES < offered < METADATA_BYTES:
            # Before a block is taken: no key delivered and none lost (table 2, status 8).
            return _no_key(Status.METADATA_SIZE_INSUFFICIENT, request.index, bytes(METADATA_BYTES))
        found = self._stock.take(request.index, self._now_ms())
        if isinstance(found, Missing):
            return _no_key(Status.INSUFFICIENT_KEY, found.index)
        metadata = self._metadata(found) if offered >= METADATA_BYTES else b""
        return self._spoilt(
            found.number,
            GetKeyResponse(
                status=Status.SUCCESS,
                index=found.index,
                key=Secret(self._bits(found.number)),
                metadata=metadata,
            ),
        )

    def _bits(self, number: int) -> bytes:
        config = self._config
        differs = self._chance.happens("different", number, config.knobs.different)
        seed = f"{config.seed}\0{config.end}" if differs else config.seed
        return block_bits(seed, config.link, number, config.key_chunk_size)

    def _metadata(self, found: Found) -> bytes:
        members = {
            "age": found.age_ms,
            "hops": 0,
            "block_id": str(block_id(self._config.link, found.number)),
            "qber": found.qber,
            "origin": self._config.origin,
        }
        metadata = json.dumps(members).encode()
        assert len(metadata) <= METADATA_BYTES, "the metadata outgrew what is asked for it"
        return metadata

    def _spoilt(self, number: int, answer: GetKeyResponse) -> _Reply:
        """The answer as it leaves, spoilt by at most one knob."""
        knobs = self._config.knobs
        for name, spoil in SPOILT_MEANINGS.items():
            if self._stock.strikes(name, number, getattr(knobs, name)):
                return _Reply(encode(spoil(answer)))
        for name, (spoil_bytes, then) in SPOILT_BYTES.items():
            if self._stock.strikes(name, number, getattr(knobs, name)):
                return _Reply(spoil_bytes(bytes(encode(answer))), then)
        return _Reply(encode(answer))


def _refusal(status: Status, qos: QoS, ksid: UUID | None) -> OpenConnectResponse:
    return OpenConnectResponse(status=status, qos=qos, ksid=ksid)


def _no_key(status: Status, index: int, metadata: bytes = b"") -> _Reply:
    # The full layout, as the reference library reads it whatever the status.
    return _Reply(
        encode(GetKeyResponse(status=status, index=index, key=Secret(b""), metadata=metadata))
    )


async def _read(stream: trio.abc.Stream, reader: Reader) -> Message | None:
    """The next request; None at the end of the stream. Only a request begun has a deadline."""
    data = await stream.receive_some(len(reader.space()))
    with trio.fail_after(REQUEST_TIMEOUT_S):
        while data:
            reader.space()[: len(data)] = data
            message = reader.filled(len(data))
            if message is not None:
                return message
            data = await stream.receive_some(len(reader.space()))
    reader.end()
    return None
