"""What applications that share whole keys with IDs have in common: how they ask, and how a slave
fetches what its master has told it of, beside the network.

Theory of operation. A slave asks for all keys of an *errand*, in one request. What it is refused is
gone; what it cannot have now it asks for again, up to its patience. In between it hangs up.
"""

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

import attrs

from kms.domain.effects import DeliverKeys
from kms.domain.keyrequests import DecKeys, KeysReply, Outcome
from kms.domain.names import NodeId, SAEId
from kms.domain.requests import Request
from kms.simulation import site

if TYPE_CHECKING:
    from kms.simulation.simulation import Simulation

# A slave sleeps now and then: keys of an earlier size or stream wait for it meanwhile.
NAP_MS = (100, 20_000)
# Answers in a row that bring nothing now, after which a slave gives these keys up.
PATIENCE = 12
# IDs that are remembered to ask for once more.
_REMEMBERED = 64


@attrs.frozen
class Caller:
    """One application."""

    sae: SAEId
    site: NodeId


@attrs.define(eq=False)
class Errand:
    """Keys that a slave is to fetch."""

    slave: Caller
    ids: list[bytes]
    keys: dict[bytes, bytes]
    """as the master got them"""
    lacking: dict[bytes, int]
    """how many slaves have not got each key yet: of all errands for one request of the master"""
    fruitless: int = 0


class Fetching:
    """A master and those who fetch its keys. ``common`` counts the keys that all of them got."""

    hang_ups: ClassVar = 0.02
    """share of the requests"""

    def __init__(self, simulation: "Simulation", name: str, master: Caller) -> None:
        self.simulation, self.loop = simulation, simulation.loop
        self.name, self.master = name, master
        self.common = 0
        self.ids: list[bytes] = []
        """the last ones that the master got"""
        self.lots = random.Random(f"{simulation.seed}/keys/{self.name}")

    def got(self, outcome: "site.Outcome | None") -> dict[bytes, bytes]:
        """What the master was given, by ID; empty when it was refused."""
        keys = _keys_of(outcome)
        self.ids = [*self.ids, *keys][-_REMEMBERED:]
        return keys

    def fetch(self, errand: Errand) -> None:
        """The slave asks, until it has the keys or gives them up."""
        wish = DecKeys(master=self.master.sae, key_ids=b"".join(errand.ids))
        number = self.ask(errand.slave, wish, lambda outcome: self._fetched(errand, outcome))
        if number is not None and self.lots.random() < self.hang_ups:
            self.hang_up_soon(errand.slave, number)

    def _fetched(self, errand: Errand, outcome: "site.Outcome | None") -> None:
        keys = _keys_of(outcome)
        for key_id, key in keys.items():
            if errand.keys[key_id] == key:
                errand.lacking[key_id] -= 1
                self.common += not errand.lacking[key_id]
        if not keys and (outcome is None or _comes_later(outcome.reply)):
            errand.fruitless += 1
            if errand.fruitless <= PATIENCE:
                self.later((1_000, 5_000), lambda: self.fetch(errand))

    def ask(
        self,
        caller: Caller,
        request: Request,
        then: "Callable[[site.Outcome | None], None]",
    ) -> int | None:
        """The request's number; None when nothing listens there, and ``then`` hears so."""
        number = self.simulation.sites[caller.site].ask(caller.sae, request, then)
        if number is None:
            # Tried again, as a program would.
            self.later((1_000, 3_000), lambda: then(None))
        return number

    def later(self, between_ms: tuple[int, int], act: Callable[[], None]) -> None:
        self.loop.after_ms(self.lots.uniform(*between_ms), act)

    def hang_up_soon(self, caller: Caller, number: int) -> None:
        self.simulation.fired("application: hung up")
        there = self.simulation.sites[caller.site]
        self.loop.after_ms(self.lots.uniform(0, 500), lambda: there.hang_up(number))


def _keys_of(outcome: "site.Outcome | None") -> dict[bytes, bytes]:
    if outcome is None or outcome.key is None or not isinstance(outcome.reply, DeliverKeys):
        return {}
    ids = split(outcome.reply.key_ids, 16)
    return dict(zip(ids, split(outcome.key, len(outcome.key) // len(ids)), strict=True))


def split(whole: bytes, size: int) -> list[bytes]:
    return [whole[at : at + size] for at in range(0, len(whole), size)]


def _comes_later(reply: object) -> bool:
    return isinstance(reply, KeysReply) and reply.outcome is Outcome.UNAVAILABLE
