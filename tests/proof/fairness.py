"""Shares and waiting times under ten times more demand than key, in virtual time (I8).

Theory of operation. Two whole nodes on a virtual clock (``tests/world.py``), a wire that takes its
time, devices that give a block at a time. Streams of three priorities; half of them are opened at
either end. The applications ask at uneven times, at the rates of ``DEMAND``, whether they were
answered or not: together ten times the link's rate. What counts is the opener's end; the other
application reads the same index at once.

    jain     Jain's index of the bytes that the streams of one class got: 1 when all got the same,
             1/n when one got everything
    p99      of the waiting times of the class that goes first, alone and in the crowd

At ``DEMAND`` the first class finds its key ready, alone and mostly in the crowd: it waits 0 ms, and
twice that is no figure. So a wait is counted with the time that nobody can save, ``LATENCY_MS``,
and "at most twice as long" says there: *at most 10 ms longer*. ``BUSY`` is the load under which the
first class has to wait by itself (``TIMEOUT_MS`` is long there, so that it does not bound the
figure), and nothing is added: in the crowd it waits at most twice as long as alone.

A request that was refused counts as one that waited for the whole Timeout.

Everything is drawn from the seed and counted in whole milliseconds: the same figures anywhere.
"""

import heapq
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final
from uuid import UUID

import attrs

from kms.domain import limits
from kms.domain.effects import Answer, DeliverKey, Effect, SendFrame
from kms.domain.events import PeerFrame, Tick
from kms.domain.names import KSID, NodeId
from kms.domain.requests import GetKey, KeyReply, OpenConnect
from kms.domain.status import QoS, Status
from tests.processes.misfortune import percentile
from tests.world import ALICE, ANN, BEN, BOB, LINK, Site, World

RATE_BPS: Final = 1_000_000
BLOCK_BYTES: Final = 16 * limits.KIB
CHUNK_BYTES: Final = 2 * limits.KIB
LATENCY_MS: Final = 10
"""one way between the nodes: 2,000 km of fibre"""
STEP_MS: Final = 5
WARM_UP_MS: Final = 10_000
STREAMS_PER_CLASS: Final = 4
TIMEOUT_MS: Final = 5_000
DEMAND: Final = {9: 0.2, 5: 0.5, 0: 9.3}
"""by priority, the larger first: demand in shares of the link's rate"""
BUSY: Final = {9: 0.8, 5: 0.5, 0: 8.7}
"""likewise; the first class asks for most of the link itself"""
BUSY_TIMEOUT_MS: Final = 20_000
BURST_CHUNKS: Final = 8
"""asked for at once by the class that goes first: more than lies ready for a quiet stream"""
_REFUSALS: Final = frozenset({Status.INSUFFICIENT_KEY, Status.TIMEOUT})


@attrs.frozen(kw_only=True)
class Wish:
    """What one application asks for: the stream's QoS, then so many bit/s, some chunks at once."""

    qos: QoS
    bps: float
    burst: int = 1


@attrs.define
class Client:
    """One stream's application at its opener's end, and what it met."""

    ksid: KSID
    opener: NodeId
    wish: Wish
    every_ms: float
    next_ms: float
    bytes_got: int = 0
    waits_ms: list[int] = attrs.Factory(list)
    refused: int = 0
    wrong: list[str] = attrs.Factory(list)
    """answers that are neither a key nor a refusal of the standard's"""


class Market(World):
    """The world with a slow wire and applications that ask."""

    def __init__(self, wishes: Iterable["Wish"], seed: int) -> None:
        super().__init__()
        self.rate_bps = RATE_BPS
        """what the devices give from now on"""
        self._owed_bitms = self.now_ms * RATE_BPS
        self._chance = random.Random(seed)
        self._under_way: list[tuple[int, int, NodeId, PeerFrame]] = []
        self._frames = self._blocks = 0
        self._asked: dict[int, tuple[Client, int]] = {}
        self.watch_output = self._see
        self.counts = False
        self.give_secret()
        self.allow({ANN: ALICE, BEN: BOB})
        self.connect()
        # Before the clients come, a second of key: else nothing could be promised.
        self._run_ms(2_000)
        self.clients = [self._client(number, wish) for number, wish in enumerate(wishes)]

    def run(self, ms: int) -> None:
        """Warmed up, then counted for so long."""
        self.warm_up()
        self.count(ms)

    def warm_up(self) -> None:
        self._run_ms(WARM_UP_MS)

    def drain(self, left_bytes: int) -> None:
        """The devices give half as much until no more than this lies in both pads together."""
        rate_bps, self.rate_bps = self.rate_bps, self.rate_bps // 2
        links = [site.node.links[LINK] for site in self.sites.values()]
        while sum(link.level() for link in links) > left_bytes:
            self._run_ms(100)
        self.rate_bps = rate_bps

    def count(self, ms: int) -> None:
        """What the clients meet in the next so many milliseconds counts."""
        self.counts = True
        self._run_ms(ms)
        self.counts = False

    def _client(self, number: int, wish: "Wish") -> "Client":
        opener, (one, other) = (ALICE, (ANN, BEN)) if number % 2 else (BOB, (BEN, ANN))
        ksid = KSID(UUID(int=wish.qos.priority << 100 | 0x4000 << 64 | 0x8000 << 48 | number))
        far = BOB if opener == ALICE else ALICE
        opening = OpenConnect(source=one, destination=other, qos=wish.qos, ksid=ksid)
        joining = OpenConnect(source=other, destination=one, qos=wish.qos, ksid=ksid)
        asked = [self.ask(opener, one, opening), self.ask(far, other, joining)]
        self._run_ms(200)
        for request, site in zip(asked, (opener, far), strict=True):
            reply = self.sites[site].answers[request]
            assert getattr(reply, "status", None) == Status.SUCCESS, reply
        every_ms = wish.burst * wish.qos.key_chunk_size * 8 * 1000 / wish.bps
        return Client(ksid, opener, wish, every_ms, self.now_ms)

    def _run_ms(self, ms: int) -> None:
        for _ in range(ms // STEP_MS):
            self.now_ms += STEP_MS
            for site in self.sites.values():
                due_ms = site.node.deadline_ms()
                if self.now_ms % limits.TICK_MS == 0 or (due_ms or self.now_ms + 1) <= self.now_ms:
                    site.inbox.append(Tick())
            self._owed_bitms += STEP_MS * self.rate_bps
            while self._owed_bitms > 0:
                self._owed_bitms -= BLOCK_BYTES * 8 * 1000
                self._blocks += 1
                self.block(self._blocks, length=BLOCK_BYTES)
            while self._under_way and self._under_way[0][0] <= self.now_ms:
                _, _, name, frame = heapq.heappop(self._under_way)
                self.sites[name].inbox.append(frame)
            for client in getattr(self, "clients", ()):
                while client.next_ms <= self.now_ms:
                    client.next_ms += client.every_ms * self._chance.uniform(0.5, 1.5)
                    for _ in range(client.wish.burst):
                        self._ask_key(client)
            self.settle()

    def _ask_key(self, client: Client) -> None:
        caller = ANN if client.opener == ALICE else BEN
        number = self.ask(client.opener, caller, GetKey(ksid=client.ksid))
        self._asked[number] = (client, self.now_ms)

    def _see(self, site: Site, effect: Effect) -> None:
        """Told of each output: whose request was answered, and how."""
        if not isinstance(effect, Answer | DeliverKey):
            return
        client, asked_ms = self._asked.pop(effect.request_id, (None, 0))
        if client is None:
            return
        if isinstance(effect, DeliverKey):
            far, caller = (BOB, BEN) if client.opener == ALICE else (ALICE, ANN)
            self.ask(far, caller, GetKey(ksid=client.ksid, index=effect.index))
            if self.counts:
                client.bytes_got += effect.length
                client.waits_ms.append(self.now_ms - asked_ms + LATENCY_MS)
        elif self.counts:
            client.refused += 1
            client.waits_ms.append(client.wish.qos.timeout)
            if not isinstance(effect.reply, KeyReply) or effect.reply.status not in _REFUSALS:
                client.wrong.append(repr(effect.reply))

    def _send(self, site: Site, effect: SendFrame) -> None:
        """The frame arrives later, in order."""
        far = self.sites[BOB if site.name == ALICE else ALICE]
        before = len(far.inbox)
        super()._send(site, effect)
        self.wire.clear()
        if len(far.inbox) > before:
            frame = far.inbox.pop()
            assert isinstance(frame, PeerFrame), "what was sent"
            self._frames += 1
            heapq.heappush(
                self._under_way, (self.now_ms + LATENCY_MS, self._frames, far.name, frame)
            )


@attrs.frozen(kw_only=True)
class Shares:
    """What one market came to."""

    jain: dict[int, float]
    """by priority; of classes that got anything"""
    bps: dict[int, float]
    p99_ms: dict[int, float]
    refused: dict[int, int]
    wrong: list[str]


def shares(
    demand: Mapping[int, float], seconds: int, seed: int, min_bps: Mapping[int, int] | None = None
) -> Shares:
    """The figures of so many seconds of virtual time."""
    market = Market(_wishes(demand, min_bps or {}), seed)
    market.run(seconds * 1000)
    classes: dict[int, list[Client]] = defaultdict(list)
    for client in market.clients:
        classes[client.wish.qos.priority].append(client)
    got = {p: [client.bytes_got for client in each] for p, each in classes.items()}
    return Shares(
        jain={p: jain(each) for p, each in got.items() if any(each)},
        bps={p: 8 * sum(each) / seconds for p, each in got.items()},
        p99_ms={
            p: percentile([wait for client in each for wait in client.waits_ms], 0.99)
            for p, each in classes.items()
        },
        refused={p: sum(client.refused for client in each) for p, each in classes.items()},
        wrong=[words for client in market.clients for words in client.wrong],
    )


def _wishes(demand: Mapping[int, float], min_bps: Mapping[int, int]) -> list[Wish]:
    return [
        Wish(
            qos=QoS(
                key_chunk_size=CHUNK_BYTES,
                priority=priority,
                timeout=TIMEOUT_MS,
                min_bps=min_bps.get(priority, 0),
            ),
            bps=share * RATE_BPS / STREAMS_PER_CLASS,
            burst=BURST_CHUNKS if priority == max(DEMAND) else 1,
        )
        for priority, share in demand.items()
        for _ in range(STREAMS_PER_CLASS)
    ]


def jain(got: list[int]) -> float:
    """Jain's fairness index."""
    return sum(got) ** 2 / (len(got) * sum(each**2 for each in got))


SECONDS_OF_A_REPORT: Final = 60
JAIN_MIN: Final = 0.95
P99_TIMES_MAX: Final = 2.0


def busy_waits_ms(demand: Mapping[int, float], seconds: int, seed: int) -> float:
    """The first class's 99th percentile, nothing added; no stock of before helps it."""
    wishes = [
        attrs.evolve(wish, qos=attrs.evolve(wish.qos, timeout=BUSY_TIMEOUT_MS))
        for wish in _wishes(demand, {})
    ]
    market = Market(wishes, seed)
    market.drain(16 * BLOCK_BYTES)
    market.run(seconds * 1000)
    first = max(demand)
    clients = [each for each in market.clients if each.wish.qos.priority == first]
    waits_ms = [wait for client in clients for wait in client.waits_ms]
    return percentile(waits_ms, 0.99) - LATENCY_MS


def report_figures(seed: int) -> tuple[list[str], dict[str, float]]:
    """What is unfair, and the figures: ``SECONDS_OF_A_REPORT`` at ten times the demand."""
    first = max(DEMAND)
    alone = shares({first: DEMAND[first]}, SECONDS_OF_A_REPORT, seed)
    crowd = shares(DEMAND, SECONDS_OF_A_REPORT, seed)
    busy_alone = busy_waits_ms({first: BUSY[first]}, SECONDS_OF_A_REPORT // 2, seed)
    busy_crowd = busy_waits_ms(BUSY, SECONDS_OF_A_REPORT // 2, seed)
    times = crowd.p99_ms[first] / max(alone.p99_ms[first], 1)
    unfair = [
        f"Jain's index of priority {priority} is {index:.3f}"
        for priority, index in crowd.jain.items()
        if index < JAIN_MIN
    ]
    if times > P99_TIMES_MAX:
        unfair.append(f"the first class waits {times:.1f} times as long as alone")
    if busy_alone <= 0:
        unfair.append("the busy first class does not wait by itself: nothing is compared")
    elif busy_crowd > P99_TIMES_MAX * busy_alone:
        unfair.append(f"the busy first class waits {busy_crowd:.0f} ms, alone {busy_alone:.0f} ms")
    return unfair + crowd.wrong[:5], {
        "jain_min": min(crowd.jain.values()),
        "first_p99_ms_alone": alone.p99_ms[first],
        "first_p99_ms": crowd.p99_ms[first],
        "busy_first_p99_ms_alone": busy_alone,
        "busy_first_p99_ms": busy_crowd,
    }
