"""One question to the device and its answer, within a deadline, every failure a named fault."""

from collections.abc import Awaitable, Callable
from functools import partial

import trio

from kms.adapters.etsi004_binary import (
    CloseRequest,
    ErrorReply,
    GetKeyRequest,
    Message,
    MessageFault,
    OpenConnectRequest,
    Reader,
    Request,
    Service,
    encode,
)
from kms.adapters.qkd_socket.config import Connections, QKDSocketConfig
from kms.adapters.qkd_socket.faults import device_fault

Connect = Callable[[], Awaitable[trio.abc.Stream]]

_ANSWERS: dict[type[Request], Service] = {
    OpenConnectRequest: Service.OPEN_CONNECT_RESPONSE,
    GetKeyRequest: Service.GET_KEY_RESPONSE,
    CloseRequest: Service.CLOSE_RESPONSE,
}


def dial(config: QKDSocketConfig) -> Connect:
    """Connects to the configured address; with TLS once the handshake is through."""
    return partial(_dial, config)


async def _dial(config: QKDSocketConfig) -> trio.abc.Stream:
    stream = await trio.open_tcp_stream(config.host, config.port)
    if config.tls is None:
        return stream
    secured = trio.SSLStream(
        stream,
        config.tls,
        server_hostname=config.server_hostname or config.host,
        # Frames have lengths, so an end without a closing alert cannot pass for a whole answer.
        https_compatible=True,
    )
    try:
        await secured.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return secured


class Line:
    """The connection to the device, made when it is needed."""

    def __init__(
        self,
        connect: Connect,
        *,
        connections: Connections,
        payload_bytes_max: int,
        timeout_s: float,
    ) -> None:
        self._connect = connect
        self._connections = connections
        self._payload_bytes_max = payload_bytes_max
        self._timeout_s = timeout_s
        self._stream: trio.abc.Stream | None = None

    async def call(self, request: Request) -> Message:
        """The answer to ``request``. Raises ``DeviceFault``; the connection is then closed.
        Cancellation: closed too, the answer is lost."""
        try:
            stream = self._stream or await self._dial()
            return await self._exchange(stream, request)
        except BaseException:
            await self.aclose()
            raise
        finally:
            if self._connections is Connections.PER_CALL:
                await self.aclose()

    async def aclose(self) -> None:
        """The connection is closed, without waiting for the device."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await trio.aclose_forcefully(stream)

    async def _dial(self) -> trio.abc.Stream:
        try:
            with trio.fail_after(self._timeout_s):
                self._stream = await self._connect()
        except trio.TooSlowError:
            raise device_fault("silent", f"no connection in {self._timeout_s} s") from None
        except (OSError, trio.BrokenResourceError) as error:
            # A handshake that fails is a BrokenResourceError; its cause says what is wrong.
            raise device_fault("refused", str(error.__cause__ or error)) from error
        return self._stream

    async def _exchange(self, stream: trio.abc.Stream, request: Request) -> Message:
        expected = _ANSWERS[type(request)]
        reader = Reader(
            payload_bytes_max=self._payload_bytes_max,
            services=frozenset({expected, Service.ERROR}),
        )
        try:
            with trio.fail_after(self._timeout_s):
                await stream.send_all(encode(request))
                answer = await _read(stream, reader)
        except trio.TooSlowError:
            raise device_fault("silent", f"no whole answer in {self._timeout_s} s") from None
        except (OSError, trio.BrokenResourceError) as error:
            raise device_fault("cut", str(error.__cause__ or error)) from error
        except MessageFault as fault:
            raise device_fault(fault.name, fault.reason) from None
        finally:
            reader.wipe()
        if isinstance(answer, ErrorReply):
            raise device_fault("error-reply", "the device answers ERROR")
        return answer


async def _read(stream: trio.abc.Stream, reader: Reader) -> Message:
    while True:
        space = reader.space()
        if isinstance(stream, trio.SocketStream):
            # Into our own buffer, which is wiped: receive_some makes bytes, which cannot be.
            count = await stream.socket.recv_into(space)
        else:
            data = await stream.receive_some(len(space))
            count = len(data)
            space[:count] = data
        if not count:
            raise MessageFault("cut", "the device hung up before its answer was whole")
        message = reader.filled(count)
        if message is not None:
            return message
