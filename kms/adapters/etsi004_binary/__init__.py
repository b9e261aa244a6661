"""The binary form of ETSI GS QKD 004, as the reference C library (edition-3 branch) frames it.

Reason: ETSI GS QKD 004 V2.1.1 fixes functions, not bytes (Annex C leaves the transport open). These
are the bytes that ETSI publishes code for, so devices and applications exist that speak them.

Rules:
- Sans-IO: bytes in, messages out. Who is device and who is application, which transport carries
  the bytes, and what a message is answered with is the caller's business.
- Strict: a payload is read to its last byte or refused. ``MessageFault`` says why, by a stable
  name; nothing else is ever raised for what a stranger sent.
- Bounded: a length is compared with its limit before anything is allocated.
- Key bits lie in ``Secret`` and in buffers that are wiped; ``encode`` returns a bytearray that the
  sender wipes after sending.

Theory of operation. A frame is an 8-byte header (three version octets, the service, the payload's
size) and a payload. All integers are big-endian, strings end with NUL, a Key_stream_ID is 16
octets, all zero for NULL. ``Reader`` asks for exactly the bytes of the frame it is in (``space``),
so it never swallows a byte of the next one and can be filled by ``recv_into``.

The header carries 2,1,1. Two dialects are read and told apart by lengths, so that one port serves
both. A is the reference library's. B, whose programs say 1,0,1, has a Metadata_mimetype of fixed
256 octets, and a GET_KEY that ends with the size of the metadata buffer, without the buffer. What
is written is in the version and dialect that the caller names. Error answers keep the full layout
(status, index, two zero sizes), since the reference library reads all fields whatever the status.
"""

from kms.adapters.etsi004_binary.codec import decode, encode
from kms.adapters.etsi004_binary.fault import MessageFault
from kms.adapters.etsi004_binary.messages import (
    HEADER_BYTES,
    INDEX_ANY,
    REQUEST_PAYLOAD_BYTES_MAX,
    REQUESTS,
    RESPONSES,
    VERSION,
    VERSION_B,
    CloseRequest,
    CloseResponse,
    Dialect,
    ErrorReply,
    GetKeyRequest,
    GetKeyResponse,
    Message,
    OpenConnectRequest,
    OpenConnectResponse,
    Request,
    Response,
    Service,
    Version,
    get_key_response_bytes,
)
from kms.adapters.etsi004_binary.reader import Reader
from kms.adapters.etsi004_binary.selector import KeyRole, KeyType, Selector, selector

__all__ = [
    "HEADER_BYTES",
    "INDEX_ANY",
    "REQUESTS",
    "REQUEST_PAYLOAD_BYTES_MAX",
    "RESPONSES",
    "VERSION",
    "VERSION_B",
    "CloseRequest",
    "CloseResponse",
    "Dialect",
    "ErrorReply",
    "GetKeyRequest",
    "GetKeyResponse",
    "KeyRole",
    "KeyType",
    "Message",
    "MessageFault",
    "OpenConnectRequest",
    "OpenConnectResponse",
    "Reader",
    "Request",
    "Response",
    "Selector",
    "Service",
    "Version",
    "decode",
    "encode",
    "get_key_response_bytes",
    "selector",
]
