"""Two whole nodes in memory, without sockets or disks: for what the domain costs alone."""

import os
from collections import deque
from uuid import UUID

from kms.domain import limits
from kms.domain.effects import (
    Answer,
    DeliverKey,
    Effect,
    ReadMaterial,
    SendFrame,
    StoreMaterial,
    TakeMaterial,
)
from kms.domain.events import (
    Asked,
    BlockArrived,
    Event,
    MaterialOpened,
    NetworkChanged,
    PeerConnected,
    PeerFrame,
    SecretCarried,
    Started,
    Tick,
)
from kms.domain.limits import MIB
from kms.domain.linkmemory import LinkSettings
from kms.domain.moment import Moment
from kms.domain.names import (
    KSID,
    BlockId,
    DeviceId,
    MaterialId,
    NodeId,
    SAEId,
    SecretId,
    link_id,
)
from kms.domain.node import Node
from kms.domain.policy import Policy, Rule
from kms.domain.requests import GetKey, OpenConnect, OpenReply, Request, wants_name
from kms.domain.secret import Secret
from kms.domain.status import QoS

ALICE, BOB = NodeId("alice"), NodeId("bob")
ANN, BEN = SAEId("sae:ann"), SAEId("sae:ben")
_LINK = link_id(ALICE, BOB)
_HOME = {ANN: ALICE, BEN: BOB}
_SETTINGS = LinkSettings(
    pool_bytes_max=limits.POOL_BYTES_MAX, qber_max=0.11, block_expiry_ms=3_600_000
)
_BATCHES_MAX = 100_000


class TwoNodes:
    """A link with key in it. Everything that one node sends arrives at the other at once."""

    def __init__(self) -> None:
        self.nodes = {name: Node(name, {peer: _SETTINGS}) for name, peer in _pairs()}
        self._material: dict[NodeId, dict[MaterialId, bytes]] = {ALICE: {}, BOB: {}}
        self._inbox: dict[NodeId, deque[Event]] = {ALICE: deque(), BOB: deque()}
        self._replies: dict[int, object] = {}
        self._requests = 0
        self._blocks = 0
        self._now_ms = 1_000
        secret = os.urandom(limits.SECRET_BYTES)
        for name, _ in _pairs():
            policy = Policy(rules=(Rule(one="sae:*", other="sae:*"),))
            self._inbox[name] += (
                Started(),
                SecretCarried(link=_LINK, secret_id=SecretId("0" * 31 + "1"), bits=Secret(secret)),
                NetworkChanged(neighbours=frozenset(self.nodes), directory=_HOME, policy=policy),
                PeerConnected(link=_LINK, session=1),
            )
        self.settle()
        self.feed(16)

    def feed(self, blocks: int) -> None:
        """So many blocks of 1 MiB more are agreed."""
        for _ in range(blocks):
            self._blocks += 1
            bits = os.urandom(MIB)
            for name, _ in _pairs():
                self._inbox[name].append(
                    BlockArrived(
                        device=DeviceId(f"device-{name}"),
                        link=_LINK,
                        block_id=BlockId(UUID(int=self._blocks)),
                        bits=Secret(bits),
                    )
                )
            self.settle()

    def stream(self, qos: QoS) -> KSID:
        """An open stream, made by ``ANN``."""
        opened = self.ask(ANN, OpenConnect(source=ANN, destination=BEN, qos=qos))
        assert isinstance(opened, OpenReply), "an opening is answered"
        assert opened.ksid is not None, opened.message
        self.ask(BEN, OpenConnect(source=BEN, destination=ANN, qos=qos, ksid=opened.ksid))
        return opened.ksid

    def make_ready(self, ksid: KSID, chunks: int) -> None:
        """So many chunks of the one stream wait at both ends."""
        if self.nodes[ALICE].links[_LINK].level() < MIB:
            self.feed(4)
        for _ in range(_BATCHES_MAX):
            (stream,) = self.nodes[ALICE].streams.statistics(1)
            if stream.ready >= chunks:
                return
            self._now_ms += limits.TICK_MS
            self.ask(ANN, GetKey(ksid=ksid, index=stream.next_index + chunks - 1))
        raise AssertionError("the stream gets no key")

    def ask(self, caller: SAEId, request: Request) -> object:
        """The answer, when nothing is under way any more; None if there is none yet."""
        number = self._ask(caller, request)
        self.settle()
        return self._replies.pop(number, None)

    def ask_alone(self, caller: SAEId, request: Request) -> list[Effect]:
        """What one node wants done for this request: the caller hands it to ``carry_out``."""
        self._ask(caller, request)
        return self.nodes[_HOME[caller]].handle(self._moment, self._inbox[_HOME[caller]].pop())

    def carry_out(self, caller: SAEId, effects: list[Effect]) -> None:
        """All of it is done, and has arrived."""
        self._carry_out_all(_HOME[caller], effects)
        self.settle()

    def settle(self) -> None:
        """Everything under way has arrived."""
        for _ in range(_BATCHES_MAX):
            busy = [name for name, inbox in self._inbox.items() if inbox]
            if not busy:
                return
            for name in busy:
                self._batch(name)
        raise AssertionError("the nodes never come to rest")

    @property
    def _moment(self) -> Moment:
        return Moment(mono_ms=self._now_ms, wall_ms=1_700_000_000_000 + self._now_ms)

    def _ask(self, caller: SAEId, request: Request) -> int:
        self._requests += 1
        name = KSID(UUID(int=0x4000 << 64 | 0x8000 << 48 | self._requests))
        fresh = name if wants_name(request) else None
        self._inbox[_HOME[caller]].append(
            Asked(request_id=self._requests, caller=caller, request=request, fresh=fresh)
        )
        return self._requests

    def _batch(self, name: NodeId) -> None:
        events = [*self._inbox[name], Tick()]
        self._inbox[name].clear()
        self._carry_out_all(name, self.nodes[name].handle_all(self._moment, events))

    def _carry_out_all(self, name: NodeId, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, StoreMaterial):
                self._material[name][effect.material] = bytes(effect.bits.expose())
        for effect in effects:
            self._carry_out(name, effect)

    def _carry_out(self, name: NodeId, effect: Effect) -> None:
        match effect:
            case TakeMaterial() | ReadMaterial():
                kept = self._material[name][effect.material]
                bits = Secret(kept[effect.offset : effect.offset + effect.length])
                self._inbox[name].append(
                    MaterialOpened(
                        material=effect.material,
                        offset=effect.offset,
                        length=effect.length,
                        bits=bits,
                    )
                )
            case SendFrame():
                peer = BOB if name == ALICE else ALICE
                self._inbox[peer].append(PeerFrame(link=_LINK, session=1, data=effect.data))
            case Answer():
                self._replies[effect.request_id] = effect.reply
            case DeliverKey():
                self._replies[effect.request_id] = effect


def _pairs() -> tuple[tuple[NodeId, NodeId], ...]:
    return ((ALICE, BOB), (BOB, ALICE))
