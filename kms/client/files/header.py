"""The beginning of an encrypted file: who for whom, under which key, and how long it is.

Rules: all of it is associated data of the body, so that a file with another header does not open.
Until then it is a stranger's word: read strictly, bounded, and compared with the file's length
before any key is spent on it, because each key can be had once.
"""

import os
import stat
import struct
from enum import Enum
from typing import Annotated, BinaryIO, Final
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from kms.client.errors import BadFile
from kms.domain import limits

MAGIC: Final = b"KMSFILE\x01"
"""the last octet is the version"""
INDEX_BYTES: Final = 4
KEY_ID_BYTES: Final = 16
# Two names, a few numbers and an ID are below 500 bytes.
_HEADER_BYTES_MAX: Final = 4 * limits.KIB
_LENGTH: Final = struct.Struct(">I")
# Names as ETSI GS QKD 020 bounds them, with room for those of others.
NAME_CHARACTERS_MAX: Final = 256
_Name = Annotated[str, Meta(min_length=1, max_length=NAME_CHARACTERS_MAX)]


class Cipher(Enum):
    """How the body is hidden, and kept from being altered."""

    SEALED = "xchacha20-poly1305"
    """libsodium's secretstream under one 256-bit key"""
    ONE_TIME_PAD = "one-time-pad"
    """each byte under a byte of key of its own, a one-time Poly1305 tag at the end"""


class Header(Struct, forbid_unknown_fields=True, omit_defaults=True, frozen=True):
    """What is in clear at the beginning."""

    cipher: Cipher
    source: _Name
    """the application that encrypted"""
    destination: _Name
    """the one that may decrypt"""
    size_bytes: Annotated[int, Meta(ge=0, lt=2**53)]
    segment_bytes: Annotated[int, Meta(ge=1, le=limits.CHUNK_BYTES_MAX)]
    """of the contents in each segment but the last"""
    key_stream_id: UUID | None = None
    index: Annotated[int, Meta(ge=0, lt=2**32)] | None = None
    """of the key that seals, or that tags, in this stream"""
    key_id: UUID | None = None
    """of that key, where it has an ID of its own"""

    @property
    def reference(self) -> bytes:
        """The key that seals, or that tags, as a ``KeySource`` finds it."""
        if self.index is not None:
            return self.index.to_bytes(INDEX_BYTES, "big")
        assert self.key_id is not None, "read and made with one of the two"
        return self.key_id.bytes

    @property
    def segments(self) -> int:
        return -(-self.size_bytes // self.segment_bytes)


def encode(header: Header) -> bytes:
    """As it stands in the file, and as it is authenticated."""
    text = msgspec.json.encode(header)
    assert len(text) <= _HEADER_BYTES_MAX, "names are bounded"
    return MAGIC + _LENGTH.pack(len(text)) + text


def read_header(file: BinaryIO) -> tuple[Header, bytes]:
    """The header and its octets; the file stands at the body. Raises ``BadFile``."""
    begin = file.read(len(MAGIC) + _LENGTH.size)
    if begin[: len(MAGIC) - 1] != MAGIC[:-1] or len(begin) < len(MAGIC) + _LENGTH.size:
        raise BadFile("it was not made by encrypting with a node's keys")
    if begin[len(MAGIC) - 1] != MAGIC[-1]:
        raise BadFile(f"its format is version {begin[len(MAGIC) - 1]}, and this program knows 1")
    (length,) = _LENGTH.unpack_from(begin, len(MAGIC))
    if length > _HEADER_BYTES_MAX:
        raise BadFile("its header is too long")
    text = file.read(length)
    try:
        header = msgspec.json.decode(text, type=Header)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise BadFile(f"its header does not read: {error}") from None
    indexed = (header.key_stream_id is None, header.index is None, header.key_id is None)
    if indexed not in ((False, False, True), (True, True, False)):
        raise BadFile("its header names no key, or two")
    return header, begin + text


def regular_size(file: BinaryIO) -> int:
    """The length of a regular file. Raises ``BadFile`` for a pipe or device, which has none."""
    found = os.fstat(file.fileno())
    if not stat.S_ISREG(found.st_mode):
        raise BadFile("it is not a regular file: its length has to be known beforehand")
    return found.st_size
