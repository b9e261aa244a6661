"""Key IDs: what names one key of a pair's stream (ETSI GS QKD 014 V1.1.1, ``key_ID``).

Rules: a key ID is a UUID version 4, as its stream's KSID is: the first 12 octets are the KSID's,
the last 4 are the KSID's XOR the index, big-endian. So a key has a name without having a row, and
its name says which stream it is of. Many IDs are one block of bytes, 16 octets each, never one
object an ID; a single one has a short way, since numpy takes its time to begin.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kms.domain.names import KSID

ID_BYTES: Final = 16
PREFIX_BYTES: Final = 12

_Words = NDArray[np.uint32]


def prefix_of(ksid: KSID) -> bytes:
    """What all key IDs of the stream begin with."""
    return ksid.bytes[:PREFIX_BYTES]


def key_ids(ksid: KSID, first: int, count: int) -> bytes:
    """The IDs of ``count`` keys of the stream from index ``first`` on, in order."""
    if count == 1:
        return (ksid.int ^ first).to_bytes(ID_BYTES)
    ids = np.empty((count, 4), ">u4")
    ids[:] = np.frombuffer(ksid.bytes, ">u4")
    ids[:, 3] ^= np.arange(first, first + count, dtype=np.uint32)
    return ids.tobytes()


def grouped(ids: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The IDs in order, as groups of neighbours with one prefix: (prefix, IDs)."""
    if len(ids) == ID_BYTES:
        yield ids[:PREFIX_BYTES], ids
        return
    words = _words(ids)
    for low, high in _pieces((words[1:, :3] != words[:-1, :3]).any(axis=1)):
        group = ids[low * ID_BYTES : high * ID_BYTES]
        yield group[:PREFIX_BYTES], group


def stretches(ksid: KSID, ids: bytes) -> Iterator[tuple[int, int]]:
    """The indices that these IDs of one stream name, in order, as stretches without a gap: (first,
    count)."""
    if len(ids) == ID_BYTES:
        yield int.from_bytes(ids) ^ ksid.int, 1
        return
    indices = (_words(ids)[:, 3] ^ np.frombuffer(ksid.bytes, ">u4")[3]).astype(np.int64)
    for low, high in _pieces(indices[1:] != indices[:-1] + 1):
        yield int(indices[low]), high - low


def _words(ids: bytes) -> _Words:
    return np.frombuffer(ids, ">u4").reshape(-1, 4).astype(np.uint32)


def _pieces(ends: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """(low, high) of what lies between the places behind which something ends."""
    low = 0
    for place in np.flatnonzero(ends):
        high = int(place) + 1
        yield low, high
        low = high
    yield low, len(ends) + 1
