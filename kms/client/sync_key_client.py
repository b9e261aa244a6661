"""The client for plain programs: keys with IDs of ETSI GS QKD 014, no event loop.

Threads may share one.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from kms.adapters.tls import Credentials
from kms.client import etsi014
from kms.client.exchange import CONNECTIONS_MAX
from kms.client.interface import keys_at
from kms.client.keys import Keys, KeysStatus
from kms.client.sync_connections import SyncConnections


class SyncKeyClient:
    """A node's keys with IDs. ``with SyncKeyClient(...) as client``; any number of threads may use
    it."""

    def __init__(
        self,
        url: str,
        credentials: Credentials,
        *,
        node: str | None = None,
        connections_max: int = CONNECTIONS_MAX,
    ) -> None:
        """``url``: https (``keys_at``). ``node``: the server has to prove ``kms:<node>``; without
        it, its host name.

        Connects to nothing yet. Raises ``ValueError`` for the URL, ``LocalFault`` for a file.
        """
        self._connections = SyncConnections(keys_at(url), credentials, node, connections_max)

    def status(self, slave: str) -> KeysStatus:
        """Get status (clause 5.1): what this node has for us and the slave application."""
        return self._connections.ask(etsi014.status(slave))

    def enc_keys(
        self,
        slave: str,
        *,
        number: int = 1,
        size: int | None = None,
        additional_slaves: Sequence[str] = (),
        extension_mandatory: Iterable[Mapping[str, Any]] = (),
        extension_optional: Iterable[Mapping[str, Any]] = (),
    ) -> Keys:
        """Get key (clause 5.2): so many fresh keys of ``size`` bits, without it the node's default,
        for us and the slave applications, which ask for them by ``key_ids``. We are their
        master. All or none; each is delivered once to each of us."""
        call = etsi014.enc_keys(
            slave, number, size, additional_slaves, extension_mandatory, extension_optional
        )
        return self._connections.ask(call)

    def dec_keys(self, master: str, key_ids: Sequence[UUID]) -> Keys:
        """Get key with key IDs (clause 5.3): the keys that ``master`` got for us, in the order
        asked. All or none; each is delivered once."""
        return self._connections.ask(etsi014.dec_keys(master, key_ids))

    def reload(self, credentials: Credentials | None = None) -> None:
        """New connections show the certificate that is now in the files. Raises ``LocalFault``
        and goes on with the old."""
        self._connections.reload(credentials)

    def close(self) -> None:
        """No idle connection is open, and none is made."""
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
