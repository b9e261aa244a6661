"""A whole node and what its neighbour sends: raw, sealed by one who holds the pads, or forged.

After each step: no mistake of our own, marks below grants below ends, the other link up. What did
not verify has changed nothing but counters and its own session (I9): it is written nowhere, link
and pads say the same, and of one input in ``HASHED_EVERY`` (by its own bytes, so that an input
means the same everywhere) the hash of the whole state is the same after all frames in a row that
do not verify. What is on the disk opens again.
"""

if __name__ == "__main__":
    from tests.fuzz.engine import main

    main("peer_frames")

import random
from functools import cache
from typing import Final
from zlib import crc32

import attrs

from kms.domain import frame, limits, wire
from kms.domain.effects import Effect
from kms.domain.events import PeerConnected, PeerLost, Tick
from kms.domain.names import NodeId
from kms.domain.session import Phase
from tests.extremes import MESSAGES, drawn, packed
from tests.fuzz.copies import Besieged
from tests.fuzz.script import steps
from tests.siege import Siege, still_right, written
from tests.statehash import SESSION, state_hash
from tests.world import ALICE, BOB, LINK

RAW, SEALED, FORGED, OPENING, DRAWN, AGAIN, TIME, RESTART = range(8)
# A hash of a whole node costs as much as thirty frames.
HASHED_EVERY: Final = 8


def one_input(data: bytes) -> None:
    """The first octet chooses who is besieged; the rest is a script."""
    play(data, hashed=crc32(data) % HASHED_EVERY == 0)


def play(data: bytes, *, hashed: bool) -> None:
    """The input is tried. ``hashed``: state that nobody thought of is compared as well."""
    siege = Besieged(BOB if data[:1] > b"\x7f" else ALICE)
    refusals = _Refusals(siege, hashed)
    session = 100
    for operation, content in steps(data[1:]):
        operation %= 8
        if operation in (RAW, FORGED):
            refusals.hear(operation, content)
            continue
        refusals.end()
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
        refusals.untouched = False
        wrong = still_right(siege, effects)
        assert not wrong, wrong
    refusals.end()


@cache
def _at_first(victim: NodeId) -> str:
    return state_hash(Siege(victim).node, without=SESSION)


class _Refusals:
    """Frames that cannot verify: one or many in a row, they leave the state as it was."""

    def __init__(self, siege: Siege, hashed: bool) -> None:
        self._siege, self._hashed = siege, hashed
        self._before: str | None = None
        self.untouched = True
        """the node is as ``Siege`` made it"""

    def hear(self, operation: int, content: bytes) -> None:
        """RAW may be an opening as well: that is another operation's."""
        data = content
        if operation == FORGED:
            data = self._siege.sealed(content[: limits.FRAME_SECRET_BYTES_MAX], change=_flip)
        if len(data) > 1 and data[1] == frame.Kind.OPENING:
            return
        if self._hashed and self._before is None:
            self._before = _at_first(self._siege.victim) if self.untouched else self._hash()
        before = _looks(self._siege)
        effects = self._siege.hears(data)
        assert before == _looks(self._siege), "I9 what did not verify changes the link"
        assert not written(effects), "I9 what did not verify is written"

    def end(self) -> None:
        """A frame follows that may change something, or none."""
        if self._before is not None:
            assert self._before == self._hash(), "I9 what did not verify changes state"
            self._before = None

    def _hash(self) -> str:
        return state_hash(self._siege.node, without=SESSION)


def _looks(siege: Siege) -> list[object]:
    """What a frame that verifies changes first."""
    memory = siege.link.memory
    pads = [(pad.mark, pad.granted, pad.extents.end) for pad in memory.pads]
    return [memory.state, memory.epoch, memory.secret_id, memory.log_count, *pads]


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
