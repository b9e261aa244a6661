"""The kernel's random generator, watched for the one failure that can be seen from outside.

Rules: a source that fails or gives the same bytes twice is not trusted again until the process
is restarted: with repeated randomness two links could share a key. Draws are at least
``_WATCHED_BYTES`` long, so that a repetition by chance (2**-256) is none.

Theory of operation: a repeating source is one that was snapshotted with a virtual machine, or is
stuck. Of each draw only a digest under a salt of this process is kept, so that what was drawn
cannot be told from memory. It is the continuous test of FIPS 140-2 section 4.9.2, kept because it
costs a microsecond; it says nothing about the quality of the bits.
"""

import hashlib
import os
from collections.abc import Callable
from uuid import UUID

from nacl.bindings import sodium_memcmp

from kms.domain.errors import LocalFault
from kms.domain.secret import Secret

_WATCHED_BYTES = 32
_HINT = "do not use this machine's random generator; restart the node once it is repaired"


class OSEntropy:
    """``os.urandom``, refused once it fails or repeats itself."""

    def __init__(self, source: Callable[[int], bytes] = os.urandom) -> None:
        """Two draws have been made: the salt, and one to compare the first draw with."""
        self._source = source
        self._failed = ""
        self._last = b""
        self._salt = b""
        self._salt = self._draw(_WATCHED_BYTES)
        self._last = b""
        self._draw(_WATCHED_BYTES)

    def bits(self, length_bytes: int) -> Secret:
        assert length_bytes >= 0, "length"
        drawn = self._draw(length_bytes)
        return Secret(memoryview(drawn)[:length_bytes])

    def uuid4(self) -> UUID:
        return UUID(bytes=self._draw(16)[:16], version=4)

    def _draw(self, length_bytes: int) -> bytes:
        if self._failed:
            raise LocalFault(self._failed, hint=_HINT)
        wanted = max(length_bytes, _WATCHED_BYTES)
        try:
            drawn = self._source(wanted)
        except OSError as error:
            raise self._fail(f"the random generator fails: {error.strerror}") from None
        if len(drawn) != wanted:
            raise self._fail(f"the random generator gave {len(drawn)} of {wanted} bytes")
        digest = self._digest(drawn)
        if self._last and sodium_memcmp(digest, self._last):
            raise self._fail("the random generator repeats itself")
        self._last = digest
        return drawn

    def _digest(self, drawn: bytes) -> bytes:
        return hashlib.blake2b(drawn[:_WATCHED_BYTES], key=self._salt, digest_size=32).digest()

    def _fail(self, reason: str) -> LocalFault:
        self._failed = reason
        return LocalFault(reason, hint=_HINT)
