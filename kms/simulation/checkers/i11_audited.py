"""I11 Nothing leaves unaudited.

When an output leaves, the entry that tells of it is in the journal on the disk already: of a key,
a refusal and an alarm in the entries of its own batch; of a stream opened or closed ever before.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from kms.domain.effects import (
    Alarm,
    Answer,
    Audit,
    DeliverKey,
    DeliverKeys,
    Effect,
    Refuse,
    StoreMaterial,
)
from kms.domain.events import Event
from kms.domain.names import NodeId, SAEId
from kms.domain.requests import Close, CloseReply, OpenReply, Request
from kms.domain.status import Status
from kms.simulation.checkers.given import DELIVERIES, given
from kms.simulation.checkers.memory import Remembering

if TYPE_CHECKING:
    from kms.simulation.simulation import Simulation
    from kms.simulation.site import Outcome, Site

_OPENED = (Status.SUCCESS, Status.PEER_NOT_CONNECTED_YET)
_KINDS = {"chunks": "keys-designated", "entrusted": "keys-entrusted"}
"""what the journal says of each kind of material that is key"""
_KEPT = ("stream-opened", "stream-joined", "stream-closed")


class Audited(Remembering):
    """What each journal says."""

    invariant = "I11"
    writes = (StoreMaterial,)
    outputs = (Alarm, Answer, *DELIVERIES, Refuse)

    def __init__(self, simulation: "Simulation") -> None:
        super().__init__(simulation)
        self._read: dict[str, int] = {}
        """entries of each journal that are known"""
        self._batch: set[tuple[object, ...]] = set()
        """what the journal got with this batch"""
        self._unread: Sequence[Effect] = ()
        """the batch, of which the journal got nothing: if it was to get something, the disk failed,
        the process ends, and nothing leaves"""
        self._ever: set[tuple[NodeId, str, str]] = set()
        self._asked: dict[int, tuple[SAEId, Request]] = {}

    def started(self, site: "Site") -> None:
        self._read[site.place] = len(site.journal)

    def batch(self, site: "Site", events: Sequence[Event], effects: Sequence[Effect]) -> None:
        self._batch.clear()

    def durable(self, site: "Site", effects: Sequence[Effect]) -> None:
        self._batch.clear()
        journal, read = site.journal, self._read.get(site.place, 0)
        self._unread = effects if len(journal) == read else ()
        for entry in journal[read:]:
            detail = entry.detail
            number = detail.get("index", detail.get("first", detail.get("kind")))
            self._batch.add((entry.event, entry.subject, number))
            if entry.event == "key-delivered":
                first, count = cast(int, number), cast(int, detail["count"])
                for index in range(first + 1, first + count):
                    self._batch.add((entry.event, entry.subject, index))
            if entry.event in _KEPT:
                self._ever.add((site.name, entry.event, entry.subject))
            elif entry.event == "refused":
                self._batch.add((entry.event, entry.actor))
        self._read[site.place] = len(journal)

    def wrote(self, site: "Site", effect: Effect) -> None:
        """Key that was made, or came, is in the journal beside it, unless the disk failed."""
        kind, _, rest = cast(StoreMaterial, effect).material.partition("/")
        if kind in _KINDS and not any(type(each) is Audit for each in self._unread):
            ksid, first = rest.split("/")
            entry = (_KINDS[kind], ksid, int(first.partition("-")[0]))
            self.holds(entry in self._batch, "{} makes key of {} unaudited", site.place, ksid)

    def asked(self, site: "Site", number: int, caller: SAEId, request: Request) -> None:
        self._asked[number] = (caller, request)

    def answered(self, site: "Site", number: int, outcome: "Outcome | None") -> None:
        self._asked.pop(number, None)

    def output(self, site: "Site", effect: Effect) -> None:
        entry: tuple[object, ...]
        if isinstance(effect, DeliverKey | DeliverKeys):
            for key in given(effect):
                _, ksid, _ = key.material.split("/")
                self._told(site, ("key-delivered", ksid, key.index))
            return
        if isinstance(effect, Alarm):
            entry = ("alarm", effect.link or "", effect.kind)
        elif isinstance(effect, Refuse):
            caller, _ = self._asked.get(effect.request_id, (None, None))
            if caller is None:
                return
            entry = ("refused", caller)
        else:
            self._answer(site, cast(Answer, effect))
            return
        self._told(site, entry)

    def _told(self, site: "Site", entry: tuple[object, ...]) -> None:
        self.holds(entry in self._batch, "{} lets {} leave unaudited", site.place, entry)

    def _answer(self, site: "Site", answer: Answer) -> None:
        reply = answer.reply
        if isinstance(reply, OpenReply) and reply.status in _OPENED:
            self.holds(
                any((site.name, event, str(reply.ksid)) in self._ever for event in _KEPT[:2]),
                f"{site.place} opens stream {reply.ksid} unaudited",
            )
        elif isinstance(reply, CloseReply) and reply.status is Status.SUCCESS:
            _, request = self._asked.get(answer.request_id, (None, None))
            if isinstance(request, Close):
                self.holds(
                    (site.name, "stream-closed", str(request.ksid)) in self._ever,
                    f"{site.place} closes stream {request.ksid} unaudited",
                )
