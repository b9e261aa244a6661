"""Operators' orders about one key for several slaves, by its ID: at any node, known at all."""

from uuid import UUID

import pytest

from kms.domain import limits
from kms.domain.audit import AuditEntry
from kms.domain.keyids import prefix_of
from kms.domain.keyrequests import KeysReply, Outcome
from kms.domain.names import HERE, KSID, NodeId, SAEId
from kms.domain.orders import Act
from kms.domain.records import BundleState, HoldRecord
from kms.domain.wireheld import HeldKeys, IndexRange
from tests.domain.multicast_play import (
    AB,
    AC,
    ANA,
    ANN,
    BEA,
    BEN,
    CAROL,
    CAT,
    HOMES,
    NOT_FOUND,
    Party,
    ids_of,
    outcome,
)
from tests.domain.test_multicast_hostile import SPENT, entrust
from tests.domain.test_multicast_time import HOUR_MS, again, journalled
from tests.domain.test_revocation_multicast import order
from tests.siege import Siege, alarms, hung_up, still_right, written
from tests.statehash import SESSION, changes, state
from tests.world import ALICE, BOB

SUSPEND, RESUME, COMPROMISE = Act.SUSPEND, Act.RESUME, Act.COMPROMISE
NODES = (ALICE, BOB, CAROL)
EVERYBODY = (BEN, BEA, CAT, ANA)
GOOD, NO_MORE = (Outcome.DELIVERED, ""), (Outcome.BAD_REQUEST, NOT_FOUND)


def key(key_id: bytes) -> UUID:
    return UUID(bytes=key_id)


def three(party: Party) -> tuple[KeysReply, list[bytes]]:
    """Ann's keys for everybody, and their IDs."""
    found = party.got(*EVERYBODY, count=3)
    return found, ids_of(found)


def told(party: Party, name: NodeId, key_id: bytes) -> bool:
    streams = party.sites[name].node.streams
    bundle = streams._register.bundles.named(key_id[:12])
    assert bundle is not None
    return streams.told_keys(bundle.name)


def holds(party: Party, name: NodeId) -> dict[str, tuple[object, object]]:
    """On its disk: what is suspended and compromised, by link."""
    records = party.sites[name].disk.records.values()
    kept = [each for each in records if isinstance(each, HoldRecord)]
    return {each.link: (each.suspended, each.compromised) for each in kept}


# ---- what an order does ------------------------------------------------------------------------


@pytest.mark.parametrize("name", NODES)
def test_a_suspended_key_is_refused_at_every_end_until_it_is_resumed(name: NodeId) -> None:
    party = Party()
    _, (one, two, three_) = three(party)
    done = order(party, SUSPEND, name, key_id=key(two))

    assert ("", True, 1, 1, 1) == (done.refused, done.changed, done.first, done.count, done.waiting)
    assert done.bundle is not None
    assert (one[:12], None, None) == (prefix_of(done.bundle), done.ksid, done.link)
    for slave in EVERYBODY:
        assert NO_MORE == outcome(party.dec(slave, two))
        assert NO_MORE == outcome(party.dec(slave, one + two))
        assert GOOD == outcome(party.dec(slave, one))
    assert [True] * 3 == [told(party, each, one) for each in NODES]

    other = BOB if name == ALICE else ALICE

    assert order(party, RESUME, other, key_id=key(two)).changed
    for slave in EVERYBODY:
        assert GOOD == outcome(party.dec(slave, two + three_))


@pytest.mark.parametrize("name", NODES)
def test_a_compromised_key_is_unreadable_at_every_node_and_given_to_nobody(name: NodeId) -> None:
    party = Party()
    mine, (one, two, _) = three(party)
    assert mine.keys is not None
    done = order(party, COMPROMISE, name, key_id=key(one))

    assert (True, 1, int(name == ALICE)) == (done.changed, done.waiting, done.delivered)
    for slave in EVERYBODY:
        assert NO_MORE == outcome(party.dec(slave, one))
        assert GOOD == outcome(party.dec(slave, two))
    for each in NODES:
        lost = bytes(mine.keys.expose()[:32])
        assert lost not in party.sites[each].disk.readable()
    again_ = order(party, COMPROMISE, name, key_id=key(one))

    assert ("", False) == (again_.refused, again_.changed)


def test_what_one_slave_is_reading_of_a_key_that_is_compromised_is_wiped_when_it_was_read() -> None:
    party = Party()
    _, (one, _, _) = three(party)
    party.dec(BEN, one)
    done = order(party, COMPROMISE, BOB, key_id=key(one))
    before = party.readable(BOB)
    party.pass_time(limits.WIPE_AFTER_MS)

    assert (1, 1) == (done.waiting, done.delivered)
    assert (96, 64) == (before, party.readable(BOB))


def test_a_bundle_of_which_all_is_lost_or_delivered_is_over() -> None:
    party = Party()
    found = party.got(BEN, BEA)
    order(party, COMPROMISE, ALICE, key_id=key(found.key_ids))
    party.pass_time(limits.WIPE_AFTER_MS)

    assert [BundleState.ENDED] == party.states(ALICE)
    assert ([BundleState.ENDED], 0) == (party.states(BOB), party.readable(BOB))


@pytest.mark.parametrize("name", NODES)
@pytest.mark.parametrize("act", [SUSPEND, COMPROMISE])
def test_an_order_is_journalled_at_every_node_that_has_the_key(name: NodeId, act: Act) -> None:
    """I11"""
    for place in NODES:
        party = Party()
        _, (one, _, _) = three(party)
        entries = journalled(party, place)
        order(party, act, name, key_id=key(one))
        (said,) = (each for each in entries if each.event == "keys-ordered")
        done = [each for each in entries if each.event in ("keys-suspended", "keys-compromised")]
        journal_says(said, act)

        assert [(0, 1)] == [(each.detail["first"], each.detail["count"]) for each in done]
        assert said.subject == done[0].subject


def journal_says(entry: AuditEntry, act: Act) -> None:
    assert ("operator", act.value, "olga", "a drill") == (
        entry.actor,
        entry.detail["act"],
        entry.detail["operator"],
        entry.detail["reason"],
    )
    assert (0, 1) == (entry.detail["first"], entry.detail["count"])


def test_what_is_resumed_is_journalled_too_where_somebody_waits() -> None:
    party = Party()
    _, (one, _, _) = three(party)
    order(party, SUSPEND, BOB, key_id=key(one))
    entries = journalled(party, CAROL)
    order(party, RESUME, ALICE, key_id=key(one))

    assert ["keys-ordered", "keys-released"] == [each.event for each in entries]


# ---- whom it reaches, and when -----------------------------------------------------------------


@pytest.mark.parametrize("name", [BOB, CAROL])
@pytest.mark.parametrize("act", [SUSPEND, COMPROMISE])
def test_a_node_that_is_away_is_told_when_it_is_there_also_after_restarts(
    name: NodeId, act: Act
) -> None:
    party = Party()
    _, (one, _, _) = three(party)
    far, slave = (CAROL, CAT) if name == BOB else (BOB, BEN)
    party.cut(ALICE, far)
    party.settle()
    order(party, act, name, key_id=key(one))

    assert [False, True] == [told(party, ALICE, one), told(party, name, one)]

    for each in NODES:
        party.crash(each)
    party.settle()
    party.allow()
    party.connect(ALICE, BOB)
    party.connect(ALICE, CAROL)

    assert [True] * 3 == [told(party, each, one) for each in NODES]
    assert NO_MORE == outcome(party.dec(slave, one))


def test_the_masters_node_may_have_delivered_all_it_has_and_orders_still_go_by_it() -> None:
    party = Party()
    found = party.got(BEN, CAT)
    party.pass_time(limits.WIPE_AFTER_MS)
    assert [BundleState.ENDED] == party.states(ALICE)
    order(party, SUSPEND, BOB, key_id=key(found.key_ids))

    assert NO_MORE == outcome(party.dec(CAT, found.key_ids))

    order(party, COMPROMISE, ALICE, key_id=key(found.key_ids))

    assert [0, 0] == [party.readable(BOB), party.readable(CAROL)]


def test_orders_at_two_nodes_that_do_not_know_of_each_other_add_up() -> None:
    party = Party()
    _, (one, two, three_) = three(party)
    party.cut(ALICE, BOB)
    party.cut(ALICE, CAROL)
    party.settle()
    for name, key_id, act in (
        (BOB, one, SUSPEND),
        (CAROL, two, COMPROMISE),
        (ALICE, three_, SUSPEND),
    ):
        order(party, act, name, key_id=key(key_id))
    party.connect(ALICE, BOB)
    party.connect(ALICE, CAROL)
    said = (((0, 1), (2, 3)), ((1, 2),))

    assert {AB: said, AC: said} == holds(party, ALICE)
    assert [{AB: said}, {AC: said}] == [holds(party, BOB), holds(party, CAROL)]


def test_two_nodes_that_order_the_same_need_no_third_to_tell_them() -> None:
    party = Party()
    _, (one, _, _) = three(party)
    party.cut(ALICE, BOB)
    party.cut(ALICE, CAROL)
    party.settle()
    for name in (BOB, CAROL):
        order(party, SUSPEND, name, key_id=key(one))
    party.connect_now(ALICE, BOB)
    party.connect_now(ALICE, CAROL)
    party.settle()

    assert [True] * 3 == [told(party, each, one) for each in NODES]
    assert {AB: (((0, 1),), ()), AC: (((0, 1),), ())} == holds(party, ALICE)


def test_what_a_store_that_was_put_back_forgot_it_is_told_again() -> None:
    party = Party()
    _, (one, _, _) = three(party)
    old = party.sites[ALICE].disk.copy()
    order(party, SUSPEND, BOB, key_id=key(one))
    party.crash(ALICE, old)
    party.settle()
    party.allow()
    party.connect(ALICE, BOB)
    party.connect(ALICE, CAROL)

    assert {AB: (((0, 1),), ()), AC: (((0, 1),), ())} == holds(party, ALICE)


def test_keys_on_their_way_that_a_slaves_node_holds_back_are_given_to_nobody() -> None:
    party = Party()
    party.lose_frame = lambda sender, data: sender == CAROL
    number = party.enc(BEN, CAT)
    party.settle()
    name = party.bundles(BOB)[0].name
    order(party, SUSPEND, BOB, key_id=UUID(int=name.int))

    assert (
        Outcome.UNAVAILABLE,
        "try again: an operator has ordered about these keys",
    ) == party.refusal(number)
    assert ([BundleState.ENDED], 0) == (party.states(BOB), party.readable(BOB))


def test_slaves_at_the_masters_own_node_alone_are_held_to_it_as_well() -> None:
    party = Party()
    other = SAEId("sae:amy.alice")
    party.allow({**HOMES, other: ALICE})
    number = party.enc(ANA, other, count=2)
    found = party.reply(number)
    assert isinstance(found, KeysReply)
    one, two = ids_of(found)
    order(party, SUSPEND, ALICE, key_id=key(one))

    assert {HERE: (((0, 1),), ())} == holds(party, ALICE)
    assert told(party, ALICE, one)
    assert NO_MORE == outcome(party.dec(ANA, one))
    assert GOOD == outcome(party.dec(ANA, two))
    again(party, ALICE)
    party.allow({**HOMES, other: ALICE})
    assert NO_MORE == outcome(party.dec(ANA, one))
    order(party, RESUME, ALICE, key_id=key(one))
    assert GOOD == outcome(party.dec(ANA, one))


def test_when_the_hour_is_over_so_are_the_orders() -> None:
    party = Party()
    _, (one, _, _) = three(party)
    order(party, SUSPEND, BOB, key_id=key(one))
    party.pass_time(HOUR_MS + 200, step_ms=HOUR_MS // 2)

    assert [{}] * 3 == [holds(party, each) for each in NODES]
    assert [0] * 3 == [party.readable(each) for each in NODES]
    assert party.sites[ALICE].node.streams.told_keys(KSID(key(one)))


def test_a_neighbour_that_has_forgotten_the_keys_lets_the_word_pass() -> None:
    party = Party()
    _, (one, _, _) = three(party)
    party.sites[BOB].node.streams._register.bundles.by_name.clear()
    order(party, SUSPEND, ALICE, key_id=key(one))

    assert party.connected(ALICE, BOB)
    assert not told(party, ALICE, one)


# ---- what is refused ---------------------------------------------------------------------------


def test_what_cannot_be_ordered_is_refused_and_changes_nothing() -> None:
    party = Party()
    _, (one, two, _) = three(party)
    order(party, COMPROMISE, ALICE, key_id=key(two))
    before = [dict(party.sites[each].disk.records) for each in NODES]
    beyond = UUID(int=int.from_bytes(one) ^ 3)
    for act, key_id, said in (
        (RESUME, key(one), "nothing of it is suspended"),
        (SUSPEND, key(two), "it is compromised"),
        (RESUME, key(two), "it is compromised"),
        (SUSPEND, beyond, f"there is no key here with the ID {beyond}"),
    ):
        assert said == order(party, act, BOB, key_id=key_id).refused
    assert before == [dict(party.sites[each].disk.records) for each in NODES]


def test_keys_on_their_way_or_withdrawn_are_no_keys_yet_or_any_more() -> None:
    party = Party()
    party.lose_frame = lambda sender, data: True
    party.enc(BEN, CAT)
    name = party.bundles(ALICE)[0].name

    assert "there is no key here" in order(party, SUSPEND, ALICE, key_id=name).refused

    party.pass_time(limits.KEYS_TIMEOUT_MS + 200)

    assert "there is no key here" in order(party, COMPROMISE, ALICE, key_id=name).refused


def test_what_everybody_has_cannot_be_held_back_and_can_be_said_to_be_lost() -> None:
    party = Party()
    other = SAEId("sae:amy.alice")
    party.allow({**HOMES, other: ALICE})
    found = party.reply(party.enc(ANA, other))
    assert isinstance(found, KeysReply)
    assert GOOD == outcome(party.dec(ANA, found.key_ids))
    assert order(party, SUSPEND, ALICE, key_id=key(found.key_ids)).changed
    order(party, RESUME, ALICE, key_id=key(found.key_ids))
    party.sites[ALICE].node.streams._register.bundles.named(found.key_ids[:12])._taken[:] = True  # type: ignore[union-attr]
    done = order(party, SUSPEND, ALICE, key_id=key(found.key_ids))

    assert f"the key {key(found.key_ids)} does not wait here" == done.refused
    assert order(party, COMPROMISE, ALICE, key_id=key(found.key_ids)).changed


# ---- what a right neighbour never says ---------------------------------------------------------


def word(name: KSID, **fields: object) -> HeldKeys:
    right: dict[str, object] = {
        "name": name.bytes,
        "master": ANN,
        "leader": 1,
        "follower": 0,
        "suspended": [IndexRange(0, 0)],
        "compromised": [],
        "operator": "mallory",
        "reason": "",
    }
    return HeldKeys(**{**right, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "fields",
    [
        {"master": ANA},
        {"suspended": [IndexRange(0, 3)]},
        {"compromised": [IndexRange(2, 2), IndexRange(1, 1)]},
        {"suspended": [IndexRange(1, 0)]},
        {"leader": 1 << 61},
    ],
    ids=str,
)
def test_a_word_that_makes_no_sense_costs_the_session_and_changes_nothing(
    fields: dict[str, object],
) -> None:
    """I9"""
    party = Party()
    three(party)
    name = party.bundles(BOB)[0].name
    siege = Siege(BOB, party)
    before = state(siege.node, without=SESSION | SPENT)
    effects = siege.says(word(name, **fields))

    assert [] == still_right(siege, effects)
    assert (True, ["peer-fault"], []) == (hung_up(effects), alarms(effects), written(effects))
    assert [] == changes(before, state(siege.node, without=SESSION | SPENT))


def test_a_word_about_keys_on_their_way_here_costs_the_session() -> None:
    siege = Siege(BOB, Party())
    siege.says(entrust(count=2))
    name = next(iter(siege.node.streams._register.bundles.by_name))
    effects = siege.says(word(name))

    assert hung_up(effects)


def test_a_word_about_keys_of_another_link_changes_nothing() -> None:
    """I10"""
    party = Party()
    party.got(ANA, CAT)
    name = party.bundles(CAROL)[0].name
    siege = Siege(ALICE, party)
    effects = siege.says(word(name))

    assert (False, []) == (hung_up(effects), written(effects))


def test_a_word_twice_is_one_order() -> None:
    party = Party()
    three(party)
    name = party.bundles(BOB)[0].name
    siege = Siege(BOB, party)

    assert written(siege.says(word(name)))
    assert [] == written(siege.says(word(name)))
