"""A node between a neighbour that means harm and one that does not, at a busy moment.

Theory of operation: the world is played once, with blocks, streams and keys on both links, and then
stands still; whoever wants to do something to a node takes a copy of it. The pad it reads is what
the hostile neighbour writes with, so a frame that this one might seal can be made from the victim's
own bits (a *traitor*: it holds the right pads and says the wrong things).
"""

import copy
from collections.abc import Callable, Iterable
from functools import cache

from kms.domain import frame, hello, limits, wire
from kms.domain.effects import (
    Alarm,
    Disconnect,
    Effect,
    Forget,
    ReadMaterial,
    Save,
    StoreMaterial,
    TakeMaterial,
    WipeMaterial,
)
from kms.domain.events import Event, MaterialOpened, PeerFrame, Started
from kms.domain.link import Link
from kms.domain.moment import Moment
from kms.domain.names import KSID, NodeId, SAEId, link_id
from kms.domain.node import Node
from kms.domain.requests import Close, GetKey, OpenConnect, OpenReply
from kms.domain.secret import Secret
from kms.domain.status import QoS
from kms.domain.wire import Hello, Message, Welcome
from kms.simulation.disk import Disk
from tests.world import ALICE, ANN, BEN, BOB, LINK, SETTINGS, World

CAROL = NodeId("carol")
CAT = SAEId("sae:cat")
# Rounds of effects and their answers after one event; a grant takes two.
_ROUNDS_MAX = 50
WRITES = (Save, Forget, StoreMaterial, WipeMaterial)


def besieged() -> World:
    """Alice, bob and carol, each connected to the others, with streams, at rest: blocks that one
    end has, an offer without its block, a stream that nobody has joined yet, one that is closed."""
    world = World(ALICE, BOB, CAROL)
    world.settle()
    world.allow({ANN: ALICE, BEN: BOB, CAT: CAROL})
    for number, (one, other) in enumerate(((ALICE, BOB), (ALICE, CAROL), (BOB, CAROL)), 1):
        world.give_secret(one, other, number=number)
        world.connect(one, other)
    for number in range(4):
        world.block(number, length=16 * limits.KIB)
        world.settle()
    for name in (ALICE, BOB):
        for number in range(3):
            world.block(10 + number + 10 * (name == BOB), name, length=4 * limits.KIB)
        world.settle()
    stream(world, (ALICE, ANN), (BOB, BEN))
    stream(world, (BOB, BEN), (ALICE, ANN))
    stream(world, (ALICE, ANN), (CAROL, CAT))
    closed = stream(world, (BOB, BEN), (ALICE, ANN))
    for name, application in ((ALICE, ANN), (BOB, BEN)):
        world.answer(name, application, Close(ksid=closed))
    _opened(world, (ALICE, ANN), BEN)
    _opened(world, (BOB, BEN), ANN)
    return world


End = tuple[NodeId, SAEId]


def stream(world: World, opener: End, joiner: End) -> KSID:
    """A stream between these; one key of it is read at both ends."""
    ksid = _opened(world, opener, joiner[1])
    join = OpenConnect(source=joiner[1], destination=opener[1], qos=QoS(), ksid=ksid)
    world.answer(*joiner, join)
    for end in (opener, joiner):
        world.answer(*end, GetKey(ksid=ksid))
    return ksid


def _opened(world: World, opener: End, other: SAEId) -> KSID:
    wish = OpenConnect(source=opener[1], destination=other, qos=QoS(key_chunk_size=32))
    reply = world.answer(*opener, wish)
    assert isinstance(reply, OpenReply), reply
    assert reply.ksid is not None, reply
    return reply.ksid


@cache
def _played() -> World:
    return besieged()


class Siege:
    """A copy of a node, and what the neighbour at the other end of ``LINK`` can send it."""

    def __init__(self, victim: NodeId = ALICE, world: World | None = None) -> None:
        """Alice leads the link, bob follows. ``world``: another moment than ``besieged``."""
        played = world if world is not None else _played()
        self.victim = victim
        self.node: Node = copy_of(played.sites[victim].node)
        self._played = played
        self._disk: Disk | None = None
        self.moment: Moment = played.moment
        self.far = link_id(victim, CAROL)
        """the link to the neighbour that means well"""

    @property
    def link(self) -> Link:
        return self.node.links[LINK]

    @property
    def disk(self) -> Disk:
        """The victim's own, copied when it is first asked for: most frames write nothing."""
        if self._disk is None:
            self._disk = self._played.sites[self.victim].disk.copy()
        return self._disk

    def hello(self) -> Hello:
        """What the neighbour would say first in another session."""
        other = self._played.sites[ALICE if self.victim == BOB else BOB].node.links[LINK]
        return hello.own(other.memory, other.greeting.boot, other.greeting._seen_boot)

    def welcome(self) -> Welcome:
        """What it would say next."""
        memory = self.link.memory
        writer = memory.writer
        count = memory.log_count
        return Welcome("kms/1", memory.epoch, count, writer.mark, writer.granted, [], [], "")

    def hears(self, data: bytes) -> list[Effect]:
        """What the victim asks for after this frame, all of it carried out."""
        session = self.link.greeting.session
        return self.takes(PeerFrame(link=LINK, session=session, data=data))

    def takes(self, event: Event) -> list[Effect]:
        """What the victim asks for after this event and what follows of it at its own disk."""
        asked: list[Effect] = []
        events = [event]
        for _ in range(_ROUNDS_MAX):
            effects = self.node.handle_all(self.moment, events)
            if written(effects):
                self.disk.commit(effects)
            asked += effects
            opens = [each for each in effects if isinstance(each, TakeMaterial | ReadMaterial)]
            if not opens:
                return asked
            events = [self._opened(each) for each in opens]
        raise AssertionError("the node never comes to rest")

    def _opened(self, asked: TakeMaterial | ReadMaterial) -> Event:
        bits = self.disk.read(asked.material, asked.offset, asked.length)
        if isinstance(asked, TakeMaterial):
            self.disk.wipe(asked.material, asked.offset, asked.length)
        return MaterialOpened(
            material=asked.material, offset=asked.offset, length=asked.length, bits=bits
        )

    def restarts(self) -> list[Effect]:
        """What the victim asks for when it starts again on what is on its disk."""
        peers = [link.peer for link in self.node.links.values()]
        self.node = Node(self.victim, dict.fromkeys(peers, SETTINGS), self.disk.records.values())
        return self.takes(Started())

    def sealed(
        self,
        secret: bytes,
        *,
        ahead: int = 0,
        epoch: int | None = None,
        public: bytes = b"",
        change: Callable[[bytearray], None] = lambda pad: None,
    ) -> bytes:
        """A frame that the traitor might seal, so many bytes ``ahead`` of the mark; with zeros for
        pad that is not granted. ``change``: of one who has other bits."""
        memory = self.link.memory
        offset, length = memory.reader.mark + ahead, frame.overhead(len(secret))
        held = memory.reader.peek(offset, length)
        bits = bytearray(held.expose() if held is not None else bytes(length))
        change(bits)
        context = frame.context(LINK, memory.secret_id, memory.reader.direction)
        epoch = memory.epoch if epoch is None else epoch
        return frame.seal(context, epoch, offset, Secret(bits), secret, public)

    def says(self, *messages: Message) -> list[Effect]:
        """What the victim asks for after these messages, sealed as they should be."""
        return self.hears(self.sealed(wire.encode(list(messages))))


def copy_of(node: Node) -> Node:
    """The same state, nothing shared that can change."""
    # A Secret refuses to be copied behind its owner's back: only here, and only while it lasts.
    setattr(Secret, "__deepcopy__", lambda secret, memo: Secret(secret.expose()))  # noqa: B010
    try:
        return copy.deepcopy(node)
    finally:
        delattr(Secret, "__deepcopy__")


def written(effects: Iterable[Effect]) -> list[Effect]:
    """What of these would be in the store."""
    return [effect for effect in effects if isinstance(effect, WRITES)]


def alarms(effects: Iterable[Effect]) -> list[str]:
    return [effect.kind for effect in effects if isinstance(effect, Alarm)]


def hung_up(effects: Iterable[Effect]) -> bool:
    """Whether the hostile neighbour's session was ended."""
    return any(isinstance(effect, Disconnect) and effect.link == LINK for effect in effects)


def still_right(siege: Siege, effects: Iterable[Effect]) -> list[str]:
    """What must be true of the victim whatever its neighbour said; what is not."""
    wrong = []
    memory = siege.link.memory
    if "a mistake of this program" in memory.reason:
        wrong.append(f"I9 our own mistake: {memory.reason}")
    for pad in memory.pads:
        if not pad.mark <= pad.granted <= pad.extents.end <= limits.PAD_OFFSET_MAX:
            wrong.append(f"I1 mark, grant and end of {pad.direction}")
    if not siege.node.links[siege.far].up:
        wrong.append("I10 the other link is down")
    if any(isinstance(each, Disconnect) and each.link != LINK for each in effects):
        wrong.append("I10 another link's session is ended")
    return wrong
