"""The security component's one-time constructions: XOR, one-time MAC, universal hash.

One construction per job. All three are information-theoretic: no step rests on a computational
assumption, so recorded traffic stays useless to a quantum computer (NFR-1, I4).
"""

from typing import Final

import numpy as np
from cryptography.hazmat.primitives.poly1305 import Poly1305
from nacl.bindings import sodium_memcmp

from kms.domain.secret import Secret

Buffer = bytes | bytearray | memoryview

HASH_BYTES: Final = 16


def xor(data: Buffer, pad: Buffer) -> bytearray:
    """One-time pad: each byte of ``data`` under its own byte of ``pad``; lengths must be equal.

    Perfectly secret as long as no pad byte is used twice, which is I1 and not this function's to
    know (Shannon 1949).
    """
    assert len(data) == len(pad), "I4 the pad is as long as the data"
    result = bytearray(len(data))
    np.bitwise_xor(
        np.frombuffer(data, np.uint8),
        np.frombuffer(pad, np.uint8),
        out=np.frombuffer(result, np.uint8),
    )
    return result


def one_time_tag(key: Buffer, *parts: Buffer) -> bytes:
    """16-byte tag of the concatenated parts under a 32-byte key used for this message only.

    Poly1305 (Bernstein 2005) with a fresh ``r ‖ s`` is a Wegman-Carter MAC: one forgery of an
    L-byte message succeeds with probability at most 8 * ceil(L / 16) / 2**106, whatever the
    adversary's computing power; 2**-91 at 64 KiB.
    """
    assert len(key) == 32, "I4 a one-time MAC key is 32 bytes"
    mac = Poly1305(bytes(key))
    for part in parts:
        mac.update(part)
    return mac.finalize()


def tag_matches(key: Buffer, tag: Buffer, *parts: Buffer) -> bool:
    """Whether ``tag`` is the tag of the parts, compared in constant time."""
    return sodium_memcmp(one_time_tag(key, *parts), bytes(tag))


def universal_hash(key: Secret, block_id: bytes, bits: Buffer) -> bytes:
    """Hash of a block, to compare with the other end's under a one-time pad.

    The key is shared by both ends for a whole epoch and never leaves them; the hash itself only
    ever travels in the secret part of a frame, that is under fresh pad bytes. This is Wegman and
    Carter's construction with the hash function kept and the mask renewed per message (J. Comput.
    Syst. Sci. 22, 1981): what is on the wire is uniformly random, so the key stays unknown, and
    two different blocks of L bytes agree with probability at most 8 * ceil(L / 16) / 2**106.
    """
    return one_time_tag(key.expose(), block_id, len(bits).to_bytes(8, "big"), bits)


def same_hash(one: bytes, other: bytes) -> bool:
    """Equal, compared in constant time."""
    return len(one) == len(other) and sodium_memcmp(one, other)
