"""I1 No pad byte is ever used twice.

A use is a frame (its MAC key and its secret part, at the offset its header says) or key of a
stream. Both are mapped to the *physical* bits behind them, so that no game with offsets can hide
that a bit was used twice; and of some frames the seal is made again, to see that they are really
made of the bits that they name. Keys for several slaves are fresh: no bit of them is a pad's.
"""

from bisect import bisect_right
from typing import TYPE_CHECKING, cast

import attrs

from kms.domain import limits
from kms.domain.direction import written_by
from kms.domain.effects import Effect, StoreMaterial
from kms.domain.frame import HEADER_BYTES, Kind, context, read_header
from kms.domain.names import LinkId, SecretId
from kms.domain.otp import one_time_tag
from kms.domain.records import LinkRecord
from kms.simulation.checker import Checker
from kms.simulation.checkers.bundles import ENTRUSTED
from kms.simulation.checkers.pads import Pads

if TYPE_CHECKING:
    from kms.simulation.simulation import Simulation
    from kms.simulation.site import Site

# Of so many frames the seal of one is made again.
_SEAL_EVERY = 8


@attrs.define
class _Use:
    """Bytes ``start`` up to ``end`` of a source. ``key``: (ksid, place in the stream of byte 0 of
    the source, end that made it), while the other end may use them the same way; None: closed."""

    start: int
    end: int
    key: tuple[str, int, str] | None


class PadOnce(Checker):
    """Every physical byte, and what it was used for."""

    invariant = "I1"
    writes = (StoreMaterial,)

    def __init__(self, simulation: "Simulation") -> None:
        self._pads = Pads.of(simulation)
        super().__init__(simulation, self._pads)
        self._used: dict[int, list[_Use]] = {}
        self._frames = 0

    # ---- frames -----------------------------------------------------------------------------

    def sent(self, site: "Site", link: LinkId, data: bytes) -> None:
        header = read_header(data)
        if header.kind is Kind.OPENING:
            return
        length = header.secret_bytes + limits.MAC_KEY_BYTES
        places = self._pads.written(site, link, header.offset, length)
        if places is None:
            self.holds(False, "{} uses pad of {} that no agreed block holds", site.place, link)
            return
        for each in places:
            self._use(each.source, each.start, each.start + each.length, None, site)
        self._frames += 1
        if not self._frames % _SEAL_EVERY:
            self._seal(site, link, data, self._pads.bits(places))

    def _seal(self, site: "Site", link: LinkId, data: bytes, pad: bytes) -> None:
        record = cast(LinkRecord, site.disk.records[LinkRecord, link])
        about = context(link, SecretId(record.secrets[-1]), written_by(site.name, link))
        header, body = data[:HEADER_BYTES], data[HEADER_BYTES : -limits.TAG_BYTES]
        tag = one_time_tag(pad[: limits.MAC_KEY_BYTES], about, header, body)
        self.holds(
            tag == data[-limits.TAG_BYTES :],
            "{} seals a frame of {} with other bits than it says",
            site.place,
            link,
        )

    # ---- key --------------------------------------------------------------------------------

    def wrote(self, site: "Site", effect: Effect) -> None:
        """Key may come out of several blocks in one run, each at its own place."""
        stored = cast(StoreMaterial, effect)
        if not stored.material.startswith("chunks/"):
            if stored.material.startswith(ENTRUSTED):
                self._fresh(site, bytes(stored.bits.expose()))
            return
        _, ksid, first = stored.material.split("/")
        raw = bytes(stored.bits.expose())
        places = self.simulation.bits.locate(raw)
        named = sum(each.length for each in places or ())
        # Of each block a seam of less than two cells may stay unnamed.
        self.holds(
            places is not None and len(raw) - named <= 32 * len(places),
            "{} makes key of bits that no device gave",
            site.place,
        )
        done = 0
        for each in places or ():
            # The same key at the other end is the same bytes under the same first index.
            use = (f"{ksid}/{first.partition('-')[0]}", done - each.start, site.name)
            self._use(each.source, each.start, each.start + each.length, use, site)
            done += each.length

    def _fresh(self, site: "Site", raw: bytes) -> None:
        found = self.simulation.bits.anywhere(raw)
        self.holds(found is None, "{} makes keys for several of pad: {}", site.place, found)

    # ---- the ledger -------------------------------------------------------------------------

    def _use(
        self, source: int, start: int, end: int, key: tuple[str, int, str] | None, site: "Site"
    ) -> None:
        """The bytes are used, for the first time or as the other end used them."""
        self.checks += 1
        uses = self._used.setdefault(source, [])
        at = bisect_right(uses, start, key=lambda each: each.end)
        if at < len(uses) and uses[at].start < end:
            other = uses[at]
            again = other.key is not None and key is not None and other.key[:2] == key[:2]
            same = again and other.start == start and other.end == end
            self.holds(
                same and other.key != key,
                f"bits used twice: bytes {start} to {end} of source {source}, now by {site.place} "
                f"for {_what(key)}, before ({other.start} to {other.end}) for {_what(other.key)}",
            )
            other.key = None
            self._melt(uses, at)
        else:
            uses.insert(at, _Use(start, end, key))
            if key is None:
                self._melt(uses, at)

    def _melt(self, uses: list[_Use], at: int) -> None:
        """Neighbours that nobody may use again need no names: one entry."""
        for left in (at, at - 1):
            if 0 <= left and left + 1 < len(uses):
                one, two = uses[left], uses[left + 1]
                if one.key is None and two.key is None and one.end == two.start:
                    one.end = two.end
                    del uses[left + 1]


def _what(key: tuple[str, int, str] | None) -> str:
    return f"key {key[0]} at {key[2]}" if key is not None else "a frame, or for key at both ends"
