"""Two whole nodes and two applications: the same keys at both ends, whatever breaks."""

from collections import deque

import attrs

from kms.domain import limits
from kms.domain.effects import DeliverKey
from kms.domain.events import PeerFrame
from kms.domain.names import KSID
from kms.domain.outbox import Outbox
from kms.domain.requests import Close, GetKey, KeyReply, OpenConnect, OpenReply
from kms.domain.status import QoS, Status
from tests.world import ALICE, ANN, BEN, BOB, LINK, World


def ready(blocks: int = 20) -> World:
    """Two linked nodes with some agreed key, and two applications that may share streams."""
    world = World()
    world.settle()
    world.allow({ANN: ALICE, BEN: BOB})
    world.give_secret()
    world.connect()
    for number in range(blocks):
        world.block(number)
        world.settle()
    return world


def opened(world: World, qos: QoS | None = None) -> KSID:
    """A stream that ann opened at alice and ben joined at bob."""
    first = world.answer(
        ALICE, ANN, OpenConnect(source=ANN, destination=BEN, qos=qos or QoS(key_chunk_size=32))
    )
    assert isinstance(first, OpenReply)
    assert first.ksid is not None, first
    second = world.answer(
        BOB, BEN, OpenConnect(source=BEN, destination=ANN, qos=QoS(), ksid=first.ksid)
    )
    assert isinstance(second, OpenReply)
    assert second.status is Status.SUCCESS, second
    return first.ksid


def fetch(world: World, ksid: KSID, count: int) -> tuple[dict[int, bytes], dict[int, bytes]]:
    """What both applications get when each asks ``count`` times; errors are left out."""
    got: list[dict[int, bytes]] = []
    for name, caller in ((ALICE, ANN), (BOB, BEN)):
        keys: dict[int, bytes] = {}
        for _ in range(count):
            number = world.ask(name, caller, GetKey(ksid=ksid))
            world.settle()
            if number in world.sites[name].keys:
                index, bits = world.sites[name].keys[number]
                keys[index] = bits
        got.append(keys)
    return got[0], got[1]


def test_two_applications_get_the_same_keys() -> None:
    world = ready()
    ksid = opened(world)
    ann, ben = fetch(world, ksid, 50)

    assert list(range(50)) == sorted(ann)
    assert ann == ben
    assert len(set(ann.values())) == 50
    assert [site.alarms for site in world.sites.values()] == [[], []]


def test_chunks_up_to_the_largest_are_the_same_at_both_ends() -> None:
    world = ready(blocks=400)
    ksid = opened(world, QoS(key_chunk_size=limits.CHUNK_BYTES_MAX))
    ann, ben = fetch(world, ksid, 5)

    assert len(ann) == 5
    assert ann == ben


def test_a_link_that_is_cut_and_healed_goes_on_without_a_lost_index() -> None:
    world = ready(60)
    ksid = opened(world)
    for _ in range(5):
        ann, ben = fetch(world, ksid, 10)
        world.cut()
        world.settle()
        world.connect()

        assert ann == ben
        assert len(ann) == 10


def test_either_node_killed_and_restarted_never_delivers_two_different_keys() -> None:
    world = ready(100)
    ksid = opened(world)
    ann: dict[int, bytes] = {}
    ben: dict[int, bytes] = {}
    for name in (ALICE, BOB, BOB, ALICE):
        for into, new in zip((ann, ben), fetch(world, ksid, 7), strict=True):
            assert not into.keys() & new.keys()
            into.update(new)
        world.crash(name)
        world.settle()
        world.allow({ANN: ALICE, BEN: BOB})
        world.connect()
    for into, new in zip((ann, ben), fetch(world, ksid, 7), strict=True):
        into.update(new)

    assert 35 == len(ann) == len(ben)
    assert ann == ben


def test_frames_lost_at_a_cut_never_make_the_two_ends_differ() -> None:
    """Every designation and every acknowledgement is lost once, at a cut that follows."""
    for loser in (ALICE, BOB):
        world = ready(100)
        ksid = opened(world)
        both: list[dict[int, bytes]] = [{}, {}]
        for _ in range(4):
            world.lose_frame = lambda sender, data, loser=loser: sender == loser
            for into, new in zip(both, fetch(world, ksid, 6), strict=True):
                into.update(new)
            world.lose_frame = lambda sender, data: False
            world.cut()
            world.settle()
            world.connect()
        for into, new in zip(both, fetch(world, ksid, 20), strict=True):
            into.update(new)

        shared = both[0].keys() & both[1].keys()
        assert len(shared) >= 20
        assert {i: both[0][i] for i in shared} == {i: both[1][i] for i in shared}


def test_a_restored_backup_never_delivers_another_key_under_an_old_index() -> None:
    for name in (ALICE, BOB):
        world = ready(60)
        ksid = opened(world)
        backup = world.sites[name].disk.copy()
        before = fetch(world, ksid, 10)
        world.crash(name, backup)
        world.settle()
        world.allow({ANN: ALICE, BEN: BOB})
        world.connect()
        for number in range(200, 240):
            world.block(number)
            world.settle()
        after = fetch(world, ksid, 30)

        for index in after[0].keys() & before[1].keys():
            assert after[0][index] == before[1][index]
        for index in after[1].keys() & before[0].keys():
            assert after[1][index] == before[0][index]
        shared = after[0].keys() & after[1].keys()
        assert {i: after[0][i] for i in shared} == {i: after[1][i] for i in shared}
        assert len(shared) >= 10


def test_a_backup_from_before_the_stream_never_gives_another_key_under_an_old_index() -> None:
    """What the receiving end delivered and could not acknowledge is forgotten with the stream."""
    for fetched in (0, 10):
        world = ready(60)
        alice, bob = world.sites[ALICE], world.sites[BOB]
        backup = bob.disk.copy()
        ksid = opened(world)
        fetch(world, ksid, fetched)
        numbers = []
        for _ in range(20):
            numbers += [world.ask(BOB, BEN, GetKey(ksid=ksid))]
            world.ask(ALICE, ANN, GetKey(ksid=ksid))
            for name in (ALICE, BOB, BOB):
                world.step(name, 100)
            alice.inbox = deque(each for each in alice.inbox if not isinstance(each, PeerFrame))
        before = dict(bob.keys[number] for number in numbers if number in bob.keys)
        world.crash(BOB, backup)
        world.settle()
        world.allow({ANN: ALICE, BEN: BOB})
        world.connect()
        for number in range(200, 240):
            world.block(number)
            world.settle()
        world.answer(BOB, BEN, OpenConnect(source=BEN, destination=ANN, qos=QoS(), ksid=ksid))
        fetch(world, ksid, 40)
        after = dict(alice.keys.values())
        common = before.keys() & after.keys()

        assert {i: before[i] for i in common} == {i: after[i] for i in common}
        assert len(after) >= 30


def test_a_foreign_application_gets_what_one_gets_for_an_unknown_stream() -> None:
    world = ready()
    ksid = opened(world)
    foreign = world.answer(BOB, ANN, GetKey(ksid=ksid))
    unknown = world.answer(BOB, ANN, GetKey(ksid=KSID(ksid.__class__(int=ksid.int ^ 1))))

    assert isinstance(foreign, KeyReply)
    assert foreign == unknown
    assert Status.PEER_NOT_CONNECTED is foreign.status


def test_no_key_is_on_the_wire_or_in_the_records() -> None:
    world = ready()
    ksid = opened(world)
    ann, _ = fetch(world, ksid, 20)
    wire = b"".join(data for _, data in world.wire)
    records = repr([site.disk.records for site in world.sites.values()]).encode()

    assert not any(key in wire for key in ann.values())
    assert not any(key in records or key.hex().encode() in records for key in ann.values())


def test_delivered_keys_are_wiped_within_the_minute() -> None:
    world = ready()
    ksid = opened(world)
    ann, _ = fetch(world, ksid, 20)
    world.pass_time(limits.DESTROY_WITHIN_MS + 1_000, step_ms=1_000)

    for site in world.sites.values():
        kept = site.disk.readable()
        assert not any(key in kept for key in ann.values())


def test_under_an_alarm_nothing_is_delivered_and_after_it_everything_goes_on() -> None:
    world = ready()
    ksid = opened(world)
    world.block(500, qber=0.3)
    world.settle()
    during = fetch(world, ksid, 1)
    for number in range(600, 603):
        world.block(number, qber=0.02)
        world.settle()
    world.pass_time(6_000)
    after = fetch(world, ksid, 3)

    assert during == ({}, {})
    assert after[0] == after[1]
    assert len(after[0]) == 3


def test_a_doubted_link_destroys_what_it_had_ready() -> None:
    world = ready()
    ksid = opened(world)
    fetch(world, ksid, 1)
    site = world.sites[ALICE]
    out = Outbox(world.moment)
    site.node._guarded(site.node.links[LINK], out, lambda out: _mistake())
    site.disk.commit(out.effects)
    world.pass_time(limits.DESTROY_WITHIN_MS, step_ms=1_000)

    chunks = [gone for name, gone in site.disk.gone.items() if name.startswith("chunks/")]
    assert chunks
    assert all(all(gone) for gone in chunks)


def _mistake() -> None:
    raise AssertionError("planted")


def test_closing_at_both_ends_leaves_no_key_behind() -> None:
    world = ready()
    ksid = opened(world)
    fetch(world, ksid, 3)
    world.answer(ALICE, ANN, Close(ksid=ksid))
    world.answer(BOB, BEN, Close(ksid=ksid))
    world.pass_time(61_000, step_ms=1_000)

    for site in world.sites.values():
        chunks = [gone for name, gone in site.disk.gone.items() if name.startswith("chunks/")]
        assert all(all(gone) for gone in chunks)


def test_a_delivery_names_its_chunk_once() -> None:
    world = ready()
    ksid = opened(world)
    number = world.ask(ALICE, ANN, GetKey(ksid=ksid, index=2))
    again = world.ask(ALICE, ANN, GetKey(ksid=ksid, index=2))
    world.settle()

    assert isinstance(world.sites[ALICE].answers[number], DeliverKey)
    reply = world.sites[ALICE].answers[again]
    assert isinstance(reply, KeyReply)
    assert Status.INSUFFICIENT_KEY is reply.status
    assert attrs.evolve(reply, message="") == KeyReply(
        status=Status.INSUFFICIENT_KEY, message="", index=2
    )
