"""Pairs of applications at neighbouring sites: they open, read, hang up, crash, close and return.

Theory of operation. One of a pair opens a stream and tells the other its KSID, beside the network;
both read as the pair pleases, each with one request under way. A pair whose stream is gone, or says
so long enough that it does not serve, opens another one, as a program would. ``progress`` counts
the indices that both got since it was last asked: that is what liveness means to them (I12).
"""

import random
from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import UUID

import attrs

from kms.domain.effects import DeliverKey
from kms.domain.names import KSID, NodeId, SAEId
from kms.domain.requests import Close, GetKey, KeyReply, OpenConnect, OpenReply, Request
from kms.domain.status import QoS, Status
from kms.simulation.conferences import Conference
from kms.simulation.fetching import Caller
from kms.simulation.keyspairs import KeysPair
from kms.simulation.site import Outcome

if TYPE_CHECKING:
    from kms.simulation.simulation import Simulation

CHUNK_SIZES = (32, 32, 64, 256, 1024)
# Between two questions of one application: some ten events a second for two nodes.
THINK_MS = (1_500, 7_000)
# Answers in a row that bring nothing, after which a program gives its stream up.
PATIENCE = 12
# Keys that one end has and the other has not fetched yet, at most remembered.
_UNPAIRED_MAX = 256


@attrs.define(eq=False)
class Party:
    """One application of a pair, and its one request under way."""

    sae: SAEId
    site: NodeId
    ksid: KSID | None = None
    under_way: int | None = None
    asked: int = 0
    """numbers its questions: an answer to an older one is nobody's"""
    fruitless: int = 0
    got: dict[int, bytes] = attrs.Factory(dict)


class Pair:
    """Two applications that share keys."""

    def __init__(
        self, simulation: "Simulation", name: str, one: Party, other: Party, *, rude: bool
    ) -> None:
        self.simulation, self.loop, self.name = simulation, simulation.loop, name
        self.parties = (one, other)
        self.rude = rude
        """asks for what is not its own, hangs up, never closes"""
        self.streams = 0
        self.common = 0
        """indices that both got, of all streams so far"""
        self._random = random.Random(f"{simulation.seed}/pair/{name}")
        self.think_ms = self._random.uniform(*THINK_MS)
        self.qos = QoS()
        self._epoch = 0

    def begin(self) -> None:
        self.loop.after_ms(self._random.uniform(0, 10_000), self._open)

    # ---- open -------------------------------------------------------------------------------

    def _open(self) -> None:
        """A new stream; what was there before is left alone, or closed."""
        self._epoch += 1
        self.streams += 1
        one, other = self.parties
        for party in self.parties:
            party.ksid, party.fruitless = None, 0
            party.got.clear()
        lots = self._random
        self.qos = QoS(
            key_chunk_size=lots.choice(CHUNK_SIZES),
            priority=lots.choice((0, 1, 5)),
            ttl=lots.choice((0, 0, 60)),
            timeout=lots.choice((0, 1_000, 10_000)),
        )
        wish = OpenConnect(source=one.sae, destination=other.sae, qos=self.qos)
        self._ask(one, wish, lambda outcome: self._opened(one, outcome))

    def _opened(self, party: Party, outcome: Outcome | None) -> None:
        reply = outcome.reply if outcome else None
        good = isinstance(reply, OpenReply) and reply.status in (
            Status.SUCCESS, Status.PEER_NOT_CONNECTED_YET
        )  # fmt: skip
        if not good:
            self._later(self._random.uniform(1_000, 5_000), self._open)
            return
        assert isinstance(reply, OpenReply)
        party.ksid = reply.ksid
        if party is self.parties[0]:
            self._join()
        else:
            for each in self.parties:
                self._think(each)

    def _join(self) -> None:
        one, other = self.parties
        wish = OpenConnect(source=other.sae, destination=one.sae, qos=QoS(), ksid=one.ksid)
        self._ask(other, wish, lambda outcome: self._joined(outcome))

    def _joined(self, outcome: Outcome | None) -> None:
        reply = outcome.reply if outcome else None
        other = self.parties[1]
        other.fruitless += 1
        if isinstance(reply, OpenReply) and reply.status is Status.SUCCESS:
            self._opened(other, outcome)
        elif other.fruitless > PATIENCE:
            self._open()
        else:
            # What the first one opened may not have reached this site yet.
            self._later(self._random.uniform(500, 2_000), self._join)

    # ---- read -------------------------------------------------------------------------------

    def _think(self, party: Party) -> None:
        wait = self._random.uniform(0.5, 1.5) * self.think_ms
        self._later(wait, lambda: self._read(party))

    def _read(self, party: Party) -> None:
        if party.ksid is None:
            return
        lots = self._random
        if lots.random() < 0.002:
            self._close(party)
            return
        index = None
        other = self.parties[1] if party is self.parties[0] else self.parties[0]
        if lots.random() < 0.3:
            # As programs do that tell each other the index.
            index = next((each for each in other.got if each not in party.got), None)
        wish: Request = GetKey(ksid=party.ksid, index=index)
        self._ask(party, wish, lambda outcome: self._got(party, outcome))
        hangs_up = 0.2 if self.rude else 0.01
        if lots.random() < hangs_up and party.under_way is not None:
            self._hang_up_soon(party, party.under_way)
        if self.rude:
            self._be_rude(party)

    def _got(self, party: Party, outcome: Outcome | None) -> None:
        reply = outcome.reply if outcome else None
        if isinstance(reply, DeliverKey) and outcome is not None and outcome.key is not None:
            party.fruitless = 0
            self._keep(party, reply.index, outcome.key)
        elif isinstance(reply, KeyReply) and _comes_later(reply):
            pass  # There is not enough key at the moment, or the other end has lost this one.
        else:
            party.fruitless += 1
        if party.fruitless > PATIENCE:
            self._open()
        else:
            self._think(party)

    def _keep(self, party: Party, index: int, key: bytes) -> None:
        other = self.parties[1] if party is self.parties[0] else self.parties[0]
        if index in other.got:
            del other.got[index]
            self.common += 1
        else:
            party.got[index] = key
            if len(party.got) > _UNPAIRED_MAX:
                del party.got[next(iter(party.got))]

    def _close(self, party: Party) -> None:
        assert party.ksid is not None
        self._ask(party, Close(ksid=party.ksid), lambda outcome: None)
        self._open()

    # ---- inside -----------------------------------------------------------------------------

    def _ask(self, party: Party, request: Request, then: Callable[[Outcome | None], None]) -> None:
        party.asked += 1
        asked, epoch = party.asked, self._epoch

        def answered(outcome: Outcome | None) -> None:
            if asked == party.asked and epoch == self._epoch:
                party.under_way = None
                then(outcome)

        site = self.simulation.sites[party.site]
        party.under_way = site.ask(party.sae, request, answered)
        if party.under_way is None:
            # Nothing listens there: tried again, as a program would.
            self._later(self._random.uniform(1_000, 3_000), lambda: answered(None))

    def _later(self, delay_ms: float, act: Callable[[], None]) -> None:
        epoch = self._epoch
        self.loop.after_ms(delay_ms, lambda: act() if epoch == self._epoch else None)

    def _hang_up_soon(self, party: Party, number: int) -> None:
        site = self.simulation.sites[party.site]
        self.simulation.fired("application: hung up")
        self.loop.after_ms(self._random.uniform(0, 500), lambda: site.hang_up(number))

    def _be_rude(self, party: Party) -> None:
        """Questions about streams of others, and about none."""
        site = self.simulation.sites[party.site]
        others = [each for each in self.simulation.applications.pairs if each is not self]
        ksid = self._random.choice(others).parties[0].ksid if others else None
        if ksid is None or self._random.random() >= 0.7:
            ksid = KSID(UUID(int=self._random.getrandbits(128), version=4))
        rude: list[Request] = [GetKey(ksid=ksid), Close(ksid=ksid), GetKey(ksid=ksid, index=3)]
        self.simulation.fired("application: asked for another's stream")
        site.ask(party.sae, self._random.choice(rude), lambda outcome: None)


def _comes_later(reply: KeyReply) -> bool:
    """Whether a program asks again; of a stream that its peer has closed there is no more, and none
    of one that an operator has given up."""
    over = any(words in reply.message for words in ("has closed the stream", "open another"))
    return reply.status is Status.INSUFFICIENT_KEY and not over


class Applications:
    """All pairs of a simulation: for each application of a site, one over one of its links that
    opens streams; for each link two that ask for whole keys with IDs; for each site one that asks
    for keys for several."""

    def __init__(self, simulation: "Simulation") -> None:
        self.pairs: list[Pair] = []
        self.keys_pairs: list[KeysPair] = []
        self.conferences: list[Conference] = []
        taken: dict[NodeId, int] = {}
        room = {each.name: each.applications for each in simulation.topology.site}
        for turn in range(max(room.values(), default=0)):
            for spec in simulation.topology.link:
                parties = []
                for name in spec.between if turn % 2 == 0 else reversed(spec.between):
                    number = taken.get(name, 0)
                    if number < room[name]:
                        parties.append(
                            Party(sae=SAEId(f"sae:app{number}.{name.lower()}"), site=name)
                        )
                if len(parties) == 2:
                    for party in parties:
                        taken[party.site] = taken.get(party.site, 0) + 1
                    both = f"{parties[0].sae}+{parties[1].sae}"
                    rude = len(self.pairs) % 4 == 3
                    self.pairs.append(Pair(simulation, both, *parties, rude=rude))
        for spec in simulation.topology.link:
            # Those at the ends of a link that opened first, each of them a master and a slave.
            ends = [
                Caller(sae=SAEId(f"sae:app0.{each.lower()}"), site=each) for each in spec.between
            ]
            if all(room[each.site] for each in ends):
                self.keys_pairs.append(KeysPair(simulation, *ends))
                self.keys_pairs.append(KeysPair(simulation, *reversed(ends)))
        for name in room:
            near = {name, *simulation.topology.neighbours(name)}
            here = [
                Caller(sae=sae, site=home)
                for sae, home in simulation.directory.items()
                if home in near
            ]
            # The first of the site, and whom it may name.
            here.sort(key=lambda each: (each.site != name, each.site, each.sae))
            if len(here) > 2 and here[0].site == name:
                self.conferences.append(Conference(simulation, here[0], here[1:]))

    @property
    def all(self) -> "list[Pair | KeysPair | Conference]":
        """Whoever shares keys, of either interface."""
        return [*self.pairs, *self.keys_pairs, *self.conferences]

    def begin(self) -> None:
        for pair in self.all:
            pair.begin()
