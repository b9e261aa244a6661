"""A neighbour with a valid certificate, and even the right pads, that means harm (I1, I8, I9, I10).

Whatever it says, its own session ends or it is ignored; the other link of the node goes on.
"""

from collections.abc import Callable
from uuid import UUID

import attrs
import msgspec
import pytest

from kms.domain import frame, limits, wire
from kms.domain.events import PeerFrame
from kms.domain.link import Link
from kms.domain.names import NodeId, link_id
from kms.domain.records import LinkState
from kms.domain.wire import (
    Announce,
    Append,
    Appended,
    AppendEntry,
    Burnt,
    Designate,
    Differ,
    Grant,
    Hello,
    Mark,
    Marked,
    Message,
    Offer,
    OfferEntry,
    PadState,
    Verdict,
    Want,
)
from tests.world import ALICE, BOB, LINK, World

CAROL = NodeId("carol")
FAR = link_id(ALICE, CAROL)
KSID = UUID(int=(0x4000 << 64) | (0x8000 << 48) | 77).bytes
BLOCK = UUID(int=4711).bytes


def link_at(world: World, name: NodeId) -> Link:
    return world.sites[name].node.links[LINK]


def three() -> World:
    """Alice between bob, who will turn hostile, and carol."""
    world = World(ALICE, BOB, CAROL)
    world.settle()
    for other in (BOB, CAROL):
        world.give_secret(ALICE, other, number=1 if other is BOB else 2)
        world.connect(ALICE, other)
    for number in range(4):
        world.block(number)
        world.settle()
    return world


def says(world: World, *messages: Message, sender: NodeId = BOB) -> None:
    """The sender's node seals what it should never say; the frame is right in every other way."""
    link = link_at(world, sender)
    for message in messages:
        link.send(message)
    world.pass_time(100)


def hello_of(world: World, name: NodeId) -> Hello:
    from kms.domain import hello

    link = link_at(world, name)
    return hello.own(link.memory, link.greeting.boot, link.greeting._seen_boot)


def greets(world: World, theirs: Hello) -> None:
    """Alice gets this hello from bob, in a session of its own."""
    world.cut()
    world.settle()
    world.lose_frame = lambda sender, data: sender == BOB
    world.connect()
    session = link_at(world, ALICE).greeting.session
    data = frame.opening(wire.encode_opening(theirs))
    world.sites[ALICE].inbox.append(PeerFrame(link=LINK, session=session, data=data))
    world.settle()
    world.lose_frame = lambda sender, data: False


def pads(world: World) -> list[tuple[int, int, int]]:
    memory = link_at(world, ALICE).memory
    return [(pad.mark, pad.granted, pad.extents.end) for pad in memory.pads]


FROM_FOLLOWER: dict[str, Callable[[World], Message]] = {
    "grant back": lambda w: Grant(0),
    "grant beyond": lambda w: Grant(2**61),
    "append to the leader": lambda w: Append([AppendEntry(BLOCK, 0, True, 0, 4096)]),
    "verdict to the leader": lambda w: Differ([BLOCK]),
    "acknowledges the future": lambda w: Appended(2**40, []),
    "acknowledges the past": lambda w: Appended(0, []),
    "misses what it had": lambda w: Appended(link_at(w, ALICE).memory.log_count, [0]),
    "designates the sky": lambda w: Designate(KSID, 0, 2**32 - 1, 2**32 - 1, 7),
    "designates nothing": lambda w: Designate(KSID, 0, 0, 32, 7),
    "says it all twice": lambda w: Marked(),
    "verdict of nonsense": lambda w: Verdict(KSID, 99, "", False),
}


@pytest.mark.parametrize("what", FROM_FOLLOWER)
def test_a_follower_that_lies_loses_its_session_and_nobody_else_does(what: str) -> None:
    world = three()
    before = link_at(world, ALICE).memory
    kept = (before.log_count, before.log_hash, before.epoch, before.state)
    says(world, FROM_FOLLOWER[what](world))
    alice = world.sites[ALICE]

    assert not world.connected(ALICE, BOB)
    assert world.connected(ALICE, CAROL)
    assert alice.node.links[FAR].up
    after = link_at(world, ALICE).memory
    assert kept == (after.log_count, after.log_hash, after.epoch, after.state)
    assert {"peer-fault"} == {kind for kind, _ in alice.alarms}


FROM_LEADER: dict[str, Callable[[World], Message]] = {
    "offer to the follower": lambda w: Offer([OfferEntry(BLOCK, 4096, bytes(16))]),
    "acknowledgement": lambda w: Appended(1, []),
    "append out of order": lambda w: Append([AppendEntry(BLOCK, 2**61, True, 0, 4096)]),
    "append over another": lambda w: Append([_next(w, start=0)]),
    "append at the end of numbers": lambda w: Append([_next(w, start=2**62 - 1)]),
    "append of nothing": lambda w: Append([_next(w, length=0)]),
    "append too large": lambda w: Append([_next(w, length=2**32 - 1)]),
    "append twice": lambda w: Append([_next(w, block=UUID(int=1).bytes)]),
}


def _next(
    world: World, *, start: int | None = None, length: int = 4096, block: bytes = BLOCK
) -> AppendEntry:
    memory = link_at(world, BOB).memory
    end = memory.writer.extents.end
    return AppendEntry(block, memory.log_count, True, end if start is None else start, length)


@pytest.mark.parametrize("what", FROM_LEADER)
def test_a_leader_that_lies_loses_its_session(what: str) -> None:
    world = three()
    before = link_at(world, BOB).memory.log_count
    says(world, FROM_LEADER[what](world), sender=ALICE)

    assert not world.connected(ALICE, BOB)
    assert before == link_at(world, BOB).memory.log_count
    assert {"peer-fault"} == {kind for kind, _ in world.sites[BOB].alarms}


def test_offers_without_end_are_remembered_up_to_the_bound() -> None:
    world = three()
    for number in range(4, 8):
        world.block(number)
        world.settle()
    for number in range(0, 2 * limits.HELD_BLOCKS_MAX, 64):
        entries = [
            OfferEntry(UUID(int=2**64 + number + each).bytes, 4096, bytes(16)) for each in range(64)
        ]
        says(world, Offer(entries))

    assert limits.HELD_BLOCKS_MAX == len(link_at(world, ALICE).agreement._offered)


def test_a_want_without_measure_grants_at_most_what_one_draw_may_need() -> None:
    world = three()
    says(world, Want(2**32 - 1, 2**61))
    reader = link_at(world, ALICE).memory.reader

    assert reader.wanted <= limits.CHUNK_BYTES_MAX + limits.DRAW_OVERHEAD_BYTES
    assert reader.confirmed <= reader.granted


def test_burning_everything_burns_key_and_nothing_else() -> None:
    world = three()
    says(world, *[Burnt(0, 2**32 - 1) for _ in range(50)])
    alice = link_at(world, ALICE)

    assert alice.memory.writer.window.held == 0
    assert alice.memory.reader.level() > 0
    assert alice.memory.state is LinkState.OPEN


def test_marks_and_announcements_of_unknown_streams_leave_nothing_behind() -> None:
    world = three()
    marks = [Mark(UUID(int=KSID_BASE + n).bytes, 0, True, False, 9, 0) for n in range(300)]
    says(world, *marks)
    says(
        world,
        *[
            Announce(
                UUID(int=KSID_BASE + n).bytes,
                "sae:nobody",
                "sae:noone",
                False,
                [32, 0, 0, 0, 0, 5000, 60],
                "",
                0,
                True,
                0,
            )
            for n in range(300)
        ],
    )

    assert world.sites[ALICE].node.streams.count == 0


KSID_BASE = (0x4000 << 64) | (0x8000 << 48)


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": 2**32 - 1},
        {"to_leader": PadState(0, 2**60, 2**60)},
        {"to_leader": PadState(2**62 - 1, 2**62 - 1, 2**62 - 1)},
        {"from_leader": PadState(2**61 + 1, 2**61 + 1, 2**61 + 1)},
        {"log_count": 2**61},
        {"boot": 2**62 - 1, "seen_boot": 2**62 - 1},
        {"protocols": ["kms/99"]},
        {"node": "carol"},
        {"link": "alice~carol"},
        {"secret_id": "0" * 32},
        {"log_count": 1},
    ],
)
def test_a_hello_that_claims_too_much_can_burn_key_but_never_lower_a_mark(
    change: dict[str, object],
) -> None:
    world = three()
    before = pads(world)
    greets(world, msgspec.structs.replace(hello_of(world, BOB), **change))
    after = pads(world)
    memory = link_at(world, ALICE).memory

    assert all(
        old <= new
        for pad, now in zip(before, after, strict=True)
        for old, new in zip(pad, now, strict=True)
    )
    assert memory.epoch <= 2
    assert all(pad.mark <= pad.granted <= pad.extents.end for pad in memory.pads)
    assert world.sites[ALICE].node.links[FAR].up


def test_epochs_cannot_be_driven_to_their_end() -> None:
    world = three()
    for _ in range(3):
        mine = hello_of(world, BOB)
        greets(world, msgspec.structs.replace(mine, epoch=mine.epoch + limits.EPOCH_JUMP_MAX))
    memory = link_at(world, ALICE).memory

    assert memory.epoch <= 1 + 3 * limits.EPOCH_JUMP_MAX
    link_at(world, ALICE).memory.epoch = limits.EPOCH_MAX
    world.give_secret(number=9)
    world.cut()
    world.settle()
    world.connect()

    assert link_at(world, ALICE).up


def test_a_welcome_twice_or_of_another_epoch_ends_the_session() -> None:
    for epoch in (1, 900):
        world = three()
        alice = link_at(world, ALICE)
        welcome = wire.Welcome("kms/1", epoch, 2, 0, 2**61, [], [], "")
        data = frame.opening(wire.encode_opening(welcome))
        event = PeerFrame(link=LINK, session=alice.greeting.session, data=data)
        world.sites[ALICE].inbox.append(event)
        world.settle()

        assert not world.connected()
        assert alice.memory.epoch == 1


@pytest.mark.parametrize("place", [0, 1, 3, 8, 17, 21, 25, -17, -1])
def test_an_altered_frame_changes_nothing_but_a_counter(place: int) -> None:
    """I9: the disk and the pads are as before, whichever byte was touched."""
    world = three()
    world.lose_frame = lambda sender, data: sender == BOB
    says(world, Offer([OfferEntry(BLOCK, 4096, bytes(16))]))
    data = bytearray(world.wire[-1][1])
    world.lose_frame = lambda sender, data: False
    alice = world.sites[ALICE]
    link = link_at(world, ALICE)
    data[place] ^= 1
    disk, marks = dict(alice.disk.records), pads(world)
    alice.inbox.append(PeerFrame(link=LINK, session=link.greeting.session, data=bytes(data)))
    world.settle()

    assert disk == alice.disk.records
    assert marks == pads(world)
    assert not link.agreement._offered


def test_a_frame_that_comes_twice_ends_the_session_and_changes_nothing() -> None:
    world = three()
    says(world, Offer([OfferEntry(BLOCK, 4096, bytes(16))]))
    data = world.wire[-1][1] if world.wire[-1][0] == BOB else world.wire[-2][1]
    alice, link = world.sites[ALICE], link_at(world, ALICE)
    disk, marks = dict(alice.disk.records), pads(world)
    alice.inbox.append(PeerFrame(link=LINK, session=link.greeting.session, data=data))
    world.settle()

    assert disk == alice.disk.records
    assert marks == pads(world)
    assert not world.connected()


def test_forged_frames_are_counted_and_a_number_of_them_ends_the_session() -> None:
    world = three()
    world.lose_frame = lambda sender, data: sender == BOB
    says(world, Offer([OfferEntry(BLOCK, 4096, bytes(16))]))
    data = bytearray(world.wire[-1][1])
    data[-1] ^= 1
    link = link_at(world, ALICE)
    for _ in range(limits.FORGERIES_MAX):
        event = PeerFrame(link=LINK, session=link.greeting.session, data=bytes(data))
        world.sites[ALICE].inbox.append(attrs.evolve(event))
        world.settle()

    assert limits.FORGERIES_MAX == link.forgeries
    assert not world.connected()
    assert {"forgeries"} == {kind for kind, _ in world.sites[ALICE].alarms}
