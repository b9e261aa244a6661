"""What an application may ask of the node, and what it is told.

The three functions of ETSI GS QKD 004 V2.1.1 clause 6.1, free of any transport. Northbound
adapters parse into these and render these; they add nothing of their own.
"""

import attrs

from kms.domain import limits
from kms.domain.keyrequests import DecKeys, EncKeys, KeysReply, PairStatus, PairStatusReply
from kms.domain.names import KSID, SAEId
from kms.domain.orders import OrderDone
from kms.domain.secret import Secret
from kms.domain.status import QoS, Status


@attrs.frozen(kw_only=True)
class OpenConnect:
    """OPEN_CONNECT. ``ksid`` None: the KMS generates one."""

    source: SAEId
    destination: SAEId
    qos: QoS
    ksid: KSID | None = None


@attrs.frozen(kw_only=True)
class GetKey:
    """GET_KEY. ``index`` None: the next chunk this side has not read.

    ``metadata_size``: bytes the caller offers for metadata; 0 none wanted, None no limit.
    ``chunk_bytes_max``: what the caller's interface can carry; a stream of larger chunks, opened
    through another interface, is refused, and nothing of it is lost. None no limit.
    """

    ksid: KSID
    index: int | None = None
    metadata_size: int | None = None
    chunk_bytes_max: int | None = None


@attrs.frozen(kw_only=True)
class Close:
    """CLOSE."""

    ksid: KSID


@attrs.frozen(kw_only=True)
class OpenReply:
    """Answer to OPEN_CONNECT: the stream's KSID and the QoS that holds, or is proposed (7)."""

    status: Status
    message: str
    qos: QoS
    ksid: KSID | None = None


@attrs.frozen(kw_only=True)
class KeyReply:
    """Answer to GET_KEY. ``key`` is there exactly when ``status`` is SUCCESS."""

    status: Status
    message: str
    index: int = 0
    key: Secret | None = None
    metadata: bytes = b""
    """UTF-8 JSON, table 3: age in ms, hops; empty when none was asked for or agreed"""
    metadata_size: int = 0
    """bytes of metadata, or with status 8 the bytes needed"""


@attrs.frozen(kw_only=True)
class CloseReply:
    """Answer to CLOSE."""

    status: Status
    message: str


KeysRequest = EncKeys | DecKeys | PairStatus
"""in whole keys with IDs"""
Request = OpenConnect | GetKey | Close | KeysRequest
Reply = OpenReply | KeyReply | CloseReply | KeysReply | PairStatusReply | OrderDone


def wants_name(request: Request) -> bool:
    """Whether the KMS has to name the stream: most other requests need no randomness."""
    return isinstance(request, OpenConnect) and request.ksid is None


def may_want_name(request: Request) -> bool:
    """Whether a stream may have to be named, inside: the first keys of a pair need one."""
    return isinstance(request, EncKeys)


def bytes_wanted(request: Request) -> int:
    """Random bytes that the request's keys are to be: 0 for most, whose keys come out of a pad."""
    if not isinstance(request, EncKeys) or not request.additional_slaves:
        return 0
    number, size = request.number, request.key_bytes
    fits = 1 <= number <= limits.KEYS_PER_REQUEST_MAX and 1 <= size <= limits.KEY_BYTES_MAX
    return number * size if fits else 0
