"""Each event of a node goes to the part that owns it, and what nobody owns changes nothing."""

from typing import cast
from uuid import UUID

import attrs
import msgspec
import pytest

from kms.domain import frame, limits, wire
from kms.domain.effects import Audit, BlockStored, SendFrame
from kms.domain.events import (
    Asked,
    BlockArrived,
    DeviceChanged,
    Event,
    HungUp,
    LinkAdded,
    MaterialOpened,
    PeerConnected,
    PeerFrame,
    PeerLost,
    SecretCarried,
    Started,
    Tick,
)
from kms.domain.names import KSID, BlockId, DeviceId, LinkId, MaterialId, NodeId, SecretId, link_id
from kms.domain.node import Node
from kms.domain.outbox import Outbox
from kms.domain.records import LinkState
from kms.domain.requests import OpenConnect
from kms.domain.secret import Secret
from kms.domain.session import Phase
from kms.domain.status import QoS
from kms.domain.wire import Designate, Marked, Refusal
from tests.domain.linkbench import alarms
from tests.world import ALICE, ANN, BEN, BOB, LINK, SETTINGS, World

CAROL = NodeId("carol")
NOWHERE = LinkId("alice~nowhere")
DEVICE = DeviceId("device")


def joined(*names: NodeId) -> World:
    world = World(*names)
    world.settle()
    world.give_secret()
    world.connect()
    return world


def block(link: LinkId, size: int = 4096) -> BlockArrived:
    return BlockArrived(
        device=DEVICE, link=link, block_id=BlockId(UUID(int=1)), bits=Secret(b"x" * size)
    )


def test_before_the_first_event_nothing_is_due_and_nothing_is_counted() -> None:
    node = World().sites[ALICE].node

    assert (node.deadline_ms(), node.streams.statistics(), node.streams.count) == (None, (), 0)


def test_events_for_links_that_are_not_there_change_nothing() -> None:
    world = joined()
    node = world.sites[ALICE].node
    events: list[Event] = [
        PeerConnected(link=NOWHERE, session=7),
        PeerFrame(link=NOWHERE, session=7, data=b""),
        PeerLost(link=NOWHERE, session=7, reason="x"),
        HungUp(request_id=7),
    ]

    assert [[], [], [], []] == [node.handle(world.moment, event) for event in events]


def test_a_block_or_a_secret_for_no_link_is_refused_and_wiped() -> None:
    world = joined()
    node = world.sites[ALICE].node
    stray = block(NOWHERE)
    secret = SecretCarried(link=NOWHERE, secret_id=SecretId("7" * 32), bits=Secret(b"s"))
    answer = node.handle(world.moment, stray)
    refusal = node.handle(world.moment, secret)

    assert [BlockStored(device=DEVICE, block_id=stray.block_id, refused="no such link")] == answer
    assert [
        ("secret-refused", f"alice has no link {NOWHERE}: add it first (kms link add)")
    ] == alarms(refusal)
    assert not any(stray.bits.expose())
    assert not any(secret.bits.expose())


def test_bytes_that_nobody_asked_for_are_wiped() -> None:
    world = joined()
    node, stray = world.sites[ALICE].node, Secret(b"x")
    opened = MaterialOpened(material=MaterialId("stray"), offset=0, length=1, bits=stray)

    assert node.handle(world.moment, opened) == []
    assert not any(stray.expose())
    assert node.handle(world.moment, attrs.evolve(opened, bits=None)) == []


def test_a_device_is_alarmed_when_its_fault_changes_and_journalled_when_it_is_back() -> None:
    world = joined()
    node = world.sites[ALICE].node

    def changed(fault: str, reason: str = "") -> list[object]:
        event = DeviceChanged(device=DEVICE, link=LINK, fault=fault, reason=reason)
        return list(node.handle(world.moment, event))

    assert changed("") == []
    assert [("device", "device: silent: no answer")] == alarms(changed("silent", "no answer"))  # type: ignore[arg-type]
    assert changed("silent", "still none") == []
    assert [("device", "device: qber: 0.2")] == alarms(changed("qber", "0.2"))  # type: ignore[arg-type]
    back = changed("")
    assert ["device-up"] == [each.entry.event for each in back if isinstance(each, Audit)]
    assert node.device_faults == {DEVICE: ""}


def test_a_link_is_added_to_a_running_node_once() -> None:
    world = joined()
    node = world.sites[ALICE].node
    added = LinkAdded(peer=CAROL, settings=SETTINGS)
    first = node.handle(world.moment, added)
    link = node.links[link_id(ALICE, CAROL)]

    assert ["link-added"] == [each.entry.event for each in first if isinstance(each, Audit)]
    assert (link.greeting.boot, link.memory.state) == (node.links[LINK].boot, LinkState.NEW)
    assert node.handle(world.moment, added) == []
    assert node.links[link_id(ALICE, CAROL)] is link


def test_a_link_takes_blocks_when_it_is_open_and_there_is_room() -> None:
    world = World()
    world.settle()
    node = world.sites[ALICE].node
    new = node.room(LINK, 4096)
    world.give_secret()
    used = 2 * limits.SECRET_PAD_BYTES
    left = SETTINGS.pool_bytes_max - used

    assert (new, node.room(NOWHERE, 1)) == (False, False)
    assert (node.room(LINK, left), node.room(LINK, left + 1)) == (True, False)
    world.block(1, ALICE, length=4096)
    world.settle()
    assert (node.room(LINK, left - 4096), node.room(LINK, left - 4095)) == (True, False)


def test_a_block_of_an_impossible_length_is_refused() -> None:
    world = joined()
    for number, length in enumerate((limits.BLOCK_BYTES_MIN - 1, limits.BLOCK_BYTES_MAX + 1)):
        world.block_of(number, b"x" * length, ALICE)
    world.settle()

    assert ["impossible length"] * 2 == world.sites[ALICE].refused_blocks
    assert world.sites[ALICE].node.links[LINK].intake.refused == 2


def test_our_own_mistake_stops_the_link_it_happened_on_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(ALICE, BOB, CAROL)
    world.settle()
    for other, number in ((BOB, 1), (CAROL, 2)):
        world.give_secret(ALICE, other, number=number)
        world.connect(ALICE, other)
    node = world.sites[ALICE].node

    def mistaken(out: object, before_ms: int) -> None:
        raise AssertionError("I1 planted")

    monkeypatch.setattr(node.links[LINK], "tick", mistaken)
    world.sites[ALICE].inbox.append(Tick())
    world.settle()
    doubted, well = node.links[LINK], node.links[link_id(ALICE, CAROL)]

    assert (doubted.memory.state, well.memory.state) == (LinkState.DOUBTED, LinkState.OPEN)
    assert doubted.memory.reason == "a mistake of this program: I1 planted"
    assert (doubted.up, well.up) == (False, True)
    assert not world.connected(ALICE, BOB)


# ---- the session --------------------------------------------------------------------------


def test_news_of_a_session_that_is_over_does_not_end_the_next() -> None:
    world = joined()
    old = world.sites[ALICE].node.links[LINK].greeting.session
    world.cut()
    world.settle()
    world.connect()
    world.sites[ALICE].inbox.append(PeerLost(link=LINK, session=old, reason="late"))
    world.sites[ALICE].inbox.append(PeerFrame(link=LINK, session=old, data=b"late"))
    world.settle()

    assert world.sites[ALICE].node.links[LINK].up
    assert world.connected()


def test_a_refusal_is_remembered_at_both_ends_until_a_session_is_up() -> None:
    world = World()
    world.settle()
    world.give_secret()
    links = [site.node.links[LINK] for site in world.sites.values()]
    links[1].memory.state, links[1].memory.reason = LinkState.DOUBTED, "why"
    world.connect_now()
    world.step(ALICE, 1)
    refusal = frame.opening(wire.encode_opening(Refusal("at bob it is doubted: why")))
    session = links[0].greeting.session
    world.sites[ALICE].inbox.append(PeerFrame(link=LINK, session=session, data=refusal))
    world.step(ALICE, 1)
    world.settle()

    assert links[0].greeting.refused == "refused by the neighbour: at bob it is doubted: why"
    assert links[1].greeting.refused == "at bob it is doubted: why"
    assert [Phase.DOWN] * 2 == [link.greeting.phase for link in links]
    links[1].memory.state = LinkState.OPEN
    world.connect()
    assert ["", ""] == [link.greeting.refused for link in links]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        ({"protocol": "kms/9"}, "a welcome in another protocol"),
        ({"start": 1}, "a welcome with another start"),
        ({"epoch": 3}, "a welcome of an epoch out of reach"),
        ({"granted": 2**40}, "a welcome with an impossible grant"),
    ],
)
def test_i9_a_welcome_that_does_not_fit_ends_the_session(
    changes: dict[str, object], reason: str
) -> None:
    world = World()
    world.settle()
    world.give_secret()
    world.lose_frame = lambda sender, data: (
        sender == BOB and not isinstance(opening_of(data), wire.Hello)
    )
    world.connect()
    link = world.sites[ALICE].node.links[LINK]
    waiting = link.greeting.phase
    said = next(
        message
        for sender, data in world.wire
        if sender == BOB and isinstance(message := opening_of(data), wire.Welcome)
    )
    altered = msgspec.structs.replace(said, **changes)
    data = frame.opening(wire.encode_opening(altered))
    session = link.greeting.session
    world.sites[ALICE].inbox.append(PeerFrame(link=LINK, session=session, data=data))
    world.settle()

    assert waiting is Phase.WAITING
    assert link.up is not bool(reason)
    assert [detail for _, detail in world.sites[ALICE].alarms] == ([reason] if reason else [])


def opening_of(data: bytes) -> object:
    header = frame.read_header(data)
    if header.kind is not frame.Kind.OPENING:
        return None
    return wire.decode_opening(frame.opening_message(data))


def test_i8_messages_that_never_leave_end_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    world = joined()
    link = world.sites[ALICE].node.links[LINK]
    monkeypatch.setattr(limits, "OUTBOX_MESSAGES_MAX", 0)
    link.memory.writer.window.drop(0, 2**40)
    link.send(Marked())
    world.sites[ALICE].inbox.append(Tick())
    world.settle()

    assert not world.connected()
    assert len(link.outgoing) == 0


def test_a_link_that_is_down_says_and_gives_nothing() -> None:
    world = World()
    world.settle()
    world.give_secret()
    link = world.sites[ALICE].node.links[LINK]
    link.send(Marked())
    link.want(32)
    out = world.sites[ALICE].node.handle(world.moment, Tick())

    assert (len(link.outgoing), link.drawable()) == (0, 0)
    assert not [each for each in out if isinstance(each, SendFrame)]
    world.connect()
    assert link.drawable() > 0
    assert link.level() > 0
    link.guard.alarm("qber", "0.2", _outbox(world))
    assert link.draw(Designate(bytes(16), 0, 1, 32, 7), 32, _outbox(world)) is None


def _outbox(world: World) -> Outbox:
    return Outbox(world.moment)


def test_a_link_that_is_not_open_takes_no_block() -> None:
    world = World()
    world.settle()
    world.block(1, ALICE)
    world.settle()
    world.give_secret()
    world.sites[ALICE].node.links[LINK].memory.state = LinkState.DOUBTED
    world.block(2, ALICE)
    world.settle()

    assert ["the link is new", "the link is doubted"] == world.sites[ALICE].refused_blocks


def test_a_link_whose_hash_key_is_unreadable_is_doubted_and_its_session_ends() -> None:
    world = joined()
    key = world.sites[ALICE].node.links[LINK].memory.hash_key
    assert key is not None
    world.sites[ALICE].disk.unreadable.add(key)
    world.crash(ALICE)
    world.settle()
    memory = world.sites[ALICE].node.links[LINK].memory

    assert memory.state is LinkState.DOUBTED
    assert memory.reason == "the link's hash key is unreadable"


def test_blocks_held_over_a_restart_expire_or_are_unreadable_without_harm() -> None:
    world = joined()
    for number in (1, 2, 3):
        world.block(number, BOB)
    world.settle()
    bob = world.sites[BOB]
    held = [each.record.material for each in bob.node.links[LINK].agreement.held.values()]
    bob.disk.unreadable.add(held[0])
    world.crash(BOB)
    world.step(BOB, 2)
    agreement = bob.node.links[LINK].agreement
    agreement.drop(list(agreement.held.values())[1], "gone meanwhile", _outbox(world))
    world.settle()

    assert [held[2]] == [each.record.material for each in agreement.held.values()]
    assert bob.node.room(LINK, 1)


def test_a_neighbour_that_never_greets_loses_its_session() -> None:
    world = World()
    world.settle()
    world.give_secret()
    world.lose_frame = lambda sender, data: sender == BOB
    world.connect()
    world.pass_time(limits.HELLO_TIMEOUT_MS, 100)
    before = world.connected()
    world.pass_time(200)

    assert (before, world.connected()) == (True, False)


@pytest.mark.parametrize(
    ("epoch", "reason"),
    [(1, "a sealed frame before the welcome"), (2, "a frame of another epoch")],
)
def test_i9_a_sealed_frame_out_of_turn_is_the_neighbours_fault(epoch: int, reason: str) -> None:
    world = joined()
    link = world.sites[ALICE].node.links[LINK]
    if epoch == 1:
        link.greeting.phase = Phase.WAITING
    data = frame.seal(b"", epoch, 0, Secret(bytes(32)), b"")
    session = link.greeting.session
    world.sites[ALICE].inbox.append(PeerFrame(link=LINK, session=session, data=data))
    world.settle()

    assert [("peer-fault", reason)] == world.sites[ALICE].alarms
    assert not world.connected()


# ---- a random source that repeats itself ----------------------------------------------------


def test_processes_and_streams_have_names_of_their_own_though_chance_repeats_itself() -> None:
    """Two machines with one store, one generator and the same starts: the time is not the same."""
    fresh = "5" * 32
    numbers, names = list[int](), set[KSID]()
    for start_ms in (1_000, 1_001):
        world = joined()
        node = Node(ALICE, {BOB: SETTINGS}, world.sites[ALICE].disk.records.values())
        moment = attrs.evolve(world.moment, wall_ms=world.moment.wall_ms + start_ms)
        node.handle(moment, Started(fresh=fresh))
        numbers.append(node.links[LINK].boot)
        for number in (1, 2):
            wish = OpenConnect(source=ANN, destination=BEN, qos=QoS())
            asked = Asked(request_id=number, caller=ANN, request=wish, fresh=KSID(UUID(fresh)))
            names.add(cast(KSID, node._named(asked)))

    assert numbers[0] != numbers[1]
    assert len(names) == 4
    assert {name.version for name in names} == {4}
