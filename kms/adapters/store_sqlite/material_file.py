"""The material file: sealed units, side by side, in pages of their own.

What lies here is worthless without its slot: a place that is given up is not overwritten, only used
again. That is the cryptographic erase of SP 800-88, and the reason that a unit never shares a key.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from kms.adapters.store_sqlite.disk import Buffer, Disk
from kms.adapters.store_sqlite.free import FreeSpace
from kms.adapters.store_sqlite.limits import (
    GRANULE_BYTES,
    MATERIAL_FILE_BYTES_MAX,
    MATERIAL_STEP_BYTES,
)
from kms.domain.errors import StoreFault


def granules(length: int) -> int:
    """Pages that a unit of this length takes."""
    return -(-length // GRANULE_BYTES)


class MaterialFile:
    """All sealed units, by the number of their first page."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self._disk = disk
        self._fd = disk.open(path)
        self._free = FreeSpace()
        self._unsynced = False

    def settle(self, used: Sequence[tuple[int, int]]) -> None:
        """Everything but ``used`` (place, length) is free. A file that was cut is long again: what
        lay there reads as damaged. ``StoreFault``: two of them overlap."""
        runs = sorted((place, granules(length)) for place, length in used)
        for (one, count), (other, _) in pairwise(runs):
            if one + count > other:
                raise StoreFault(
                    f"two units lie at the same place {other} of the material file",
                    hint="the database was altered or damaged: restore it from a backup",
                )
        total = self.bytes() // GRANULE_BYTES
        if runs and sum(runs[-1]) > total:
            total = sum(runs[-1])
            self._disk.extend(self._fd, total * GRANULE_BYTES)
        self._free.reset(total, runs)

    def allocate(self, lengths: Sequence[int]) -> list[int]:
        """A place for each length, in one run if there is one. ``StoreFault``: full, and none of
        them is taken."""
        pages = [granules(length) for length in lengths]
        run = self._free.take(sum(pages))
        if run is not None:
            places = []
            for count in pages:
                places.append(run)
                run += count
            return places
        if len(lengths) == 1:
            return [self._grown(pages[0])]
        half = len(lengths) // 2
        places = self.allocate(lengths[:half])
        try:
            return places + self.allocate(lengths[half:])
        except (StoreFault, OSError):
            for place, length in zip(places, lengths, strict=False):
                self.free(place, length)
            raise

    def _grown(self, pages: int) -> int:
        """A place after growing the file."""
        step = MATERIAL_STEP_BYTES // GRANULE_BYTES
        total = self._free.total + max(step, pages)
        if total * GRANULE_BYTES > MATERIAL_FILE_BYTES_MAX:
            raise StoreFault(
                "the store's material file has reached its limit",
                hint="lower the pool sizes, or let the applications use the keys",
            )
        self._disk.extend(self._fd, total * GRANULE_BYTES)
        self._free.grow(total - self._free.total)
        place = self._free.take(pages)
        assert place is not None, "there is room after growing"
        return place

    def free(self, place: int, length: int) -> None:
        """The place may be used again. No row refers to it."""
        self._free.free(place, granules(length))

    def read(self, place: int, length: int) -> bytes:
        """What lies there; shorter if the file was cut."""
        return self._disk.read(self._fd, length, place * GRANULE_BYTES)

    def write(self, places: Sequence[int], texts: Sequence[Buffer]) -> None:
        """The texts lie at their places; durable after ``sync``. Neighbours go in one write."""
        buffers: list[Buffer] = []
        start = end = -1
        for place, text in zip(places, texts, strict=True):
            if place != end:
                self._flush(buffers, start)
                buffers, start = [], place
            buffers.append(text)
            end = place + granules(len(text))
            if padding := -len(text) % GRANULE_BYTES:
                buffers.append(bytes(padding))
        self._flush(buffers, start)

    def _flush(self, buffers: list[Buffer], start: int) -> None:
        if buffers:
            self._disk.write(self._fd, buffers, start * GRANULE_BYTES)
            self._unsynced = True

    def sync(self) -> None:
        """What was written is durable."""
        if self._unsynced:
            self._disk.sync(self._fd)
            self._unsynced = False

    def bytes(self) -> int:
        """Size of the file."""
        return self._disk.size(self._fd)

    def close(self) -> None:
        self._disk.close(self._fd)
