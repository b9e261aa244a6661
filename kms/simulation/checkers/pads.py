"""Which physical bits lie at which offset of a pad: what the I1, I4 and I13 checkers go by.

Theory of operation. The place of a block's bits is read from the bits themselves when they are
stored (``PhysicalBits.locate``); its offsets are in the durable record that made it pad. So an
offset in a frame's header becomes (source, place) without asking a node. One map serves all
checkers of a simulation.
"""

from bisect import bisect_right
from typing import TYPE_CHECKING, cast

import attrs

from kms.domain.direction import Direction, written_by
from kms.domain.effects import Effect, Forget, Save, StoreMaterial
from kms.domain.names import LinkId, MaterialId
from kms.domain.records import BlockRecord, BlockState
from kms.simulation.bits import Place
from kms.simulation.checkers.bundles import ENTRUSTED
from kms.simulation.listener import Book

if TYPE_CHECKING:
    from kms.simulation.simulation import Simulation
    from kms.simulation.site import Site

# Offsets only grow: what lies so many blocks back is not used again, and if it were, the places
# are known from the bits of whatever is made of it.
_PIECES_MAX = 512


@attrs.frozen
class Piece:
    """Pad bytes ``start`` up to ``end`` are the bytes from ``place`` on of ``source``."""

    start: int
    end: int
    source: int
    place: int
    material: MaterialId


class _Pad:
    """The pieces of one pad, by offset."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.pieces: list[Piece] = []

    def put(self, piece: Piece) -> None:
        """The piece is there; what it lies over belonged to a store that was put back."""
        at = bisect_right(self.starts, piece.start)
        if at and self.pieces[at - 1].end > piece.start:
            at -= 1
        last = at
        while last < len(self.pieces) and self.pieces[last].start < piece.end:
            last += 1
        self.pieces[at:last] = [piece]
        self.starts[at:last] = [piece.start]
        if len(self.pieces) > _PIECES_MAX:
            del self.pieces[: _PIECES_MAX // 2], self.starts[: _PIECES_MAX // 2]

    def places(self, offset: int, length: int) -> list[Place] | None:
        """The places of these bytes; None unless each of them is known."""
        found = []
        at = bisect_right(self.starts, offset) - 1
        while length > 0:
            if not 0 <= at < len(self.pieces) or not self.pieces[at].start <= offset:
                return None
            piece = self.pieces[at]
            count = min(piece.end - offset, length)
            if count <= 0:
                return None
            found.append(Place(piece.source, piece.place + offset - piece.start, count))
            offset, length, at = offset + count, length - count, at + 1
        return found


class Pads(Book):
    """The pads of all sites as their own records made them."""

    writes = (StoreMaterial, BlockRecord, Forget)

    def __init__(self, simulation: "Simulation") -> None:
        self._bits = simulation.bits
        self._pads: dict[tuple[str, LinkId, Direction], _Pad] = {}
        self.blocks: dict[tuple[str, MaterialId], Place] = {}
        """where the bits of each stored block come from, while its record is there"""

    def written(self, site: "Site", link: LinkId, offset: int, length: int) -> list[Place] | None:
        """The places of these bytes of the pad that this site writes."""
        return self.places(site, link, written_by(site.name, link), offset, length)

    def places(
        self, site: "Site", link: LinkId, direction: Direction, offset: int, length: int
    ) -> list[Place] | None:
        pad = self._pads.get((site.place, link, direction))
        return pad.places(offset, length) if pad is not None else None

    def bits(self, places: list[Place]) -> bytes:
        make = self._bits.make
        return b"".join(make(each.source, each.length, each.start) for each in places)

    # ---- what the disks got -----------------------------------------------------------------

    def wrote(self, site: "Site", effect: Effect) -> None:
        if isinstance(effect, Save):
            self._block(site, cast(BlockRecord, effect.record))
        elif isinstance(effect, StoreMaterial):
            if not effect.material.startswith(("chunks/", ENTRUSTED)):
                self._stored(site, effect.material, bytes(effect.bits.expose()))
        elif isinstance(effect, Forget) and isinstance(effect.record, BlockRecord):
            self.blocks.pop((site.place, effect.record.material), None)

    def restored(self, site: "Site") -> None:
        """The site's disk may be another one: everything is learned again from it."""
        for name in [each for each in self._pads if each[0] == site.place]:
            del self._pads[name]
        records = [each for each in site.disk.records.values() if isinstance(each, BlockRecord)]
        for record in records:
            raw = site.disk.material.get(record.material)
            if raw:
                self._stored(site, record.material, raw)
        for record in sorted(records, key=lambda each: each.seq or 0):
            self._block(site, record)

    def _stored(self, site: "Site", material: MaterialId, raw: bytes) -> None:
        places = self._bits.locate(raw)
        if places is not None and len(places) == 1:
            self.blocks[site.place, material] = places[0]

    def _block(self, site: "Site", record: BlockRecord) -> None:
        if record.start is None or record.direction is None:
            return
        if record.state is not BlockState.AGREED:
            return
        place = self.blocks.get((site.place, record.material))
        if place is None:
            return
        name = (site.place, record.link, record.direction)
        pad = self._pads.get(name)
        begins = record.device is None and record.start == 0
        if pad is None or (begins and not (pad.pieces and _same(pad.pieces[0], record))):
            # A secret: offsets begin at 0 again.
            pad = self._pads[name] = _Pad()
        end = record.start + record.length
        pad.put(Piece(record.start, end, place.source, place.start, record.material))


def _same(piece: Piece, record: BlockRecord) -> bool:
    return piece.material == record.material
