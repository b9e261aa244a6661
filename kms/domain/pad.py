"""A link's one-way pads, as their writer and as their reader see them (I1).

Theory of operation. A pad is addressed by an offset that only grows. Its *reader* records, durably,
a **grant**: an offset below which the *writer* may use bytes. Both ends open (read, then make
unreadable on disk) what lies between the old grant and the new one *before* it is used, so after a
crash of either end nothing below the grant exists anywhere, and both go on at the grant. What the
crash found unused is burnt: lost bits, never reused ones.

    mark <= granted <= end          mark: next byte to use      end: after the last append

The writer is never ahead of the reader's record: the reader saves the grant, opens, and only then
tells it. The reader gives grant k+1 only when a byte above grant k-1 was used, which proves that
the writer has recorded grant k; a writer that shows up with less has an old store.
"""

from kms.domain import limits
from kms.domain.direction import Direction
from kms.domain.effects import TakeMaterial, WipeMaterial
from kms.domain.extents import Extents, Part
from kms.domain.names import LinkId, MaterialId
from kms.domain.outbox import Outbox
from kms.domain.records import PadRecord
from kms.domain.secret import Secret
from kms.domain.window import Window


class Pad:
    """What reader and writer have in common."""

    def __init__(self, link: LinkId, direction: Direction) -> None:
        self.link = link
        self.direction = direction
        self.granted = 0
        self.confirmed = 0
        """a grant that the writer has recorded, as far as this end knows"""
        self.extents = Extents()
        self.window = Window()
        self.use = 0.0
        """bytes used lately: halves about every ten seconds (see ``cool``)"""
        self.unreadable: list[Part] = []
        """parts that came back without bits, for the owner to act on"""
        self.lost: list[tuple[int, int]] = []
        """burnt stretches of the grant: said again in each welcome until the mark is past them"""
        self._opening: dict[tuple[MaterialId, int], Part] = {}

    @property
    def mark(self) -> int:
        return self.window.mark

    @property
    def opening(self) -> bool:
        """Whether granted bytes are still on their way into memory."""
        return bool(self._opening)

    def cool(self, elapsed_ms: int) -> None:
        """Use that long ago counts less."""
        self.use *= 0.5 ** (elapsed_ms / 10_000)

    def level(self) -> int:
        """Unspent usable bytes, opened or not."""
        return self.window.held + self.extents.above(self.granted)

    def reserve(self) -> int:
        """Of the level, what no key is made of: it is kept for the nodes' own frames, and in whole
        units, since a restart burns those that are open."""
        return max(limits.RESERVE_BYTES, self.extents.last_units())

    def above_reserve(self) -> int:
        """Unspent usable bytes that key may be made of."""
        return max(0, self.level() - self.reserve())

    def record(self) -> PadRecord:
        return PadRecord(
            link=self.link,
            direction=self.direction,
            granted=self.granted,
            confirmed=self.confirmed,
            end=self.extents.end,
        )

    def restore(self, record: PadRecord) -> None:
        """State after a restart: nothing in memory, all below the grant burnt."""
        self.granted, self.confirmed = record.granted, record.confirmed
        self.window = Window(record.granted)

    def raise_to(self, granted: int, out: Outbox) -> None:
        """The new grant is in the batch's writes and its bytes are asked for, to come back as
        ``MaterialOpened`` after the commit."""
        assert self.granted <= granted <= self.extents.end, "I1 a grant only grows, up to the end"
        for part in self.extents.parts(self.granted, granted):
            self._opening[part.material, part.offset] = part
            out.add(TakeMaterial(material=part.material, offset=part.offset, length=part.length))
        self.lost += self.extents.holes(self.granted, granted)
        self.granted = granted
        out.save(self.record())

    def asked_for(self, material: MaterialId, offset: int) -> bool:
        return (material, offset) in self._opening

    def opened(self, material: MaterialId, offset: int, bits: Secret | None) -> Part | None:
        """Puts what came back where it belongs. The part it was asked for as, or None if this
        pad did not ask; a part without bits is in ``unreadable``."""
        part = self._opening.pop((material, offset), None)
        if part is not None and bits is not None:
            self.window.add(part.start, bits)
        elif part is not None:
            self.unreadable.append(part)
        return part

    def restart_at(self, offset: int, out: Outbox) -> None:
        """Both ends go on at ``offset``: all below is burnt, and what of it was never opened here
        is unreadable with the batch (I6). The caller saves the record."""
        assert offset >= self.granted, "I1 a grant is never taken back"
        for part in self.extents.parts(self.granted, offset):
            out.add(WipeMaterial(material=part.material, offset=part.offset, length=part.length))
        self.window.advance(offset)
        self.granted = offset
        self.extents.end = max(self.extents.end, offset)

    def burnt(self) -> list[tuple[int, int]]:
        """Start and length of what this end has no bits of, as far as the other may not know."""
        self.lost = [(start, length) for start, length in self.lost if start + length > self.mark]
        return self.lost + [
            (each.start, each.length)
            for each in self.extents
            if each.material is None and each.end > self.granted
        ]


class WriterPad(Pad):
    """The pad that this end allocates from, and nobody else."""

    def available(self) -> int:
        """Bytes ready in one run."""
        return self.window.run()

    def take(self, length: int) -> tuple[int, Secret]:
        """Offset and bytes, spent. ``length`` must be ``available``."""
        offset, bits = self.window.take(length)
        assert offset + length <= self.granted, "I1 pad used above the grant"
        self.use += length
        return offset, bits


class ReaderPad(Pad):
    """The pad that the neighbour allocates from; this end grants."""

    def __init__(self, link: LinkId, direction: Direction) -> None:
        super().__init__(link, direction)
        self.wanted = 0
        """what the neighbour said one draw of it needs"""
        self._told = 0

    def peek(self, offset: int, length: int) -> Secret | None:
        """The bytes that a frame at ``offset`` uses, still unspent; None if they lie below the
        mark, above the grant, or in a hole."""
        return self.window.peek(offset, length)

    def spend(self, mark: int, used: int) -> None:
        """Everything below ``mark`` is gone: ``used`` bytes of it used, the rest burnt."""
        assert mark <= self.granted, "I1 the neighbour used pad above the grant"
        self.use += used
        self.window.advance(mark, used=used)

    def target(self) -> int:
        """How large the window should be: a share of the level, and what a draw needs."""
        above = self.above_reserve()
        share = min(above // limits.WINDOW_SHARE, limits.WINDOW_BYTES_MAX)
        return max(share, min(self.wanted, above), limits.UNIT_BYTES_MIN)

    def grant_more(self, settled_end: int, out: Outbox) -> None:
        """Raises the grant by a window when half of the last one is gone and the writer is known
        to have recorded the last one. ``settled_end``: appends below it are durable at both
        ends."""
        target = self.target()
        held = self.window.held
        wanted = min(self.wanted, self.above_reserve())
        if self.opening or held >= max(target // 2, wanted):
            return
        # With nothing left to use the writer could prove nothing: what was granted was burnt.
        if self._told > self.confirmed and self.mark <= self.confirmed and held:
            return
        reached = self.extents.step(self.granted, target, settled_end)
        if reached > self.granted:
            if self.mark > self.confirmed:
                self.confirmed = max(self.confirmed, self._told)
            self.raise_to(reached, out)

    def recorded(self, granted: int) -> None:
        """The writer says that it has recorded this grant."""
        if self.confirmed < granted <= self._told:
            self.confirmed = granted

    def due(self) -> int | None:
        """A grant that is recorded and opened but not told yet."""
        return self.granted if not self.opening and self.granted > self._told else None

    def told(self) -> None:
        """The neighbour is being told the grant."""
        self._told = self.granted

    def resume(self, recorded: int) -> None:
        """A session begins: the writer says that it has recorded this grant, the welcome will tell
        the present one, and what was wanted will be said again."""
        self.confirmed, self._told, self.wanted = recorded, 0, 0

    def welcomed(self, start: int) -> None:
        """The writer's welcome came: it has recorded where this session starts."""
        self.confirmed = max(self.confirmed, start)
