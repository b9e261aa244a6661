"""One fresh key under one key ID for a master and several slaves (ETSI GS QKD 014,
additional_slave_SAE_IDs; its annex B)."""

import pytest

from kms.domain import limits
from kms.domain.effects import Refuse
from kms.domain.keyrequests import KeysReply, Outcome
from kms.domain.names import NodeId, SAEId
from kms.domain.policy import Rule, Share
from kms.domain.records import BundleState
from tests.domain.multicast_play import (
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
from tests.world import ALICE, BOB

GOOD, UNAVAILABLE, BAD = Outcome.DELIVERED, Outcome.UNAVAILABLE, Outcome.BAD_REQUEST


# ---- what a master and its slaves get -----------------------------------------------------------


def test_a_master_and_slaves_at_two_nodes_get_the_same_keys_under_the_same_ids() -> None:
    party = Party()
    mine = party.got(BEN, CAT, count=3)
    theirs = [party.dec(slave, mine.key_ids) for slave in (BEN, CAT)]

    assert mine.keys is not None
    assert (96, 3) == (len(mine.keys), len(set(ids_of(mine))))
    for each in theirs:
        assert isinstance(each, KeysReply)
        assert (GOOD, mine.key_ids) == (each.outcome, each.key_ids)
        assert mine.keys == each.keys


def test_two_slaves_at_one_node_and_one_at_the_masters_own_get_them_as_well() -> None:
    party = Party()
    mine = party.got(BEN, BEA, ANA, CAT)
    theirs = [party.dec(slave, mine.key_ids) for slave in (ANA, CAT, BEA, BEN)]

    assert [mine.keys] * 4 == [each.keys for each in theirs if isinstance(each, KeysReply)]
    assert 1 == len(party.bundles(BOB))


def test_slaves_who_all_live_at_the_masters_own_node_cost_no_pad() -> None:
    party = Party()
    other = SAEId("sae:amy.alice")
    party.allow({**HOMES, other: ALICE})
    before = party.level(BOB), party.level(CAROL)
    number = party.enc(ANA, other)
    mine = party.reply(number)

    assert isinstance(mine, KeysReply)
    assert mine.keys is not None
    found = party.dec(ANA, mine.key_ids)
    assert isinstance(found, KeysReply)
    assert mine.keys == found.keys
    assert before == (party.level(BOB), party.level(CAROL))


def test_each_slave_gets_each_key_once_in_any_order_and_all_or_none() -> None:
    party = Party()
    mine = party.got(BEN, CAT, count=3)
    one, two, three = ids_of(mine)
    first = party.dec(BEN, three + one)

    assert isinstance(first, KeysReply)
    assert mine.keys is not None
    assert first.keys == type(mine.keys)(
        bytes(mine.keys.expose()[64:]) + bytes(mine.keys.expose()[:32])
    )
    assert (BAD, NOT_FOUND) == outcome(party.dec(BEN, two + one))
    assert (GOOD, "") == outcome(party.dec(BEN, two))
    assert (BAD, NOT_FOUND) == outcome(party.dec(BEN, two))
    assert (GOOD, "") == outcome(party.dec(CAT, mine.key_ids))


def test_keys_of_a_pair_and_of_several_slaves_can_be_fetched_at_once() -> None:
    party = Party()
    pair, several = party.got(BEN), party.got(BEN, CAT, count=2)
    found = party.dec(BEN, several.key_ids[:16] + pair.key_ids + several.key_ids[16:])

    assert isinstance(found, KeysReply)
    assert (GOOD, 96) == (found.outcome, len(found.keys or b""))


def test_keys_larger_than_one_message_go_in_parts_and_are_the_same_at_all_ends() -> None:
    party = Party(blocks=16)
    party.pass_time(1000)
    mine = party.got(BEN, CAT, count=100, size=500)
    found = party.dec(CAT, mine.key_ids)

    assert isinstance(found, KeysReply)
    assert mine.keys == found.keys
    (record,) = party.bundles(CAROL)
    assert (32, 100) == (record.part_keys, record.filled)


# ---- when the master gets them ----------------------------------------------------------------


def test_the_master_is_answered_when_every_node_holds_the_keys_durably() -> None:
    """I5"""
    party = Party()
    number = party.enc(BEN, CAT)
    party.step(BOB, 10)
    party.step(ALICE, 10)

    assert [BundleState.HELD] == party.states(BOB)
    assert [BundleState.FILLING] == party.states(ALICE)
    assert party.reply(number) is None

    party.settle()

    assert isinstance(party.reply(number), KeysReply)
    assert [BundleState.HELD] * 3 == [
        *party.states(ALICE),
        *party.states(BOB),
        *party.states(CAROL),
    ]


@pytest.mark.parametrize("lost", [BOB, CAROL])
def test_a_node_that_does_not_answer_in_time_leaves_nobody_with_a_key(lost: NodeId) -> None:
    party = Party()
    party.lose_frame = lambda sender, data: sender == lost
    number = party.enc(BEN, CAT)
    party.settle()
    party.lose_frame = lambda sender, data: False
    party.pass_time(limits.KEYS_TIMEOUT_MS - 100)

    assert party.reply(number) is None

    party.pass_time(200)

    link = "alice~" + lost
    assert (
        UNAVAILABLE,
        f"try again: not all nodes have the keys in time ({link})",
    ) == party.refusal(number)
    for name in (ALICE, BOB, CAROL):
        assert [BundleState.ENDED] == party.states(name)
        assert 0 == party.readable(name)


def test_a_link_that_goes_down_on_the_way_ends_it_at_once_and_what_is_held_is_withdrawn_later() -> (
    None
):
    party = Party()
    number = party.enc(BEN, CAT)
    party.step(BOB, 10)
    party.cut(ALICE, BOB)
    party.settle()

    assert (UNAVAILABLE, "try again: alice~bob: the link went down") == party.refusal(number)
    assert [BundleState.ENDED] == party.states(CAROL)
    assert [BundleState.HELD] == party.states(BOB)

    party.connect(ALICE, BOB)

    assert [BundleState.ENDED] == party.states(BOB)
    assert 0 == party.readable(BOB)


def test_a_caller_who_hangs_up_is_given_nothing_and_nothing_stays() -> None:
    party = Party()
    number = party.enc(BEN, CAT)
    party.hang_up(number)

    assert party.reply(number) is None
    for name in (ALICE, BOB, CAROL):
        assert [BundleState.ENDED] == party.states(name)
        assert 0 == party.readable(name)


# ---- who may -------------------------------------------------------------------------------------


def test_who_was_not_named_is_not_entitled_and_another_master_is_not_found() -> None:
    """I3"""
    party = Party()
    mine = party.got(BEN, CAT)
    stranger, own = party.dec(BEA, mine.key_ids), party.dec(ANN, mine.key_ids)

    assert [Outcome.NOT_ENTITLED] * 2 == [outcome(stranger)[0], outcome(own)[0]]
    assert (BAD, NOT_FOUND) == outcome(party.dec(BEN, mine.key_ids, master=ANA))
    assert (GOOD, "") == outcome(party.dec(BEN, mine.key_ids))


def test_policy_is_asked_for_each_slave_at_the_master_at_the_slave_and_when_it_fetches() -> None:
    """I3"""
    party = Party()
    mine = party.got(BEN, CAT)
    only_ben = Rule(one=ANN, other=BEN)
    party.allow(HOMES, only_ben)

    assert isinstance(party.reply(party.enc(BEN, CAT)), Refuse)
    assert isinstance(party.dec(CAT, mine.key_ids), Refuse)
    assert (GOOD, "") == outcome(party.dec(BEN, mine.key_ids))


def test_a_slave_that_loses_its_leave_on_the_way_is_given_nothing_and_neither_is_the_master() -> (
    None
):
    party = Party()
    number = party.enc(BEN, CAT)
    party.allow(HOMES, Rule(one=ANN, other=BEN))

    assert (
        UNAVAILABLE,
        "try again: policy does not let these applications share keys",
    ) == party.refusal(number)
    assert [BundleState.ENDED] == party.states(ALICE)


def test_a_slave_that_moves_on_the_way_ends_it() -> None:
    party = Party()
    number = party.enc(BEN, CAT)
    party.allow({**HOMES, CAT: BOB})

    assert (UNAVAILABLE, "try again: a slave SAE has moved: try again") == party.refusal(number)


def test_a_node_that_knows_another_directory_declines_and_says_why() -> None:
    party = Party()
    party.sites[CAROL].node.streams._register.directory = {}
    number = party.enc(BEN, CAT)
    party.settle()

    assert (
        UNAVAILABLE,
        "try again: alice~carol: the applications do not live at these nodes",
    ) == party.refusal(number)
    assert ([BundleState.ENDED], []) == (party.states(BOB), party.states(CAROL))


# ---- what cannot be met --------------------------------------------------------------------------

MANY = tuple(SAEId(f"sae:s{number}.bob") for number in range(limits.ADDITIONAL_SLAVES_MAX + 2))


@pytest.mark.parametrize(
    ("slaves", "count", "size", "message"),
    [
        ((BEN, BEN), 1, 32, "named twice"),
        ((BEN, ANN), 1, 32, "is the caller"),
        (MANY, 1, 32, "at most 8 additional"),
        ((BEN, SAEId("sae:nobody")), 1, 32, "it is not known where sae:nobody lives"),
        ((BEN, SAEId("sae:dan.dave")), 1, 32, "lives at dave, which is no neighbour"),
        ((BEN, CAT), 0, 32, "1 to 1024 keys"),
        ((BEN, CAT), 1025, 32, "1 to 1024 keys"),
        ((BEN, CAT), 1, 0, "1 to 4096 octets"),
        ((BEN, CAT), 1, 4097, "1 to 4096 octets"),
    ],
)
def test_what_can_never_be_met_is_a_bad_request_that_says_why(
    slaves: tuple[SAEId, ...], count: int, size: int, message: str
) -> None:
    party = Party(blocks=0)
    dan = {SAEId("sae:dan.dave"): NodeId("dave")}
    party.allow({**HOMES, **dan, **dict.fromkeys(MANY, BOB)})
    found = party.refusal(party.enc(*slaves, count=count, size=size))

    assert BAD is found[0]
    assert message in found[1]
    assert [] == party.bundles(ALICE)


def test_without_randomness_only_such_requests_are_refused() -> None:
    party = Party()
    number = party.enc(BEN, CAT, drawn=False)

    assert UNAVAILABLE is party.refusal(number)[0]
    assert "randomness" in party.refusal(number)[1]
    assert GOOD is party.got(BEN).outcome


def test_a_link_that_is_down_or_has_no_key_left_is_said_at_once() -> None:
    party = Party(blocks=0)
    party.cut(ALICE, CAROL)
    party.settle()
    poor = party.enc(BEN, BEA, count=1024, size=4096)
    down = party.enc(BEN, CAT)

    assert (UNAVAILABLE, "alice~bob has not enough key left") == party.refusal(poor)
    assert (UNAVAILABLE, "try again: alice~carol is down") == party.refusal(down)


@pytest.mark.parametrize("per", list(Share))
def test_the_rate_that_policy_permits_holds_for_keys_for_several_slaves_too(per: Share) -> None:
    party = Party()
    rules = (Rule(one=ANN, other="sae:*", max_bps=8 * 96, per=per), Rule(one=ANA, other="sae:*"))
    party.allow(HOMES, *rules)
    count = 1 if per is Share.RULE else 3
    party.got(BEN, CAT, count=count)
    number = party.enc(BEN, CAT, count=3)

    assert (
        UNAVAILABLE,
        "try again later: policy permits 768 bit/s",
    ) == party.refusal(number)
    assert isinstance(party.reply(party.enc(BEN, CAT, master=ANA)), KeysReply | None)

    party.pass_time(3000)

    assert GOOD is party.got(BEN, CAT, count=count).outcome

    party.allow(HOMES, Rule(one=ANN, other="sae:*", max_bps=16 * 96, per=per))
    slow = party.enc(BEN, CAT, count=2 * count)
    party.pass_time(3000)

    assert UNAVAILABLE is party.refusal(slow)[0]
    assert GOOD is party.got(BEN, CAT, count=2 * count).outcome
