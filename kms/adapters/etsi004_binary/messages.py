"""The seven messages, and the bounds of their fields."""

from enum import Enum, IntEnum
from typing import Final
from uuid import UUID

import attrs

from kms.domain import limits
from kms.domain.secret import Secret
from kms.domain.status import QoS, Status

HEADER_BYTES: Final = 8
Version = tuple[int, int, int]
# ETSI GS QKD 004 V2.1.1, as the reference library announces itself.
VERSION: Final[Version] = (2, 1, 1)
# What programs of dialect B send; the frames mean the same.
VERSION_B: Final[Version] = (1, 0, 1)
# An edition of the standard far from any that exists: not the protocol at all.
MAJOR_MAX: Final = 9
# A URI may embed an access token (clause 6.1), so this is far above a name's length.
URI_BYTES_MAX: Final = 4 * limits.KIB
# char[256] with the NUL (table 2).
MIMETYPE_BYTES_MAX: Final = 255
# The standard's index is never NULL in these bytes. Ours, as the standard is silent: this one
# leaves the choice to the other side, which says in its answer what it chose.
INDEX_ANY: Final = 2**32 - 1
# Table 3 needs some 40 bytes; vendors add members.
METADATA_BYTES_MAX: Final = 16 * limits.KIB
# Two URIs and their NULs, seven integers, a mimetype and its NUL, a KSID; or a GET_KEY with
# the largest metadata.
REQUEST_PAYLOAD_BYTES_MAX: Final = max(
    2 * (URI_BYTES_MAX + 1) + 28 + (MIMETYPE_BYTES_MAX + 1) + 16,
    16 + 4 + 4 + METADATA_BYTES_MAX,
)


def get_key_response_bytes(chunk_bytes: int, metadata_bytes: int) -> int:
    """Payload of a GET_KEY response with a key and metadata of these sizes."""
    return 16 + chunk_bytes + metadata_bytes


class Dialect(Enum):
    """How Metadata_mimetype is laid out; everything else reads the same."""

    A = "a string that ends with NUL"
    """as the reference library has it"""
    B = "256 octets, padded with NUL"
    """as the table's char[256] can be read, and is by some"""


class Service(IntEnum):
    """The fourth octet of the header. 0xFF, which stops the reference's sample server, is no
    service here."""

    ERROR = 0x00
    OPEN_CONNECT_REQUEST = 0x02
    OPEN_CONNECT_RESPONSE = 0x03
    GET_KEY_REQUEST = 0x04
    GET_KEY_RESPONSE = 0x05
    CLOSE_REQUEST = 0x08
    CLOSE_RESPONSE = 0x09


REQUESTS: Final = frozenset(
    {Service.OPEN_CONNECT_REQUEST, Service.GET_KEY_REQUEST, Service.CLOSE_REQUEST}
)
RESPONSES: Final = frozenset(Service) - REQUESTS


@attrs.frozen(kw_only=True)
class ErrorReply:
    """The other side could not read the request. Its payload has no defined form."""


@attrs.frozen(kw_only=True)
class OpenConnectRequest:
    source: str
    destination: str
    qos: QoS
    ksid: UUID | None
    """None: the other side chooses"""
    dialect: Dialect = Dialect.A
    """what it came in, and is answered in"""


@attrs.frozen(kw_only=True)
class OpenConnectResponse:
    status: Status
    qos: QoS
    """what is granted, or, with status 7, what would be"""
    ksid: UUID | None
    dialect: Dialect = Dialect.A


@attrs.frozen(kw_only=True)
class GetKeyRequest:
    ksid: UUID
    index: int
    metadata: bytes = b""
    """the buffer that is offered, or the two octets of ``selector``; none in dialect B"""
    metadata_size: int = attrs.field()
    """octets of the buffer; dialect B says this and sends no buffer"""

    @metadata_size.default
    def _buffer_size(self) -> int:
        return len(self.metadata)


@attrs.frozen(kw_only=True)
class GetKeyResponse:
    status: Status
    index: int
    key: Secret
    """empty unless status 0; whoever holds the message wipes it"""
    metadata: bytes = b""
    """with status 8: as many zero bytes as are needed"""


@attrs.frozen(kw_only=True)
class CloseRequest:
    ksid: UUID


@attrs.frozen(kw_only=True)
class CloseResponse:
    status: Status


Request = OpenConnectRequest | GetKeyRequest | CloseRequest
Response = ErrorReply | OpenConnectResponse | GetKeyResponse | CloseResponse
Message = Request | Response
