"""A whole node and what its neighbour sends: raw, sealed by one who holds the pads, or forged.

After each step: no mistake of our own, marks below grants below ends, the other link up. What did
not verify has changed nothing but counters and its own session (I9); what is on the disk opens
again.
"""

if __name__ == "__main__":
    from tests.fuzz.engine import main

    main("peer_frames")

import random
from functools import cache

import attrs

from kms.domain import frame, limits, wire
from kms.domain.effects import Effect
from kms.domain.events import PeerConnected, PeerLost, Tick
from kms.domain.names import NodeId
from kms.domain.session import Phase
from tests.extremes import MESSAGES, drawn, packed
from tests.fuzz.script import steps
from tests.siege import Siege, still_right, written
from tests.statehash import SESSION, state_hash
from tests.world import ALICE, BOB, LINK

RAW, SEALED, FORGED, OPENING, DRAWN, AGAIN, TIME, RESTART = range(8)


def one_input(data: bytes) -> None:
    """The first octet chooses who is besieged; the rest is a script."""
    siege = Siege(BOB if data[:1] > b"\x7f" else ALICE)
    session = 100
    before: str | None = _at_first(siege.victim)
    for operation, content in steps(data[1:]):
        operation %= 8
        if operation in (RAW, FORGED):
            before = _refused(siege, operation, content, before)
            continue
        before = None
        effects: list[Effect] = []
        if operation == SEALED:
            effects = siege.hears(siege.sealed(content[: limits.FRAME_SECRET_BYTES_MAX]))
        elif operation == OPENING:
            effects = siege.hears(frame.opening(content))
        elif operation == DRAWN:
            choose = random.Random(content)
            kinds = choose.choices(MESSAGES, k=choose.choice((1, 1, 2, 3)))
            secret = packed(*(drawn(kind, siege, choose) for kind in kinds))
            effects = siege.hears(siege.sealed(secret))
        elif operation == AGAIN:
            session += 1
            effects = _again(siege, session)
        elif operation == TIME:
            ms = 1 + 100 * int.from_bytes(content[:2], "big")
            now = siege.moment
            siege.moment = attrs.evolve(now, mono_ms=now.mono_ms + ms, wall_ms=now.wall_ms + ms)
            effects = siege.takes(Tick())
            if not siege.node.links[siege.far].up:
                # Its neighbour is not here to answer for so long.
                return
        else:
            marks = [pad.granted for pad in siege.link.memory.pads]
            siege.restarts()
            assert marks == [pad.granted for pad in siege.link.memory.pads], "I1 grants stay"
            return
        wrong = still_right(siege, effects)
        assert not wrong, wrong


@cache
def _at_first(victim: NodeId) -> str:
    return state_hash(Siege(victim).node, without=SESSION)


def _refused(siege: Siege, operation: int, content: bytes, before: str | None) -> str | None:
    """A frame that cannot verify, and the hash of the state that it leaves, which is the one of
    ``before``. RAW may be an opening as well: that is another operation's."""
    data = content
    if operation == FORGED:
        data = siege.sealed(content[: limits.FRAME_SECRET_BYTES_MAX], change=_flip)
    if len(data) > 1 and data[1] == frame.Kind.OPENING:
        return before
    if before is None:
        before = state_hash(siege.node, without=SESSION)
    effects = siege.hears(data)
    after = state_hash(siege.node, without=SESSION)
    assert before == after, "I9 what did not verify changes state"
    assert not written(effects), "I9 what did not verify is written"
    return after


def _flip(pad: bytearray) -> None:
    pad[0] ^= 1


def _again(siege: Siege, session: int) -> list[Effect]:
    """The session ends and another one begins as it should."""
    last = siege.link.greeting.session
    effects = siege.takes(PeerLost(link=LINK, session=last, reason="cut"))
    effects += siege.takes(PeerConnected(link=LINK, session=session))
    if siege.link.greeting.phase is Phase.GREETING:
        effects += siege.hears(frame.opening(wire.encode_opening(siege.hello())))
    if siege.link.greeting.phase is Phase.WAITING:
        effects += siege.hears(frame.opening(wire.encode_opening(siege.welcome())))
    return effects
