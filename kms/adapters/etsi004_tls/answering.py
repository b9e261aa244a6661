"""A frame's request becomes the node's, and the node's reply a frame's answer.

Rules. The caller comes from the certificate, at every request. What the standard has no number for
gets the nearest one:

- 3: no such stream, not yours, or a Key_stream_ID that can be no stream's;
- 4: forbidden, the node is sealed, an oblivious key is asked for, or the stream's chunks are too
  large to be carried here;
- 5: a Key_stream_ID that is no UUID version 4 cannot be opened;
- 6: the node is overloaded, nothing changed, ask again.

An answer is one TLS record with all its fields, whatever the status: the reference library reads
them all, by one call after the header.

Theory of operation. A chunk that does not fit into a record is counter-proposed (7). Whether one
is asked for at all only the node knows, as it passes over the QoS of those who join a stream. So
it is told of a chunk that no node serves, and judges the rest; its proposal is cut to what fits.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final
from uuid import UUID

import attrs

from kms.adapters.etsi004_binary import (
    HEADER_BYTES,
    INDEX_ANY,
    CloseRequest,
    CloseResponse,
    GetKeyRequest,
    GetKeyResponse,
    KeyType,
    OpenConnectRequest,
    OpenConnectResponse,
    Request,
    Response,
    get_key_response_bytes,
    selector,
)
from kms.adapters.identity import Identities, caller_with
from kms.domain import limits
from kms.domain.errors import AppFault, BadName, Sealed
from kms.domain.metadata import METADATA_BYTES_MAX
from kms.domain.names import KSID, SAEId, ksid, sae_id
from kms.domain.requests import Close, GetKey, KeyReply, OpenConnect
from kms.domain.secret import Secret
from kms.domain.status import Status
from kms.ports.northbound import Northbound, Overloaded

# One TLS record (RFC 8446 5.1): the reference library's receive loop cannot join two.
FRAME_BYTES_MAX: Final = 16 * limits.KIB
# What is left of the frame is for header, sizes and metadata, with room for members to come.
CHUNK_BYTES_MAX: Final = 16_000
assert (
    HEADER_BYTES + get_key_response_bytes(CHUNK_BYTES_MAX, METADATA_BYTES_MAX) <= FRAME_BYTES_MAX
), "the largest chunk and its metadata are one TLS record"
_UNSERVED_CHUNK_BYTES: Final = 2**32 - 1

Function = Callable[[SAEId, Any], Awaitable[Response]]


class Answering:
    """The three functions of the standard, for one node."""

    def __init__(self, northbound: Northbound, identities: Identities | None = None) -> None:
        """``identities`` None: an application is its URI SAN."""
        self._northbound = northbound
        self._identities = identities or Identities()
        self._functions: dict[type[Request], Function] = {
            OpenConnectRequest: self._open_connect,
            GetKeyRequest: self._get_key,
            CloseRequest: self._close,
        }

    async def answer(self, der: bytes | None, request: Request) -> Response:
        """What the application with this certificate is told. A key in it is the caller's to wipe.
        Raises ``LocalFault`` for what is our own fault."""
        try:
            caller = caller_with(der, self._northbound.is_revoked, self._identities)
            return await self._functions[type(request)](caller, request)
        except Overloaded:
            return _refusal(request, Status.TIMEOUT)
        except (AppFault, Sealed):
            return _refusal(request, Status.NO_QKD_CONNECTION)

    async def _open_connect(self, caller: SAEId, request: OpenConnectRequest) -> Response:
        stream = None
        if request.ksid is not None:
            stream = _known(request.ksid)
            if stream is None:
                return _refusal(request, Status.KSID_IN_USE)
        qos = request.qos
        if qos.key_chunk_size > CHUNK_BYTES_MAX:
            qos = attrs.evolve(qos, key_chunk_size=_UNSERVED_CHUNK_BYTES)
        reply = await self._northbound.open_connect(
            caller,
            OpenConnect(
                source=sae_id(request.source),
                destination=sae_id(request.destination),
                qos=qos,
                ksid=stream,
            ),
        )
        told = reply.qos
        if reply.status is Status.QOS_NOT_MET:
            told = attrs.evolve(told, key_chunk_size=min(told.key_chunk_size, CHUNK_BYTES_MAX))
        elif told.key_chunk_size == _UNSERVED_CHUNK_BYTES:
            # Refused for another reason, with the QoS as it was asked for.
            told = request.qos
        return OpenConnectResponse(
            status=reply.status,
            qos=told,
            ksid=reply.ksid or request.ksid,
            dialect=request.dialect,
        )

    async def _get_key(self, caller: SAEId, request: GetKeyRequest) -> Response:
        wanted = selector(request)
        if wanted is not None and wanted.key_type is KeyType.OBLIVIOUS:
            # Symmetric bits must never pass for an oblivious key.
            return _refusal(request, Status.NO_QKD_CONNECTION)
        stream = _known(request.ksid)
        if stream is None:
            return _refusal(request, Status.PEER_NOT_CONNECTED)
        reply = await self._northbound.get_key(
            caller,
            GetKey(
                ksid=stream,
                index=None if request.index == INDEX_ANY else request.index,
                metadata_size=0 if wanted is not None else request.metadata_size,
                chunk_bytes_max=CHUNK_BYTES_MAX,
            ),
        )
        return GetKeyResponse(
            status=reply.status,
            index=reply.index if request.index == INDEX_ANY else request.index,
            key=reply.key or Secret(b""),
            metadata=_metadata(reply),
        )

    async def _close(self, caller: SAEId, request: CloseRequest) -> Response:
        stream = _known(request.ksid)
        if stream is None:
            return _refusal(request, Status.PEER_NOT_CONNECTED)
        reply = await self._northbound.close(caller, Close(ksid=stream))
        return CloseResponse(status=reply.status)


def _known(name: UUID) -> KSID | None:
    """None for what can be no stream's name: NULL, and all but version 4."""
    try:
        return ksid(str(name))
    except BadName:
        return None


def _metadata(reply: KeyReply) -> bytes:
    """With status 8 as many zero octets as are needed: the reference library copies so many."""
    if reply.status is Status.METADATA_SIZE_INSUFFICIENT:
        return bytes(reply.metadata_size)
    return reply.metadata


def _refusal(request: Request, status: Status) -> Response:
    """The full layout, with nothing changed."""
    match request:
        case OpenConnectRequest():
            return OpenConnectResponse(
                status=status, qos=request.qos, ksid=request.ksid, dialect=request.dialect
            )
        case GetKeyRequest():
            return GetKeyResponse(status=status, index=request.index, key=Secret(b""))
        case CloseRequest():
            return CloseResponse(status=status)
