"""Counters under test: the fake itself, and each application interface with the fake behind it.

``Over...`` is a ``Northbound`` that asks through a real interface, over mutual TLS, as the caller
that it is told. What an interface cannot say (a ``message`` in frames) is the same for all answers.
"""

import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any
from uuid import UUID

import structlog

from kms.adapters.edge import Bounds
from kms.adapters.etsi004_binary import (
    INDEX_ANY,
    CloseRequest,
    CloseResponse,
    Dialect,
    GetKeyRequest,
    GetKeyResponse,
    OpenConnectRequest,
    OpenConnectResponse,
)
from kms.adapters.etsi004_http import HotGetKey, etsi004_app
from kms.adapters.etsi014_http import HotKeys, etsi014_app
from kms.adapters.memory.northbound import MemoryNorthbound
from kms.domain.keyrequests import (
    DecKeys,
    EncKeys,
    KeysReply,
    Outcome,
    PairStatus,
    PairStatusReply,
)
from kms.domain.names import KSID, SAEId
from kms.domain.policy import Policy
from kms.domain.requests import Close, CloseReply, GetKey, KeyReply, OpenConnect, OpenReply
from kms.domain.secret import Secret
from kms.domain.status import QoS, Status
from kms.ports.northbound import Forbidden, Northbound
from tests.adapters.etsi004_http_client import Answer
from tests.adapters.etsi004_http_client import Client as HTTPClient
from tests.adapters.etsi014_http_client import BOUNDS as KEYS_BOUNDS
from tests.adapters.etsi014_http_client import NODE, bits, ids
from tests.adapters.etsi014_http_client import Client as KeysClient
from tests.edge.authority import Authority
from tests.edge.binary import BinaryClient, running_binary
from tests.edge.support import Running, running

AUTHORITY = Authority()
# More than any metadata needs.
_BUFFER_BYTES = 256

Made = AbstractAsyncContextManager[Northbound]


@asynccontextmanager
async def memory(policy: Policy) -> AsyncIterator[Northbound]:
    """The fake."""
    yield MemoryNorthbound(policy=policy)


def _over_fake(interface: Callable[[Northbound], Made], policy: Policy) -> Made:
    return interface(MemoryNorthbound(policy=policy))


@asynccontextmanager
async def http(counter: Northbound, *, fast: bool) -> AsyncIterator[Northbound]:
    """HTTP and JSON; GET_KEY on the connection's own task, or by hypercorn and Quart."""
    log = structlog.wrap_logger(None, processors=[_drop])
    hot = HotGetKey(counter, log) if fast else None
    app = etsi004_app(counter, log)
    async with running(app, authority=AUTHORITY, bounds=Bounds(), hot=hot) as edge:
        yield OverHTTP(counter, edge)


@asynccontextmanager
async def frames(counter: Northbound, dialect: Dialect) -> AsyncIterator[Northbound]:
    """ETSI's binary framing."""
    async with running_binary(counter, authority=AUTHORITY, bounds=Bounds()) as edge:
        yield OverFrames(counter, edge, dialect)


@asynccontextmanager
async def keys(counter: Northbound, *, fast: bool) -> AsyncIterator[Northbound]:
    """Keys with IDs, over HTTP and JSON; on this or that of the ways, as ``http``."""
    log = structlog.wrap_logger(None, processors=[_drop])
    hot = HotKeys(counter, NODE, log) if fast else None
    app = etsi014_app(counter, NODE, log)
    async with running(app, authority=AUTHORITY, bounds=KEYS_BOUNDS, hot=hot) as edge:
        yield OverKeys(counter, edge)


INTERFACES: dict[str, Callable[[Northbound], Made]] = {
    "http-fast": partial(http, fast=True),
    "http-slow": partial(http, fast=False),
    "frames-A": partial(frames, dialect=Dialect.A),
    "frames-B": partial(frames, dialect=Dialect.B),
}
"""what applications call, with any counter behind it"""
KEY_INTERFACES: dict[str, Callable[[Northbound], Made]] = {
    "keys-fast": partial(keys, fast=True),
    "keys-slow": partial(keys, fast=False),
}
"""the same, for keys with IDs"""

COUNTERS: dict[str, Callable[[Policy], Made]] = {
    "memory": memory,
    **{name: partial(_over_fake, interface) for name, interface in INTERFACES.items()},
}
KEY_COUNTERS: dict[str, Callable[[Policy], Made]] = {
    "memory": memory,
    **{name: partial(_over_fake, interface) for name, interface in KEY_INTERFACES.items()},
}
"""those that give keys with IDs"""


class _Over:
    """Asks on a new connection each time."""

    def __init__(self, counter: Northbound, edge: Running) -> None:
        self._counter = counter
        self._edge = edge

    def connect(self, caller: SAEId) -> Any:
        return self._edge.connect(AUTHORITY.client_context(caller))

    def is_revoked(self, fingerprint: str) -> bool:
        return self._counter.is_revoked(fingerprint)

    def hot(self) -> int:
        """Requests answered on the fast way."""
        return self._edge.server.statistics().hot

    # What the interface does not have.

    async def open_connect(self, caller: SAEId, request: OpenConnect) -> OpenReply:
        raise NotImplementedError

    async def get_key(self, caller: SAEId, request: GetKey) -> KeyReply:
        raise NotImplementedError

    async def close(self, caller: SAEId, request: Close) -> CloseReply:
        raise NotImplementedError

    async def enc_keys(self, caller: SAEId, request: EncKeys) -> KeysReply:
        raise NotImplementedError

    async def dec_keys(self, caller: SAEId, request: DecKeys) -> KeysReply:
        raise NotImplementedError

    async def pair_status(self, caller: SAEId, request: PairStatus) -> PairStatusReply:
        raise NotImplementedError


class OverHTTP(_Over):
    async def open_connect(self, caller: SAEId, request: OpenConnect) -> OpenReply:
        qos = request.qos
        body = {
            "source": request.source,
            "destination": request.destination,
            "QoS": {
                "Key_chunk_size": qos.key_chunk_size,
                "Max_bps": qos.max_bps,
                "Min_bps": qos.min_bps,
                "Jitter": qos.jitter,
                "Priority": qos.priority,
                "Timeout": qos.timeout,
                "TTL": qos.ttl,
                "Metadata_mimetype": qos.metadata_mimetype,
            },
            "Key_stream_ID": None if request.ksid is None else str(request.ksid),
        }
        told = await self._post(caller, "open_connect", body)
        ksid = told["Key_stream_ID"]
        return OpenReply(
            status=Status(told["status"]),
            message=told["message"],
            qos=QoS(**{name.lower(): value for name, value in told["QoS"].items()}),
            ksid=None if ksid is None else KSID(UUID(ksid)),
        )

    async def get_key(self, caller: SAEId, request: GetKey) -> KeyReply:
        body: dict[str, object] = {"Key_stream_ID": str(request.ksid), "index": request.index}
        if request.metadata_size is not None:
            body["Metadata"] = {"Metadata_size": request.metadata_size}
        told = await self._post(caller, "get_key", body)
        key = told.get("Key_buffer")
        return KeyReply(
            status=Status(told["status"]),
            message=told["message"],
            index=told["index"],
            key=None if key is None else Secret(base64.b64decode(key)),
            metadata=told["Metadata"]["Metadata_buffer"].encode(),
            metadata_size=told["Metadata"]["Metadata_size"],
        )

    async def close(self, caller: SAEId, request: Close) -> CloseReply:
        told = await self._post(caller, "close", {"Key_stream_ID": str(request.ksid)})
        return CloseReply(status=Status(told["status"]), message=told["message"])

    async def _post(self, caller: SAEId, function: str, body: object) -> Any:
        async with self.connect(caller) as stream:
            answer = await HTTPClient(stream).post(function, body)
        if answer.status == 403:
            raise Forbidden(answer.json["message"], hint="")
        assert answer.status == 200, answer
        return json.loads(answer.body)


class OverFrames(_Over):
    def __init__(self, counter: Northbound, edge: Running, dialect: Dialect) -> None:
        super().__init__(counter, edge)
        self._dialect = dialect

    async def open_connect(self, caller: SAEId, request: OpenConnect) -> OpenReply:
        told = await self._call(
            caller,
            OpenConnectRequest(
                source=request.source,
                destination=request.destination,
                qos=request.qos,
                ksid=request.ksid,
                dialect=self._dialect,
            ),
        )
        assert isinstance(told, OpenConnectResponse)
        assert told.dialect is self._dialect
        if told.status is Status.NO_QKD_CONNECTION:
            # A fake, and a node whose links are up, has a connection always.
            raise Forbidden("status 4", hint="")
        ksid = None if told.ksid is None else KSID(told.ksid)
        return OpenReply(status=told.status, message="", qos=told.qos, ksid=ksid)

    async def get_key(self, caller: SAEId, request: GetKey) -> KeyReply:
        offered = _BUFFER_BYTES if request.metadata_size is None else request.metadata_size
        told = await self._call(
            caller,
            GetKeyRequest(
                ksid=request.ksid,
                index=INDEX_ANY if request.index is None else request.index,
                metadata=bytes(offered) if self._dialect is Dialect.A else b"",
                metadata_size=offered,
            ),
        )
        assert isinstance(told, GetKeyResponse)
        size = len(told.metadata)
        lacking = told.status is Status.METADATA_SIZE_INSUFFICIENT
        return KeyReply(
            status=told.status,
            message="",
            index=told.index,
            key=told.key if told.status is Status.SUCCESS else None,
            metadata=b"" if lacking else told.metadata,
            metadata_size=size,
        )

    async def close(self, caller: SAEId, request: Close) -> CloseReply:
        told = await self._call(caller, CloseRequest(ksid=request.ksid))
        assert isinstance(told, CloseResponse)
        return CloseReply(status=told.status, message="")

    async def _call(self, caller: SAEId, request: Any) -> Any:
        async with self.connect(caller) as stream:
            return await BinaryClient(stream).call(request)


class OverKeys(_Over):
    """ETSI GS QKD 014. Enc in its POST form; dec in its GET form where it has one."""

    async def enc_keys(self, caller: SAEId, request: EncKeys) -> KeysReply:
        body = {
            "number": request.number,
            "size": 8 * request.key_bytes,
            "additional_slave_SAE_IDs": list(request.additional_slaves),
        }
        async with self._client(caller) as client:
            return self._reply(await client.enc_keys(request.slave, body))

    async def dec_keys(self, caller: SAEId, request: DecKeys) -> KeysReply:
        block = request.key_ids
        named = [str(UUID(bytes=block[at : at + 16])) for at in range(0, len(block), 16)]
        async with self._client(caller) as client:
            if len(named) == 1:
                query = f"?key_ID={named[0]}"
                return self._reply(await client.get("dec_keys", request.master, query))
            return self._reply(await client.dec_keys(request.master, *named))

    async def pair_status(self, caller: SAEId, request: PairStatus) -> PairStatusReply:
        async with self._client(caller) as client:
            told = await client.status(request.slave)
        if told.status == 401:
            raise Forbidden("401", hint="")
        return PairStatusReply(
            outcome=_OUTCOMES[told.status],
            message=told.json.get("message", ""),
            slave_node=told.json["target_KME_ID"].removeprefix("kms:"),
            key_bytes=told.json["key_size"] // 8,
            stored_keys=told.json["stored_key_count"],
            stored_keys_max=told.json["max_key_count"],
        )

    def _reply(self, told: Answer) -> KeysReply:
        if told.status == 401:
            # The interface does not say whose refusal it is.
            raise Forbidden("401", hint="")
        if told.status != 200:
            return KeysReply(outcome=_OUTCOMES[told.status], message=told.json["message"])
        return KeysReply(
            outcome=Outcome.DELIVERED,
            key_ids=b"".join(UUID(one).bytes for one in ids(told)),
            keys=Secret(b"".join(bits(told))),
        )

    @asynccontextmanager
    async def _client(self, caller: SAEId) -> AsyncIterator[KeysClient]:
        async with self.connect(caller) as stream:
            yield KeysClient(stream)


_OUTCOMES = {200: Outcome.DELIVERED, 400: Outcome.BAD_REQUEST, 503: Outcome.UNAVAILABLE}


def _drop(*_: Any) -> Any:
    raise structlog.DropEvent
