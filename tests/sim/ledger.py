"""What must stay true of two ends of a link, kept by one who sees everything.

Rules: the ledger never asks a node what it believes. It maps each use of pad to the *physical* bits
(which device's bits, which byte of them), so that no game with offsets can hide that a bit was used
twice; and it compares what applications got, bit by bit.
"""

from bisect import bisect_right
from typing import cast
from uuid import UUID

from kms.domain import limits
from kms.domain.effects import DeliverKey, Effect, SendFrame, StoreMaterial
from kms.domain.frame import HEADER_BYTES, Kind, read_header
from kms.domain.names import KSID, MaterialId, NodeId
from kms.domain.records import BlockRecord, KeyRunRecord, StreamRecord
from tests.world import Site, World

# Enough to find key among all bits ever made without a mistake (2**-128 each).
_NEEDLE_BYTES = 16


class Ledger:
    """I1, I2 and I5 over a world's whole history. Raises ``AssertionError`` that names them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.checks = 0
        self.forgetful: set[NodeId] = set()
        """sites whose store was replaced by an older one, or lost bits: I5 does not bind them"""
        self.served: dict[tuple[KSID, int], bytes] = {}
        self._bits = bytearray()
        self._sources: list[int] = []
        """where each begins in ``_bits``"""
        self._place: dict[bytes, int] = {}
        self._of_material: dict[tuple[NodeId, MaterialId], int] = {}
        self._starts: list[int] = []
        self._uses: list[tuple[int, tuple[object, ...]]] = []
        world.watch, world.watch_output = self._committed, self._leaves

    def _committed(self, site: Site, effects: list[Effect]) -> None:
        for effect in effects:
            if not isinstance(effect, StoreMaterial):
                continue
            raw = bytes(effect.bits.expose())
            if effect.material.startswith("chunks/"):
                self._key_made(UUID(effect.material.split("/")[1]), raw)
            else:
                self._of_material[site.name, effect.material] = self._placed(raw)

    def _placed(self, raw: bytes) -> int:
        """Where these bits are among all that were ever made; equal bits are one."""
        if raw not in self._place:
            self._place[raw] = len(self._bits)
            self._sources.append(len(self._bits))
            self._bits += raw
        return self._place[raw]

    def _leaves(self, site: Site, effect: Effect) -> None:
        if isinstance(effect, SendFrame):
            self._frame(site, effect)
        elif isinstance(effect, DeliverKey):
            self._delivery(site, effect)

    # ---- I1 ---------------------------------------------------------------------------------

    def _frame(self, site: Site, effect: SendFrame) -> None:
        header = read_header(effect.data)
        if header.kind is Kind.OPENING:
            return
        assert header.secret_bytes == len(effect.data) - HEADER_BYTES - limits.TAG_BYTES
        memory = site.node.links[effect.link].memory
        offset, left = header.offset, header.secret_bytes + limits.MAC_KEY_BYTES
        # Newest first: a frame is made of what its writer's own log says now.
        records = [
            record
            for record in site.disk.records.values()
            if isinstance(record, BlockRecord) and record.direction is memory.writer.direction
        ]
        for record in sorted(records, key=lambda each: each.start or 0):
            start = record.start or 0
            if left and start <= offset < start + record.length:
                length = min(start + record.length - offset, left)
                at = self._of_material[site.name, record.material] + offset - start
                self._use(at, length, ("frame", site.name, effect.data))
                offset, left = offset + length, left - length
        assert not left, "I1 a frame uses pad that no agreed block holds"

    def _key_made(self, ksid: UUID, raw: bytes) -> None:
        """Key may come out of several blocks in one run, each at its own place."""
        done = 0
        while len(raw) - done >= _NEEDLE_BYTES:
            at, length = self._found(raw, done)
            self._use(at, length, ("key", ksid, raw))
            done += length

    def _found(self, raw: bytes, done: int) -> tuple[int, int]:
        """Where the key goes on, and how far in that source."""
        bits, sources = self._bits, self._sources
        at = bits.find(raw[done : done + _NEEDLE_BYTES])
        if at >= 0:
            # Not beyond its source: the next one may begin, by chance, as the key goes on.
            behind = bisect_right(sources, at)
            end = sources[behind] if behind < len(sources) else len(bits)
            return at, min(_common(bits, at, raw, done), end - at)
        for end in (*sources[1:], len(bits)):
            for length in range(_NEEDLE_BYTES - 1, 0, -1):
                # The last bytes of one source, then another from its begin.
                rest = raw[done + length : done + length + _NEEDLE_BYTES]
                ends = bits.endswith(raw[done : done + length], 0, end)
                if ends and any(bits.startswith(rest, start) for start in sources):
                    return end - length, length
        raise AssertionError("I1 key is made of bits that no device gave")

    def _use(self, start: int, length: int, use: tuple[object, ...]) -> None:
        """The bits are used once, or again by the very same use: a key at the other end."""
        self.checks += 1
        place = bisect_right(self._starts, start)
        for near in range(max(0, place - 1), len(self._starts)):
            if self._starts[near] >= start + length:
                break
            end, other = self._uses[near]
            if end > start and other != use:
                raise AssertionError(f"I1 bits used twice: {use[:2]} and {other[:2]}")
            if end > start:
                return
        self._starts.insert(place, start)
        self._uses.insert(place, (start + length, use))

    # ---- I2, I5 -----------------------------------------------------------------------------

    def _delivery(self, site: Site, effect: DeliverKey) -> None:
        ksid = KSID(UUID(effect.material.split("/")[1]))
        bits = site.disk.read(effect.material, effect.offset, effect.length)
        if bits is not None:
            raw = bytes(bits.expose())
            first = self.served.setdefault((ksid, effect.index), raw)
            assert first == raw, f"I2 two different keys for index {effect.index}"
            self.checks += 1
        self._held_at_both(ksid, effect.index)

    def _held_at_both(self, ksid: KSID, index: int) -> None:
        for site in self.world.sites.values():
            if site.name in self.forgetful:
                continue
            record = site.disk.records.get((StreamRecord, ksid))
            assert record is not None, "I5 a key is delivered of a stream that one end lacks"
            held = cast(StreamRecord, record).next_index
            assert held > index, f"I5 {site.name} does not hold index {index}"
            self.checks += 1


def still_readable(site: Site) -> list[str]:
    """I6: materials with bits on the disk that no record says are still to be used."""
    runs = [each for each in site.disk.records.values() if isinstance(each, KeyRunRecord)]
    wanted: set[str | None] = {run.material for run in runs if run.material is not None}
    for link in site.node.links.values():
        wanted.add(link.memory.hash_key)
        wanted.update(held.record.material for held in link.agreement.held.values())
        for pad in link.memory.pads:
            for extent in pad.extents:
                wanted.add(extent.material)
    found: list[str] = [
        name for name, gone in site.disk.gone.items() if name not in wanted and not all(gone)
    ]
    for link in site.node.links.values():
        for pad in link.memory.pads:
            for extent in pad.extents:
                below = max(0, pad.granted - extent.start)
                if extent.material and not all(site.disk.gone[extent.material][:below]):
                    found.append(f"{extent.material} below the grant")
    return found


def _common(bits: bytearray, at: int, raw: bytes, done: int) -> int:
    """Length of the run that both have in common from these places on."""
    length = len(raw) - done
    if bits[at : at + length] == raw[done:]:
        return length
    low, high = _NEEDLE_BYTES, length
    while low + 1 < high:
        middle = (low + high) // 2
        if bits[at : at + middle] == raw[done : done + middle]:
            low = middle
        else:
            high = middle
    return low
