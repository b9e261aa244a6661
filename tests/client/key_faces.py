"""Both faces of the client for keys with IDs behind one."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from uuid import UUID

import trio

from kms.adapters.tls import Credentials
from kms.client import KeyClient, Keys, KeysStatus, SyncKeyClient


class KeyFace(ABC):
    """A client, whichever."""

    @abstractmethod
    async def status(self, slave: str) -> KeysStatus: ...

    @abstractmethod
    async def enc_keys(self, slave: str, **wanted: object) -> Keys: ...

    @abstractmethod
    async def dec_keys(self, master: str, key_ids: Sequence[UUID]) -> Keys: ...

    @abstractmethod
    async def aclose(self) -> None: ...


class TrioKeyFace(KeyFace):
    def __init__(self, url: str, credentials: Credentials, node: str | None = None) -> None:
        self.client = KeyClient(url, credentials, node=node)

    async def status(self, slave: str) -> KeysStatus:
        return await self.client.status(slave)

    async def enc_keys(self, slave: str, **wanted: object) -> Keys:
        return await self.client.enc_keys(slave, **wanted)  # type: ignore[arg-type]

    async def dec_keys(self, master: str, key_ids: Sequence[UUID]) -> Keys:
        return await self.client.dec_keys(master, key_ids)

    async def aclose(self) -> None:
        await self.client.aclose()


class SyncKeyFace(KeyFace):
    """Each call in a thread, as a program without an event loop makes it."""

    def __init__(self, url: str, credentials: Credentials, node: str | None = None) -> None:
        self.client = SyncKeyClient(url, credentials, node=node)

    async def status(self, slave: str) -> KeysStatus:
        return await trio.to_thread.run_sync(self.client.status, slave)

    async def enc_keys(self, slave: str, **wanted: object) -> Keys:
        ask = partial(self.client.enc_keys, slave, **wanted)  # type: ignore[arg-type]
        return await trio.to_thread.run_sync(ask)

    async def dec_keys(self, master: str, key_ids: Sequence[UUID]) -> Keys:
        return await trio.to_thread.run_sync(self.client.dec_keys, master, key_ids)

    async def aclose(self) -> None:
        self.client.close()


KEY_FACES: dict[str, type[TrioKeyFace] | type[SyncKeyFace]] = {
    "trio": TrioKeyFace,
    "sync": SyncKeyFace,
}
