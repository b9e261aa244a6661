"""Large buffers are kept by the process instead of being given back to the kernel each time.

Reason: a node moves key in buffers of 64 KiB to 1 MiB. The C library's defaults fetch and return
such memory page by page, and on a virtual machine a fresh page costs microseconds: a megabyte that
is new costs more than sealing it. What is kept is bounded, and no more readable than before: key
bits are wiped by their owners before a buffer is freed.
"""

import ctypes
from typing import Final

from kms.domain.limits import MIB

# mallopt(3), malloc.h of the GNU C library.
_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
# Larger than any one buffer of the node.
_KEPT_WHOLE_BYTES: Final = 32 * MIB
# Free memory at the end of the heap beyond this goes back to the kernel.
_KEPT_FREE_BYTES: Final = 128 * MIB


def keep_large_buffers() -> bool:
    """Whether the C library took it: only the GNU one does, and without it all works as well."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    took = (
        mallopt(_MMAP_THRESHOLD, _KEPT_WHOLE_BYTES),
        mallopt(_TRIM_THRESHOLD, _KEPT_FREE_BYTES),
    )
    return all(took)
