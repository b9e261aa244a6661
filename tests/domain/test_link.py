"""Two ends of a link: bootstrap, agreement, grants, restart, restored stores."""

import attrs

from kms.domain import limits
from kms.domain.direction import Direction
from kms.domain.link import Link
from kms.domain.names import NodeId
from kms.domain.records import LinkState
from kms.domain.session import Phase
from kms.domain.wire import Want
from tests.world import ALICE, BOB, LINK, World, block_bits


def link_at(world: World, name: NodeId) -> Link:
    return world.sites[name].node.links[LINK]


def joined() -> World:
    world = World()
    world.settle()
    world.give_secret()
    world.connect()
    return world


def with_full_pools() -> World:
    """Both ends hold as much as they may."""
    world = joined()
    for name in (ALICE, BOB):
        memory = link_at(world, name).memory
        level = sum(pad.level() for pad in memory.pads)
        memory.settings = attrs.evolve(memory.settings, pool_bytes_max=level)
    return world


def pools(world: World) -> list[dict[Direction, tuple[int, int]]]:
    """Level and end of both pads at both ends."""
    return [
        {pad.direction: (pad.level(), pad.extents.end) for pad in link_at(world, name).memory.pads}
        for name in (ALICE, BOB)
    ]


def test_a_hand_carried_secret_brings_the_link_up() -> None:
    world = joined()

    assert [link_at(world, name).greeting.phase for name in (ALICE, BOB)] == [Phase.UP, Phase.UP]
    assert [site.alarms for site in world.sites.values()] == [[], []]


def test_without_a_secret_the_link_is_refused_by_name() -> None:
    world = World()
    world.settle()
    world.connect()

    assert not world.connected()
    assert [link_at(world, n).memory.state for n in (ALICE, BOB)] == [LinkState.NEW] * 2


def test_blocks_that_both_ends_hold_are_agreed_and_the_pools_are_the_same() -> None:
    world = joined()
    for number in range(20):
        world.block(number)
        world.settle()

    logs = [link_at(world, name).memory for name in (ALICE, BOB)]
    assert [log.log_count for log in logs] == [22, 22]
    assert logs[0].log_hash == logs[1].log_hash
    ends = [sum(end for _, end in pool.values()) for pool in pools(world)]
    assert ends == [20 * 64 * limits.KIB + 2 * limits.SECRET_PAD_BYTES] * 2


def test_the_order_in_which_the_ends_receive_blocks_does_not_matter() -> None:
    world = joined()
    for number in range(10):
        world.block(number, ALICE)
    for number in reversed(range(10)):
        world.block(number, BOB)
        world.settle()

    assert [link_at(world, name).memory.log_count for name in (ALICE, BOB)] == [12, 12]


def test_different_blocks_are_destroyed_at_both_ends_and_alarmed() -> None:
    world = joined()
    for number in range(limits.MISMATCHES_MAX):
        world.block_of(number, block_bits(number, 8192), ALICE)
        world.block_of(number, block_bits(number + 100, 8192), BOB)
        world.settle()

    links = [link_at(world, name) for name in (ALICE, BOB)]
    assert [len(link.agreement.held) for link in links] == [0, 0]
    assert [link.memory.log_count for link in links] == [2, 2]
    kinds = [
        {kind for kind, _ in site.alarms} - {"neighbour-alarm"} for site in world.sites.values()
    ]
    assert [{"mismatch"}, {"mismatch"}] == kinds


def test_good_blocks_end_an_alarm() -> None:
    world = joined()
    world.block(1, qber=0.2)
    world.settle()
    alarmed = link_at(world, ALICE).alarmed
    for number in range(2, 2 + limits.ALARM_CLEAR_BLOCKS):
        world.block(number, qber=0.02)
        world.settle()

    assert alarmed == "qber"
    assert [link_at(world, name).alarmed for name in (ALICE, BOB)] == ["", ""]
    assert [s.refused_blocks for s in world.sites.values()] == [["QBER over the limit"]] * 2


def test_an_alarm_at_one_end_holds_both() -> None:
    world = joined()
    world.block(1, BOB, qber=0.2)
    world.settle()
    during = [link_at(world, name).alarmed for name in (ALICE, BOB)]
    for number in range(2, 2 + limits.ALARM_CLEAR_BLOCKS):
        world.block(number)
        world.settle()

    assert ["qber at bob", "qber"] == during
    assert ["", ""] == [link_at(world, name).alarmed for name in (ALICE, BOB)]
    assert [["neighbour-alarm"], ["qber"]] == [
        [kind for kind, _ in site.alarms] for site in world.sites.values()
    ]


def test_good_blocks_end_the_alarm_of_a_link_whose_pool_is_full() -> None:
    """Simulated seed 103: nothing was served, so nothing made room for what ends an alarm."""
    world = with_full_pools()
    world.block(1, BOB, qber=0.2)
    world.settle()
    for number in range(2, 9):
        for name in (ALICE, BOB):
            if link_at(world, name).room(8192):
                world.block(number, name, length=8192)
        world.settle()

    assert [link_at(world, name).alarmed for name in (ALICE, BOB)] == ["", ""]
    assert [link_at(world, name).room(1) for name in (ALICE, BOB)] == [False, False]


def test_what_comes_beyond_a_full_pool_under_an_alarm_is_bounded() -> None:
    world = with_full_pools()
    world.block(1, ALICE, qber=0.2)
    world.settle()
    number = 1
    while link_at(world, ALICE).room(8192) and number < 100:
        number += 1
        world.block(number, ALICE, length=8192)
        world.settle()

    assert limits.ALARM_ROOM_BLOCKS == len(link_at(world, ALICE).agreement.held)


def test_an_alarm_is_told_again_after_a_reconnection() -> None:
    world = joined()
    world.cut()
    world.settle()
    world.block(1, BOB, qber=0.2)
    world.settle()
    world.connect()

    assert ["qber at bob", "qber"] == [link_at(world, name).alarmed for name in (ALICE, BOB)]


def test_mismatches_with_good_blocks_between_them_are_no_alarm_at_either_end() -> None:
    world = joined()
    for number in range(0, 4 * limits.MISMATCHES_MAX, 2):
        world.block_of(number, block_bits(number, 8192), ALICE)
        world.block_of(number, block_bits(number + 1000, 8192), BOB)
        world.settle()
        world.block(number + 1)
        world.settle()

    assert [[], []] == [site.alarms for site in world.sites.values()]


def test_a_block_at_one_end_only_expires() -> None:
    world = joined()
    world.block(1, ALICE)
    world.block(2, BOB)
    world.settle()
    world.pass_time(61_000, step_ms=1_000)

    assert [len(link_at(world, name).agreement.held) for name in (ALICE, BOB)] == [0, 0]
    assert [link_at(world, name).agreement.expired for name in (ALICE, BOB)] == [1, 1]


def test_blocks_that_came_while_the_link_was_cut_are_agreed_after_it_heals() -> None:
    world = joined()
    world.cut()
    world.settle()
    for number in range(5):
        world.block(number)
    world.settle()
    world.connect()

    assert [link_at(world, name).memory.log_count for name in (ALICE, BOB)] == [7, 7]


def test_blocks_held_at_a_crash_are_agreed_after_the_restart() -> None:
    world = joined()
    world.cut()
    world.settle()
    world.block(1)
    world.settle()
    for name in (ALICE, BOB):
        world.crash(name)
    world.settle()
    world.connect()

    assert [link_at(world, name).memory.log_count for name in (ALICE, BOB)] == [3, 3]


def test_an_append_that_comes_before_the_held_block_is_read_again_is_taken() -> None:
    """Torn disks found it: blocks are read one at a time after a start, a hello takes less."""
    world = joined()
    for number in range(1, 31):
        world.block(number, BOB)
    world.settle()
    world.lose_frame = lambda sender, data: sender == ALICE
    world.block(30, ALICE)
    world.settle()
    world.lose_frame = lambda sender, data: False
    world.crash(BOB)
    world.connect()
    alice, bob = (link_at(world, name).memory for name in (ALICE, BOB))

    assert [3, 3] == [alice.log_count, bob.log_count]
    assert alice.bits_agreed == bob.bits_agreed
    assert [LinkState.OPEN, LinkState.OPEN] == [alice.state, bob.state]


def test_an_append_lost_on_the_way_is_sent_again() -> None:
    world = joined()
    world.block(1, BOB)
    world.settle()
    world.lose_frame = lambda sender, data: sender == ALICE
    world.block(1, ALICE)
    world.settle()
    counts_before = [link_at(world, name).memory.log_count for name in (ALICE, BOB)]
    world.lose_frame = lambda sender, data: False
    world.cut()
    world.settle()
    world.connect()

    assert counts_before == [3, 2]
    assert [link_at(world, name).memory.log_count for name in (ALICE, BOB)] == [3, 3]


def test_a_restart_of_either_end_burns_the_granted_window_and_goes_on() -> None:
    world = joined()
    for number in range(8):
        world.block(number)
        world.settle()
    for name in (ALICE, BOB, ALICE, BOB):
        granted = {pad.direction: pad.granted for pad in link_at(world, name).memory.pads}
        world.crash(name)
        world.settle()
        world.connect()
        marks = {pad.direction: pad.mark for pad in link_at(world, name).memory.pads}

        assert all(marks[each] >= granted[each] for each in Direction)
        assert [link_at(world, each).greeting.phase for each in (ALICE, BOB)] == [
            Phase.UP,
            Phase.UP,
        ]
    world.block(100)
    world.settle()

    assert [link_at(world, name).memory.log_count for name in (ALICE, BOB)] == [11, 11]
    levels = [{d: level for d, (level, _) in pool.items()} for pool in pools(world)]
    assert levels[0].keys() == levels[1].keys()


def test_a_reconnection_without_restart_keeps_the_windows() -> None:
    world = joined()
    for number in range(8):
        world.block(number)
        world.settle()
    granted = [pad.granted for pad in link_at(world, ALICE).memory.pads]
    world.cut()
    world.settle()
    world.connect()
    marks = [pad.mark for pad in link_at(world, ALICE).memory.pads]

    assert all(mark < grant for mark, grant in zip(marks, granted, strict=True))


def test_a_restored_backup_of_either_end_is_noticed_and_nothing_is_used_twice() -> None:
    for name in (ALICE, BOB):
        world = joined()
        for number in range(4):
            world.block(number)
            world.settle()
        backup = world.sites[name].disk.copy()
        for number in range(4, 30):
            world.block(number)
            world.settle()
        world.crash(name, backup)
        world.settle()
        world.connect()
        for number in range(100, 110):
            world.block(number)
            world.settle()

        assert [link_at(world, each).greeting.phase for each in (ALICE, BOB)] == [
            Phase.UP,
            Phase.UP,
        ]
        logs = [link_at(world, each).memory for each in (ALICE, BOB)]
        assert logs[0].log_count == logs[1].log_count
        assert logs[0].log_hash == logs[1].log_hash
        kinds = {kind for site in world.sites.values() for kind, _ in site.alarms}
        assert {"old-store"} == kinds


def test_a_restored_leader_that_appended_other_blocks_is_stopped_until_a_second_secret() -> None:
    world = joined()
    world.block(1)
    world.settle()
    backup = world.sites[ALICE].disk.copy()
    world.block(2)
    world.settle()
    world.crash(ALICE, backup)
    world.settle()
    world.block(3, ALICE)
    world.block(3, BOB)
    world.settle()
    alice = link_at(world, ALICE)
    held = alice.agreement.held.popitem()[1]
    entry = alice.agreement.log
    from kms.domain.appendlog import LogEntry
    from kms.domain.outbox import Outbox

    out = Outbox(world.moment)
    entry.append(
        LogEntry(
            seq=alice.memory.log_count,
            block_id=held.record.block_id,
            direction=Direction.FROM_LEADER,
            start=alice.memory.writer.extents.end,
            length=held.record.length,
        ),
        held.record,
        out,
    )
    world.sites[ALICE].disk.commit(out.effects)
    world.connect()

    assert not world.connected()
    assert LinkState.DOUBTED in [link_at(world, n).memory.state for n in (ALICE, BOB)]

    world.give_secret(number=2)
    world.connect()
    world.block(4)
    world.settle()

    assert [link_at(world, name).greeting.phase for name in (ALICE, BOB)] == [Phase.UP, Phase.UP]
    assert [link_at(world, name).memory.log_count for name in (ALICE, BOB)] == [3, 3]


def test_a_used_secret_is_refused() -> None:
    world = joined()
    world.give_secret(number=1)

    assert [[k for k, _ in s.alarms] for s in world.sites.values()] == [["secret-refused"]] * 2


def test_a_link_that_only_talks_and_never_gets_blocks_keeps_its_reserve_for_restarts() -> None:
    """Eight idle restarts must not use up the bootstrap secret of 64 KiB a direction."""
    world = joined()
    restarts = 0
    for _ in range(8):
        world.crash(ALICE)
        world.settle()
        world.connect()
        restarts += link_at(world, ALICE).up

    assert restarts == 8


def test_blocks_that_one_end_cannot_read_are_burnt_at_both_and_the_link_goes_on() -> None:
    """Where that end writes, the other is told; where it reads, windows begin anew."""
    for name in (ALICE, BOB):
        world = joined()
        site = world.sites[name]
        for number in range(6):
            world.block(number)
            world.settle()
        site.disk.unreadable.update(each for each in site.disk.material if "block" in each)
        for number in range(10, 60):
            world.block(number)
            world.settle()
        for _ in range(200):
            for each in (ALICE, BOB):
                link_at(world, each).send(Want(2000, 0))
            world.pass_time(1_000, step_ms=500)
            if not world.connected():
                world.connect()

        assert world.connected()
        assert {"pad-unreadable"} == {kind for kind, _ in site.alarms}
        assert [] == world.sites[BOB if name == ALICE else ALICE].alarms
        assert pools(world)[0] == pools(world)[1], name
