"""The client for plain programs: blocking calls, no event loop. Threads may share one.

The same as ``trio_client`` in every other respect: deadlines are kept by the sockets.
"""

import socket
import ssl
import threading
import time
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID

import attrs

from kms.adapters.tls import Credentials
from kms.client import reach
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
    socket: ssl.SSLSocket
    exchange: Connected
    idle_since: float = 0.0

    def close(self) -> None:
        self.socket.close()


class SyncClient:
    """A node's counter. ``with SyncClient(...) as client``; any number of threads may use it."""

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
        self._limit = threading.BoundedSemaphore(connections_max)
        self._lock = threading.Lock()
        self._idle: list[_Connection] = []
        self._closed = False

    def open(
        self,
        *,
        source: str,
        destination: str,
        qos: QoS | None = None,
        ksid: UUID | None = None,
    ) -> "SyncStream":
        """A stream between the two applications. Without ``ksid`` the node makes one and returns
        at once; tell it to the peer application. With one, returns when the peer is there."""
        return SyncStream(
            self, self._call(self._interface.open_connect(source, destination, qos, ksid))
        )

    def join(
        self, ksid: UUID, *, source: str, destination: str, qos: QoS | None = None
    ) -> "SyncStream":
        """The stream that the peer application opened; or our own, again, after a restart."""
        return self.open(source=source, destination=destination, qos=qos, ksid=ksid)

    def reload(self, credentials: Credentials | None = None) -> None:
        """New connections show the certificate that is now in the files. Raises ``LocalFault``
        and goes on with the old."""
        self._tls.reload(credentials)

    def close(self) -> None:
        """No idle connection is open, and none is made. Streams stay open at the node."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _call(self, call: Call[Any, _T]) -> _T:
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
                (self._interface.host, self._interface.port), timeout=CONNECT_S
            )
        except (OSError, UnicodeError) as error:
            raise reach.unreachable(error) from error
        try:
            transport.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # The wrapped socket owns the connection from here on, or closes it.
            tls = self._tls.client_context().wrap_socket(
                transport, server_hostname=self._interface.host
            )
        except OSError as error:  # also ssl.SSLError
            transport.close()
            raise reach.unreachable(error) from error
        try:
            reach.prove(tls.getpeercert(True), self._node)
        except BaseException:  # WrongServer and KeyboardInterrupt
            tls.close()
            raise
        return _Connection(tls, self._interface.connected())


class SyncStream:
    """A key stream: the same keys, under the same indices, for both applications."""

    def __init__(self, client: SyncClient, opened: Opened) -> None:
        """Of ``SyncClient.open`` and ``SyncClient.join``."""
        self._client = client
        self.ksid = opened.ksid
        """Key_stream_ID: tell it to the peer application; it is no secret"""
        self.qos = opened.qos
        """as it holds"""
        self.peer_connected = opened.peer_connected
        """the peer application was there when the stream was opened"""

    def get(self, index: int | None = None, *, metadata_size: int | None = None) -> Key:
        """The key at ``index``; without one, the next that this end has not read.

        Each key is delivered once. ``metadata_size``: bytes wanted at most; 0 none, None whatever
        there is.
        """
        return self._client._call(
            self._client._interface.get_key(self.ksid, self.qos, index, metadata_size)
        )

    def close(self) -> None:
        """This end is closed at the node; the peer may still read what was made for it."""
        self._client._call(self._client._interface.close(self.ksid, self.qos))
