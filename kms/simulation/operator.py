"""The operators: they bring a link's secret to both ends when it has none that serves.

A link needs one at its start, after a doubt, and when the last pad is used up (every restart burns
some). They look every few seconds, and walk: the two ends get a secret seconds apart. A secret is
made once and given to each end, again and again until that end has it, as a person would.
"""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Final
from uuid import UUID

from kms.domain import limits
from kms.domain.events import KeysOrdered, Restored, SecretCarried
from kms.domain.names import WHOLE_LINK, LinkId, SecretId, link_id
from kms.domain.orders import Act, KeyOrder
from kms.domain.records import BundleRecord, HoldRecord, LinkState, Way
from kms.domain.secret import Secret
from kms.simulation.bits import PhysicalBits

if TYPE_CHECKING:
    from kms.simulation.simulation import Simulation
    from kms.simulation.site import Site

_LOOK_MS: Final = 5_000
# A link that cannot speak for so many looks in a row is given another secret.
_MUTE_LOOKS: Final = 4
# From one copy of a site's disk to the next.
_BACKUP_MS: Final = (60_000, 300_000)
# Less pad than this in a direction carries no further restart.
_DRAINED_BYTES: Final = 2048
_SOURCES = 1 << 39
# After the last fault; the second time for what came to light when the two ends had met.
_RESUME_AFTER_MS: Final = (1_000, 20_000, 60_000)


class Operator:
    """One person for all sites."""

    def __init__(self, simulation: "Simulation") -> None:
        self.simulation, self.loop = simulation, simulation.loop
        self.brought = 0
        self._newest: dict[LinkId, int] = {}
        self._mute: dict[LinkId, int] = {}

    def begin(self) -> None:
        for link in self.simulation.network.wires:
            self._new(link)
        self._look()
        for site in self.simulation.originals():
            self._back_up(site)

    def _look(self) -> None:
        for site in self.simulation.originals():
            if site.running and site.node.standing is not None:
                self._says_how_to_go_on(site)
        for link, wire in self.simulation.network.wires.items():
            sites = [self.simulation.sites[name] for name in wire.spec.between]
            if all(site.running for site in sites):
                self._look_at(link, sites)
        self.loop.after_ms(_LOOK_MS, self._look)

    def _back_up(self, site: "Site") -> None:
        """Copies are made of a running node's disk: that is what brings old ones back."""
        self.simulation.back_up(site)
        wait_ms = self.simulation.lots("backups").uniform(*_BACKUP_MS)
        self.loop.after_ms(wait_ms, lambda: self._back_up(site))

    def _says_how_to_go_on(self, site: "Site") -> None:
        """``kms restore``: the neighbours are asked only if none of them was put back as well."""
        alone = not site.back_together and not any(
            self.simulation.sites[name].back_together
            for name in self.simulation.topology.neighbours(site.name)
        )
        ask = alone and self.simulation.chance("asks the peers") < 0.5
        self.simulation.fired("operator: kms restore")
        site.put(Restored(Way.ASK_PEERS if ask else Way.BURN))
        if not ask:
            # What a copy has forgotten it would take again: burnt means a *new* secret (I1).
            for name in self.simulation.topology.neighbours(site.name):
                self._new(link_id(site.name, name))

    def heal(self) -> None:
        """Every incident is over: what was suspended is resumed, also what only one end knew of."""
        for delay_ms in _RESUME_AFTER_MS:
            self.loop.after_ms(delay_ms, self._resume_all)

    def _resume_all(self) -> None:
        for site in self.simulation.originals():
            held = [
                record
                for record in site.disk.records.values()
                if isinstance(record, HoldRecord) and record.suspended
            ]
            for order in [each for record in held for each in _resumes(site, record)]:
                site.put(KeysOrdered(request_id=self.simulation.next_number(), order=order))

    def _look_at(self, link: LinkId, sites: "list[Site]") -> None:
        ends = [site.node.links[link] for site in sites]
        newest = _name(self._newest[link])
        lacking = [
            site for site, end in zip(sites, ends, strict=True)
            if newest not in end.memory.secrets
        ]  # fmt: skip
        if lacking:
            for site in lacking:
                self._carry(site, link, self.simulation.lots("operator").uniform(0, 3_000))
            return
        mute = any(
            end.memory.state is not LinkState.OPEN
            or (not end.up and any(pad.level() < _DRAINED_BYTES for pad in end.memory.pads))
            or end.outgoing.mute
            for end in ends
        )
        self._mute[link] = self._mute.get(link, 0) + 1 if mute else 0
        if self._mute[link] >= _MUTE_LOOKS:
            self._new(link)

    def _new(self, link: LinkId) -> None:
        """Another secret is made; the next look carries it to whoever runs and lacks it."""
        self.brought += 1
        self._newest[link] = self.brought
        self._mute[link] = 0

    def second_secret(self, link: LinkId) -> None:
        """An operator begins the link anew, for no reason that we know."""
        self._new(link)

    def _carry(self, site: "Site", link: LinkId, delay_ms: float) -> None:
        number, life = self._newest[link], site.life
        self.loop.after_ms(delay_ms, lambda: self._give(site, link, number, life))

    def _give(self, site: "Site", link: LinkId, number: int, life: int) -> None:
        if life != site.life or number != self._newest[link]:
            return
        if _name(number) in site.node.links[link].memory.secrets:
            return
        bits = Secret(secret_bits(self.simulation.bits, number))
        secret = SecretCarried(link=link, secret_id=_name(number), bits=bits)
        site.put(secret)


def _resumes(site: "Site", record: HoldRecord) -> Iterator[KeyOrder]:
    """The orders that resume all that is held; none of a process that does not run is heard."""
    order = partial(KeyOrder, act=Act.RESUME, operator="olga", reason="the incident is over")
    if (BundleRecord, record.ksid) in site.disk.records:
        for first, end in record.suspended:
            for index in range(first, end):
                yield order(key_id=UUID(int=record.ksid.int ^ index))
    elif record.ksid == WHOLE_LINK:
        yield order(link=record.link)
    else:
        yield order(ksid=record.ksid)


def secret_bits(bits: PhysicalBits, number: int) -> bytes:
    """Hash key and pads of this secret, each from a source of its own: key that ends with a pad
    must not be taken for the begin of the next, whose first byte may be the same by chance."""
    sizes = (limits.HASH_KEY_BYTES, limits.SECRET_PAD_BYTES, limits.SECRET_PAD_BYTES)
    first = _SOURCES + len(sizes) * number
    return b"".join(bits.make(first + at, size) for at, size in enumerate(sizes))


def _name(number: int) -> SecretId:
    return SecretId(f"{number:032x}")
