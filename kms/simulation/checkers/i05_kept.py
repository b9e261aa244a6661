"""I5 What was acknowledged is durable at both ends.

At the moment an answer leaves, what it says is looked up on the disks that must hold it, not in any
node's memory; and no end may later call lost what the other was already given. Keys for several
slaves are ``i05_entrusted``'s.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast
from uuid import UUID

from kms.domain.effects import (
    Answer,
    Audit,
    BlockStored,
    DeliverKey,
    DeliverKeys,
    Effect,
    Forget,
    Save,
    StoreMaterial,
)
from kms.domain.names import KSID, BlockId, LinkId, NodeId
from kms.domain.records import BlockRecord, StreamRecord
from kms.domain.requests import OpenReply
from kms.domain.status import Status
from kms.simulation.checkers.bundles import ENTRUSTED
from kms.simulation.checkers.given import DELIVERIES, Given, given
from kms.simulation.checkers.memory import Remembering, stream_at

if TYPE_CHECKING:
    from kms.simulation.simulation import Simulation
    from kms.simulation.site import Site

_OPENED = (Status.SUCCESS, Status.PEER_NOT_CONNECTED_YET)
# What an end says of keys of which it believes that nobody was given them.
_LOST = (
    "never reached the other end",
    "lost when an end restarted",
    "lost: this store is older than the peer's",
)


class Kept(Remembering):
    """What was said, and the disks that must know of it."""

    invariant = "I5"
    writes = (StreamRecord, Audit, Forget)
    outputs = (Answer, BlockStored, *DELIVERIES)

    def __init__(self, simulation: "Simulation") -> None:
        super().__init__(simulation)
        self._written: dict[str, Sequence[Effect]] = {}
        """the writes of each site's last commit"""
        self._said: dict[KSID, int] = {}
        """by stream: all below was delivered at one end, or more than that"""
        self._ended: set[tuple[NodeId, KSID]] = set()
        """streams whose tombstones are gone"""
        self._given: dict[tuple[KSID, NodeId], set[int]] = {}

    def durable(self, site: "Site", effects: Sequence[Effect]) -> None:
        self._written[site.place] = effects

    def wrote(self, site: "Site", effect: Effect) -> None:
        if isinstance(effect, Audit):
            entry = effect.entry
            if entry.event in ("keys-destroyed", "keys-lost"):
                self._lost(site, entry.subject, entry.detail)
        elif isinstance(effect, Forget):
            if isinstance(effect.record, StreamRecord):
                self._forgotten(site, effect.record)
        else:
            record = cast(StreamRecord, cast(Save, effect).record)
            said = self._said.get(record.ksid, 0)
            self.born(record.ksid)
            self.holds(
                record.next_index >= said or self.excused(site.name, record.ksid),
                "{} forgets index {} of {}, which was delivered",
                site.place,
                said - 1,
                record.ksid,
            )

    def _forgotten(self, site: "Site", record: StreamRecord) -> None:
        """A tombstone may go when its time is over, or a clock says that it is."""
        if record.closed_ms is not None:
            self._ended.add((site.name, record.ksid))
            return
        self.holds(
            not self._said.get(record.ksid) or self.excused(site.name, record.ksid),
            f"{site.place} forgets stream {record.ksid}, of which keys were delivered",
        )

    def excused(self, name: NodeId, ksid: KSID) -> bool:
        return (name, ksid) in self._ended or super().excused(name, ksid)

    # ---- what leaves ------------------------------------------------------------------------

    def output(self, site: "Site", effect: Effect) -> None:
        if isinstance(effect, DeliverKey | DeliverKeys):
            for key in given(effect):
                if not key.material.startswith(ENTRUSTED):
                    self._delivered(site, key)
        elif isinstance(effect, Answer):
            reply = effect.reply
            if isinstance(reply, OpenReply) and reply.status in _OPENED and reply.ksid:
                self.born(reply.ksid)
                self._at_both(site, reply.ksid, 0, "was opened")
        elif isinstance(effect, BlockStored) and not effect.refused:
            self._block(site, effect.block_id)

    def _delivered(self, site: "Site", key: Given) -> None:
        ksid = self.ksid_of(key.material)
        index = key.index
        self._at_both(site, ksid, index + 1, "gave key away")
        self._said[ksid] = max(self._said.get(ksid, 0), index + 1)
        self._given.setdefault((ksid, site.name), set()).add(index)

    def _at_both(self, site: "Site", ksid: KSID, held: int, what: str) -> None:
        here = stream_at(site, ksid)
        self.holds(here is not None, "stream {} {}, and {} has no record", ksid, what, site.place)
        assert here is not None
        for name in self.simulation.network.wires[here.link].spec.between:
            record = stream_at(self.simulation.sites[name], ksid)
            self.holds(
                (record is not None and record.next_index >= held) or self.excused(name, ksid),
                "stream {} {} at {}, and {} does not hold it ({} keys)",
                ksid,
                what,
                site.place,
                name,
                held,
            )

    def _block(self, site: "Site", block_id: BlockId) -> None:
        """On the disk, unless the same batch already ended it."""
        marks = f"/{block_id}/"
        stored = [
            each
            for each in self._written.get(site.place, ())
            if isinstance(each, StoreMaterial) and marks in each.material
        ]
        known = stored and stored[0].material in site.disk.gone
        links = self.simulation.network.wires
        recorded = any((BlockRecord, link, block_id) in site.disk.records for link in links)
        live = bool(known) and site.disk.live[stored[0].material] > 0
        self.holds(
            known and (recorded or not live),
            f"{site.place} took block {block_id} from its device and has not got it",
        )

    # ---- what is called lost ----------------------------------------------------------------

    def _lost(
        self, site: "Site", subject: str, detail: dict[str, str | int | float | bool | None]
    ) -> None:
        if detail.get("reason") not in _LOST:
            return
        ksid = KSID(UUID(subject))
        record = stream_at(site, ksid)
        link = record.link if record is not None else None
        first, count = int(detail["first"] or 0), int(detail["count"] or 0)
        for name in self._ends(link):
            given = self._given.get((ksid, name), set())
            lost = next((index for index in range(first, first + count) if index in given), None)
            self.holds(
                lost is None or self.excused(site.name, ksid) or self.excused(name, ksid),
                f"{site.place} calls index {lost} of {ksid} lost, which {name} has delivered",
            )

    def _ends(self, link: LinkId | None) -> tuple[NodeId, ...]:
        return self.simulation.network.wires[link].spec.between if link is not None else ()
