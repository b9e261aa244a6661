"""Encrypting and decrypting a file in bounded memory.

Rules: nothing is in the output's place before all of the input has proved genuine: who calls puts
the output there, and drops it after an exception. No key is spent on a file that cannot be whole.

Theory of operation: *sealed*, the body is libsodium's secretstream (XChaCha20-Poly1305) with the
header as associated data of the first segment, and the last one marked: segments cannot be altered,
dropped, repeated or put in another order. Under a *one-time pad*, each segment names its key and is
as long as it; a Poly1305 tag under a key of its own, used once, covers header and segments
(``kms.domain.otp.one_time_tag`` says how seldom it fails). The tag is compared before the first pad
is fetched, and again over what was decrypted.
"""

from collections.abc import Callable, Iterator
from typing import BinaryIO, Final
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.poly1305 import Poly1305
from nacl import bindings as sodium
from nacl.exceptions import CryptoError

from kms.client.errors import BadAnswer, BadFile, Malformed
from kms.client.files.header import (
    INDEX_BYTES,
    KEY_ID_BYTES,
    NAME_CHARACTERS_MAX,
    Cipher,
    Header,
    encode,
    read_header,
    regular_size,
)
from kms.client.files.keysource import KeySource
from kms.domain import limits
from kms.domain.otp import xor
from kms.domain.secret import zero

KEY_BYTES: Final = 32
"""of the key that seals, and of the one that tags"""
TAG_BYTES: Final = 16
# What is in memory at a time; 64 KiB cost 0.03 % for the tags.
_SEGMENT_BYTES: Final = 64 * limits.KIB
_MESSAGE: Final = sodium.crypto_secretstream_xchacha20poly1305_TAG_MESSAGE
_FINAL: Final = sodium.crypto_secretstream_xchacha20poly1305_TAG_FINAL
_OVERHEAD: Final = sodium.crypto_secretstream_xchacha20poly1305_ABYTES
_BEGIN: Final = sodium.crypto_secretstream_xchacha20poly1305_HEADERBYTES

Progress = Callable[[int], None]
"""hears how many bytes of the contents are done"""


def seal(
    plain: BinaryIO,
    out: BinaryIO,
    keys: KeySource,
    *,
    cipher: Cipher,
    source: str,
    destination: str,
    progress: Progress,
) -> Header:
    """``out`` holds the contents of ``plain``, for ``destination`` to open. Raises ``ClientError``;
    keys that were drawn by then are spent."""
    total = regular_size(plain)
    for member, name in (("source", source), ("destination", destination)):
        if not 1 <= len(name) <= NAME_CHARACTERS_MAX:
            raise Malformed(f"must have 1 to {NAME_CHARACTERS_MAX} characters", member)
    length = _SEGMENT_BYTES if cipher is Cipher.SEALED else keys.pad_bytes(total)
    if not 1 <= length <= limits.CHUNK_BYTES_MAX:
        raise BadAnswer(f"the node has keys of {length} bytes: no file holds such")
    drawn = keys.draw(KEY_BYTES)
    try:
        indexed = keys.ksid is not None
        header = Header(
            cipher=cipher,
            source=source,
            destination=destination,
            size_bytes=total,
            segment_bytes=length,
            key_stream_id=keys.ksid,
            index=int.from_bytes(drawn.reference, "big") if indexed else None,
            key_id=None if indexed else UUID(bytes=drawn.reference),
        )
        head = encode(header)
        out.write(head)
        write = _write_sealed if cipher is Cipher.SEALED else _write_padded
        write(_whole(plain, header, progress), out, header, head, bytes(drawn.bits), keys)
    finally:
        zero(drawn.bits)
    return header


def unseal(file: BinaryIO, out: BinaryIO, keys: KeySource, *, progress: Progress) -> Header:
    """``out`` holds the contents, all of them proved genuine. Raises ``BadFile`` and
    ``ClientError``: then what is in ``out`` has to be dropped."""
    header, head = read_header(file)
    check_length(header, head, regular_size(file))
    bits = keys.fetch(header.reference, KEY_BYTES)
    try:
        if header.cipher is Cipher.SEALED:
            _read_sealed(file, out, header, head, bytes(bits), progress)
        else:
            _read_padded(file, out, header, head, bytes(bits), keys, progress)
    finally:
        zero(bits)
    return header


def check_length(header: Header, head: bytes, size: int) -> None:
    """The file is as long as its header wants it. Raises ``BadFile``."""
    if header.cipher is Cipher.SEALED:
        body = _BEGIN + header.size_bytes + max(header.segments, 1) * _OVERHEAD
    else:
        body = header.size_bytes + header.segments * _reference_bytes(header) + TAG_BYTES
    wanted = len(head) + body
    if size < wanted:
        raise BadFile(f"it is cut off: {size} bytes of {wanted}")
    if size > wanted:
        raise BadFile(f"it has {size - wanted} bytes too many")


# ---- sealed ---------------------------------------------------------------------------------


def _write_sealed(
    plain: Iterator[bytes], out: BinaryIO, header: Header, head: bytes, key: bytes, _: KeySource
) -> None:
    state = sodium.crypto_secretstream_xchacha20poly1305_state()
    out.write(sodium.crypto_secretstream_xchacha20poly1305_init_push(state, key))
    last = max(header.segments, 1) - 1
    for number, segment in enumerate(plain if header.size_bytes else iter((b"",))):
        tag, data = _FINAL if number == last else _MESSAGE, head if number == 0 else None
        out.write(sodium.crypto_secretstream_xchacha20poly1305_push(state, segment, data, tag))
    if not header.size_bytes:
        list(plain)  # says so if the file has grown meanwhile


def _read_sealed(
    file: BinaryIO, out: BinaryIO, header: Header, head: bytes, key: bytes, progress: Progress
) -> None:
    state = sodium.crypto_secretstream_xchacha20poly1305_state()
    sodium.crypto_secretstream_xchacha20poly1305_init_pull(state, _exactly(file, _BEGIN), key)
    last = max(header.segments, 1) - 1
    for number in range(last + 1):
        segment = _exactly(file, _segment_length(header, number) + _OVERHEAD)
        data = head if number == 0 else None
        try:
            contents, tag = sodium.crypto_secretstream_xchacha20poly1305_pull(state, segment, data)
        except (CryptoError, RuntimeError):
            raise _altered() from None
        if tag != (_FINAL if number == last else _MESSAGE):
            raise _altered()
        out.write(contents)
        progress(len(contents))


# ---- one-time pad ---------------------------------------------------------------------------


def _write_padded(
    plain: Iterator[bytes], out: BinaryIO, header: Header, head: bytes, key: bytes, keys: KeySource
) -> None:
    mac = Poly1305(key)
    mac.update(head)
    for segment in plain:
        pad = keys.draw(header.segment_bytes)
        try:
            hidden = xor(segment, memoryview(pad.bits)[: len(segment)])
        finally:
            zero(pad.bits)
        for part in (pad.reference, bytes(hidden)):
            mac.update(part)
            out.write(part)
    out.write(mac.finalize())


def _read_padded(
    file: BinaryIO,
    out: BinaryIO,
    header: Header,
    head: bytes,
    key: bytes,
    keys: KeySource,
    progress: Progress,
) -> None:
    begin = file.tell()
    for _ in _hidden(file, header, head, key):
        pass
    file.seek(begin)
    for reference, hidden in _hidden(file, header, head, key):
        bits = keys.fetch(reference, header.segment_bytes)
        try:
            out.write(xor(hidden, memoryview(bits)[: len(hidden)]))
        finally:
            zero(bits)
        progress(len(hidden))


def _hidden(
    file: BinaryIO, header: Header, head: bytes, key: bytes
) -> Iterator[tuple[bytes, bytes]]:
    """Each segment's key and octets; at the end they were genuine, or ``BadFile`` is raised."""
    mac = Poly1305(key)
    mac.update(head)
    for number in range(header.segments):
        reference = _exactly(file, _reference_bytes(header))
        hidden = _exactly(file, _segment_length(header, number))
        mac.update(reference)
        mac.update(hidden)
        yield reference, hidden
    try:
        mac.verify(_exactly(file, TAG_BYTES))
    except InvalidSignature:
        raise _altered() from None


# ---- both -----------------------------------------------------------------------------------


def _whole(plain: BinaryIO, header: Header, progress: Progress) -> Iterator[bytes]:
    """The contents in segments. Raises ``BadFile`` if they are not as long as was said."""
    for number in range(header.segments):
        segment = plain.read(_segment_length(header, number))
        if len(segment) != _segment_length(header, number):
            raise BadFile("it became shorter while it was read")
        yield segment
        progress(len(segment))
    if plain.read(1):
        raise BadFile("it became longer while it was read")


def _segment_length(header: Header, number: int) -> int:
    return min(header.segment_bytes, header.size_bytes - number * header.segment_bytes)


def _reference_bytes(header: Header) -> int:
    return KEY_ID_BYTES if header.key_stream_id is None else INDEX_BYTES


def _exactly(file: BinaryIO, length: int) -> bytes:
    found = file.read(length)
    if len(found) != length:
        raise BadFile("it became shorter while it was read")
    return found


def _altered() -> BadFile:
    return BadFile("it was altered, or is not under the key that its header names")
