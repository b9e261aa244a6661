"""One history: a network, its faults, and who looks on.

Theory of operation. The seed draws a *plan* (``plan.py``): which faults happen when, and how the
devices and applications behave. The plan is a list, so a part of it can be run again by itself;
every actor draws its own lots from a generator of its own name, so leaving one fault out changes
nothing about the chances of the others. Storms, in which faults happen, alternate with calms: all
is healed, and what must be true of a healthy network is checked (I7, I12).
"""

import random
from collections import Counter
from collections.abc import Sequence

from kms.domain.audit import AuditEntry
from kms.domain.effects import BlockStored
from kms.domain.events import NetworkChanged
from kms.domain.limits import MIB
from kms.domain.linkmemory import LinkSettings
from kms.domain.names import LinkId, NodeId, SAEId
from kms.domain.policy import Policy, Rule
from kms.simulation.applications import Applications
from kms.simulation.bits import PhysicalBits
from kms.simulation.checker import Checker, Watch
from kms.simulation.devices import Devices
from kms.simulation.disk import Disk
from kms.simulation.loop import Loop
from kms.simulation.network import Network
from kms.simulation.operator import Operator
from kms.simulation.site import RESTART_MS, Site, State
from kms.simulation.topology import Topology
from kms.simulation.trace import Trace

# Share of the histories in which sites have witnesses.
_WATCHED = 0.5
# Of one site.
COPIES_MAX = 4
SETTINGS = LinkSettings(pool_bytes_max=MIB, qber_max=0.11, block_expiry_ms=600_000)


class Simulation:
    """Everything there is in one history. ``begin`` before anything else."""

    def __init__(
        self, topology: Topology, seed: int, checkers: Sequence[type[Checker]] = ()
    ) -> None:
        self.topology, self.seed = topology, seed
        self._random: dict[str, random.Random] = {}
        self.loop, self.trace = Loop(), Trace()
        self.watched = self.chance("watched") < _WATCHED
        """every site has a witness outside its store"""
        self.bits = PhysicalBits(seed)
        self.faults: Counter[str] = Counter()
        """how often each kind happened"""
        self._copies: dict[NodeId, list[tuple[Disk, list[AuditEntry]]]] = {}
        self._numbers = 0
        self.directory = {
            SAEId(f"sae:app{number}.{site.name.lower()}"): site.name
            for site in topology.site
            for number in range(site.applications)
        }
        """who lives where"""
        self.network = Network(self)
        self.sites: dict[str, Site] = {}
        """by place; a clone is one more"""
        self.watch = Watch([each(self) for each in checkers])
        for spec in topology.site:
            self.sites[spec.name] = self._new_site(spec.name)
        self.devices = Devices(self)
        self.applications = Applications(self)
        self.operator = Operator(self)

    def begin(self) -> None:
        """All sites start, secrets are brought, devices and applications come."""
        for site in list(self.sites.values()):
            site.start()
        self.network.begin()
        self.operator.begin()
        self.devices.begin()
        self.applications.begin()

    # ---- chance -----------------------------------------------------------------------------

    def lots(self, name: str) -> random.Random:
        """The generator of this name: nobody else's draws change what it gives."""
        if name not in self._random:
            self._random[name] = random.Random(f"{self.seed}/{name}")
        return self._random[name]

    def chance(self, name: str) -> float:
        return self.lots(name).random()

    def next_number(self) -> int:
        """Never given before: sessions, requests."""
        self._numbers += 1
        return self._numbers

    # ---- who is there -----------------------------------------------------------------------

    def _new_site(self, name: NodeId, place: str = "") -> Site:
        links = dict.fromkeys(self.topology.neighbours(name), SETTINGS)
        return Site(self, name, links, place=place)

    def originals(self) -> list[Site]:
        """The sites of the topology, in its order."""
        return [self.sites[each.name] for each in self.topology.site]

    def sites_of(self, link: LinkId) -> list[Site]:
        """Who talks over this link if it connects now: of a site and its clone, by turns."""
        found: list[Site] = []
        spec = self.network.wires[link].spec
        for name in spec.between:
            twins = [each for each in self.sites.values() if each.name == name and each.running]
            if twins:
                turn = self.lots(f"turn/{link}").randrange(len(twins)) if len(twins) > 1 else 0
                found.append(twins[turn])
        return found

    def network_view(self, name: NodeId) -> NetworkChanged:
        """What the SDN port tells this node."""
        return NetworkChanged(
            neighbours=frozenset(self.topology.neighbours(name)),
            directory=self.directory,
            policy=Policy(rules=(Rule(one="sae:*", other="sae:*"),)),
        )

    # ---- what happens -----------------------------------------------------------------------

    def fired(self, kind: str) -> None:
        """A fault of this kind happened, really."""
        self.faults[kind] += 1

    def booted(self, site: Site) -> None:
        self.devices.site_is_back(site)

    def block_stored(self, site: Site, effect: BlockStored) -> None:
        self.devices.stored(site, effect)

    def disk_failed(self, site: Site, why: str) -> None:
        """The store failed: the process ends, as the real one does; its supervisor starts it."""
        self.fired(why)
        site.stop(why)
        self.start_later(site, RESTART_MS)

    def start_later(self, site: Site, delay_ms: float) -> None:
        """Its supervisor starts the process again, unless it runs by then."""
        self.loop.after_ms(delay_ms, lambda: self._start(site))

    def _start(self, site: Site) -> None:
        if site.state is State.DOWN and self.sites.get(site.place) is site:
            site.start()

    def add_clone(self, site: Site) -> Site:
        """A second machine with this one's disk and name runs."""
        place = f"{site.name}#clone"
        clone = self.sites[place] = self._new_site(site.name, place)
        clone.disk, clone.journal = site.disk.copy(), list(site.journal)
        clone.witness = site.witness
        clone.entropy.be_like(site.entropy)
        self.watch.tell("restored", clone)
        clone.start()
        return clone

    def remove_clones(self) -> None:
        """Second machines are switched off."""
        for place in [each for each, site in self.sites.items() if site.place != site.name]:
            self.sites[place].stop("the clone is switched off")
            del self.sites[place]

    def back_up(self, site: Site) -> None:
        """A copy of the disk is put aside, as it is between two commits."""
        copies = self._copies.setdefault(site.name, [])
        copies.append((site.disk.copy(), list(site.journal)))
        del copies[:-COPIES_MAX]

    def can_restore(self, site: Site) -> bool:
        """Whether there is a copy, and a process to end. Not beside a neighbour's clone, which is
        an old copy as well: then nobody who is asked knows what both forgot."""
        cloned = {each.name for each in self.sites.values() if each.place != each.name}
        alone = cloned.isdisjoint(self.topology.neighbours(site.name))
        return site.running and alone and bool(self._copies.get(site.name))

    def restore(self, site: Site, which: float, *, slots: bool, both: bool = False) -> bool:
        """The process ends, and starts on one of the copies; False when there is none.

        Unless ``both``, copies of the neighbours are thrown away: that both ends of a link go back
        nobody but a witness can see.
        """
        if not self.can_restore(site):
            return False
        copies = self._copies[site.name]
        disk, journal = copies[int(which * len(copies))]
        if not both:
            for name in self.topology.neighbours(site.name):
                self._copies.pop(name, None)
        site.stop("restored")
        site.back_together = both or site.back_together
        site.disk = disk.copy() if slots else disk.without_slots()
        site.journal = list(journal)
        self.watch.tell("restored", site)
        site.start()
        return True

    def heal(self) -> None:
        """Every fault ends: clones go, what is down comes up, wires and disks are good."""
        self.remove_clones()
        self.network.heal()
        self.devices.heal()
        for site in self.originals():
            site.heal()
        self.operator.heal()
        self.watch.tell("healed")
