"""Files as a crash may leave them: of one that was being written, some bytes are new and some old.

Rules: only one file is torn, the one that a step wrote; what was synced before is whole. Pages that
a step did not write are as they were. SQLite syncs a log's header before its first frame, and the
log before its pages move into the database.
"""

import random
from collections.abc import Callable, Iterator
from typing import Final

import attrs

from kms.adapters.store_sqlite.limits import SLOT_BYTES
from tests.proof.scenes import FILES, Images, Scene, Shot

SECTOR: Final = 512
_WAL_HEADER, _WAL_FRAME, _PAGE = 32, 24 + 4096, 4096


@attrs.frozen
class Torn:
    """A store as a crash may leave it."""

    file: str
    kind: str
    images: Images = attrs.field(repr=False)
    earlier: Shot
    later: Shot
    what: str


def tears(scene: Scene, chance: random.Random, count: int) -> Iterator[Torn]:
    """``count`` torn stores of the scene: each step that wrote something in its turn, and of each
    file every way in its turn."""
    steps = [
        (earlier, later, name, *changed(earlier.images[name], later.images[name]))
        for earlier, later in zip(scene.shots, scene.shots[1:], strict=False)
        for name in FILES
        if earlier.images[name] != later.images[name]
    ]
    hands: dict[str, list[Way]] = {}
    for made in range(count if steps else 0):
        earlier, later, name, low, high = steps[made % len(steps)]
        images = dict(earlier.images)
        if name == "records.db":
            # SQLite moves pages here from a log that is synced: the log is whole by now.
            images["records.db-wal"] = later.images["records.db-wal"]
        old, new = earlier.images[name], later.images[name]
        if name == "records.db-wal" and low < _WAL_HEADER:
            # A log begun anew: SQLite syncs its header, in one sector, before the first frame.
            if chance.random() < 0.1:
                new = new[:_WAL_HEADER] + old[_WAL_HEADER:]
                high = _WAL_HEADER
            else:
                old, low = new[:_WAL_HEADER] + old[_WAL_HEADER:], _WAL_HEADER
        at = chance.choice(_places(name, low, high, chance))
        if not hands.get(name):
            hands[name] = chance.sample(WAYS, len(WAYS))
        way = hands[name].pop()
        images[name] = _only_written(name, old, new, way(old, new, at, (low, high), chance))
        kind = _kind(name, way)
        yield Torn(name, kind, images, earlier, later, f"{kind} at {at} of {low} to {high}")


def whole_tail(scene: Scene, bytes_max: int) -> tuple[Shot, Shot, int, int] | None:
    """The step in which the batch was written to the end of the log, and from where to where; None
    if it wrote more than ``bytes_max``, or began the log anew."""
    for earlier, later in zip(scene.shots, scene.shots[1:], strict=False):
        old, new = earlier.images["records.db-wal"], later.images["records.db-wal"]
        low, high = changed(old, new)
        moved = earlier.images["records.db"] != later.images["records.db"]
        if 0 < high - low <= bytes_max and low >= _WAL_HEADER and not moved:
            return earlier, later, low, high
    return None


def changed(old: bytes, new: bytes) -> tuple[int, int]:
    """From the first byte that differs to behind the last, in the longer one."""
    low, high = 0, min(len(old), len(new))
    if old[:high] == new[:high]:
        return high, max(len(old), len(new))
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (middle, high) if old[:middle] == new[:middle] else (low, middle)
    first = low
    if len(old) != len(new):
        return first, max(len(old), len(new))
    low, high = first, len(new)
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (low, middle) if old[middle:] == new[middle:] else (middle, high)
    return first, high


def _places(name: str, low: int, high: int, chance: random.Random) -> list[int]:
    """Where to cut: somewhere, or at the edge of a field, frame, sector or page."""
    somewhere = chance.randrange(low, high + 1)
    if name == "records.db-wal":
        frame = somewhere - (somewhere - _WAL_HEADER) % _WAL_FRAME
        edges = [frame + field for field in (0, 4, 8, 12, 16, 20, 24, 24 + 512, _WAL_FRAME)]
    elif name == "slots":
        sector = somewhere - somewhere % SLOT_BYTES
        edges = [sector + field for field in (0, 4, 8, 10, 26, 50, 126, SLOT_BYTES)]
    else:
        page = somewhere - somewhere % _PAGE
        edges = [page, page + 100, page + SECTOR, page + _PAGE]
    near = [edge + chance.choice((-1, 0, 0, 1)) for edge in edges]
    return [*(edge for edge in near if low <= edge <= high), somewhere, somewhere]


Span = tuple[int, int]
Way = Callable[[bytes, bytes, int, Span, random.Random], bytes]


def _cut(old: bytes, new: bytes, at: int, span: Span, chance: random.Random) -> bytes:
    """New up to here; behind it what was there."""
    return new[:at] + old[at:]


def _late(old: bytes, new: bytes, at: int, span: Span, chance: random.Random) -> bytes:
    """Old up to here, new behind: a disk writes in any order until it is told to sync."""
    return old[:at].ljust(at, b"\0") + new[at:]


def _ended(old: bytes, new: bytes, at: int, span: Span, chance: random.Random) -> bytes:
    """The file grew, and ends here."""
    return new[: max(at, len(old))] if len(new) > len(old) else new[:at] + old[at:]


def _garbled(old: bytes, new: bytes, at: int, span: Span, chance: random.Random) -> bytes:
    """Noise from here to the end of what was written."""
    return new[:at] + chance.randbytes(span[1] - at) + old[span[1] :]


def _garbled_sector(old: bytes, new: bytes, at: int, span: Span, chance: random.Random) -> bytes:
    """Noise in one sector, new before it, old behind."""
    end = min(at - at % SECTOR + SECTOR, span[1])
    return new[:at] + chance.randbytes(max(0, end - at)) + old[max(end, at) :]


def _mixed(old: bytes, new: bytes, at: int, span: Span, chance: random.Random) -> bytes:
    """Each sector old or new."""
    low, high = span
    parts, end = [new[:low]], low
    while end < high:
        start, end = end, min(end - end % SECTOR + SECTOR, high)
        source = chance.choice((old, new))
        parts.append(source[start:end].ljust(end - start, b"\0"))
    return b"".join([*parts, old[high:]])


def _only_written(name: str, old: bytes, new: bytes, torn: bytes) -> bytes:
    """Pages that the step did not write, between those that it did, are as they were."""
    unit = {"records.db": _PAGE, "material": _PAGE, "slots": SLOT_BYTES}.get(name)
    if unit is None or old == torn or new == torn:
        return torn  # the log is written from front to back
    pages = []
    for at in range(0, len(torn), unit):
        was, page = old[at : at + unit], torn[at : at + unit]
        pages.append(was if was == new[at : at + unit] else page)
    return b"".join(pages)


WAYS: Final[tuple[Way, ...]] = (_cut, _late, _ended, _garbled, _garbled_sector, _mixed)


def _kind(name: str, way: Way) -> str:
    return f"{name} {way.__name__.strip('_').replace('_', ' ')}"


KINDS: Final = tuple(_kind(name, way) for name in FILES for way in WAYS)
