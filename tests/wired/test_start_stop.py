"""Starting and stopping, whatever hangs or refuses: in order, within a bound, and again.

Nodes are started by ``kms/shell/running.py``, as the real ones are. Seconds are virtual.
"""

from collections.abc import AsyncIterator

import pytest
import trio

from kms.domain.errors import JournalFault, KMSError, LocalFault, StoreFault
from kms.domain.requests import KeyReply
from kms.domain.status import Status
from kms.shell.running import CLOSE_S
from tests.wired.client import get, next_pair, stream
from tests.wired.nodes import GRACE_S, Wired, WiredNode, site, wired

# The requests, the front, the store, the journal; a tick more.
STOP_S_MAX = GRACE_S + 3 * CLOSE_S + 0.1


@pytest.fixture
async def nodes() -> AsyncIterator[Wired]:
    async with wired() as both:
        yield both


async def _ended(node: WiredNode, limit_s: float = STOP_S_MAX) -> float:
    """How long it took until the node's store was free again."""
    began = trio.current_time()
    with trio.fail_after(limit_s):
        await node.ended.wait()
    return trio.current_time() - began


async def test_a_node_starts_and_stops_in_order_and_starts_again(
    nodes: Wired, autojump_clock: object
) -> None:
    ksid = await stream(nodes)
    first = await next_pair(nodes, ksid)
    told = list(nodes.alice.told)
    nodes.alice.stop.set()
    took_s = await _ended(nodes.alice)
    after = list(nodes.alice.told)
    await nodes.nursery.start(nodes.alice.run)
    second = await next_pair(nodes, ksid)

    assert told == ["opened", "ready"]
    assert after == ["opened", "ready", "stopping"]
    assert took_s < 0.1
    assert second > first


REFUSALS = {
    "journal": JournalFault("held by another process", hint="stop it first"),
    "storage": StoreFault("the store is locked", hint="stop it first"),
    "peers": LocalFault("cannot listen", hint="another port"),
}


@pytest.mark.parametrize("part", REFUSALS)
async def test_a_part_that_does_not_open_ends_the_start_with_its_words_and_holds_nothing(
    part: str, autojump_clock: object
) -> None:
    async with trio.open_nursery() as nursery:
        alice = site(nursery).alice
        alice.refusing_to_open[part] = REFUSALS[part]
        with pytest.raises(type(REFUSALS[part]), match=REFUSALS[part].reason):
            await alice.run()
        alice.refusing_to_open.clear()
        await nursery.start(alice.run)
        nursery.cancel_scope.cancel()

    assert alice.told == ["opened", "ready"]


async def test_a_network_view_that_is_refused_at_the_start_ends_it_and_holds_nothing(
    autojump_clock: object,
) -> None:
    async with trio.open_nursery() as nursery:
        both = site(nursery)
        both.alice.sdn.fail("links.3 names a stranger")
        with pytest.raises(ExceptionGroup) as raised:
            await both.alice.run()
        both.alice.sdn.give(await both.bob.sdn.network())
        await nursery.start(both.alice.run)
        nursery.cancel_scope.cancel()

    assert raised.group_contains(LocalFault, match="names a stranger")
    assert both.alice.told == ["opened", "ready"]


@pytest.mark.parametrize("what", ["store", "journal"])
async def test_a_disk_that_fails_at_the_first_commit_ends_the_start(
    what: str, autojump_clock: object
) -> None:
    fault = JournalFault if what == "journal" else StoreFault
    async with trio.open_nursery() as nursery:
        alice = site(nursery).alice
        alice.journal_failing = "no space left" if what == "journal" else ""
        alice.disk.failing = "" if what == "journal" else "no space left"
        with pytest.raises(ExceptionGroup) as raised:
            await alice.run()
        alice.journal_failing = alice.disk.failing = ""
        await nursery.start(alice.run)
        nursery.cancel_scope.cancel()

    assert raised.group_contains(fault, match="no space left")


@pytest.mark.parametrize("gate", ["commit", "append", "network"])
async def test_a_stop_while_the_start_hangs_starts_nothing_more(
    gate: str, autojump_clock: object
) -> None:
    async with trio.open_nursery() as nursery:
        alice = site(nursery).alice
        hanging = getattr(alice.gates, gate)
        hanging.shut()
        nursery.start_soon(alice.run)
        await hanging.waiting.wait()
        alice.stop.set()
        took_s = await _ended(alice)
        told = list(alice.told)
        hanging.open()
        await nursery.start(alice.run)
        nursery.cancel_scope.cancel()

    assert told == []
    assert took_s < 2 * CLOSE_S + 0.1


HANGS = ["commit", "append", "read", "inbox", "network", "close_storage", "close_journal"]


@pytest.mark.parametrize("gate", HANGS)
async def test_a_stop_has_its_bound_whatever_hangs(
    nodes: Wired, gate: str, autojump_clock: object
) -> None:
    """Requests are under way, a device has more blocks, and a part answers no more."""
    ksid = await stream(nodes)
    alice, answers = nodes.alice, list[KeyReply]()

    async def ask() -> None:
        answers.append(await get(alice, ksid))

    getattr(alice.gates, gate).shut()
    for _ in range(3):
        alice.front.start_request(ask)
    nodes.give(4)
    await trio.sleep(1)
    alice.stop.set()
    took_s = await _ended(alice)
    for each in alice.gates.all():
        each.open()
    alice.disk.crash()  # what a process that ends lets go of
    await nodes.nursery.start(alice.run)
    await next_pair(nodes, ksid)

    assert took_s <= STOP_S_MAX
    assert alice.told == ["opened", "ready"]
    assert len(answers) == (3 if gate in ("inbox", "network", *HANGS[-2:]) else 0)


async def test_a_front_that_does_not_heed_its_grace_is_ended(
    nodes: Wired, autojump_clock: object
) -> None:
    alice = nodes.alice
    alice.front.deaf = True
    alice.front.start_request(trio.sleep_forever)
    alice.stop.set()
    took_s = await _ended(alice)

    assert GRACE_S < took_s <= GRACE_S + CLOSE_S + 0.1


async def test_requests_under_way_at_a_stop_are_answered_within_the_grace(
    nodes: Wired, autojump_clock: object
) -> None:
    ksid = await stream(nodes)
    alice, answers = nodes.alice, list[KeyReply]()

    async def ask() -> None:
        answers.append(await get(alice, ksid))

    alice.gates.commit.shut()
    for _ in range(3):
        alice.front.start_request(ask)
    await alice.gates.commit.waiting.wait()
    alice.stop.set()
    await trio.sleep(GRACE_S / 2)
    alice.gates.commit.open()
    await _ended(alice)

    assert [reply.status for reply in answers] == [Status.SUCCESS] * 3


async def test_a_network_view_that_is_refused_later_leaves_the_last_one_in_force(
    nodes: Wired, autojump_clock: object
) -> None:
    ksid = await stream(nodes)
    view = await nodes.alice.sdn.network()
    nodes.alice.sdn.fail("no such file")
    await trio.sleep(1)
    during = await next_pair(nodes, ksid)
    nodes.alice.sdn.give(view)
    await trio.sleep(1)
    after = await next_pair(nodes, ksid)

    assert after > during


async def test_the_neighbour_goes_on_while_a_node_is_stopped_and_meets_it_again(
    nodes: Wired, autojump_clock: object
) -> None:
    ksid = await stream(nodes)
    nodes.alice.stop.set()
    await _ended(nodes.alice)
    down = nodes.bob.pump.node.links
    await trio.sleep(5)
    up_meanwhile = [link.up for link in down.values()]
    await nodes.nursery.start(nodes.alice.run)
    await nodes.alice.up(blocks=0)
    await next_pair(nodes, ksid)

    assert up_meanwhile == [False]


async def test_a_second_process_on_the_same_store_does_not_start_and_the_first_goes_on(
    nodes: Wired, autojump_clock: object
) -> None:
    ksid = await stream(nodes)
    held = nodes.alice.running
    with pytest.raises(KMSError, match="locked"):
        await nodes.alice.second_process()

    assert nodes.alice.running is held
    assert await next_pair(nodes, ksid) >= 0
