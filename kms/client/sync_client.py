"""The client for plain programs: key streams of ETSI GS QKD 004, blocking calls, no event loop.

Threads may share one.
"""

from types import TracebackType
from typing import Self
from uuid import UUID

from kms.adapters.tls import Credentials
from kms.client.exchange import CONNECTIONS_MAX
from kms.client.interface import interface_at
from kms.client.key import Key
from kms.client.outcome import Opened
from kms.client.sync_connections import SyncConnections
from kms.domain.status import QoS


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
        self._connections = SyncConnections(self._interface, credentials, node, connections_max)

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
        call = self._interface.open_connect(source, destination, qos, ksid)
        return SyncStream(self, self._connections.ask(call))

    def join(
        self, ksid: UUID, *, source: str, destination: str, qos: QoS | None = None
    ) -> "SyncStream":
        """The stream that the peer application opened; or our own, again, after a restart."""
        return self.open(source=source, destination=destination, qos=qos, ksid=ksid)

    def stream(self, ksid: UUID, qos: QoS | None = None) -> "SyncStream":
        """A stream that this application has open at the node, without asking. ``qos`` as it
        holds: without it, a key's length is not checked."""
        return SyncStream(self, Opened(ksid=ksid, qos=qos or QoS(), peer_connected=False))

    def reload(self, credentials: Credentials | None = None) -> None:
        """New connections show the certificate that is now in the files. Raises ``LocalFault``
        and goes on with the old."""
        self._connections.reload(credentials)

    def close(self) -> None:
        """No idle connection is open, and none is made. Streams stay open at the node."""
        self._connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


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
        return self._client._connections.ask(
            self._client._interface.get_key(self.ksid, self.qos, index, metadata_size)
        )

    def close(self) -> None:
        """This end is closed at the node; the peer may still read what was made for it."""
        self._client._connections.ask(self._client._interface.close(self.ksid, self.qos))
