"""Pools that hold hardly more than their reserve: they go on when they are drained (I12)."""

import attrs

from kms.domain import limits
from kms.domain.keyrequests import EncKeys, KeysReply
from kms.domain.link import Link
from kms.domain.names import NodeId, SAEId
from tests.world import ALICE, BOB, LINK, World

ANN, BEN = SAEId("sae:ann.alice"), SAEId("sae:ben.bob")
BLOCK_BYTES = 256 * limits.KIB
KEYS = 64


def link_at(world: World, name: NodeId) -> Link:
    return world.sites[name].node.links[LINK]


def with_pools_of(size_bytes: int) -> World:
    world = World()
    world.settle()
    world.allow({ANN: ALICE, BEN: BOB})
    world.give_secret()
    world.connect()
    for name in (ALICE, BOB):
        memory = link_at(world, name).memory
        memory.settings = attrs.evolve(memory.settings, pool_bytes_max=size_bytes)
    return world


def pool_bytes(world: World, name: NodeId = ALICE) -> int:
    held = link_at(world, name).agreement.held_bytes
    return held + sum(pad.level() for pad in link_at(world, name).memory.pads)


def deliver_blocks(world: World, first: int, *at: NodeId) -> int:
    """The devices deliver as long as there is room everywhere; the number of the next block."""
    while all(link_at(world, name).room(BLOCK_BYTES) for name in at or (ALICE, BOB)):
        world.block(first, *at, length=BLOCK_BYTES)
        world.settle()
        first += 1
    return first


def keys_for(world: World, at: NodeId, caller: SAEId, slave: SAEId) -> int:
    """Bytes of key that the application got, of a block's worth."""
    got = 0
    for _ in range(BLOCK_BYTES // (KEYS * limits.KIB)):
        wish = EncKeys(slave=slave, number=KEYS, key_bytes=limits.KIB)
        reply = world.answer(at, caller, wish)
        if isinstance(reply, KeysReply) and reply.keys is not None:
            got += len(reply.keys)
        world.pass_time(1_000, step_ms=500)
    return got


def test_a_pool_of_less_than_three_blocks_is_never_full_of_reserve_alone() -> None:
    """Of blocks of 256 KiB the reserve is half of one in each direction: a pool of one and a half
    was full for ever with key for nobody."""
    world = with_pools_of(BLOCK_BYTES * 3 // 2)
    number, got, highest = 1, {ANN: 0, BEN: 0}, 0
    for _ in range(12):
        number = deliver_blocks(world, number)
        highest = max(highest, pool_bytes(world))
        got[ANN] += keys_for(world, ALICE, ANN, BEN)
        got[BEN] += keys_for(world, BOB, BEN, ANN)

    assert min(got.values()) > 2 * BLOCK_BYTES
    assert highest <= BLOCK_BYTES * 3 // 2 + limits.DRAINED_ROOM_BLOCKS * BLOCK_BYTES


def test_a_pool_below_its_own_reserve_takes_blocks_all_the_same() -> None:
    world = with_pools_of(BLOCK_BYTES // 2)
    number, got = 1, 0
    for _ in range(12):
        number = deliver_blocks(world, number)
        got += keys_for(world, ALICE, ANN, BEN) + keys_for(world, BOB, BEN, ANN)

    assert got > 4 * BLOCK_BYTES


def test_a_block_that_only_one_end_has_does_not_keep_a_drained_pool_empty() -> None:
    world = with_pools_of(BLOCK_BYTES * 3 // 2)
    number = deliver_blocks(world, 1)
    while keys_for(world, ALICE, ANN, BEN) or keys_for(world, BOB, BEN, ANN):
        pass
    world.block(number, ALICE, length=BLOCK_BYTES)
    world.settle()
    delivered = deliver_blocks(world, number + 1) - (number + 1)
    got = keys_for(world, ALICE, ANN, BEN) + keys_for(world, BOB, BEN, ANN)
    alone = deliver_blocks(world, 100, ALICE) - 100

    assert delivered > 0
    assert got > 0
    assert alone <= limits.DRAINED_ROOM_BLOCKS


def test_what_a_link_can_come_to_is_above_the_reserve_that_it_keeps_now() -> None:
    world = with_pools_of(limits.MIB)
    for number in range(2):
        world.block(number, length=BLOCK_BYTES)
        world.settle()
    link = link_at(world, ALICE)

    assert limits.MIB - limits.RESERVE_UNITS * limits.unit_bytes(BLOCK_BYTES) == link.level_max()
    assert link.memory.reader.above_reserve() == link.peer_level()
