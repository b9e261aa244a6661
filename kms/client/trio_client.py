"""The client for programs that run on trio.

Theory of operation: a request takes an idle connection or makes one, and puts it back if the
answer came whole and both sides keep it. Connections are used last in, first out, so that the
surplus of a busy hour grows old and is closed. A cancelled or failed request closes its own
connection and touches nothing else.
"""

from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID

import attrs
import trio

from kms.adapters.tls import Credentials
from kms.client import reach
from kms.client.errors import Unreachable
from kms.client.exchange import (
    CONNECT_S,
    CONNECTIONS_MAX,
    IDLE_S,
    RECEIVE_BYTES,
    Call,
)
from kms.client.interface import Connected, interface_at
from kms.client.key import Key
from kms.client.outcome import Opened, no_answer
from kms.domain.status import QoS

_T = TypeVar("_T")


@attrs.define(eq=False)
class _Connection:
    stream: trio.SSLStream[trio.SocketStream]
    exchange: Connected
    idle_since: float = 0.0

    async def close(self) -> None:
        await trio.aclose_forcefully(self.stream)


class Client:
    """A node's counter. ``async with Client(...) as client``; any number of tasks may use it."""

    def __init__(
        self,
        url: str,
        credentials: Credentials,
        *,
        node: str | None = None,
        connections_max: int = CONNECTIONS_MAX,
    ) -> None:
        """``url``: https for HTTP, tls for frames (``interface``). ``node``: the server has to
        prove ``kms:<node>``; without it, its host name.

        Connects to nothing yet. Raises ``ValueError`` for the URL, ``LocalFault`` for a file.
        """
        self._interface = interface_at(url)
        self._tls = reach.tls(credentials, node, self._interface.alpn)
        self._node = node
        self._limit = trio.CapacityLimiter(connections_max)
        self._idle: list[_Connection] = []
        self._closed = False

    async def open(
        self,
        *,
        source: str,
        destination: str,
        qos: QoS | None = None,
        ksid: UUID | None = None,
    ) -> "Stream":
        """A stream between the two applications. Without ``ksid`` the node makes one and returns
        at once; tell it to the peer application. With one, returns when the peer is there."""
        opened = await self._call(self._interface.open_connect(source, destination, qos, ksid))
        return Stream(self, opened)

    async def join(
        self, ksid: UUID, *, source: str, destination: str, qos: QoS | None = None
    ) -> "Stream":
        """The stream that the peer application opened; or our own, again, after a restart."""
        return await self.open(source=source, destination=destination, qos=qos, ksid=ksid)

    def reload(self, credentials: Credentials | None = None) -> None:
        """New connections show the certificate that is now in the files. Raises ``LocalFault``
        and goes on with the old."""
        self._tls.reload(credentials)

    async def aclose(self) -> None:
        """No connection is open. Streams stay open at the node."""
        self._closed = True
        while self._idle:
            await self._idle.pop().close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _call(self, call: Call[Any, _T]) -> _T:
        async with self._limit:
            if self._closed:
                raise trio.ClosedResourceError("the client is closed")
            connection = await self._connection()
            try:
                with trio.fail_after(call.patience_s):
                    answer = await self._exchange(connection, call)
            except trio.TooSlowError:
                await connection.close()
                raise no_answer(call) from None
            except BaseException:  # also Cancelled: what is half said cannot be used again
                await connection.close()
                raise
            if connection.exchange.again() and not self._closed:
                connection.idle_since = trio.current_time()
                self._idle.append(connection)
            else:
                await connection.close()
        return call.read(answer)

    async def _exchange(self, connection: _Connection, call: Call[Any, object]) -> object:
        stream, exchange = connection.stream, connection.exchange
        try:
            await stream.send_all(exchange.request(call))
            answer = None
            while answer is None:
                answer = exchange.receive(await stream.receive_some(RECEIVE_BYTES))
            return answer
        except trio.BrokenResourceError as error:
            if not exchange.used and reach.refused_us(error.__cause__):
                raise reach.unreachable(error.__cause__) from error
            raise reach.broken(call.function, first=not exchange.used) from error

    async def _connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            aged = trio.current_time() - connection.idle_since > IDLE_S
            if not aged and not reach.has_news(connection.stream.transport_stream.socket.fileno()):
                return connection
            await connection.close()
        try:
            with trio.fail_after(CONNECT_S):
                return await self._connect()
        except trio.TooSlowError:
            raise Unreachable(f"cannot connect within {CONNECT_S:g} s") from None

    async def _connect(self) -> _Connection:
        try:
            # trio sets TCP_NODELAY.
            transport = await trio.open_tcp_stream(self._interface.host, self._interface.port)
        except (OSError, UnicodeError) as error:
            raise reach.unreachable(error) from error
        stream = trio.SSLStream(
            transport,
            self._tls.client_context(),
            server_hostname=self._interface.host,
            https_compatible=True,
        )
        try:
            await stream.do_handshake()
            reach.prove(stream.getpeercert(binary_form=True), self._node)
        except trio.BrokenResourceError as error:
            await trio.aclose_forcefully(stream)
            raise reach.unreachable(error.__cause__ or error) from error
        except BaseException:  # WrongServer and Cancelled
            await trio.aclose_forcefully(stream)
            raise
        return _Connection(stream, self._interface.connected())


class Stream:
    """A key stream: the same keys, under the same indices, for both applications."""

    def __init__(self, client: Client, opened: Opened) -> None:
        """Of ``Client.open`` and ``Client.join``."""
        self._client = client
        self.ksid = opened.ksid
        """Key_stream_ID: tell it to the peer application; it is no secret"""
        self.qos = opened.qos
        """as it holds"""
        self.peer_connected = opened.peer_connected
        """the peer application was there when the stream was opened"""

    async def get(self, index: int | None = None, *, metadata_size: int | None = None) -> Key:
        """The key at ``index``; without one, the next that this end has not read.

        Each key is delivered once. Cancellation may lose the key at this end, as ``AnswerLost``
        says. ``metadata_size``: bytes wanted at most; 0 none, None whatever there is.
        """
        call = self._client._interface.get_key(self.ksid, self.qos, index, metadata_size)
        return await self._client._call(call)

    async def close(self) -> None:
        """This end is closed at the node; the peer may still read what was made for it."""
        await self._client._call(self._client._interface.close(self.ksid, self.qos))
