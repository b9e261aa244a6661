"""Links that live on almost nothing: a hand-carried secret, a trickle of the smallest blocks."""

import pytest

from kms.domain import limits
from kms.domain.link import Link
from kms.domain.names import NodeId
from kms.domain.requests import GetKey, OpenConnect, OpenReply
from kms.domain.status import QoS
from kms.simulation.disk import Disk
from tests.world import ALICE, ANN, BEN, BOB, LINK, World


def link_at(world: World, name: NodeId) -> Link:
    return world.sites[name].node.links[LINK]


def joined() -> World:
    world = World()
    world.settle()
    world.allow({ANN: ALICE, BEN: BOB})
    world.give_secret()
    world.connect()
    return world


def restart(world: World, name: NodeId, disk: Disk | None = None) -> None:
    world.crash(name, disk)
    world.settle()
    world.allow({ANN: ALICE, BEN: BOB})
    world.connect()


def test_fifty_restarts_on_a_trickle_of_the_smallest_blocks_never_lock_the_two_ends() -> None:
    """A restart burns a window in each direction: three blocks of 4 KiB pay for it."""
    world = joined()
    for number in range(50):
        restart(world, (ALICE, BOB)[number % 2])
        for block in range(3):
            world.block(3 * number + block, length=limits.BLOCK_BYTES_MIN)
            world.settle()

    assert [152, 152] == [link_at(world, name).memory.log_count for name in (ALICE, BOB)]
    assert [[], []] == [site.alarms for site in world.sites.values()]


def drained() -> World:
    """Applications took all that a link would give them."""
    world = joined()
    for number in range(40):
        world.block(number, length=8192)
        world.settle()
    reply = world.answer(
        ALICE, ANN, OpenConnect(source=ANN, destination=BEN, qos=QoS(key_chunk_size=4096))
    )
    assert isinstance(reply, OpenReply)
    assert reply.ksid is not None
    join = OpenConnect(source=BEN, destination=ANN, qos=QoS(), ksid=reply.ksid)
    world.answer(BOB, BEN, join)
    for _ in range(200):
        for name, caller in ((ALICE, ANN), (BOB, BEN)):
            world.ask(name, caller, GetKey(ksid=reply.ksid))
        world.pass_time(100)
    return world


def test_a_link_drained_by_applications_still_agrees_on_the_next_block() -> None:
    world = drained()
    before = [link_at(world, name).memory.log_count for name in (ALICE, BOB)]
    level = min(
        link_at(world, ALICE).memory.writer.level(), link_at(world, BOB).memory.writer.level()
    )
    world.block(1000, length=4096)
    world.settle()

    assert level < (limits.RESERVE_UNITS + 2) * limits.UNIT_BYTES_MIN
    assert [count + 1 for count in before] == [
        link_at(world, name).memory.log_count for name in (ALICE, BOB)
    ]


def test_a_link_drained_by_applications_stands_two_restarts_in_a_row_without_a_block() -> None:
    """Each burns what is open: the reserve is kept in whole units, and opened by the unit."""
    world = drained()
    for number in range(limits.RESERVE_UNITS - 2):
        restart(world, (ALICE, BOB)[number % 2])
        world.pass_time(1000)
    before = link_at(world, ALICE).memory.log_count
    restart(world, ALICE)
    world.block(1000, length=4096)
    world.pass_time(1000)

    assert [before + 1] * 2 == [link_at(world, name).memory.log_count for name in (ALICE, BOB)]


def test_the_reserve_is_in_whole_units_of_the_last_blocks() -> None:
    """A restart burns an open unit, however large it is."""
    world = joined()
    found = []
    for number, length in enumerate((4096, limits.MIB, limits.MIB, 4096, 4096)):
        world.block(number, length=length)
        world.settle()
        found.append(sorted(pad.reserve() for pad in link_at(world, ALICE).memory.pads))
    units = limits.RESERVE_UNITS
    small, large = units * limits.UNIT_BYTES_MIN, units * limits.UNIT_BYTES_MAX

    assert [[small, small], [small, large], [large, large]] == found[:3]
    assert [2 * 4096 + (units - 2) * limits.UNIT_BYTES_MAX, large] == found[4]


def test_a_thousand_reconnections_of_a_drained_link_leave_what_agreement_needs() -> None:
    """Every reconnection says every stream again: that comes out of the streams' part only."""
    world = drained()
    for _ in range(1000):
        world.cut()
        world.settle()
        world.connect()
    before = link_at(world, ALICE).memory.log_count
    world.block(1000, length=4096)
    world.pass_time(1000)

    assert before + 1 == link_at(world, BOB).memory.log_count


@pytest.mark.parametrize("length", [4096, 4097, 5000, 65_537, 4 * limits.MIB])
def test_blocks_of_every_length_become_pad_to_the_last_byte(length: int) -> None:
    world = joined()
    for number in range(4):
        world.block(number, length=length)
        world.settle()
    levels = [
        sum(pad.level() + pad.mark for pad in link_at(world, name).memory.pads)
        for name in (ALICE, BOB)
    ]

    assert [2 * limits.SECRET_PAD_BYTES + 4 * length] * 2 == levels


def test_one_way_traffic_does_not_starve_the_other_pad() -> None:
    """All blocks but a few go where the use is; the idle pad keeps what its own frames need."""
    world = drained()
    for number in range(1000, 1200):
        world.block(number, length=4096)
        world.settle()
    writer, reader = link_at(world, ALICE).memory.pads

    assert min(writer.level(), reader.level()) > limits.RESERVE_BYTES
