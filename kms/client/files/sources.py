"""Keys of a file, from a key stream or by their IDs, through the blocking clients."""

from collections.abc import Callable
from typing import Final, Protocol, TypeVar
from uuid import UUID

from kms.client.errors import BadAnswer, BadFile, KeyNotFound, Malformed, NotEnoughKey
from kms.client.files.header import INDEX_BYTES, KEY_ID_BYTES
from kms.client.files.keysource import Drawn
from kms.client.keys import Keys
from kms.client.sync_client import SyncStream
from kms.client.sync_key_client import SyncKeyClient
from kms.domain import limits
from kms.domain.secret import zero

_T = TypeVar("_T")

# A node keeps keys in stock by size, and few sizes for each pair of applications: so these, and
# the smallest that takes the whole file. Of the largest, what the last segment wastes is little.
_PAD_SIZES_BYTES: Final = (32, 1 * limits.KIB, 4 * limits.KIB)
_GONE: Final = "the file's key was read before, has expired, or was never for us"


class Asking(Protocol):
    """Asks the node, once or again."""

    def __call__(self, ask: Callable[[], _T]) -> _T: ...


def once(ask: Callable[[], _T]) -> _T:
    """Whatever comes of it."""
    return ask()


class StreamKeys:
    """Chunks of one key stream (ETSI GS QKD 004), each found by its index."""

    def __init__(self, stream: SyncStream, asking: Asking = once) -> None:
        self._stream = stream
        self._asking = asking
        self.ksid: UUID | None = stream.ksid

    def pad_bytes(self, total: int) -> int:
        """Chunks are as long as the stream's QoS says."""
        return self._stream.qos.key_chunk_size

    def draw(self, length: int) -> Drawn:
        """The next chunk, cut to this length."""
        found = self._stream.qos.key_chunk_size
        if found < length:
            # Before a key is spent on it.
            raise Malformed(f"{found} bytes, and {length} are wanted", "Key_chunk_size")
        key = self._asking(self._stream.get)
        return Drawn(reference=key.index.to_bytes(INDEX_BYTES, "big"), bits=_cut(key.bits, length))

    def fetch(self, reference: bytes, length: int) -> bytearray:
        """The chunk at this index, cut to this length. The stream's QoS need not be known."""
        index = int.from_bytes(reference, "big")
        try:
            key = self._asking(lambda: self._stream.get(index))
        except NotEnoughKey as error:
            raise NotEnoughKey(f"index {index}: {_GONE} ({error.message})") from None
        if len(key) < length:
            key.wipe()
            raise BadFile(f"its keys have {length} bytes, and the stream's have {len(key)}")
        return _cut(key.bits, length)


class IdentifiedKeys:
    """Keys with IDs (ETSI GS QKD 014) that we share with ``peer``."""

    ksid: UUID | None = None

    def __init__(self, client: SyncKeyClient, peer: str, asking: Asking = once) -> None:
        self._client = client
        self._peer = peer
        self._asking = asking

    def pad_bytes(self, total: int) -> int:
        """One of few sizes that the node can deliver."""
        status = self._asking(lambda: self._client.status(self._peer))
        fitting = [
            size
            for size in _PAD_SIZES_BYTES
            if status.min_key_size <= 8 * size <= status.max_key_size
        ]
        if not fitting:
            return max(status.key_size // 8, 1)
        return next((size for size in fitting if size >= total), fitting[-1])

    def draw(self, length: int) -> Drawn:
        """A fresh key."""
        keys = self._asking(lambda: self._client.enc_keys(self._peer, size=8 * length))
        return Drawn(reference=keys[0].key_id.bytes, bits=keys[0].bits)

    def fetch(self, reference: bytes, length: int) -> bytearray:
        """The key with this ID."""
        assert len(reference) == KEY_ID_BYTES, "as files hold it"
        key_id = UUID(bytes=reference)
        try:
            keys = self._asking(lambda: self._client.dec_keys(self._peer, [key_id]))
        except KeyNotFound as error:
            raise KeyNotFound(f"{key_id}: {_GONE} ({error.message})") from None
        return _all(keys, length)


def _all(keys: Keys, length: int) -> bytearray:
    if len(keys[0]) != length:
        keys.wipe()
        raise BadAnswer(f"a key of {len(keys[0])} bytes, wanted were {length}")
    return keys[0].bits


def _cut(bits: bytearray, length: int) -> bytearray:
    """A copy of the first bytes; all of the chunk is wiped."""
    try:
        return bytearray(memoryview(bits)[:length])
    finally:
        zero(bits)
