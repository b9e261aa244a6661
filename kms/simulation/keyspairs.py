"""Pairs of applications that ask for whole keys with IDs: a master, and a slave that hears the IDs.

Theory of operation. The master asks for some keys; their IDs reach the slave beside the network,
some time later, and it asks for all of them, in some order, in one request or in two. What a slave
is refused is gone; what it cannot have now it asks for again. In between either of them asks for
keys that are not its own, or hangs up. ``common`` counts the keys that both got (I12).
"""

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from kms.domain.effects import DeliverKeys
from kms.domain.keyrequests import DecKeys, EncKeys, KeysReply, Outcome, PairStatus
from kms.domain.names import NodeId, SAEId
from kms.domain.requests import Request
from kms.simulation import site

if TYPE_CHECKING:
    from kms.simulation.simulation import Simulation

# None below what tells where its bits come from (``bits.LOCATABLE_BYTES_MIN``).
KEY_SIZES = (32, 32, 32, 48, 64)
NUMBERS = (1, 1, 1, 2, 3, 9)
# Between two requests of one master.
THINK_MS = (8_000, 30_000)
# A slave sleeps now and then: keys of an earlier size or stream wait for it meanwhile.
NAP_MS = (100, 20_000)
# Answers in a row that bring nothing now, after which a slave gives these keys up.
PATIENCE = 12
# IDs that a pair remembers to ask for once more.
_REMEMBERED = 64


@attrs.frozen
class Caller:
    """One application of a pair."""

    sae: SAEId
    site: NodeId


@attrs.define(eq=False)
class _Errand:
    """Keys that a slave is to fetch."""

    ids: list[bytes]
    keys: dict[bytes, bytes]
    fruitless: int = 0


class KeysPair:
    """A master and its slave."""

    def __init__(self, simulation: "Simulation", master: Caller, slave: Caller) -> None:
        self.simulation, self.loop = simulation, simulation.loop
        self.name = f"{master.sae}>{slave.sae}"
        self.master, self.slave = master, slave
        self.common = 0
        self.ids: list[bytes] = []
        """the last ones that the master got"""
        self._random = random.Random(f"{simulation.seed}/keys/{self.name}")

    def begin(self) -> None:
        self._later((0, 10_000), self._enc)

    # ---- the master -------------------------------------------------------------------------

    def _enc(self) -> None:
        lots = self._random
        wish = EncKeys(
            slave=self.slave.sae,
            number=lots.choice(NUMBERS),
            key_bytes=lots.choice(KEY_SIZES),
        )
        number = self._ask(self.master, wish, lambda outcome: self._made(outcome))
        if number is not None and lots.random() < 0.02:
            self._hang_up_soon(self.master, number)
        if lots.random() < 0.05:
            self._be_rude()

    def _made(self, outcome: "site.Outcome | None") -> None:
        self._later(THINK_MS, self._enc)
        reply = outcome.reply if outcome else None
        if not isinstance(reply, DeliverKeys) or outcome is None or outcome.key is None:
            return
        ids = _split(reply.key_ids, 16)
        keys = dict(zip(ids, _split(outcome.key, len(outcome.key) // len(ids)), strict=True))
        self.ids = [*self.ids, *ids][-_REMEMBERED:]
        lots = self._random
        if lots.random() < 0.5:
            lots.shuffle(ids)
        cut = lots.randrange(len(ids)) if lots.random() < 0.3 else 0
        for part in (ids[:cut], ids[cut:]):
            if part:
                errand = _Errand(part, keys)
                self._later(NAP_MS, lambda errand=errand: self._dec(errand))  # type: ignore[misc]

    # ---- the slave --------------------------------------------------------------------------

    def _dec(self, errand: _Errand) -> None:
        wish = DecKeys(master=self.master.sae, key_ids=b"".join(errand.ids))
        number = self._ask(self.slave, wish, lambda outcome: self._fetched(errand, outcome))
        if number is not None and self._random.random() < 0.02:
            self._hang_up_soon(self.slave, number)

    def _fetched(self, errand: _Errand, outcome: "site.Outcome | None") -> None:
        reply = outcome.reply if outcome else None
        if isinstance(reply, DeliverKeys) and outcome is not None and outcome.key is not None:
            keys = _split(outcome.key, len(outcome.key) // len(errand.ids))
            got = zip(errand.ids, keys, strict=True)
            self.common += sum(errand.keys[key_id] == key for key_id, key in got)
        elif outcome is None or _comes_later(reply):
            errand.fruitless += 1
            if errand.fruitless <= PATIENCE:
                self._later((1_000, 5_000), lambda: self._dec(errand))

    # ---- inside -----------------------------------------------------------------------------

    def _ask(
        self,
        caller: Caller,
        request: Request,
        then: "Callable[[site.Outcome | None], None]",
    ) -> int | None:
        number = self.simulation.sites[caller.site].ask(caller.sae, request, then)
        if number is None:
            # Nothing listens there: tried again, as a program would.
            self._later((1_000, 3_000), lambda: then(None))
        return number

    def _later(self, between_ms: tuple[int, int], act: Callable[[], None]) -> None:
        self.loop.after_ms(self._random.uniform(*between_ms), act)

    def _hang_up_soon(self, caller: Caller, number: int) -> None:
        self.simulation.fired("application: hung up")
        there = self.simulation.sites[caller.site]
        self.loop.after_ms(self._random.uniform(0, 500), lambda: there.hang_up(number))

    def _be_rude(self) -> None:
        """Questions for keys of others, for keys that were fetched, and for none."""
        lots = self._random
        others = lots.choice(self.simulation.applications.keys_pairs)
        ids = lots.sample(others.ids, min(len(others.ids), 3))
        unknown = bytes(lots.getrandbits(8) for _ in range(16))
        caller = lots.choice((self.master, self.slave))
        other = self.slave if caller is self.master else self.master
        rude: list[Request] = [
            DecKeys(master=other.sae, key_ids=b"".join(ids) or unknown),
            DecKeys(master=others.master.sae, key_ids=b"".join([*ids, unknown])),
            DecKeys(master=other.sae, key_ids=b"".join(ids[:1] * 2) or b"\0"),
            EncKeys(slave=caller.sae, number=1, key_bytes=32),
            EncKeys(slave=other.sae, number=10_000, key_bytes=32),
            PairStatus(slave=other.sae),
        ]
        self.simulation.fired("application: asked for another's stream")
        self._ask(caller, lots.choice(rude), lambda outcome: None)
        stranger = lots.choice(self._strangers())
        wish = DecKeys(master=others.master.sae, key_ids=b"".join(others.ids[-3:]) or unknown)
        self._ask(stranger, wish, lambda outcome: None)

    def _strangers(self) -> list[Caller]:
        """Everybody who lives where the slaves of some pair do."""
        pairs = self.simulation.applications.pairs
        parties = [party for pair in pairs for party in pair.parties]
        return [self.master, *(Caller(each.sae, each.site) for each in parties)]


def _split(whole: bytes, size: int) -> list[bytes]:
    return [whole[at : at + size] for at in range(0, len(whole), size)]


def _comes_later(reply: object) -> bool:
    return isinstance(reply, KeysReply) and reply.outcome is Outcome.UNAVAILABLE
