"""Whole nodes whose operators order about keys: the link, its pads and the store as well."""

from kms.domain import frame, limits, wire
from kms.domain.events import KeysOrdered, PeerConnected, PeerFrame
from kms.domain.names import KSID, WHOLE_LINK, NodeId
from kms.domain.orders import Act, KeyOrder, OrderDone
from kms.domain.records import HoldRecord, LinkState
from kms.domain.requests import GetKey, KeyReply
from kms.domain.status import Status
from tests.domain.test_node import fetch, opened, ready
from tests.world import ALICE, ANN, BEN, BOB, LINK, World


def order(world: World, name: NodeId, act: Act, ksid: KSID | None = None) -> OrderDone:
    """About a stream, or the link."""
    said = KeyOrder(
        act=act,
        link=LINK if ksid is None else None,
        ksid=ksid,
        operator="olga",
        reason="a device was opened",
    )
    world.sites[name].inbox.append(KeysOrdered(request_id=-7, order=said))
    world.settle()
    done = world.sites[name].answers.pop(-7)
    assert isinstance(done, OrderDone)
    return done


def state(world: World, name: NodeId) -> LinkState:
    return world.sites[name].node.links[LINK].memory.state


def test_a_compromised_link_is_doubted_at_both_ends_and_goes_on_with_another_secret() -> None:
    world = ready()
    ksid = opened(world)
    fetch(world, ksid, 3)
    done = order(world, BOB, Act.COMPROMISE)
    world.pass_time(1_200)

    assert (done.changed, done.refused) == (True, "")
    for name, caller in ((ALICE, ANN), (BOB, BEN)):
        assert LinkState.DOUBTED is state(world, name)
        assert ("link-doubted", "compromised by an operator") in world.sites[name].alarms
        reply = world.answer(name, caller, GetKey(ksid=ksid))
        assert isinstance(reply, KeyReply)
        assert (Status.INSUFFICIENT_KEY, True) == (reply.status, "compromised" in reply.message)
    world.give_secret(number=2)
    world.connect()
    for number in range(100, 120):
        world.block(number)
        world.settle()
    ann, ben = fetch(world, opened(world), 5)

    assert (LinkState.OPEN, LinkState.OPEN) == (state(world, ALICE), state(world, BOB))
    assert (5, ann) == (len(ann), ben)
    world.pass_time(limits.DESTROY_WITHIN_MS, step_ms=5_000)
    for name in (ALICE, BOB):
        assert not [r for r in world.sites[name].disk.records.values() if type(r) is HoldRecord]


def test_a_link_compromised_while_it_is_cut_serves_nothing_and_tells_the_other_end() -> None:
    world = ready()
    ksid = opened(world)
    world.cut()
    world.settle()
    order(world, ALICE, Act.COMPROMISE)

    assert (LinkState.OPEN, LinkState.OPEN) == (state(world, ALICE), state(world, BOB))
    world.crash(ALICE)
    world.allow({ANN: ALICE, BEN: BOB})
    reply = world.answer(ALICE, ANN, GetKey(ksid=ksid))

    assert isinstance(reply, KeyReply)
    assert Status.INSUFFICIENT_KEY is reply.status
    world.connect()
    world.pass_time(limits.DESTROY_WITHIN_MS, step_ms=5_000)

    assert (LinkState.DOUBTED, LinkState.DOUBTED) == (state(world, ALICE), state(world, BOB))
    for name in (ALICE, BOB):
        assert 0 == world.sites[name].node.streams.count


def test_a_neighbour_that_refuses_to_talk_is_taken_to_know() -> None:
    """Bob's answer is lost, and his end has stopped: nobody will ever say it again."""
    world = ready()
    opened(world)
    world.lose_frame = lambda sender, data: sender == BOB
    order(world, ALICE, Act.COMPROMISE)
    world.pass_time(1_200)

    assert (LinkState.OPEN, LinkState.DOUBTED) == (state(world, ALICE), state(world, BOB))
    world.lose_frame = lambda sender, data: False
    link = world.sites[ALICE].node.links[LINK]
    session = 99
    refusal = frame.opening(wire.encode_opening(wire.Refusal("the link is doubted")))
    for event in (
        PeerConnected(link=LINK, session=session),
        PeerFrame(link=LINK, session=session, data=refusal),
    ):
        world.sites[ALICE].inbox.append(event)
        world.settle()

    assert "refused" in link.greeting.refused
    assert LinkState.DOUBTED is state(world, ALICE)


def test_an_order_survives_the_restart_of_both_nodes() -> None:
    world = ready()
    ksid = opened(world)
    order(world, ALICE, Act.SUSPEND, ksid)
    for name in (ALICE, BOB):
        world.crash(name)
    world.allow({ANN: ALICE, BEN: BOB})
    world.connect()

    assert ({}, {}) == fetch(world, ksid, 3)
    order(world, BOB, Act.RESUME, ksid)
    ann, ben = fetch(world, ksid, 3)

    assert (3, ann) == (len(ann), ben)


def test_an_order_raises_the_generation_so_that_an_older_copy_is_found() -> None:
    world = World(watched=True)
    world.settle()
    world.allow({ANN: ALICE, BEN: BOB})
    world.give_secret()
    world.connect()
    for number in range(20):
        world.block(number)
        world.settle()
    ksid = opened(world)
    world.pass_time(5_000)
    copy = world.sites[ALICE].disk.copy()
    order(world, ALICE, Act.SUSPEND, ksid)
    world.crash(ALICE, copy)
    world.settle()

    assert world.sites[ALICE].node.standing is not None
    done = order(world, ALICE, Act.RESUME, ksid)

    assert "old copy" in done.refused
    assert done.hint


def test_a_link_suspended_by_its_operator_keeps_its_pads_and_serves_when_it_is_resumed() -> None:
    world = ready()
    ksid = opened(world)
    order(world, BOB, Act.SUSPEND)

    assert ({}, {}) == fetch(world, ksid, 2)
    assert world.sites[ALICE].node.streams.told(LINK)
    assert world.sites[BOB].node.streams.told(LINK, WHOLE_LINK)
    order(world, ALICE, Act.RESUME)
    ann, ben = fetch(world, ksid, 10)

    assert (10, ann) == (len(ann), ben)
