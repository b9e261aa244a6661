"""I13 Material from a link under alarm is never served.

The checker judges blocks itself: it saw which came with a QBER over the limit, and it knows from
the bits whether both ends hold the same. An end is under alarm from the commit that follows such a
block until three blocks in a row were agreed there, or another secret begins; its neighbour as well
from the batch that read it in a frame under the pads, or in a welcome, until it read that it is
over.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from kms.domain import limits, wire
from kms.domain.direction import written_by
from kms.domain.effects import DeliverKey, Effect, Forget, Save, StoreMaterial
from kms.domain.errors import PeerFault
from kms.domain.events import BlockArrived, Event, PeerFrame
from kms.domain.frame import HEADER_BYTES, Kind, opening_message, read_header
from kms.domain.names import BlockId, LinkId
from kms.domain.otp import xor
from kms.domain.records import BlockRecord, BlockState, LinkRecord, LinkState
from kms.domain.secret import Secret
from kms.domain.wire import Alarmed, Welcome
from kms.simulation.checkers.memory import Remembering, stream_at
from kms.simulation.checkers.pads import Pads

if TYPE_CHECKING:
    from kms.simulation.bits import Place
    from kms.simulation.simulation import Simulation
    from kms.simulation.site import Site

_End = tuple[str, LinkId]
"""one end of a link: place of the site, and link"""


class Quarantined(Remembering):
    """Bad blocks, and the ends that they put under alarm."""

    invariant = "I13"
    writes = (StoreMaterial, BlockRecord, LinkRecord, Forget)
    outputs = (DeliverKey,)

    def __init__(self, simulation: "Simulation") -> None:
        super().__init__(simulation)
        self._pads = Pads.of(simulation)
        self._bad: set[str] = set()
        """ids of blocks over the limit"""
        self._raised: dict[str, dict[LinkId, None]] = {}
        """by place: alarms of the batch that is being committed"""
        self._alarm: dict[_End, int] = {}
        """ends under alarm, and good blocks since"""
        self._told: dict[_End, None] = {}
        """ends that read that their neighbour is under alarm"""
        self._secrets: dict[_End, str] = {}
        self._agreed: dict[tuple[LinkId, BlockId], Place] = {}
        self._seqs: dict[_End, set[BlockId]] = {}

    # ---- what comes in ----------------------------------------------------------------------

    def batch(self, site: "Site", events: Sequence[Event], effects: Sequence[Effect]) -> None:
        for event in events:
            if type(event) is BlockArrived and event.qber is not None:
                limit = site.node.links[event.link].memory.settings.qber_max
                if event.qber > limit and event.bits is not None:
                    self._bad.add(str(event.block_id))
                    if _judged(effects, event.block_id):
                        self._raised.setdefault(site.place, {})[event.link] = None
            elif self._alarm and isinstance(event, PeerFrame):
                self._heard(site, event)
        if not effects or site.place not in self._raised:
            return
        if not any(isinstance(each, Save) for each in effects):
            # It is under alarm already: nothing is to be committed, and good blocks count anew.
            self._promote(site)

    def durable(self, site: "Site", effects: Sequence[Effect]) -> None:
        if site.place in self._raised:
            self._promote(site)

    def stopped(self, site: "Site", why: str) -> None:
        super().stopped(site, why)
        self._raised.pop(site.place, None)
        for link in [end[1] for end in self._told if end[0] == site.place]:
            del self._told[site.place, link]

    def restored(self, site: "Site", *, slots: bool) -> None:
        super().restored(site, slots=slots)
        self._pads.read(site)
        for end in [each for each in self._alarm if each[0] == site.place]:
            del self._alarm[end]

    def _promote(self, site: "Site") -> None:
        for link in self._raised.pop(site.place):
            self._alarm[site.place, link] = 0

    def _heard(self, site: "Site", frame: PeerFrame) -> None:
        """The neighbour's word about its alarm, if this frame has one and this end takes it."""
        for kind in self._words(site, frame):
            if kind and site.node.links[frame.link].guard.alarmed:
                self._told[site.place, frame.link] = None
            else:
                self._told.pop((site.place, frame.link), None)

    def _words(self, site: "Site", frame: PeerFrame) -> list[str]:
        try:
            header = read_header(frame.data)
            if header.kind is Kind.OPENING:
                said = wire.decode_opening(opening_message(frame.data))
                return [said.alarm] if isinstance(said, Welcome) else []
            start = header.offset + limits.MAC_KEY_BYTES
            direction = written_by(site.name, frame.link).other
            places = self._pads.places(site, frame.link, direction, start, header.secret_bytes)
            if places is None:
                return []
            hidden = frame.data[HEADER_BYTES : HEADER_BYTES + header.secret_bytes]
            messages = wire.decode(xor(hidden, Secret(self._pads.bits(places)).expose()))
        except PeerFault:
            return []
        return [each.kind for each in messages if isinstance(each, Alarmed)]

    # ---- what is written --------------------------------------------------------------------

    def wrote(self, site: "Site", effect: Effect) -> None:
        if isinstance(effect, StoreMaterial):
            self._stored(site, effect)
        elif isinstance(effect, Save) and isinstance(effect.record, LinkRecord):
            self._linked(site, effect.record)
            return
        elif isinstance(effect, Save):
            record = cast(BlockRecord, effect.record)
            if record.state is BlockState.AGREED:
                self._is_agreed(site, record)
        self._pads.learn(site, effect)

    def _stored(self, site: "Site", effect: StoreMaterial) -> None:
        kind, name, *rest = effect.material.split("/")
        if kind == "block":
            self.holds(
                rest[0] not in self._bad,
                f"{site.place} keeps block {rest[0]}, which came with a QBER over the limit",
            )
        elif kind == "chunks":
            stream = stream_at(site, self.ksid_of(effect.material))
            if stream is not None and stream.designates:
                self._quiet(site, stream.link, f"makes key of {name}")

    def _linked(self, site: "Site", record: LinkRecord) -> None:
        newest, end = (record.secrets[-1] if record.secrets else ""), (site.place, record.link)
        if self._secrets.get(end) != newest:
            self._secrets[end] = newest
            self._alarm.pop(end, None)
            self._seqs.pop(end, None)

    def _is_agreed(self, site: "Site", record: BlockRecord) -> None:
        end = (site.place, record.link)
        seen = self._seqs.setdefault(end, set())
        if record.block_id in seen or record.device is None:
            return
        seen.add(record.block_id)
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
            f"block {record.block_id} of {record.link} became pad with other bits at {site.place}",
        )

    # ---- what leaves ------------------------------------------------------------------------

    def output(self, site: "Site", effect: Effect) -> None:
        key = cast(DeliverKey, effect)
        stream = stream_at(site, self.ksid_of(key.material))
        if stream is not None:
            self._quiet(site, stream.link, f"delivers index {key.index} of {stream.ksid}")

    def _quiet(self, site: "Site", link: LinkId, what: str) -> None:
        """Nothing is made or served over this link now; or there is no alarm."""
        end = (site.place, link)
        self.holds(end not in self._alarm, f"{site.place} {what} while {link} is under alarm")
        self.holds(end not in self._told, f"{site.place} {what} while its neighbour is alarmed")
        record = site.disk.records.get((LinkRecord, link))
        self.holds(
            not isinstance(record, LinkRecord) or record.state is not LinkState.DOUBTED,
            f"{site.place} {what} while {link} is doubted",
        )


def _judged(effects: Sequence[Effect], block_id: BlockId) -> bool:
    """Whether the node had to judge the block: one of an impossible length it never looks into."""
    return True
