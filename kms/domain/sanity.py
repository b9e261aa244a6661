"""Bits that cannot be key: those that repeat within a block, and those of another block (I1, I13).

Rules. A device that is stuck is stuck at both ends alike, so the two ends would agree on what it
gives: it is seen here, whatever adapter the device has. No bits are kept to compare with, only a
short digest of each of the last blocks. Those of agreed blocks are in the link's record: what was
pad once is refused also after a restart and under another secret.
"""

import hashlib
from collections import OrderedDict

from kms.domain import limits
from kms.domain.linkmemory import LinkMemory
from kms.domain.names import BlockId
from kms.domain.otp import Buffer


def repeats_within(bits: Buffer) -> bool:
    """Whether the block is one pattern of at most 16 bytes, over and over: zeros, say. In a random
    block of 4 KiB that has a chance of 2**-32640."""
    view = memoryview(bits)
    period = limits.REPEATED_PATTERN_BYTES
    return view[:period] == view[period : 2 * period] and view[period:] == view[:-period]


class BlocksSeen:
    """Digests of the last blocks of a link."""

    def __init__(self, memory: LinkMemory) -> None:
        self._memory = memory
        # Not for secrecy: two links never compare.
        self._key = hashlib.blake2b(memory.link.encode(), digest_size=32).digest()
        self._lately: OrderedDict[bytes, BlockId] = OrderedDict()

    def digest(self, bits: Buffer) -> bytes:
        """What tells these bits from others; two blocks share it with a chance of 2**-64."""
        size = limits.BITS_DIGEST_BYTES
        return hashlib.blake2b(bits, digest_size=size, key=self._key).digest()

    def came_before(self, digest: bytes, block_id: BlockId) -> bool:
        """Whether these bits came under another id lately, or were agreed on under any. The block
        itself is not one that the link knows."""
        lately = self._lately.get(digest, block_id)
        return lately != block_id or digest in self._memory.bits_agreed

    def came(self, digest: bytes, block_id: BlockId) -> None:
        """The block is held."""
        self._lately[digest] = block_id
        if len(self._lately) > limits.BLOCKS_COMPARED:
            self._lately.popitem(last=False)
