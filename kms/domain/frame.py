"""Frames between two nodes: header ‖ public part ‖ secret part ‖ tag.

Theory of operation: a sealed frame at pad offset ``o`` uses bytes ``o .. o+32`` as its one-time MAC
key and the next ``len(secret)`` as its pad. The MAC covers the context (which pad of which link
under which secret), the header, the public part and the *encrypted* secret part, so a receiver
verifies before it decrypts and before anything changes (I9). Opening messages (hello, welcome,
refusal) are outside the pads, under TLS only: they carry no key.
"""

import struct
from enum import IntEnum
from typing import Final

import attrs

from kms.domain import limits
from kms.domain.direction import Direction
from kms.domain.errors import PeerFault
from kms.domain.names import LinkId, SecretId
from kms.domain.otp import Buffer, one_time_tag, tag_matches, xor
from kms.domain.secret import Secret

VERSION: Final = 1
_HEADER: Final = struct.Struct(">BBIQII")
HEADER_BYTES: Final = _HEADER.size


class Kind(IntEnum):
    """What follows the header."""

    OPENING = 1
    SEALED = 2


_KINDS: Final = {each.value: each for each in Kind}


@attrs.frozen(kw_only=True)
class Header:
    """First bytes of every frame, big-endian: version, kind, epoch, offset, two lengths."""

    kind: Kind
    epoch: int
    offset: int
    public_bytes: int
    secret_bytes: int


def context(link: LinkId, secret_id: SecretId, direction: Direction) -> bytes:
    """Which pad a frame belongs to: part of what its MAC covers."""
    return f"kms/1 {link} {secret_id} {direction.value}\n".encode()


def overhead(secret_bytes: int) -> int:
    """Pad bytes that a frame with this secret part uses."""
    return limits.MAC_KEY_BYTES + secret_bytes


def seal(
    context: bytes, epoch: int, offset: int, pad: Secret, secret: Buffer, public: Buffer = b""
) -> bytes:
    """The frame. ``pad``: the ``overhead(len(secret))`` bytes at ``offset``, spent by this call."""
    assert len(pad) == overhead(len(secret)), "I1 a frame uses exactly its own pad bytes"
    header = _HEADER.pack(VERSION, Kind.SEALED, epoch, offset, len(public), len(secret))
    view = pad.expose()
    hidden = xor(secret, view[limits.MAC_KEY_BYTES :])
    body = b"".join((header, public, hidden))
    return body + one_time_tag(view[: limits.MAC_KEY_BYTES], context, body)


def opening(message: bytes) -> bytes:
    """A frame outside the pads."""
    return _HEADER.pack(VERSION, Kind.OPENING, 0, 0, len(message), 0) + message


def read_header(data: Buffer) -> Header:
    """The header of a whole frame, its lengths consistent with ``data``. Raises ``PeerFault``."""
    if not HEADER_BYTES <= len(data) <= limits.FRAME_BYTES_MAX:
        raise _bad(f"a frame of {len(data)} bytes")
    version, number, epoch, offset, public_bytes, secret_bytes = _HEADER.unpack_from(data)
    if version != VERSION:
        raise _bad(f"frame version {version}")
    kind = _KINDS.get(number)
    if kind is None:
        raise _bad(f"frame kind {number}")
    tag_bytes = limits.TAG_BYTES if kind is Kind.SEALED else 0
    if HEADER_BYTES + public_bytes + secret_bytes + tag_bytes != len(data):
        raise _bad("a frame whose lengths do not add up")
    if kind is Kind.OPENING and (epoch or offset or secret_bytes):
        raise _bad("an opening with pad fields")
    return Header(
        kind=kind,
        epoch=epoch,
        offset=offset,
        public_bytes=public_bytes,
        secret_bytes=secret_bytes,
    )


def opening_message(data: Buffer) -> memoryview:
    """What an opening frame carries."""
    return memoryview(data)[HEADER_BYTES:]


def unseal(context: bytes, header: Header, data: Buffer, pad: Secret) -> bytearray:
    """The secret part, verified first. ``pad``: the bytes at ``header.offset``, as long as
    ``overhead`` says. Raises ``Forged`` and decrypts nothing when the tag does not match."""
    view, whole = pad.expose(), memoryview(data)
    body_end = len(whole) - limits.TAG_BYTES
    hidden = whole[HEADER_BYTES + header.public_bytes : body_end]
    if not tag_matches(view[: limits.MAC_KEY_BYTES], whole[body_end:], context, whole[:body_end]):
        raise Forged()
    return xor(hidden, view[limits.MAC_KEY_BYTES :])


class Forged(PeerFault):
    """The one-time MAC does not match: altered on the way, or pads out of step."""

    def __init__(self) -> None:
        super().__init__(
            "a frame's one-time MAC does not match",
            hint="someone alters the connection, or the two ends hold different pads: "
            "if it goes on, restart the link with a second secret (kms link restart)",
        )


def _bad(what: str) -> PeerFault:
    return PeerFault(what, hint="the neighbour speaks another protocol, or is hostile")
