"""Keys that are delivered are read before they are wiped, at one stroke, beside everything else.

Seconds are virtual. The store's ``read`` gate is a disk under load: what is to be read waits.
"""

from collections.abc import AsyncIterator, Sequence

import pytest
import trio

from kms.domain import limits
from kms.domain.effects import WipeMaterial, Write
from kms.domain.keyrequests import KeysReply, Outcome
from kms.domain.requests import KeyReply
from kms.domain.secret import Secret
from tests.wired.client import dec, enc, get, next_keys, stream
from tests.wired.nodes import Wired, WiredNode, wired


@pytest.fixture
async def nodes() -> AsyncIterator[Wired]:
    async with wired() as both:
        yield both


async def slowly(nodes: Wired, number: int) -> tuple[bytes, list[bytes]]:
    """A master that takes one key a second: each is in a designation of its own or nearly. Their
    IDs, and the keys."""
    found = [await next_keys(nodes)]
    while len(found) <= number:
        await trio.sleep(1.05)
        found.append(await enc(nodes.alice))
    return (
        b"".join(each.key_ids for each in found[1:]),
        [bytes(each.keys.expose()) for each in found[1:] if each.keys is not None],
    )


def materials_read(node: WiredNode) -> list[str]:
    return [each for each in node.trace.lines if f" {node.name} read_all" in each]


async def test_keys_of_many_designations_are_read_at_one_stroke(
    nodes: Wired, autojump_clock: object
) -> None:
    ids, keys = await slowly(nodes, 20)
    before = len(materials_read(nodes.bob))
    reply = await dec(nodes.bob, ids)
    (read,) = materials_read(nodes.bob)[before:]

    assert reply.keys is not None, reply.message
    assert b"".join(keys) == bytes(reply.keys.expose())
    assert read.count("Stretch(") > 5


@pytest.mark.parametrize("slow_s", [3, 10])
async def test_keys_with_ids_that_are_read_late_are_wiped_after_it_and_not_before(
    slow_s: float, nodes: Wired, autojump_clock: object
) -> None:
    bob = nodes.bob
    ids, keys = await slowly(nodes, 8)
    bob.gates.read.shut()
    replies: list[KeysReply] = []

    async def ask() -> None:
        replies.append(await dec(bob, ids))

    bob.front.start_request(ask)
    await bob.gates.read.waiting.wait()
    await trio.sleep(slow_s)
    while_it_waits = list(replies)
    bob.gates.read.open()
    with trio.fail_after(1):
        await bob.pump.until(lambda: bool(replies))
    await next_keys(nodes)
    await trio.sleep(limits.DESTROY_WITHIN_MS / 1000 - slow_s)

    assert while_it_waits == []
    assert replies[0].keys is not None, replies[0].message
    assert b"".join(keys) == bytes(replies[0].keys.expose())
    assert bob.alarms() == []
    assert nodes.alice.disk.material_bytes == bob.disk.material_bytes


async def test_a_chunk_that_is_read_late_is_wiped_after_it_and_not_before(
    nodes: Wired, autojump_clock: object
) -> None:
    ksid = await stream(nodes)
    here = await get(nodes.alice, ksid)
    nodes.bob.gates.read.shut()
    replies: list[KeyReply] = []

    async def ask() -> None:
        replies.append(await get(nodes.bob, ksid, here.index))

    nodes.bob.front.start_request(ask)
    await trio.sleep(limits.DESTROY_WITHIN_MS / 2000 + 5)
    while_it_waits = list(replies)
    nodes.bob.gates.read.open()
    await trio.sleep(1)

    assert while_it_waits == []
    assert [(here.status, here.key)] == [(each.status, each.key) for each in replies]


async def test_keys_that_cannot_be_read_for_long_are_wiped_within_the_minute_all_the_same(
    nodes: Wired, autojump_clock: object
) -> None:
    """I6: who waits hears that they are lost."""
    bob = nodes.bob
    ids, _ = await slowly(nodes, 8)
    bob.gates.read.shut()
    wiped: list[WipeMaterial] = []
    replies: list[KeysReply] = []
    committing = bob.storage.committing

    async def ask() -> None:
        replies.append(await dec(bob, ids))

    def committed(writes: Sequence[Write]) -> None:
        committing(writes)
        wiped.extend(each for each in writes if isinstance(each, WipeMaterial))

    bob.front.start_request(ask)
    await bob.gates.read.waiting.wait()
    bob.storage.committing = committed
    await trio.sleep(limits.DESTROY_WITHIN_MS / 1000 - 2)
    in_time = list(wiped)
    bob.gates.read.open()
    await trio.sleep(1)

    assert 8 * 32 <= sum(each.length for each in in_time)
    assert [(Outcome.UNAVAILABLE, None)] == [(each.outcome, each.keys) for each in replies]
    assert "lost" in replies[0].message
    assert "chunk-unreadable" in bob.alarms()[0]


async def test_pads_are_opened_while_keys_are_read(
    nodes: Wired, autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One application's long reading holds no link up."""
    bob = nodes.bob
    ids, _ = await slowly(nodes, 2)
    hung = trio.Event()

    async def hang(stretches: object) -> Secret:
        hung.set()
        await trio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr(bob.storage, "read_all", hang)
    bob.front.start_request(lambda: dec(bob, ids))
    await hung.wait()
    before = sum(f" {bob.name} take" in each for each in nodes.trace.lines)
    with trio.fail_after(1.5):
        while sum(f" {bob.name} take" in each for each in nodes.trace.lines) == before:
            assert (await enc(nodes.alice, 100)).outcome is Outcome.DELIVERED
