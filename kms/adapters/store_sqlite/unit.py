"""One unit of key material: sealed under a data key of its own, which lies wrapped in a slot.

    plaintext --XChaCha20-Poly1305, fresh key and nonce--> text (material file) + tag (slot)
    data key  --Sealer, current epoch-------------------> wrapped (slot)

Both are bound to the material's name, the unit's number and where its bytes lie in the material, so
a text or slot that was moved, swapped or brought back from an old copy does not open.
"""

import struct

import attrs
from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
)
from nacl.exceptions import CryptoError

from kms.adapters.store_sqlite import spans
from kms.adapters.store_sqlite.slots import Slot
from kms.adapters.store_sqlite.spans import Spans
from kms.domain.errors import StoreFault
from kms.domain.names import MaterialId
from kms.domain.secret import Secret
from kms.ports.entropy import Entropy
from kms.ports.sealer import Sealer

_KEY_BYTES, _NONCE_BYTES, _TAG_BYTES = 32, 24, 16
_CONTEXT = struct.Struct("<16sIQQ")


@attrs.frozen(kw_only=True)
class Unit:
    """Where a unit lies, and which of its bytes are left."""

    number: int
    spans: Spans
    place: int
    slot: int

    @property
    def start(self) -> int:
        """Offset in the material of the first sealed byte."""
        return self.spans[0][0]

    @property
    def end(self) -> int:
        return self.spans[-1][1]

    @property
    def length(self) -> int:
        """Sealed bytes; the wiped ones between the spans are zero."""
        return self.end - self.start


def context(material: MaterialId, number: int, start: int, end: int) -> bytes:
    """What a unit's seal and its wrapped key are bound to."""
    return _CONTEXT.pack(b"kms sealed unit\0", number, start, end) + material.encode()


def seal(sealer: Sealer, entropy: Entropy, plain: bytes, bound: bytes) -> tuple[memoryview, bytes]:
    """The sealed text, as long as ``plain``, and the image of its slot. Raises ``Sealed``, and
    ``LocalFault`` when the random source fails or repeats itself: two units under one key and
    nonce would show a thief what they differ by."""
    drawn = entropy.bits(_KEY_BYTES + _NONCE_BYTES)
    random = bytes(drawn.expose())
    drawn.wipe()
    key, nonce = random[:_KEY_BYTES], random[_KEY_BYTES:]
    sealed = memoryview(crypto_aead_xchacha20poly1305_ietf_encrypt(plain, bound, nonce, key))
    epoch = sealer.epoch  # Read before wrapping: the slot names the wrapping epoch or an older one.
    data_key = Secret(key)
    wrapped = sealer.wrap(data_key, bound)
    data_key.wipe()
    tag = bytes(sealed[len(plain) :])
    return sealed[: len(plain)], Slot(epoch=epoch, tag=tag, nonce=nonce, wrapped=wrapped).image()


def unseal(sealer: Sealer, text: bytes, slot: Slot, bound: bytes) -> bytes:
    """The plaintext, or ``StoreFault`` if text or slot was altered, moved or cut."""
    data_key = sealer.unwrap(slot.wrapped, bound)
    try:
        return crypto_aead_xchacha20poly1305_ietf_decrypt(
            text + slot.tag, bound, slot.nonce, bytes(data_key.expose())
        )
    except CryptoError:
        raise StoreFault(
            "sealed key material is damaged",
            hint="the disk alters data: burn the block, check the disk",
        ) from None
    finally:
        data_key.wipe()


def cut(plain: bytes, start: int, left: Spans) -> bytes:
    """The bytes from the first span to the last, zero between them; ``plain`` begins at
    ``start``."""
    if not spans.gaps(left):
        return plain[left[0][0] - start : left[-1][1] - start]
    bits = bytearray(plain[left[0][0] - start : left[-1][1] - start])
    for first, last in spans.gaps(left):
        bits[first - left[0][0] : last - left[0][0]] = bytes(last - first)
    return bytes(bits)
