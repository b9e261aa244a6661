"""Small device keys into blocks, alike at both ends.

Reason: agreeing on a block costs some 200 pad bytes (``limits.BLOCK_BYTES_MIN``), and devices give
keys of 32 bytes. The two ends must make the same blocks without a word between them.

Rules: group g is the indexes [g*n, (g+1)*n) with n = ceil(BLOCK_BYTES_MIN / chunk), whatever
arrives in which order; its block id is uuid5(KSID, "group g"). A group with a missing index is
given up whole: half a group would be another block than the peer's. n = 1 gathers nothing, and
keeps the device's own block id.

Theory of operation. Pieces wait in their group; a complete group comes out joined in index order.
A device that reorders does so by a few keys, so two neighbouring groups may be open; one that
begins gives up all but its neighbours. A group that is done stays done: late or repeated pieces of
it are dropped.
"""

from collections import deque
from typing import Final
from uuid import UUID, uuid5

import attrs

from kms.domain import limits
from kms.domain.names import BlockId
from kms.domain.secret import Secret

# One being filled, and its neighbour for keys that came out of order across the border.
GROUPS_OPEN_MAX: Final = 2
# Groups remembered as done: a piece this late would begin its group again, never to complete it.
GROUPS_DONE_MAX: Final = 64
# Best first: a joined block is as good as its worst piece.
ORIGINS: Final = ("quantum", "post-quantum", "classical")


@attrs.frozen(kw_only=True)
class Piece:
    """One key as the device gave it. ``bits`` belong to the gatherer from ``add`` on."""

    index: int
    block_id: BlockId
    bits: Secret
    origin: str = "quantum"
    qber: float | None = None
    age_ms: int = 0


@attrs.frozen(kw_only=True)
class Gathered:
    """A block both ends can make."""

    block_id: BlockId
    bits: Secret
    origin: str
    qber: float | None
    age_ms: int


@attrs.frozen(kw_only=True)
class GatherStatistics:
    """What became of the groups so far."""

    complete: int
    given_up: int
    """groups with a missing index, at least one piece of which had arrived"""
    dropped: int
    """pieces that were late or repeated"""


def group_size(chunk_bytes: int) -> int:
    """Keys of this many bytes in one block: the same at both ends."""
    assert 1 <= chunk_bytes <= limits.BLOCK_BYTES_MAX, "chunk outside its limits"
    return -(-limits.BLOCK_BYTES_MIN // chunk_bytes)


class Gatherer:
    """The groups of one device's stream."""

    def __init__(self, ksid: UUID, chunk_bytes: int) -> None:
        self._ksid = ksid
        self._chunk_bytes = chunk_bytes
        self._size = group_size(chunk_bytes)
        self._open: dict[int, dict[int, Piece]] = {}
        self._done: deque[int] = deque(maxlen=GROUPS_DONE_MAX)
        self._complete = self._given_up = self._dropped = 0

    @property
    def block_bytes(self) -> int:
        """Length of every block that comes out."""
        return self._size * self._chunk_bytes

    def add(self, piece: Piece) -> Gathered | None:
        """The block that this piece completes, if it does; the pieces' own bits are then wiped."""
        assert len(piece.bits) == self._chunk_bytes, "a key of another length"
        if self._size == 1:
            self._complete += 1
            return Gathered(
                block_id=piece.block_id,
                bits=piece.bits,
                origin=piece.origin,
                qber=piece.qber,
                age_ms=piece.age_ms,
            )
        group = piece.index // self._size
        if group in self._done or piece.index in self._open.get(group, ()):
            self._dropped += 1
            piece.bits.wipe()
            return None
        self._begin(group)
        self._open[group][piece.index] = piece
        if len(self._open[group]) < self._size:
            return None
        return self._join(group)

    def statistics(self) -> GatherStatistics:
        return GatherStatistics(
            complete=self._complete, given_up=self._given_up, dropped=self._dropped
        )

    def _begin(self, group: int) -> None:
        if group in self._open:
            return
        for other in [each for each in self._open if abs(group - each) >= GROUPS_OPEN_MAX]:
            self._give_up(other)
        self._open[group] = {}
        assert len(self._open) <= GROUPS_OPEN_MAX, "only neighbours are open"

    def _give_up(self, group: int) -> None:
        for piece in self._open.pop(group).values():
            piece.bits.wipe()
        self._done.append(group)
        self._given_up += 1

    def _join(self, group: int) -> Gathered:
        pieces = self._open.pop(group)
        self._done.append(group)
        self._complete += 1
        bits = bytearray(self.block_bytes)
        first = group * self._size
        for index, piece in pieces.items():
            at = (index - first) * self._chunk_bytes
            bits[at : at + self._chunk_bytes] = piece.bits.expose()
            piece.bits.wipe()
        qbers = [piece.qber for piece in pieces.values() if piece.qber is not None]
        return Gathered(
            block_id=BlockId(uuid5(self._ksid, f"group {group}")),
            bits=Secret.adopt(bits),
            origin=max((piece.origin for piece in pieces.values()), key=ORIGINS.index),
            qber=max(qbers, default=None),
            age_ms=max(piece.age_ms for piece in pieces.values()),
        )
