"""I2 For one (KSID, index) both ends deliver the same key, or one of them an error.

What leaves towards an application is read at the moment it leaves, and compared with everything
ever delivered under that name; each end delivers an index once, and a key for several slaves once
to each of those who live there, and to its master.
"""

import hashlib
from typing import TYPE_CHECKING, cast

from kms.domain.effects import DeliverKey, DeliverKeys, Effect
from kms.domain.names import KSID, NodeId, SAEId
from kms.simulation.checkers.bundles import ENTRUSTED
from kms.simulation.checkers.callers import Callers
from kms.simulation.checkers.given import DELIVERIES, Given, given
from kms.simulation.checkers.memory import Remembering

if TYPE_CHECKING:
    from kms.simulation.simulation import Simulation
    from kms.simulation.site import Outcome, Site


class SameKey(Remembering):
    """Digests of all keys, and who got them."""

    invariant = "I2"
    outputs = DELIVERIES

    def __init__(self, simulation: "Simulation") -> None:
        self._callers = Callers.of(simulation)
        super().__init__(simulation, self._callers)
        self._digests: dict[tuple[KSID, int], bytes] = {}
        self._delivered: set[tuple[KSID, int, NodeId, SAEId | None]] = set()
        """with whom they were delivered to, of keys for several"""

    def output(self, site: "Site", effect: Effect) -> None:
        answer = cast(DeliverKey | DeliverKeys, effect)
        for key in given(answer):
            several = key.material.startswith(ENTRUSTED)
            caller = self._callers.who(answer.request_id)[0] if several else None
            self._leaves(site, key, caller)

    def _leaves(self, site: "Site", key: Given, caller: SAEId | None) -> None:
        ksid, index = self.ksid_of(key.material), key.index
        use = (ksid, index, site.name, caller)
        if use in self._delivered:
            self.holds(
                self.excused(site.name, ksid),
                "{} delivers index {} of {} a second time",
                site.place,
                index,
                ksid,
            )
        self._delivered.add(use)
        bits = site.disk.read(key.material, key.offset, key.length)
        if bits is not None:
            self._same(site, ksid, index, bytes(bits.expose()))

    def answered(self, site: "Site", number: int, outcome: "Outcome | None") -> None:
        if outcome is not None and outcome.key is not None:
            for key in given(cast(DeliverKey | DeliverKeys, outcome.reply)):
                bits = outcome.key[key.at : key.at + key.length]
                self._same(site, self.ksid_of(key.material), key.index, bits)

    def _same(self, site: "Site", ksid: KSID, index: int, key: bytes) -> None:
        digest = hashlib.blake2b(key, digest_size=16).digest()
        known = self._digests.setdefault((ksid, index), digest)
        self.holds(
            known == digest,
            "{} delivers another key for index {} of {} than was delivered",
            site.place,
            index,
            ksid,
        )
