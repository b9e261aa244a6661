"""One node between a neighbour that means harm and one that does not, at a busy moment.

Theory of operation: the world is played once, with blocks, streams and keys on both links, and then
stands still; whoever wants to do something to alice takes a copy of her. Her reader pad is what the
hostile bob writes with, so a frame that he might seal can be made from her own bits (a *traitor*:
he holds the right pads and says the wrong things).
"""

import copy
from collections.abc import Callable, Iterable
from functools import cache

from kms.domain import frame, limits, wire
from kms.domain.effects import Alarm, Disconnect, Effect, Forget, Save, StoreMaterial, WipeMaterial
from kms.domain.events import PeerFrame
from kms.domain.link import Link
from kms.domain.moment import Moment
from kms.domain.names import KSID, NodeId, SAEId, link_id
from kms.domain.node import Node
from kms.domain.requests import GetKey, OpenConnect, OpenReply
from kms.domain.secret import Secret
from kms.domain.status import QoS
from kms.domain.wire import Message
from tests.world import ALICE, ANN, BEN, BOB, LINK, World

CAROL = NodeId("carol")
CAT = SAEId("sae:cat")
FAR = link_id(ALICE, CAROL)
WRITES = (Save, Forget, StoreMaterial, WipeMaterial)


def besieged() -> World:
    """Alice, bob and carol with a stream on each of alice's links, at rest."""
    world = World(ALICE, BOB, CAROL)
    world.settle()
    world.allow({ANN: ALICE, BEN: BOB, CAT: CAROL})
    for number, other in enumerate((BOB, CAROL), 1):
        world.give_secret(ALICE, other, number=number)
        world.connect(ALICE, other)
    for number in range(4):
        world.block(number, length=16 * limits.KIB)
        world.settle()
    for name, application in ((BOB, BEN), (CAROL, CAT)):
        stream(world, name, application)
    return world


def stream(world: World, name: NodeId, application: SAEId) -> KSID:
    """A stream between ann and this application; one key of it is read at both ends."""
    wish = OpenConnect(source=ANN, destination=application, qos=QoS(key_chunk_size=32))
    opened = world.answer(ALICE, ANN, wish)
    assert isinstance(opened, OpenReply), opened
    assert opened.ksid is not None, opened
    join = OpenConnect(source=application, destination=ANN, qos=QoS(), ksid=opened.ksid)
    world.answer(name, application, join)
    for where, who in ((ALICE, ANN), (name, application)):
        world.answer(where, who, GetKey(ksid=opened.ksid))
    return opened.ksid


@cache
def _played() -> World:
    return besieged()


class Siege:
    """A copy of alice, and what bob can send her."""

    def __init__(self, world: World | None = None) -> None:
        """``world``: another moment than that of ``besieged``."""
        played = world if world is not None else _played()
        self.node: Node = copy_of(played.sites[ALICE].node)
        self.moment: Moment = played.moment

    @property
    def link(self) -> Link:
        return self.node.links[LINK]

    def hears(self, data: bytes) -> list[Effect]:
        """What alice asks for after this frame from bob."""
        event = PeerFrame(link=LINK, session=self.link.greeting.session, data=data)
        return self.node.handle(self.moment, event)

    def sealed(
        self,
        secret: bytes,
        *,
        ahead: int = 0,
        epoch: int | None = None,
        public: bytes = b"",
        change: Callable[[bytearray], None] = lambda pad: None,
    ) -> bytes:
        """A frame that bob might seal, ``ahead`` of the mark by so many bytes; zeros for pad that
        is not granted to him. ``change``: he has other bits than alice."""
        memory = self.link.memory
        offset, length = memory.reader.mark + ahead, frame.overhead(len(secret))
        held = memory.reader.peek(offset, length)
        bits = bytearray(held.expose() if held is not None else bytes(length))
        change(bits)
        context = frame.context(LINK, memory.secret_id, memory.reader.direction)
        epoch = memory.epoch if epoch is None else epoch
        return frame.seal(context, epoch, offset, Secret(bits), secret, public)

    def says(self, *messages: Message) -> list[Effect]:
        """What alice asks for after these messages, sealed as they should be."""
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
    """Whether bob's session was ended."""
    return any(isinstance(effect, Disconnect) and effect.link == LINK for effect in effects)
