"""Conferences: a master that asks for keys for several slaves at once (ETSI GS QKD 014,
``additional_slave_SAE_IDs``).

Theory of operation. Whoever lives at the master's neighbours, and at its own node, may be asked to
a conference: each request names some of them, so that two live at one node now, and each at another
one then. The IDs reach every slave by itself, some time later; each fetches all of them, in an
order of its own. In between somebody asks who was not named, or for what it has already, or a
master for what can never be. A key counts (``common``) when all who were named got it (I12).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kms.domain.keyrequests import DecKeys, EncKeys
from kms.domain.limits import ADDITIONAL_SLAVES_MAX
from kms.simulation import site
from kms.simulation.fetching import NAP_MS, Caller, Errand, Fetching

if TYPE_CHECKING:
    from kms.simulation.simulation import Simulation

# (number of keys, size of each); the last goes in two parts.
WISHES = (*[(1, 32)] * 10, *[(2, 32)] * 3, (3, 16), (9, 48), (9, 2048))
# How many slaves, where there are so many.
PARTIES = (2, 2, 2, 2, 3, ADDITIONAL_SLAVES_MAX + 1)
# Between two requests of one master; sooner after one that brought nothing now.
THINK_MS = (30_000, 90_000)
AGAIN_MS = (5_000, 15_000)


class Conference(Fetching):
    """A master, and those whom it may name."""

    def __init__(self, simulation: "Simulation", master: Caller, others: Sequence[Caller]) -> None:
        super().__init__(simulation, f"{master.sae}>*", master)
        self.others = list(others)
        """all whom it may name: two or more"""

    def begin(self) -> None:
        self.later((0, 20_000), self._enc)

    def _enc(self) -> None:
        lots = self.lots
        slaves = lots.sample(self.others, min(lots.choice(PARTIES), len(self.others)))
        count, size = lots.choice(WISHES)
        wish = _wish(slaves, count, size)
        number = self.ask(self.master, wish, lambda outcome: self._made(slaves, outcome))
        if number is not None and lots.random() < self.hang_ups:
            self.hang_up_soon(self.master, number)
        if lots.random() < 0.05:
            self._ask_for_what_cannot_be(slaves)

    def _made(self, slaves: list[Caller], outcome: "site.Outcome | None") -> None:
        keys = self.got(outcome)
        self.later(THINK_MS if keys else AGAIN_MS, self._enc)
        if not keys:
            return
        lots, lacking = self.lots, dict.fromkeys(keys, len(slaves))
        for slave in slaves:
            ids = lots.sample(list(keys), len(keys))
            cut = lots.randrange(len(ids)) if lots.random() < 0.3 else 0
            for part in (ids[:cut], ids[cut:]):
                if part:
                    errand = Errand(slave, part, keys, lacking)
                    self.later(NAP_MS, lambda errand=errand: self.fetch(errand))  # type: ignore[misc]
        if lots.random() < 0.1:
            self.later(NAP_MS, lambda: self._be_rude(list(keys)))

    def _ask_for_what_cannot_be(self, slaves: list[Caller]) -> None:
        wish = self.lots.choice(
            (
                _wish([*slaves, self.master], 1, 32),
                _wish([*slaves, slaves[0]], 1, 32),
                _wish(slaves, 10_000, 32),
                _wish(slaves, 1, 0),
            )
        )
        self.ask(self.master, wish, lambda outcome: None)

    def _be_rude(self, ids: list[bytes]) -> None:
        """Who was not named asks for these keys, or one who has them does again."""
        lots = self.lots
        caller = lots.choice([self.master, *self.others])
        master = lots.choice((self.master, *self.others)) if lots.random() < 0.3 else self.master
        self.simulation.fired("application: asked for another's stream")
        wish = DecKeys(master=master.sae, key_ids=b"".join(ids))
        self.ask(caller, wish, lambda outcome: None)


def _wish(slaves: Sequence[Caller], count: int, size: int) -> EncKeys:
    first, *more = (each.sae for each in slaves)
    return EncKeys(slave=first, additional_slaves=tuple(more), number=count, key_bytes=size)
