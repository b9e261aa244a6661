"""The client for programs that run on trio: key streams of ETSI GS QKD 004."""

from types import TracebackType
from typing import Self
from uuid import UUID

from kms.adapters.tls import Credentials
from kms.client.exchange import CONNECTIONS_MAX
from kms.client.interface import interface_at
from kms.client.key import Key
from kms.client.outcome import Opened
from kms.client.trio_connections import Connections
from kms.domain.status import QoS


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
        self._connections = Connections(self._interface, credentials, node, connections_max)

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
        opened = await self._connections.ask(
            self._interface.open_connect(source, destination, qos, ksid)
        )
        return Stream(self, opened)

    async def join(
        self, ksid: UUID, *, source: str, destination: str, qos: QoS | None = None
    ) -> "Stream":
        """The stream that the peer application opened; or our own, again, after a restart."""
        return await self.open(source=source, destination=destination, qos=qos, ksid=ksid)

    def stream(self, ksid: UUID, qos: QoS | None = None) -> "Stream":
        """A stream that this application has open at the node, without asking. ``qos`` as it
        holds: without it, a key's length is not checked."""
        return Stream(self, Opened(ksid=ksid, qos=qos or QoS(), peer_connected=False))

    def reload(self, credentials: Credentials | None = None) -> None:
        """New connections show the certificate that is now in the files. Raises ``LocalFault``
        and goes on with the old."""
        self._connections.reload(credentials)

    async def aclose(self) -> None:
        """No connection is open. Streams stay open at the node."""
        await self._connections.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()


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
        return await self._client._connections.ask(call)

    async def close(self) -> None:
        """This end is closed at the node; the peer may still read what was made for it."""
        await self._client._connections.ask(self._client._interface.close(self.ksid, self.qos))
