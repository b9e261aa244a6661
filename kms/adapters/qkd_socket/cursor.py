"""Which index of the device's stream is asked next.

Reason: the node asks by index, so that both ends name a key alike. But a device loses keys, repeats
them, answers out of order, and forgets the old ones; nodes restart; uint32 wraps.

Rules:
- A key is taken once: an index at or below the newest one taken is asked again only while it is
  among the last ``RECENT_MAX`` and was not answered. Going further back would fetch keys that the
  two nodes have used already.
- A node that starts asks index 0 and learns: a device that no longer has it says status 2 with
  the oldest index it has, and the cursor goes there (``named``). It may name an index below the one
  asked, if nothing above it was taken: the cursor had run ahead.
- An index that fails ``TRIES_MAX`` times is stepped over, but never more than ``AHEAD_MAX``
  beyond the first one wanted, and then round again: a device that hangs for a day on a link of one
  block an hour must not find us a year ahead.
- Order is that of a circle of 2**32: half of it is ahead, half behind (RFC 1982).

A device that starts counting anew needs a new Key_stream_ID, since (KSID, index) names one key.
"""

from collections import OrderedDict
from typing import Final

from kms.domain.limits import INDEX_MAX

CIRCLE: Final = INDEX_MAX + 1
# Devices reorder by a few keys; this remembers seconds of a fast one.
RECENT_MAX: Final = 1024
# A fault on the line is tried again; a key that the device cannot give is not worth more.
TRIES_MAX: Final = 3
AHEAD_MAX: Final = 16


def distance(start: int, index: int) -> int:
    """How far ahead ``index`` is of ``start``; negative when behind."""
    ahead = (index - start) % CIRCLE
    return ahead if ahead < CIRCLE // 2 else ahead - CIRCLE


class Cursor:
    """Where this end is in its stream. No message is lost by asking ``index`` twice."""

    def __init__(self) -> None:
        self._wanted = 0
        """first index not taken, and not given up"""
        self._ahead = 0
        self._tries = 0
        self._newest: int | None = None
        self._recent: OrderedDict[int, None] = OrderedDict()

    @property
    def index(self) -> int:
        """The index to ask for now."""
        return (self._wanted + self._ahead) % CIRCLE

    def answered(self, index: int) -> bool:
        """A key came under ``index``. False: it is none to take, having been taken before."""
        asked = self.index
        new = self._is_new(index)
        if new:
            self._recent[index] = None
            if len(self._recent) > RECENT_MAX:
                self._recent.popitem(last=False)
            if self._newest is None or distance(self._newest, index) > 0:
                self._newest = index
        if index == asked:
            self._go_on((asked + 1) % CIRCLE)
        elif new and distance(asked, index) > RECENT_MAX:
            # The device chooses its indexes: what lies between is not there.
            self._go_on((index + 1) % CIRCLE)
        else:
            self._try()
        return new

    def named(self, index: int) -> bool:
        """The device has no key at the index asked, and named this one instead. True: that is
        another one, and the cursor is there; False: wait."""
        if index == self.index:
            return False
        if self._newest is not None and distance(self._newest, index) <= 0:
            return False
        self._go_on(index)
        return True

    def failed(self) -> None:
        """The question was put and its answer was none."""
        self._try()

    def _is_new(self, index: int) -> bool:
        if index in self._recent:
            return False
        if self._newest is None:
            return True
        return distance(self._newest, index) > -RECENT_MAX

    def _try(self) -> None:
        self._tries += 1
        if self._tries == TRIES_MAX:
            self._tries = 0
            self._ahead = (self._ahead + 1) % AHEAD_MAX

    def _go_on(self, index: int) -> None:
        # At most RECENT_MAX steps: no more indexes are remembered.
        while index in self._recent:
            index = (index + 1) % CIRCLE
        self._wanted, self._ahead, self._tries = index, 0, 0
