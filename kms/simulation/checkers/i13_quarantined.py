"""I13 Material from a link under alarm is never served.

The checker judges blocks itself: it saw which came with a QBER over the limit, and it knows from
the bits whether both ends hold the same. An end is under alarm from the commit that follows such a
block until three blocks in a row were agreed there, or another secret begins; its neighbour as well
from the batch that read it in a frame under the pads, or in a welcome, until it read that it is
over.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import attrs

from kms.domain import limits, wire
from kms.domain.direction import written_by
from kms.domain.effects import DeliverKey, Effect, Save, StoreMaterial
from kms.domain.errors import PeerFault
from kms.domain.events import BlockArrived, Event, PeerFrame
from kms.domain.frame import HEADER_BYTES, Header, Kind, opening_message, read_header
from kms.domain.names import BlockId, LinkId
from kms.domain.otp import xor
from kms.domain.records import BlockRecord, BlockState, LinkRecord, LinkState
from kms.domain.secret import Secret
from kms.domain.wire import Alarmed, Welcome
from kms.simulation.checkers.bundles import name_of, record_at
from kms.simulation.checkers.given import DELIVERIES, given
from kms.simulation.checkers.memory import Remembering, stream_at
from kms.simulation.checkers.pads import Pads

if TYPE_CHECKING:
    from kms.simulation.bits import Place
    from kms.simulation.simulation import Simulation
    from kms.simulation.site import Site

_End = tuple[str, LinkId]
"""one end of a link: place of the site, and link"""


@attrs.define
class _Holds:
    """What holds for one end from the next batch on; None: as before."""

    good_blocks: int | None = None
    """since a bad one"""
    told: str | None = None
    """the neighbour's alarm"""
    stopped: str | None = None
    """by the end's own record"""


class Quarantined(Remembering):
    """Bad blocks, and the ends that they put under alarm."""

    invariant = "I13"
    writes = (StoreMaterial, BlockRecord, LinkRecord)
    outputs = DELIVERIES

    def __init__(self, simulation: "Simulation") -> None:
        self._pads = Pads.of(simulation)
        super().__init__(simulation, self._pads)
        self._bad: set[str] = set()
        """ids of blocks over the limit"""
        self._next: dict[str, dict[LinkId, _Holds]] = {}
        """by place: what the present batch brings, and holds from the next one on"""
        self._alarm: dict[_End, int] = {}
        """ends under alarm, and good blocks since"""
        self._told: set[_End] = set()
        """ends that read that their neighbour is under alarm"""
        self._stopped: dict[_End, str] = {}
        """ends whose own record says that nothing may be served"""
        self._secrets: dict[_End, str] = {}
        self._agreed: dict[tuple[LinkId, BlockId], Place] = {}
        self._seen: dict[_End, set[BlockId]] = {}

    # ---- what comes in ----------------------------------------------------------------------

    def batch(self, site: "Site", events: Sequence[Event], effects: Sequence[Effect]) -> None:
        place = site.place
        if place in self._next:
            self._promote(place)
        for event in events:
            if type(event) is BlockArrived and event.qber is not None:
                if event.qber > site.node.links[event.link].memory.settings.qber_max:
                    self._bad.add(str(event.block_id))
                    self._coming(place, event.link).good_blocks = 0
            elif type(event) is PeerFrame and (self._alarm or (place, event.link) in self._told):
                for kind in self._words(site, event):
                    self._coming(place, event.link).told = kind
                    if not kind:
                        # At the end of this very batch key may be made again.
                        self._told.discard((place, event.link))

    def stopped(self, site: "Site", why: str) -> None:
        super().stopped(site, why)
        self._next.pop(site.place, None)
        self._told = {end for end in self._told if end[0] != site.place}

    def restored(self, site: "Site") -> None:
        super().restored(site)
        for book in (self._alarm, self._stopped):
            for end in [each for each in book if each[0] == site.place]:
                del book[end]

    def _coming(self, place: str, link: LinkId) -> "_Holds":
        return self._next.setdefault(place, {}).setdefault(link, _Holds())

    def _promote(self, place: str) -> None:
        """An answer that was given before the alarm may leave in the same batch, not later."""
        for link, coming in self._next.pop(place).items():
            end = (place, link)
            if coming.good_blocks is not None:
                self._alarm[end] = coming.good_blocks
            if coming.told:
                self._told.add(end)
            elif coming.told is not None:
                self._told.discard(end)
            if coming.stopped:
                self._stopped[end] = coming.stopped
            elif coming.stopped is not None:
                self._stopped.pop(end, None)

    def _words(self, site: "Site", frame: PeerFrame) -> list[str]:
        """What the neighbour says of its alarm in this frame, if this end read it."""
        link = site.node.links[frame.link]
        try:
            header = read_header(frame.data)
            if header.kind is Kind.OPENING:
                said = wire.decode_opening(opening_message(frame.data))
                words = [said.alarm] if isinstance(said, Welcome) else []
                read = True
            else:
                words = self._sealed_words(site, frame, header)
                read = link.memory.reader.mark > header.offset
        except PeerFault:
            return []
        read = read and link.up and link.greeting.session == frame.session
        return [kind for kind in words if read or not kind]

    def _sealed_words(self, site: "Site", frame: PeerFrame, header: Header) -> list[str]:
        start = header.offset + limits.MAC_KEY_BYTES
        direction = written_by(site.name, frame.link).other
        places = self._pads.places(site, frame.link, direction, start, header.secret_bytes)
        if places is None:
            return []
        hidden = frame.data[HEADER_BYTES : HEADER_BYTES + header.secret_bytes]
        messages = wire.decode(xor(hidden, Secret(self._pads.bits(places)).expose()))
        return [each.kind for each in messages if isinstance(each, Alarmed)]

    # ---- what is written --------------------------------------------------------------------

    def wrote(self, site: "Site", effect: Effect) -> None:
        if isinstance(effect, StoreMaterial):
            self._stored(site, effect)
        elif isinstance(effect, Save) and isinstance(effect.record, LinkRecord):
            self._linked(site, effect.record)
        elif isinstance(effect, Save):
            record = cast(BlockRecord, effect.record)
            if record.state is BlockState.AGREED:
                self._is_agreed(site, record)

    def _stored(self, site: "Site", effect: StoreMaterial) -> None:
        kind, name, *rest = effect.material.split("/")
        if kind == "block":
            self.holds(
                rest[0] not in self._bad,
                "{} keeps block {}, which came with a QBER over the limit",
                site.place,
                rest[0],
            )
        elif kind == "entrusted":
            bundle = record_at(site, name_of(effect.material))
            for link in bundle.links if bundle is not None and bundle.own else ():
                self._quiet(site, link, "makes keys for several", name)
        elif kind == "chunks":
            stream = stream_at(site, self.ksid_of(effect.material))
            if stream is not None and stream.designates:
                self._quiet(site, stream.link, "makes key", name)

    def _linked(self, site: "Site", record: LinkRecord) -> None:
        newest, end = (record.secrets[-1] if record.secrets else ""), (site.place, record.link)
        doubted = record.state is LinkState.DOUBTED
        why = record.alarm or ("doubted" if doubted else "")
        self._coming(*end).stopped = why
        if not why:
            # What another secret ends may be served in the very batch.
            self._stopped.pop(end, None)
        if self._secrets.get(end) != newest:
            self._secrets[end] = newest
            self._alarm.pop(end, None)
            self._seen.pop(end, None)

    def _is_agreed(self, site: "Site", record: BlockRecord) -> None:
        end = (site.place, record.link)
        seen = self._seen.setdefault(end, set())
        if record.block_id in seen or record.device is None:
            return
        seen.add(record.block_id)
        coming = self._next.get(site.place, {}).get(record.link)
        if coming is not None and coming.good_blocks is not None:
            coming.good_blocks += 1
        if end in self._alarm:
            self._alarm[end] += 1
            if self._alarm[end] >= limits.ALARM_CLEAR_BLOCKS:
                del self._alarm[end]
        place = self._pads.blocks.get((site.place, record.material))
        if place is None:
            return
        known = self._agreed.setdefault((record.link, record.block_id), place)
        self.holds(
            known == place,
            "block {} of {} became pad with other bits at {}",
            record.block_id,
            record.link,
            site.place,
        )

    # ---- what leaves ------------------------------------------------------------------------

    def output(self, site: "Site", effect: Effect) -> None:
        ksids = {self.ksid_of(key.material) for key in given(cast(DeliverKey, effect))}
        for ksid in sorted(ksids):
            stream, bundle = stream_at(site, ksid), record_at(site, ksid)
            if stream is not None:
                self._quiet(site, stream.link, "delivers key", ksid)
            for link in bundle.links if bundle is not None else ():
                self._quiet(site, link, "delivers key", ksid)

    def _quiet(self, site: "Site", link: LinkId, what: str, ksid: object) -> None:
        """Nothing is made or served over this link now; or there is no alarm."""
        end, said = (site.place, link), (site.place, what, ksid, link)
        self.holds(end not in self._alarm, "{} {} of {} while {} is under alarm", *said)
        self.holds(end not in self._told, "{} {} of {} while {} is alarmed beyond", *said)
        why = self._stopped.get(end)
        self.holds(not why, "{} {} of {} while {} is stopped: {}", *said, why)
