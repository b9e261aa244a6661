"""A node's connections for plain programs, whichever interface is spoken over them.

The same as ``trio_connections`` in every other respect: deadlines are kept by the sockets, and
threads may share them.
"""

import socket
import ssl
import threading
import time
from typing import Any, TypeVar

import attrs

from kms.adapters.tls import Credentials
from kms.client import reach
from kms.client.exchange import CONNECT_S, IDLE_S, RECEIVE_BYTES, Call
from kms.client.interface import Connected, Endpoint
from kms.client.outcome import no_answer

_T = TypeVar("_T")


@attrs.define(eq=False)
class _Connection:
    socket: ssl.SSLSocket
    exchange: Connected
    idle_since: float = 0.0

    def close(self) -> None:
        self.socket.close()


class SyncConnections:
    """Any number of threads may ask over them; so many at once are open."""

    def __init__(
        self, endpoint: Endpoint, credentials: Credentials, node: str | None, connections_max: int
    ) -> None:
        """Connects to nothing yet. Raises ``LocalFault`` for a file."""
        self._endpoint = endpoint
        self._tls = reach.tls(credentials, node, endpoint.alpn)
        self._node = node
        self._limit = threading.BoundedSemaphore(connections_max)
        self._lock = threading.Lock()
        self._idle: list[_Connection] = []
        self._closed = False

    def reload(self, credentials: Credentials | None) -> None:
        """New connections show the certificate that is now in the files. Raises ``LocalFault``
        and goes on with the old."""
        self._tls.reload(credentials)

    def close(self) -> None:
        """No idle connection is open, and none is made."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def ask(self, call: Call[Any, _T]) -> _T:
        """What the node answers to this call. Raises ``ClientError``."""
        with self._limit:
            if self._closed:
                raise ValueError("the client is closed")
            connection = self._connection()
            try:
                answer = self._exchange(connection, call)
            except BaseException:  # also KeyboardInterrupt: what is half said cannot be used again
                connection.close()
                raise
            self._keep(connection)
        return call.read(answer)

    def _exchange(self, connection: _Connection, call: Call[Any, object]) -> object:
        deadline = time.monotonic() + call.patience_s
        tls, exchange = connection.socket, connection.exchange
        try:
            tls.settimeout(call.patience_s)
            tls.sendall(exchange.request(call))
            answer = None
            while answer is None:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise TimeoutError
                tls.settimeout(left_s)
                answer = exchange.receive(tls.recv(RECEIVE_BYTES))
            return answer
        except TimeoutError:
            raise no_answer(call) from None
        except OSError as error:  # also ssl.SSLError
            if not exchange.used and reach.refused_us(error):
                raise reach.unreachable(error) from error
            raise reach.broken(call.function, first=not exchange.used) from error

    def _keep(self, connection: _Connection) -> None:
        if connection.exchange.again():
            connection.idle_since = time.monotonic()
            with self._lock:
                if not self._closed:
                    self._idle.append(connection)
                    return
        connection.close()

    def _connection(self) -> _Connection:
        while True:
            with self._lock:
                if not self._idle:
                    break
                connection = self._idle.pop()
            aged = time.monotonic() - connection.idle_since > IDLE_S
            if not aged and not reach.has_news(connection.socket.fileno()):
                return connection
            connection.close()
        return self._connect()

    def _connect(self) -> _Connection:
        try:
            transport = socket.create_connection(
                (self._endpoint.host, self._endpoint.port), timeout=CONNECT_S
            )
        except (OSError, UnicodeError) as error:
            raise reach.unreachable(error) from error
        try:
            transport.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # The wrapped socket owns the connection from here on, or closes it.
            tls = self._tls.client_context().wrap_socket(
                transport, server_hostname=self._endpoint.host
            )
        except OSError as error:  # also ssl.SSLError
            transport.close()
            raise reach.unreachable(error) from error
        try:
            reach.prove(tls.getpeercert(True), self._node)
        except BaseException:  # WrongServer and KeyboardInterrupt
            tls.close()
            raise
        return _Connection(tls, self._endpoint.connected())
