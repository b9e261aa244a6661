"""I3 A key goes only to applications that its stream names.

The checker's own book: who asked to open which stream with whom, and was told that it may; which
master asked for keys for which slaves, and was given them. Policy
and directory are the network's, as the SDN port gives them; they are judged here anew.
"""

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from kms.domain.effects import DeliverKey, DeliverKeys, Refuse
from kms.domain.keyrequests import DecKeys, EncKeys
from kms.domain.names import KSID, SAEId
from kms.domain.requests import Close, CloseReply, GetKey, OpenConnect, OpenReply, Request
from kms.domain.status import Status
from kms.simulation.checkers.bundles import ENTRUSTED
from kms.simulation.checkers.given import given
from kms.simulation.checkers.memory import Remembering

if TYPE_CHECKING:
    from kms.simulation.simulation import Simulation
    from kms.simulation.site import Outcome, Site

_Pair = tuple[SAEId, ...]
"""applications, in order"""
_OPENED = (Status.SUCCESS, Status.PEER_NOT_CONNECTED_YET)


class NamedOnly(Remembering):
    """Who asked for what, and the two applications of each stream."""

    invariant = "I3"

    def __init__(self, simulation: "Simulation") -> None:
        super().__init__(simulation)
        self._asked: dict[int, tuple[SAEId, Request, bool]] = {}
        """by number; whether the caller had closed the stream before it asked"""
        self._pairs: dict[KSID, _Pair] = {}
        self._ends: dict[KSID, _Pair] = {}
        """master and slaves, of streams of keys with IDs, and of keys for several"""
        self._joined: set[tuple[KSID, SAEId]] = set()
        self._closed: set[tuple[KSID, SAEId]] = set()
        self._allowed: dict[_Pair, bool] = {}
        self._home = simulation.directory

    def asked(self, site: "Site", number: int, caller: SAEId, request: Request) -> None:
        ksid = request.ksid if isinstance(request, OpenConnect | GetKey | Close) else None
        closed = ksid is not None and (ksid, caller) in self._closed
        self._asked[number] = (caller, request, closed)

    def answered(self, site: "Site", number: int, outcome: "Outcome | None") -> None:
        caller, request, closed = self._asked.pop(number)
        if outcome is None or isinstance(outcome.reply, Refuse):
            return
        reply = outcome.reply
        if isinstance(reply, DeliverKey):
            assert isinstance(request, GetKey)
            self._key(site, caller, request, reply, closed=closed)
        elif isinstance(reply, DeliverKeys):
            assert isinstance(request, EncKeys | DecKeys)
            self._keys(site, caller, request, reply)
        elif isinstance(reply, OpenReply) and reply.status in _OPENED and reply.ksid is not None:
            assert isinstance(request, OpenConnect)
            self._open(site, caller, request, reply.ksid)
        elif isinstance(reply, CloseReply) and reply.status is Status.SUCCESS:
            assert isinstance(request, Close)
            self._closed.add((request.ksid, caller))

    def _open(self, site: "Site", caller: SAEId, request: OpenConnect, ksid: KSID) -> None:
        pair = tuple(sorted((request.source, request.destination)))
        known = self._pairs.setdefault(ksid, pair)
        self.born(ksid)
        self.holds(known == pair, f"{site.place} lets {caller} into stream {ksid} of others")
        self.holds(self._may(site, pair), f"{site.place} opens {ksid} against the policy")
        self._joined.add((ksid, caller))

    def _key(
        self, site: "Site", caller: SAEId, request: GetKey, reply: DeliverKey, *, closed: bool
    ) -> None:
        ksid = self.ksid_of(reply.material)
        pair = self._pairs.get(ksid, ())
        self.holds(
            request.ksid == ksid and caller in pair and (ksid, caller) in self._joined,
            "{} gives {} a key of stream {}, which is {}'s",
            site.place,
            caller,
            ksid,
            pair,
        )
        self.holds(
            self._home.get(caller) == site.name and self._may(site, pair),
            "{} gives {} a key of {} against directory or policy",
            site.place,
            caller,
            ksid,
        )
        self.holds(
            not closed or self.excused(site.name, ksid),
            "{} gives {} a key of stream {}, which it had closed",
            site.place,
            caller,
            ksid,
        )

    def _keys(
        self, site: "Site", caller: SAEId, request: EncKeys | DecKeys, reply: DeliverKeys
    ) -> None:
        """A master names its slaves when keys are made; who fetches them later is one of them."""
        if isinstance(request, EncKeys):
            ends: _Pair = (caller, request.slave, *request.additional_slaves)
        else:
            ends = (request.master, caller)
            self.holds(
                reply.key_ids == request.key_ids,
                "{} gives {} other keys than it asked for",
                site.place,
                caller,
            )
        for place, key in enumerate(given(reply)):
            ksid = self.ksid_of(key.material)
            key_id = reply.key_ids[16 * place : 16 * place + 16]
            self.holds(
                int.from_bytes(key_id) == ksid.int ^ key.index,
                "{} gives {} key {} of {} under another key's ID",
                site.place,
                caller,
                key.index,
                ksid,
            )
            if isinstance(request, DecKeys) and key.material.startswith(ENTRUSTED):
                # Nobody has heard of an ID before the master has it.
                named = self._ends.get(ksid, ())
                right = named[:1] == (request.master,) and caller in named[1:]
            else:
                right = self._ends.setdefault(ksid, ends) == ends
            self.holds(
                right,
                "{} gives {} a key of stream {}, which is {}'s",
                site.place,
                caller,
                ksid,
                self._ends.get(ksid),
            )
        for slave in ends[1:]:
            self.holds(
                self._home.get(caller) == site.name and self._may(site, _pair(ends[0], slave)),
                "{} gives {} keys of {} against directory or policy",
                site.place,
                caller,
                ends,
            )

    def _may(self, site: "Site", pair: _Pair) -> bool:
        """Whether some rule allows the two applications, either way round."""
        if pair not in self._allowed:
            one, other = pair
            rules = self.simulation.network_view(site.name).policy.rules
            self._allowed[pair] = one != other and any(
                fnmatchcase(first, rule.one) and fnmatchcase(second, rule.other)
                for rule in rules
                for first, second in ((one, other), (other, one))
            )
        return self._allowed[pair]


def _pair(one: SAEId, other: SAEId) -> _Pair:
    return (one, other) if one < other else (other, one)
