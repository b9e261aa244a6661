"""A disk answers in time, or the node ends and says so.

A write may take seconds on a disk in trouble: the node waits, and refuses applications meanwhile. A
disk that answers nothing at all would let every caller wait for ever, past every Timeout.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from kms.domain import limits
from kms.domain.errors import StoreFault


@contextmanager
def disk_time() -> Iterator[None]:
    """What is awaited inside returns within ``limits.DISK_ANSWER_MS``, or ``StoreFault`` is raised:
    the node then stops, as for a disk that fails. Nothing is tried again."""
    with trio.move_on_after(limits.DISK_ANSWER_MS / 1000) as patience:
        yield
    if patience.cancelled_caught:
        raise StoreFault(
            f"the disk has not answered for {limits.DISK_ANSWER_MS // 1000} s",
            hint="look at the disk of store and journal, then start the node again",
        )
