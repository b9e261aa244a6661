"""A store that is older than its witness: the node stands, and goes on as its operator says."""

from typing import cast

import pytest

from kms.domain.appendlog import LogEntry
from kms.domain.attestation import Attestation
from kms.domain.direction import Direction
from kms.domain.effects import Alarm, Attest, Audit, DeliverKey, Effect, SendFrame
from kms.domain.events import DeviceChanged, HungUp, LinkAdded, MaterialOpened, Restored
from kms.domain.generation import Ground
from kms.domain.keyrequests import (
    DecKeys,
    EncKeys,
    KeysReply,
    Outcome,
    PairStatus,
    PairStatusReply,
)
from kms.domain.link import Link
from kms.domain.names import KSID, DeviceId, MaterialId, NodeId, SecretId
from kms.domain.outbox import Outbox
from kms.domain.records import LinkRecord, LinkState, NodeRecord, PadRecord, StreamRecord, Way
from kms.domain.requests import (
    Close,
    CloseReply,
    GetKey,
    KeyReply,
    OpenConnect,
    OpenReply,
    Request,
)
from kms.domain.secret import Secret
from kms.domain.statistics import StakeStatus
from kms.domain.status import QoS, Status
from kms.simulation.disk import Disk
from tests.domain.linkbench import alarms
from tests.sim.ledger import Ledger
from tests.world import ALICE, ANN, BEN, BOB, LINK, SETTINGS, Site, World

WHERE = {ANN: ALICE, BEN: BOB}


def running(*, watched: bool = True) -> World:
    """Two nodes with key, under their first secret."""
    world = World(watched=watched)
    world.ledger = Ledger(world)  # type: ignore[attr-defined]
    world.settle()
    world.allow(dict(WHERE))
    world.give_secret()
    world.connect()
    blocks(world, 1, 8)
    return world


def blocks(world: World, first: int, count: int) -> None:
    for number in range(first, first + count):
        world.block(number)
        world.settle()


def link_at(world: World, name: NodeId) -> Link:
    return world.sites[name].node.links[LINK]


def stands(world: World) -> list[bool]:
    return [world.sites[name].node.standing is not None for name in (ALICE, BOB)]


def stream(world: World, chunk_bytes: int = 32) -> KSID:
    asked = OpenConnect(source=ANN, destination=BEN, qos=QoS(key_chunk_size=chunk_bytes))
    opened = cast(OpenReply, world.answer(ALICE, ANN, asked))
    assert opened.ksid is not None, opened
    world.answer(BOB, BEN, OpenConnect(source=BEN, destination=ANN, qos=QoS(), ksid=opened.ksid))
    return opened.ksid


def keys(world: World, ksid: KSID, count: int) -> list[bytes]:
    """So many keys, which both applications got equal."""
    got: list[bytes] = []
    for _ in range(count):
        pair = []
        for name, caller in ((ALICE, ANN), (BOB, BEN)):
            number = world.ask(name, caller, GetKey(ksid=ksid))
            world.settle()
            pair.append(world.sites[name].keys[number][1])
        assert pair[0] == pair[1]
        got.append(pair[0])
    return got


def put_back(world: World, **disks: Disk) -> None:
    for name, disk in disks.items():
        world.ledger.forgetful.add(NodeId(name))  # type: ignore[attr-defined]
        world.crash(NodeId(name), disk)
        world.allow(dict(WHERE))


def copies(world: World) -> dict[str, Disk]:
    return {name: world.sites[NodeId(name)].disk.copy() for name in ("alice", "bob")}


def say(world: World, way: Way, *names: NodeId) -> None:
    for name in names or (ALICE, BOB):
        world.sites[name].inbox.append(Restored(way))
    world.settle()


def test_a_node_that_runs_on_its_own_store_never_stands() -> None:
    world = running()
    ksid = stream(world)
    keys(world, ksid, 5)
    for name in (ALICE, BOB, ALICE):
        world.crash(name)
        world.allow(dict(WHERE))
        world.connect()
        keys(world, ksid, 3)

    assert [False, False] == stands(world)
    assert [] == [alarm for site in world.sites.values() for alarm in site.alarms]


def test_both_ends_put_back_together_stand_and_use_nothing() -> None:
    world = running()
    before = copies(world)
    blocks(world, 20, 8)
    keys(world, stream(world), 20)
    put_back(world, **before)
    sent = len(world.wire)
    records = [dict(world.sites[name].disk.records) for name in (ALICE, BOB)]
    world.connect()
    blocks(world, 40, 2)
    world.give_secret(number=2)

    assert [True, True] == stands(world)
    assert not world.connected()
    assert [] == [data for _, data in world.wire[sent:] if data[1] != 1], "sealed frames"
    assert records == [world.sites[name].disk.records for name in (ALICE, BOB)]
    for site in world.sites.values():
        assert "old-store" in [kind for kind, _ in site.alarms]
        assert "secret-refused" in [kind for kind, _ in site.alarms]
        assert {"the node stands until kms restore"} == set(site.refused_blocks)


def test_without_a_witness_both_ends_use_pad_a_second_time() -> None:
    """Goal: the ledger finds it, so that the test above can fail."""
    world = running(watched=False)
    before = copies(world)
    keys(world, stream(world, 5000), 20)
    put_back(world, **before)

    with pytest.raises(AssertionError, match="I1"):
        world.connect()


def test_after_restore_and_a_new_secret_both_ends_give_keys_again() -> None:
    world = running()
    ksid = stream(world)
    old = keys(world, ksid, 5)
    before = copies(world)
    blocks(world, 20, 8)
    old += keys(world, ksid, 20)
    put_back(world, **before)
    say(world, Way.BURN)
    waiting = [link_at(world, name).memory.state for name in (ALICE, BOB)]
    levels = [pad.level() for name in (ALICE, BOB) for pad in link_at(world, name).memory.pads]
    world.connect()
    up_without_secret = world.connected()
    world.give_secret(number=2)
    world.connect()
    blocks(world, 40, 8)
    gone = cast(KeyReply, world.answer(ALICE, ANN, GetKey(ksid=ksid)))
    new = keys(world, stream(world), 20)

    assert [LinkState.DOUBTED] * 2 == waiting
    assert [0, 0, 0, 0] == levels
    assert not up_without_secret
    assert Status.PEER_NOT_CONNECTED is gone.status
    assert set() == set(old) & set(new)
    assert all("store-restored" in site.audit for site in world.sites.values())
    assert [None, None] == [link_at(world, name).memory.restored for name in (ALICE, BOB)]


def test_what_is_burnt_is_unreadable_before_anything_leaves() -> None:
    world = running()
    before = copies(world)
    keys(world, stream(world), 5)
    put_back(world, **before)
    seen: list[bool] = []

    def leaves(site: Site, effect: Effect) -> None:
        if not isinstance(effect, Attest):
            seen.append(all(all(gone) for gone in site.disk.gone.values()))

    world.watch_output = leaves
    world.sites[ALICE].inbox.append(Restored(Way.BURN))
    world.settle()

    assert seen
    assert all(seen)


def test_a_crash_before_the_witness_heard_of_the_burn_stands_no_longer() -> None:
    """The burn is durable then, and that is what counts."""
    world = running()
    before = copies(world)
    keys(world, stream(world), 5)
    put_back(world, **before)
    attested = world.sites[ALICE].witness
    world.outputs_before_crash = lambda site, effects: 0 if site.name == ALICE else None
    world.sites[ALICE].inbox.append(Restored(Way.BURN))
    world.step(ALICE, 1)
    world.outputs_before_crash = lambda site, effects: None
    same = attested == world.sites[ALICE].witness
    world.settle()

    assert same
    assert world.sites[ALICE].node.standing is None
    assert LinkState.DOUBTED is link_at(world, ALICE).memory.state


def test_a_crash_before_the_burn_is_durable_stands_again() -> None:
    world = running()
    before = copies(world)
    keys(world, stream(world), 5)
    put_back(world, **before)
    for _ in range(3):
        world.outputs_before_crash = lambda site, effects: -1 if site.name == ALICE else None
        world.sites[ALICE].inbox.append(Restored(Way.BURN))
        world.step(ALICE, 1)
        world.outputs_before_crash = lambda site, effects: None
        world.settle()

        assert world.sites[ALICE].node.standing is not None


def test_one_end_put_back_alone_may_ask_its_neighbour_and_its_streams_go_on() -> None:
    for name in (ALICE, BOB):
        world = running()
        ksid = stream(world)
        keys(world, ksid, 5)
        before = copies(world)
        blocks(world, 20, 8)
        keys(world, ksid, 20)
        put_back(world, **{name: before[name]})
        say(world, Way.ASK_PEERS, name)
        world.connect()
        blocks(world, 40, 20)
        keys(world, stream(world), 5)

        assert world.connected(), name
        assert LinkState.OPEN is link_at(world, name).memory.state
        assert [None, None] == [link_at(world, each).memory.restored for each in (ALICE, BOB)]


def test_two_ends_that_both_ask_find_each_other_out_and_use_nothing() -> None:
    for other_way in (Way.ASK_PEERS, Way.BURN):
        world = running()
        ksid = stream(world)
        keys(world, ksid, 5)
        before = copies(world)
        blocks(world, 20, 8)
        keys(world, ksid, 20)
        put_back(world, **before)
        say(world, Way.ASK_PEERS, ALICE)
        say(world, other_way, BOB)
        sent = len(world.wire)
        for number in (2, 3):
            world.connect()
            world.cut()
            world.settle()
            sealed = [data for _, data in world.wire[sent:] if data[1] != 1]
            if number == 2:
                assert [] == sealed, other_way
            world.give_secret(number=number)
        world.connect()
        blocks(world, 40, 8)
        keys(world, stream(world), 5)
        gone = cast(KeyReply, world.answer(BOB, BEN, GetKey(ksid=ksid)))

        assert Status.PEER_NOT_CONNECTED is gone.status


def test_a_restored_leader_whose_peer_holds_other_appends_gets_out_by_a_new_secret() -> None:
    """The leader's old store appended another block under a number that its peer has already: no
    burning explains that. Whichever way its operator chooses, no two different keys come of it."""
    for way in (Way.ASK_PEERS, Way.BURN):
        world = running()
        before = copies(world)
        blocks(world, 20, 4)
        put_back(world, alice=before["alice"])
        say(world, Way.ASK_PEERS, ALICE)
        world.block(30, ALICE)
        world.settle()
        _append_alone(world)
        newer = world.sites[ALICE].disk.copy()
        put_back(world, alice=newer)
        if way is Way.BURN:
            put_back(world, alice=before["alice"])
            say(world, way, ALICE)
        world.connect()
        stopped = not world.connected()
        doubted = [link_at(world, name).memory.state for name in (ALICE, BOB)]
        world.give_secret(number=2)
        world.connect()
        blocks(world, 40, 8)
        keys(world, stream(world), 5)

        assert stopped
        assert LinkState.DOUBTED in doubted
        assert [LinkState.OPEN] * 2 == [link_at(world, name).memory.state for name in (ALICE, BOB)]


def _append_alone(world: World) -> None:
    """The leader appends what it holds, without its follower's word."""
    alice, out = link_at(world, ALICE), Outbox(world.moment)
    held = alice.agreement.held.popitem()[1]
    entry = LogEntry(
        seq=alice.memory.log_count,
        block_id=held.record.block_id,
        direction=Direction.FROM_LEADER,
        start=alice.memory.writer.extents.end,
        length=held.record.length,
    )
    alice.agreement.log.append(entry, held.record, out)
    world.sites[ALICE].disk.commit(out.effects)


def test_an_application_is_told_by_its_status_that_the_node_stands() -> None:
    world = running()
    ksid = stream(world)
    before = copies(world)
    keys(world, ksid, 5)
    put_back(world, **before)
    wish = OpenConnect(source=ANN, destination=BEN, qos=QoS(key_chunk_size=32))
    opened = cast(OpenReply, world.answer(ALICE, ANN, wish))
    got = cast(KeyReply, world.answer(ALICE, ANN, GetKey(ksid=ksid)))
    closed = cast(CloseReply, world.answer(ALICE, ANN, Close(ksid=ksid)))

    assert Status.NO_QKD_CONNECTION is opened.status
    assert Status.INSUFFICIENT_KEY is got.status
    assert Status.NO_QKD_CONNECTION is closed.status
    assert "old copy" in got.message


def test_who_asks_a_node_that_stands_for_keys_with_ids_is_told_so() -> None:
    world = running()
    before = copies(world)
    keys(world, stream(world), 5)
    put_back(world, **before)
    requests: list[Request] = [
        EncKeys(slave=BEN, number=1, key_bytes=32),
        DecKeys(master=BEN, key_ids=bytes(16)),
        PairStatus(slave=BEN),
    ]
    for request in requests:
        answer = world.answer(ALICE, ANN, request)

        assert isinstance(answer, KeysReply | PairStatusReply)
        assert Outcome.UNAVAILABLE is answer.outcome
        assert "old copy" in answer.message


def test_a_node_that_does_not_stand_has_nothing_to_restore() -> None:
    world = running()
    ksid = stream(world)
    say(world, Way.BURN)

    assert 3 == len(keys(world, ksid, 3))


@pytest.mark.parametrize("age", ["hot", "cold"])
def test_a_copy_of_the_present_generation_is_as_good_as_a_crash(age: str) -> None:
    world = running()
    ksid = stream(world)
    keys(world, ksid, 5)
    if age == "cold":
        world.crash(ALICE)
        world.allow(dict(WHERE))
        world.connect()
    now = copies(world)
    put_back(world, **now)
    world.connect()

    assert [False, False] == stands(world)
    assert 3 == len(keys(world, ksid, 3))


def test_a_store_whose_witness_is_gone_stands_whatever_it_holds() -> None:
    world = running()
    world.sites[ALICE].witness = None
    put_back(world, alice=world.sites[ALICE].disk.copy())
    gate = world.sites[ALICE].node.standing

    assert gate is not None
    assert Ground.UNKNOWN is gate.standing.ground
    assert "store-unknown" in [kind for kind, _ in world.sites[ALICE].alarms]
    assert world.sites[ALICE].witness is None
    number = gate.standing.generation
    say(world, Way.BURN, ALICE)
    assert world.sites[ALICE].node.generation.number > number
    assert world.sites[ALICE].witness is not None


def test_an_empty_store_where_the_witness_knows_another_stands() -> None:
    world = running()
    put_back(world, alice=Disk())
    gate = world.sites[ALICE].node.standing
    world.give_secret()
    used_again = link_at(world, ALICE).memory.secrets
    say(world, Way.BURN, ALICE)
    world.give_secret(number=2)
    world.connect()
    blocks(world, 20, 4)

    assert gate is not None
    assert Ground.FOREIGN is gate.standing.ground
    assert () == used_again
    assert 3 == len(keys(world, stream(world), 3))


def test_a_store_from_before_there_were_witnesses_is_taken_and_watched_from_then_on() -> None:
    world = running(watched=False)
    for site in world.sites.values():
        site.watched = True
    put_back(world, **copies(world))
    world.connect()
    before = copies(world)
    keys(world, stream(world), 3)
    put_back(world, **before)

    assert [True, True] == stands(world)


def test_the_generation_rises_exactly_with_what_matters() -> None:
    """Against a naive model: the whole disk before and after each batch."""
    world = World(watched=True)
    kept: dict[NodeId, list[object]] = {ALICE: [], BOB: []}
    rises = calm = 0

    def committed(site: Site, effects: list[Effect]) -> None:
        nonlocal rises, calm
        now = [each for record in site.disk.records.values() if (each := _matters(record))]
        rose = any(isinstance(each, Attest) for each in effects)
        assert rose == (sorted(map(str, now)) != sorted(map(str, kept[site.name])))
        rises, calm = rises + rose, calm + (not rose)
        kept[site.name] = now

    world.watch = committed
    world.settle()
    world.allow(dict(WHERE))
    world.give_secret()
    world.connect()
    blocks(world, 1, 8)
    ksid = stream(world)
    keys(world, ksid, 50)
    world.block(50, ALICE)
    world.pass_time(3_000)
    world.answer(ALICE, ANN, Close(ksid=ksid))
    world.crash(ALICE)
    world.settle()

    assert rises > 10
    assert calm > 2 * rises


def _matters(record: object) -> object:
    match record:
        case NodeRecord():
            return record.boot
        case PadRecord() if record.granted:
            return record.direction, record.granted
        case LinkRecord():
            return record.state, record.epoch, record.secrets, record.alarm, record.restored
        case StreamRecord() if record.next_index:
            return record.ksid, record.next_index
    return None


def test_the_witness_hears_before_anything_of_its_batch_leaves_and_never_less() -> None:
    world = World(watched=True)
    order: list[tuple[NodeId, str, int]] = []

    def leaves(site: Site, effect: Effect) -> None:
        record = cast(NodeRecord, site.disk.records[NodeRecord, site.name])
        if isinstance(effect, Attest):
            assert effect.attestation.generation == record.generation
        elif isinstance(effect, SendFrame | DeliverKey):
            seen = cast(Attestation, site.witness)
            order.append((site.name, type(effect).__name__, seen.generation - record.generation))

    world.watch_output = leaves
    world.settle()
    world.allow(dict(WHERE))
    world.give_secret()
    world.connect()
    blocks(world, 1, 8)
    keys(world, stream(world), 20)
    behind = [each for each in order if each[2]]

    assert {"SendFrame", "DeliverKey"} == {each[1] for each in order}
    assert [] == behind


def test_a_link_added_to_a_standing_node_waits_with_the_others() -> None:
    world = running()
    before = copies(world)
    keys(world, stream(world), 2)
    put_back(world, **before)
    for _ in range(2):
        world.sites[ALICE].inbox.append(LinkAdded(peer=NodeId("carol"), settings=SETTINGS))
        world.settle()
    link = next(each for name, each in world.sites[ALICE].node.links.items() if name != LINK)
    waiting = link.memory.standing
    say(world, Way.BURN, ALICE)

    assert waiting
    assert "" == link.memory.standing
    assert LinkState.NEW is link.memory.state


def test_a_standing_node_says_what_each_link_has_to_lose_and_refuses_secrets_by_its_reason() -> (
    None
):
    world = running()
    stream(world)
    world.block(30, ALICE)
    world.settle()
    before = copies(world)
    keys(world, stream(world), 2)
    put_back(world, **before)
    node = world.sites[ALICE].node
    levels = sum(pad.level() for pad in link_at(world, ALICE).memory.pads)
    (stake,) = node.stakes()

    assert StakeStatus(link=LINK, pad_bytes=levels, held_blocks=1, streams=1) == stake
    assert levels > 0
    assert node.standing is not None
    assert node.standing.reason == node.refuses_secret(LINK, SecretId("9" * 32))
    assert not node.room(LINK, 4096)
    assert node.deadline_ms() is None


def test_a_standing_node_keeps_track_of_its_devices_and_wipes_what_it_did_not_ask_for() -> None:
    world = running()
    before = copies(world)
    keys(world, stream(world), 2)
    put_back(world, **before)
    node, device, bits = world.sites[ALICE].node, DeviceId("device"), Secret(b"x")
    opened = MaterialOpened(material=MaterialId("stray"), offset=0, length=1, bits=bits)
    gone = MaterialOpened(material=MaterialId("stray"), offset=0, length=1, bits=None)
    changed = DeviceChanged(device=device, link=LINK, fault="silent", reason="no answer")
    effects = node.handle_all(world.moment, [opened, gone, HungUp(request_id=7), changed])

    assert [("device", "device: silent: no answer")] == alarms(effects)
    assert [Alarm, Audit] == [type(each) for each in effects]
    assert node.standing is not None
    assert not any(bits.expose())
    assert {device: "silent"} == node.device_faults


def test_a_link_that_was_burnt_already_is_burnt_again() -> None:
    """Its hash key is gone since, and no other secret was brought."""
    world = running()
    before = copies(world)
    keys(world, stream(world), 2)
    put_back(world, **before)
    say(world, Way.BURN, ALICE)
    burnt = world.sites[ALICE].disk.copy()
    epoch = link_at(world, ALICE).memory.epoch
    world.crash(ALICE)
    world.settle()
    put_back(world, alice=burnt)
    stood = world.sites[ALICE].node.standing is not None
    say(world, Way.BURN, ALICE)
    memory = link_at(world, ALICE).memory

    assert stood
    assert (LinkState.DOUBTED, None, epoch + 1) == (memory.state, memory.hash_key, memory.epoch)
    say(world, Way.BURN, BOB)
    world.give_secret(number=2)
    world.connect()
    blocks(world, 40, 4)
    assert 3 == len(keys(world, stream(world), 3))
