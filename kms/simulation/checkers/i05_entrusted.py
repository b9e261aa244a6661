"""I5 A key that a master was given for several slaves is held durably at every slave's node.

Whether a node holds it is read from that node's disk, at the commit that says so: all bytes of it,
for the slaves who live there. When the master's answer leaves, each of them must have got so far;
and no node may say later that such a key was on its way, or was withdrawn.
"""

from typing import TYPE_CHECKING, cast

from kms.domain.effects import DeliverKeys, Effect, Save
from kms.domain.keyrequests import EncKeys
from kms.domain.names import KSID, NodeId
from kms.domain.records import BundleRecord, BundleState
from kms.simulation.checkers.bundles import ENTRUSTED, parts, record_at
from kms.simulation.checkers.callers import Callers
from kms.simulation.checkers.memory import Remembering

if TYPE_CHECKING:
    from kms.simulation.simulation import Simulation
    from kms.simulation.site import Site

# What a node says of keys of which it believes that nobody was given them.
_NOBODYS = (
    "a restart cut it off",
    "the session ended on the way",
    "withdrawn: not every node has these keys",
)


class Entrusted(Remembering):
    """Where each bundle was whole, and which masters were given theirs."""

    invariant = "I5"
    writes = (BundleRecord,)
    outputs = (DeliverKeys,)

    def __init__(self, simulation: "Simulation") -> None:
        self._callers = Callers.of(simulation)
        super().__init__(simulation, self._callers)
        self._held: dict[tuple[NodeId, KSID], BundleRecord] = {}
        self._given: dict[KSID, NodeId] = {}
        """masters' nodes"""

    def wrote(self, site: "Site", effect: Effect) -> None:
        record = cast(BundleRecord, cast(Save, effect).record)
        name = record.name
        self.born(name)
        if record.state is BundleState.HELD and (site.name, name) not in self._held:
            self._held[site.name, name] = record
            if record_at(site, name) == record:
                self._is_whole(site, record)
            # Else it is over in the same batch: by a word that came with its last part, or by time.
        elif record.state is BundleState.ENDED and record.reason in _NOBODYS:
            given = self._given.get(name)
            self.holds(
                given is None or self.excused(site.name, name) or self.excused(given, name),
                "{} ends keys {}, which the master was given: {}",
                site.place,
                name,
                record.reason,
            )

    def _is_whole(self, site: "Site", record: BundleRecord) -> None:
        found = sum(site.disk.live.get(name, 0) for name, _, _ in parts(record))
        self.holds(
            found == record.count * record.key_bytes,
            "{} says that it holds keys {}, and its files have {} bytes of them",
            site.place,
            record.name,
            found,
        )

    def output(self, site: "Site", effect: Effect) -> None:
        answer = cast(DeliverKeys, effect)
        caller, request = self._callers.who(answer.request_id)
        if not isinstance(request, EncKeys) or not request.additional_slaves:
            return
        names = {self.ksid_of(each.material) for each in answer.stretches}
        self.holds(
            len(names) == 1 and answer.stretches[0].material.startswith(ENTRUSTED),
            "{} gives {} keys for several slaves that no bundle holds",
            site.place,
            caller,
        )
        (name,) = names
        self._given[name] = site.name
        for slave in (request.slave, *request.additional_slaves):
            home = self.simulation.directory[slave]
            held = self._held.get((home, name))
            self.holds(
                held is not None and slave in held.slaves and held.master == caller,
                "{} gives {} keys {} for {}, and {} does not hold them",
                site.place,
                caller,
                name,
                slave,
                home,
            )
