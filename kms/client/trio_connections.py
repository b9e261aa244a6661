"""A node's connections for programs that run on trio, whichever interface is spoken over them.

Theory of operation: a request takes an idle connection or makes one, and puts it back if the
answer came whole and both sides keep it. Connections are used last in, first out, so that the
surplus of a busy hour grows old and is closed. A cancelled or failed request closes its own
connection and touches nothing else.
"""

from typing import Any, TypeVar

import attrs
import trio

from kms.adapters.tls import Credentials
from kms.client import reach
from kms.client.errors import Unreachable
from kms.client.exchange import CONNECT_S, IDLE_S, RECEIVE_BYTES, Call
from kms.client.interface import Connected, Endpoint
from kms.client.outcome import no_answer

_T = TypeVar("_T")


@attrs.define(eq=False)
class _Connection:
    stream: trio.SSLStream[trio.SocketStream]
    exchange: Connected
    idle_since: float = 0.0

    async def close(self) -> None:
        await trio.aclose_forcefully(self.stream)


class Connections:
    """Any number of tasks may ask over them; so many at once are open."""

    def __init__(
        self, endpoint: Endpoint, credentials: Credentials, node: str | None, connections_max: int
    ) -> None:
        """Connects to nothing yet. Raises ``LocalFault`` for a file."""
        self._endpoint = endpoint
        self._tls = reach.tls(credentials, node, endpoint.alpn)
        self._node = node
        self._limit = trio.CapacityLimiter(connections_max)
        self._idle: list[_Connection] = []
        self._closed = False

    def reload(self, credentials: Credentials | None) -> None:
        """New connections show the certificate that is now in the files. Raises ``LocalFault``
        and goes on with the old."""
        self._tls.reload(credentials)

    async def aclose(self) -> None:
        """No connection is open, and none is made any more."""
        self._closed = True
        while self._idle:
            await self._idle.pop().close()

    async def ask(self, call: Call[Any, _T]) -> _T:
        """What the node answers to this call. Raises ``ClientError``."""
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
            transport = await trio.open_tcp_stream(self._endpoint.host, self._endpoint.port)
        except (OSError, UnicodeError) as error:
            raise reach.unreachable(error) from error
        stream = trio.SSLStream(
            transport,
            self._tls.client_context(),
            server_hostname=self._endpoint.host,
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
        return _Connection(stream, self._endpoint.connected())
