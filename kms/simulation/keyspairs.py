"""Pairs of applications that ask for whole keys with IDs: a master, and a slave that hears the IDs.

Theory of operation. The master asks for some keys; their IDs reach the slave some time later, and
it fetches all of them, in some order, in one request or in two. In between either of them asks for
keys that are not its own, or hangs up. Progress (I12) is ``common``.
"""

from typing import TYPE_CHECKING

from kms.domain.keyrequests import DecKeys, EncKeys, PairStatus
from kms.domain.requests import Request
from kms.simulation import site
from kms.simulation.fetching import NAP_MS, Caller, Errand, Fetching

if TYPE_CHECKING:
    from kms.simulation.simulation import Simulation

# None below what tells where its bits come from (``bits.LOCATABLE_BYTES_MIN``).
KEY_SIZES = (32, 32, 32, 48, 64)
NUMBERS = (1, 1, 1, 2, 3, 9)
# Between two requests of one master.
THINK_MS = (8_000, 30_000)


class KeysPair(Fetching):
    """A master and its slave."""

    def __init__(self, simulation: "Simulation", master: Caller, slave: Caller) -> None:
        super().__init__(simulation, f"{master.sae}>{slave.sae}", master)
        self.slave = slave

    def begin(self) -> None:
        self.later((0, 10_000), self._enc)

    def _enc(self) -> None:
        lots = self.lots
        wish = EncKeys(
            slave=self.slave.sae,
            number=lots.choice(NUMBERS),
            key_bytes=lots.choice(KEY_SIZES),
        )
        number = self.ask(self.master, wish, lambda outcome: self._made(outcome))
        if number is not None and lots.random() < self.hang_ups:
            self.hang_up_soon(self.master, number)
        if lots.random() < 0.05:
            self._be_rude()

    def _made(self, outcome: "site.Outcome | None") -> None:
        self.later(THINK_MS, self._enc)
        keys = self.got(outcome)
        if not keys:
            return
        ids, lots = list(keys), self.lots
        if lots.random() < 0.5:
            lots.shuffle(ids)
        cut = lots.randrange(len(ids)) if lots.random() < 0.3 else 0
        lacking = dict.fromkeys(ids, 1)
        for part in (ids[:cut], ids[cut:]):
            if part:
                errand = Errand(self.slave, part, keys, lacking)
                self.later(NAP_MS, lambda errand=errand: self.fetch(errand))  # type: ignore[misc]

    def _be_rude(self) -> None:
        """Questions for keys of others, for keys that were fetched, and for none."""
        lots = self.lots
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
        self.ask(caller, lots.choice(rude), lambda outcome: None)
        stranger = lots.choice(self._strangers())
        wish = DecKeys(master=others.master.sae, key_ids=b"".join(others.ids[-3:]) or unknown)
        self.ask(stranger, wish, lambda outcome: None)

    def _strangers(self) -> list[Caller]:
        """Everybody who lives where the slaves of some pair do."""
        pairs = self.simulation.applications.pairs
        parties = [party for pair in pairs for party in pair.parties]
        return [self.master, *(Caller(each.sae, each.site) for each in parties)]
