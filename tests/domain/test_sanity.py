"""Bits that cannot be key, of a device that is stuck at both ends alike (I1, I13)."""

import pytest

from kms.domain import limits
from kms.domain.linkmemory import LinkMemory
from kms.domain.names import NodeId
from kms.domain.sanity import BlocksSeen, repeats_within
from tests.domain.linkbench import block_id, memory_of
from tests.world import ALICE, BOB, LINK, World, block_bits

SIZE = limits.BLOCK_BYTES_MIN
REFUSED = ["bits that cannot be key"]


def joined() -> World:
    world = World()
    world.give_secret()
    world.connect()
    return world


def both_get(world: World, number: int, bits: bytes) -> None:
    for name in (ALICE, BOB):
        world.block_of(number, bits, name)
    world.settle()


def agreed(world: World) -> list[int]:
    return [site.node.links[LINK].agreement.log.agreed_blocks for site in world.sites.values()]


def refused(world: World) -> list[list[str]]:
    return [site.refused_blocks for site in world.sites.values()]


def alarms(world: World, name: NodeId) -> set[str]:
    return {kind for kind, _ in world.sites[name].alarms} - {"neighbour-alarm"}


@pytest.mark.parametrize("pattern", [b"\0", b"\xff", b"\x55\xaa", bytes(range(16))])
def test_a_block_of_one_pattern_is_refused_at_both_ends_with_an_alarm(pattern: bytes) -> None:
    world = joined()
    before = agreed(world)
    both_get(world, 1, pattern * (SIZE // len(pattern)))

    assert refused(world) == [REFUSED, REFUSED]
    assert agreed(world) == before
    assert [alarms(world, name) for name in (ALICE, BOB)] == [{"repeated-bits"}] * 2


def test_good_blocks_end_the_alarm_of_a_stuck_device() -> None:
    world = joined()
    both_get(world, 1, bytes(SIZE))
    during = [site.node.links[LINK].guard.alarmed for site in world.sites.values()]
    for number in range(2, 2 + limits.ALARM_CLEAR_BLOCKS):
        both_get(world, number, block_bits(number, SIZE))

    assert during == ["repeated-bits", "repeated-bits"]
    assert [site.node.links[LINK].guard.alarmed for site in world.sites.values()] == ["", ""]


def test_bits_that_nearly_repeat_are_key_as_others_are() -> None:
    """What random bits look like is no reason to refuse them."""
    world = joined()
    before = agreed(world)
    both_get(world, 1, bytes(SIZE - 1) + b"\1")
    both_get(world, 2, b"\1" + bytes(SIZE - 1))

    assert refused(world) == [[], []]
    assert agreed(world) == [count + 2 for count in before]


def test_the_bits_of_a_block_are_refused_under_another_id() -> None:
    world = joined()
    before = agreed(world)
    for number in (1, 2):
        both_get(world, number, block_bits(1, SIZE))

    assert refused(world) == [REFUSED, REFUSED]
    assert agreed(world) == [count + 1 for count in before]
    assert [alarms(world, name) for name in (ALICE, BOB)] == [{"repeated-bits"}] * 2


def test_bits_that_were_refused_stay_refused_under_the_same_id() -> None:
    world = joined()
    world.block_of(1, block_bits(1, SIZE), ALICE)
    for _ in range(2):
        world.block_of(2, block_bits(1, SIZE), ALICE)
    world.settle()

    assert world.sites[ALICE].refused_blocks == REFUSED * 2
    assert world.sites[ALICE].node.links[LINK].agreement.held.keys() == {block_id(1)}


def test_a_block_that_comes_twice_is_a_duplicate_and_no_alarm() -> None:
    world = joined()
    for _ in range(2):
        both_get(world, 1, block_bits(1, SIZE))

    assert refused(world) == [["duplicate"], ["duplicate"]]
    assert [alarms(world, name) for name in (ALICE, BOB)] == [set(), set()]


def test_bits_that_were_pad_once_are_refused_after_both_ends_started_again() -> None:
    world = joined()
    both_get(world, 1, block_bits(1, SIZE))
    for name in (ALICE, BOB):
        world.crash(name)
    world.connect()
    world.settle()
    both_get(world, 2, block_bits(1, SIZE))

    assert refused(world) == [REFUSED, REFUSED]


def test_bits_of_a_block_that_waits_are_refused_after_a_start() -> None:
    """It was held when the process ended, and is read and compared again."""
    world = joined()
    world.block(1, ALICE, length=SIZE)
    world.settle()
    world.crash(ALICE)
    world.connect()
    world.settle()
    world.block_of(2, block_bits(1, SIZE), ALICE)
    world.settle()

    assert world.sites[ALICE].refused_blocks == REFUSED


@pytest.mark.parametrize("number", [1, 2])
def test_bits_that_were_pad_once_are_refused_under_another_secret(number: int) -> None:
    """Also under the id that they had: the link knows it no more."""
    world = joined()
    both_get(world, 1, block_bits(1, SIZE))
    world.give_secret(number=2)
    world.connect()
    world.settle()
    both_get(world, number, block_bits(1, SIZE))

    assert refused(world) == [REFUSED, REFUSED]


def test_so_many_blocks_are_compared_and_no_more() -> None:
    memory: LinkMemory = memory_of()
    seen = BlocksSeen(memory)
    digests = [seen.digest(block_bits(number, SIZE)) for number in range(40)]
    for number, digest in enumerate(digests):
        seen.came(digest, block_id(number))
        memory.agreed(digest)
    compared = digests[-limits.BLOCKS_COMPARED :]

    assert [each for each in digests if seen.came_before(each, block_id(99))] == compared
    assert memory.bits_agreed == tuple(compared)


def test_two_links_have_different_digests_of_the_same_bits() -> None:
    mine, other = BlocksSeen(memory_of()), BlocksSeen(memory_of())
    theirs = memory_of()
    theirs.link = type(theirs.link)("carol~dan")

    assert mine.digest(b"x") == other.digest(b"x") != BlocksSeen(theirs).digest(b"x")
    assert len(mine.digest(b"x")) == limits.BITS_DIGEST_BYTES


def test_a_pattern_is_sixteen_bytes_at_most() -> None:
    assert repeats_within(bytes(range(16)) * 256)
    assert not repeats_within(bytes(range(17)) * 256)
    assert not repeats_within(block_bits(1, SIZE))
