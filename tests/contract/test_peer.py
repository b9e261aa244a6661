"""What every ``PeerLinks`` keeps: the real one over loopback and the one in memory."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from kms.domain import limits
from kms.domain.names import NodeId
from tests.peer_worlds import Running, World, between, memory_world, tls_world

AB = between("a", "b")
B = NodeId("b")


@pytest.fixture(params=["memory", "tls"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    if request.param == "memory":
        async with memory_world() as memory:
            yield memory
    else:
        async with tls_world(tmp_path) as tls:
            yield tls


async def pair(world: World) -> tuple[Running, Running]:
    """Nodes a and b, connected."""
    b = await world.start("b", "a")
    a = await world.start("a", "b")
    await a.inbox.until_connected(AB)
    await b.inbox.until_connected(AB)
    return a, b


def assert_in_order(running: Running) -> None:
    """connected, frames, lost; and again with a larger session number."""
    state: dict[str, int] = {}
    newest: dict[str, int] = {}
    for name, link, session, _ in running.inbox.calls:
        if name == "connected":
            assert link not in state
            assert session > newest.get(link, 0)
            state[link] = newest[link] = session
        else:
            assert state[link] == session
            if name == "lost":
                del state[link]


async def test_neighbours_find_each_other(world: World) -> None:
    a, b = await pair(world)

    assert [call[:2] for call in a.inbox.calls] == [("connected", AB)]
    assert [call[:2] for call in b.inbox.calls] == [("connected", AB)]


async def test_the_order_of_starting_does_not_matter(world: World) -> None:
    a, b = await pair(world)
    await b.stop()
    await a.inbox.until_lost(AB)

    again = await world.start("b", "a")
    await again.inbox.until_connected(AB)
    await a.inbox.until_connected(AB, times=2)

    assert_in_order(a)


async def test_frames_arrive_whole_and_in_order_both_ways(world: World) -> None:
    a, b = await pair(world)
    sizes = [1, 2, 3, 4, 5, 16_383, 16_384, 16_385, 65_536, limits.FRAME_BYTES_MAX, 1]
    sent: list[object] = [bytes([n]) * size for n, size in enumerate(sizes)]

    for data in sent:
        assert isinstance(data, bytes)
        a.links.send(AB, a.inbox.session(AB), data)
        b.links.send(AB, b.inbox.session(AB), data)

    assert sent == await b.inbox.until_frames(len(sent))
    assert sent == await a.inbox.until_frames(len(sent))


async def test_frames_that_look_like_the_adapters_own_words_pass(world: World) -> None:
    a, b = await pair(world)
    sent = [b"\x00" * 4, b"\xff" * 4, b"\x00", b"\xff\xff\xff\xff\x00\x00\x00\x00"]

    for data in sent:
        a.links.send(AB, a.inbox.session(AB), data)

    assert sent == await b.inbox.until_frames(len(sent))


async def test_a_frame_can_be_sent_as_soon_as_the_session_is_announced(world: World) -> None:
    b = await world.start("b", "a")
    a = await world.start("a", "b")
    session = await a.inbox.until_connected(AB)
    a.links.send(AB, session, b"first")

    assert await b.inbox.until_frames(1) == [b"first"]
    assert_in_order(b)


async def test_a_busy_node_holds_its_neighbour_back_and_loses_nothing(world: World) -> None:
    a, b = await pair(world)
    b.inbox.hold()
    count = limits.PEER_OUTGOING_BYTES_MAX // limits.FRAME_BYTES_MAX
    for number in range(count):
        a.links.send(AB, a.inbox.session(AB), bytes([number]) * limits.FRAME_BYTES_MAX)
    await b.inbox.until(lambda: len(b.inbox.named("arrives")) == 1)
    await trio.testing.wait_all_tasks_blocked()

    assert b.inbox.frames() == []
    b.inbox.release()
    frames = await b.inbox.until_frames(count)
    assert [bytes([n]) * limits.FRAME_BYTES_MAX for n in range(count)] == frames


async def test_a_busy_link_does_not_hold_up_another(world: World) -> None:
    c = await world.start("c", "a")
    b = await world.start("b", "a")
    a = await world.start("a", "b", "c")
    ac = between("a", "c")
    await b.inbox.until_connected(AB)
    await c.inbox.until_connected(ac)
    b.inbox.hold()
    await a.inbox.until_connected(AB)
    await a.inbox.until_connected(ac)

    a.links.send(AB, a.inbox.session(AB), b"to b")
    a.links.send(ac, a.inbox.session(ac), b"to c")

    assert await c.inbox.until_frames(1) == [b"to c"]
    assert b.inbox.frames() == []


async def test_a_neighbour_that_does_not_read_loses_the_session_not_a_frame_of_it(
    world: World,
) -> None:
    a, b = await pair(world)
    b.inbox.hold()
    frame = bytes(limits.FRAME_BYTES_MAX)

    for _ in range(200):
        a.links.send(AB, a.inbox.session(AB), frame)

    assert "queue full" in await a.inbox.until_lost(AB)
    b.inbox.release()
    await b.inbox.until_lost(AB)
    await b.inbox.until_connected(AB, times=2)
    await a.inbox.until_connected(AB, times=2)
    assert_in_order(a)
    assert_in_order(b)


async def test_disconnecting_hands_over_what_was_queued(world: World) -> None:
    a, b = await pair(world)
    sent: list[object] = [bytes([n]) * 100_000 for n in range(20)]
    for data in sent:
        assert isinstance(data, bytes)
        a.links.send(AB, a.inbox.session(AB), data)
        b.links.send(AB, b.inbox.session(AB), data)

    a.links.disconnect(AB, a.inbox.session(AB), "enough")

    assert await a.inbox.until_lost(AB) == "enough"
    await b.inbox.until_lost(AB)
    assert sent == b.inbox.frames()
    assert_in_order(a)
    assert_in_order(b)


async def test_after_disconnecting_nothing_more_is_sent(world: World) -> None:
    a, b = await pair(world)
    session = a.inbox.session(AB)

    a.links.disconnect(AB, session, "enough")
    a.links.send(AB, session, b"late")
    a.links.disconnect(AB, session, "again")

    assert await a.inbox.until_lost(AB) == "enough"
    await b.inbox.until_lost(AB)
    assert b.inbox.frames() == []


async def test_both_ends_may_disconnect_at_once(world: World) -> None:
    a, b = await pair(world)

    a.links.disconnect(AB, a.inbox.session(AB), "a had enough")
    b.links.disconnect(AB, b.inbox.session(AB), "b had enough")

    assert await a.inbox.until_lost(AB) == "a had enough"
    assert await b.inbox.until_lost(AB) == "b had enough"
    await a.inbox.until_connected(AB, times=2)
    await b.inbox.until_connected(AB, times=2)


async def test_after_a_session_the_neighbours_meet_again(world: World) -> None:
    a, b = await pair(world)

    for times in range(2, 5):
        a.links.disconnect(AB, a.inbox.session(AB), "again")
        await a.inbox.until_connected(AB, times)
        await b.inbox.until_connected(AB, times)

    assert_in_order(a)
    assert_in_order(b)


async def test_what_is_sent_in_a_gone_session_is_dropped(world: World) -> None:
    a, b = await pair(world)
    gone = a.inbox.session(AB)
    a.links.disconnect(AB, gone, "again")
    await a.inbox.until_connected(AB, times=2)
    await b.inbox.until_connected(AB, times=2)

    a.links.send(AB, gone, b"late")
    a.links.send(between("a", "z"), gone, b"to nobody")
    a.links.disconnect(AB, gone, "late")
    a.links.send(AB, a.inbox.session(AB), b"now")

    assert await b.inbox.until_frames(1) == [b"now"]
    assert len(a.inbox.named("lost")) == 1


async def test_a_node_that_stops_is_lost_to_its_neighbour(world: World) -> None:
    a, b = await pair(world)

    await b.stop()

    await a.inbox.until_lost(AB)
    assert b.inbox.named("lost") == []


async def test_a_node_that_stops_is_lost_even_to_a_busy_neighbour(world: World) -> None:
    a, b = await pair(world)
    a.inbox.hold()
    b.links.send(AB, b.inbox.session(AB), b"one")
    await a.inbox.until(lambda: len(a.inbox.named("arrives")) == 1)

    await b.stop()
    a.inbox.release()

    await a.inbox.until_lost(AB)
    assert_in_order(a)


async def test_a_neighbour_is_added_while_running(world: World) -> None:
    a, _ = await pair(world)
    c = await world.start("c", "a")
    ac = between("a", "c")

    world.add(a, NodeId("c"))

    await c.inbox.until_connected(ac)
    await a.inbox.until_connected(ac)
    a.links.send(ac, a.inbox.session(ac), b"hello")
    assert await c.inbox.until_frames(1) == [b"hello"]
    assert a.inbox.named("lost") == []


async def test_a_neighbour_that_dials_is_added_while_running(world: World) -> None:
    b = await world.start("b")
    a = await world.start("a", "b")

    world.add(b, NodeId("a"))

    await a.inbox.until_connected(AB)
    await b.inbox.until_connected(AB)


async def test_adding_a_neighbour_again_changes_nothing(world: World) -> None:
    a, b = await pair(world)

    world.add(a, B)
    a.links.send(AB, a.inbox.session(AB), b"still here")

    assert await b.inbox.until_frames(1) == [b"still here"]
    assert len(a.links.statistics()) == 1


async def test_a_removed_neighbour_is_lost_and_stays_away(world: World) -> None:
    a, b = await pair(world)

    world.remove(b, NodeId("a"))

    assert await b.inbox.until_lost(AB) == "no longer a neighbour"
    await a.inbox.until_lost(AB)
    assert b.links.statistics() == ()


async def test_a_neighbour_removed_and_added_while_the_node_is_busy_keeps_the_order(
    world: World,
) -> None:
    a, b = await pair(world)
    b.inbox.hold()
    a.links.send(AB, a.inbox.session(AB), b"one")
    await b.inbox.until(lambda: len(b.inbox.named("arrives")) == 1)

    world.remove(b, NodeId("a"))
    world.add(b, NodeId("a"))
    b.inbox.release()

    await b.inbox.until_connected(AB, times=2)
    assert_in_order(b)


async def test_sessions_are_numbered_across_links(world: World) -> None:
    await world.start("c", "a")
    await world.start("b", "a")
    a = await world.start("a", "b", "c")
    sessions = {await a.inbox.until_connected(AB), await a.inbox.until_connected(between("a", "c"))}

    assert len(sessions) == 2


async def test_statistics_count_what_passed(world: World) -> None:
    a, b = await pair(world)
    for size in (10, 20, 30):
        a.links.send(AB, a.inbox.session(AB), bytes(size))
    await b.inbox.until_frames(3)

    (out,), (into,) = a.links.statistics(), b.links.statistics()
    assert (
        out.connected,
        out.connects,
        out.frames_out,
        out.bytes_out,
        out.frames_in,
        out.bytes_in,
    ) == (True, 1, 3, 60, 0, 0)
    assert (into.frames_in, into.bytes_in, into.refused) == (3, 60, 0)
    assert out.session == a.inbox.session(AB)


async def test_statistics_say_when_nobody_is_there(world: World) -> None:
    a, b = await pair(world)
    await b.stop()
    await a.inbox.until_lost(AB)

    (statistics,) = a.links.statistics()
    assert not statistics.connected


@pytest.mark.parametrize("size", [0, limits.FRAME_BYTES_MAX + 1])
async def test_a_frame_of_no_or_too_great_length_is_our_own_mistake(
    world: World, size: int
) -> None:
    a, _ = await pair(world)

    with pytest.raises(AssertionError):
        a.links.send(AB, a.inbox.session(AB), bytes(size))
