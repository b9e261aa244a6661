"""Keys for several slaves over crashes, alarms, old stores and time (I5, I6, I11, I13)."""

import attrs
import pytest

from kms.domain import limits
from kms.domain.audit import AuditEntry
from kms.domain.bundle import TRANSITIONS, Bundle, BundleEvent
from kms.domain.effects import Answer, Audit, DeliverKeys, Effect, Save, SendFrame
from kms.domain.events import Restored
from kms.domain.keyrequests import KeysReply, Outcome
from kms.domain.names import NodeId
from kms.domain.outbox import Outbox
from kms.domain.records import BundleRecord, BundleState, Way
from kms.domain.register import as_it_came
from kms.domain.requests import GetKey, OpenConnect, OpenReply
from kms.domain.status import QoS
from tests.domain.multicast_play import (
    AB,
    ANA,
    ANN,
    BEA,
    BEN,
    CAROL,
    CAT,
    NOT_FOUND,
    Party,
    ids_of,
    outcome,
)
from tests.world import ALICE, BOB, Site

GOOD, UNAVAILABLE, BAD = Outcome.DELIVERED, Outcome.UNAVAILABLE, Outcome.BAD_REQUEST
HOUR_MS = limits.KEYS_TTL_S * 1000


def again(party: Party, name: NodeId) -> None:
    """The node starts again, and is connected to its neighbours."""
    party.crash(name)
    party.settle()
    party.allow()
    for peer in party.sites[name].peers:
        if not party.connected(name, peer):
            party.connect(name, peer)


def journalled(party: Party, name: NodeId) -> list[AuditEntry]:
    """From now on: what this node's journal gets."""
    entries: list[AuditEntry] = []

    def watch(site: Site, effects: list[Effect]) -> None:
        if site.name == name:
            entries.extend(each.entry for each in effects if isinstance(each, Audit))

    party.watch = watch
    return entries


# ---- crashes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [ALICE, BOB, CAROL])
def test_keys_that_the_master_has_are_there_after_a_crash_of_any_node(name: NodeId) -> None:
    party = Party()
    mine = party.got(BEN, ANA, CAT, count=2)
    one, two = ids_of(mine)
    party.dec(BEN, one)
    again(party, name)

    assert (BAD, NOT_FOUND) == outcome(party.dec(BEN, one))
    for slave, ids in ((BEN, two), (ANA, mine.key_ids), (CAT, two + one)):
        assert (GOOD, "") == outcome(party.dec(slave, ids))


@pytest.mark.parametrize("when", range(24))
@pytest.mark.parametrize("name", [ALICE, BOB])
def test_wherever_a_node_is_killed_the_master_has_keys_that_its_slaves_get_or_nobody_has_any(
    name: NodeId, when: int
) -> None:
    """Killed before a commit, or behind it and so many outputs."""
    party = Party()
    batch = 0

    def crash(site: Site, effects: list[Effect]) -> int | None:
        nonlocal batch
        if site.name != name:
            return None
        batch += 1
        number, outputs = divmod(when, 4)
        return outputs - 1 if batch == number + 1 else None

    party.outputs_before_crash = crash
    number = party.enc(BEN, CAT, ANA, count=2)
    party.settle()
    party.outputs_before_crash = lambda *_: None
    if not party.connected(ALICE, BOB):
        again(party, name)
    party.pass_time(limits.KEYS_TIMEOUT_MS + 200)
    found = party.reply(number)
    if isinstance(found, KeysReply) and found.keys is not None:
        for slave in (BEN, CAT, ANA):
            assert (GOOD, "") == outcome(party.dec(slave, found.key_ids))
    elif party.states(ALICE) != [BundleState.HELD]:
        # Else its answer was lost with the process: the master has no ID to tell anybody.
        party.pass_time(HOUR_MS + 200, step_ms=HOUR_MS // 2)
        for each in (ALICE, BOB, CAROL):
            assert 0 == party.readable(each)
    party.pass_time(HOUR_MS + 200, step_ms=HOUR_MS // 2)
    for each in (ALICE, BOB, CAROL):
        assert (0, []) == (party.readable(each), party.bundles(each))


def test_a_master_that_restarts_on_the_way_withdraws_what_it_entrusted() -> None:
    party = Party()
    party.enc(BEN, CAT)
    party.step(BOB, 10)
    again(party, ALICE)

    assert [BundleState.ENDED] == party.states(BOB)
    assert [0] * 3 == [party.readable(name) for name in (ALICE, BOB, CAROL)]


def test_a_slaves_node_that_restarts_on_the_way_forgets_the_part_it_has() -> None:
    party = Party()
    number = party.enc_first_part(BEN, BEA)
    again(party, BOB)

    assert UNAVAILABLE is party.refusal(number)[0]
    assert ([BundleState.ENDED], 0) == (party.states(BOB), party.readable(BOB))


def test_a_part_whose_session_ends_on_the_way_is_destroyed() -> None:
    party = Party()
    party.enc_first_part(BEN, BEA)
    party.cut(ALICE, BOB)
    party.settle()

    assert ([BundleState.ENDED], 0) == (party.states(BOB), party.readable(BOB))


# ---- what is destroyed when ---------------------------------------------------------------------


def test_what_every_slave_here_has_is_wiped_within_the_minute_and_not_before_it_was_read() -> None:
    """I6"""
    party = Party()
    mine = party.got(BEN, BEA, CAT, count=3)
    one, two, three = ids_of(mine)
    party.dec(BEN, one + three)
    party.dec(BEA, three)
    before = party.readable(BOB)
    party.pass_time(1000)
    party.dec(BEA, one)
    party.pass_time(limits.WIPE_AFTER_MS - 1000)
    first = party.readable(BOB)
    party.pass_time(1000)

    assert (96, 64, 32) == (before, first, party.readable(BOB))
    assert (GOOD, "") == outcome(party.dec(BEN, two))
    assert (GOOD, "") == outcome(party.dec(BEA, two))

    party.pass_time(limits.WIPE_AFTER_MS)

    assert ([BundleState.ENDED], 0) == (party.states(BOB), party.readable(BOB))


def test_the_masters_own_copy_is_wiped_when_no_slave_there_waits_for_it() -> None:
    """I6"""
    party = Party()
    party.got(BEN, CAT)
    party.pass_time(limits.WIPE_AFTER_MS)

    assert ([BundleState.ENDED], 0) == (party.states(ALICE), party.readable(ALICE))


def test_what_a_crash_left_readable_is_wiped_at_the_next_start() -> None:
    """I6"""
    party = Party()
    mine = party.got(BEN, CAT)
    party.dec(BEN, mine.key_ids)
    again(party, ALICE)
    again(party, BOB)

    assert [0, 0] == [party.readable(ALICE), party.readable(BOB)]


def test_keys_that_nobody_fetches_are_destroyed_at_their_expiry_and_their_name_forgotten() -> None:
    party = Party()
    mine = party.got(BEN, CAT, count=2)
    party.dec(BEN, ids_of(mine)[0])
    entries = journalled(party, BOB)
    party.pass_time(HOUR_MS, step_ms=HOUR_MS // 4)

    assert (BAD, NOT_FOUND) == outcome(party.dec(BEN, mine.key_ids[16:]))
    assert ([], 0) == (party.bundles(BOB), party.readable(BOB))
    assert [("keys-destroyed", 1, 1)] == [
        (each.event, each.detail["first"], each.detail["count"])
        for each in entries
        if each.event.startswith("keys-")
    ]


def test_a_wall_clock_that_jumps_ahead_ends_keys_too_and_a_request_says_so_before_the_tick() -> (
    None
):
    party = Party()
    mine = party.got(BEN, CAT)
    party.wall_ahead_ms += HOUR_MS

    assert (BAD, NOT_FOUND) == outcome(party.dec(BEN, mine.key_ids))


@pytest.mark.parametrize("answered", [False, True])
def test_a_wall_clock_that_jumps_ahead_ends_keys_on_their_way_and_gives_them_to_nobody(
    answered: bool,
) -> None:
    """Their hour is over before their request is: the node ended for that."""
    party = Party()
    number = party.enc(BEN, CAT)
    party.wall_ahead_ms += HOUR_MS
    if answered:
        party.settle()
    party.pass_time(200)
    found = party.refusal(number)
    party.pass_time(limits.KEYS_TIMEOUT_MS)

    assert (UNAVAILABLE, "try again: a clock has jumped beyond their hour") == found
    assert [0] * 3 == [party.readable(each) for each in (ALICE, BOB, CAROL)]


def test_keys_fetched_in_the_last_moment_are_read_before_they_are_wiped() -> None:
    party = Party()
    mine = party.got(BEN, BEA, CAT, count=2)
    party.pass_time(HOUR_MS - 1000, step_ms=HOUR_MS - 1000)
    party.dec(BEN, mine.key_ids)
    party.dec(BEA, ids_of(mine)[0])
    party.pass_time(1000)

    assert 64 == party.readable(BOB)

    party.pass_time(2000)

    assert ([], 0) == (party.bundles(BOB), party.readable(BOB))


# ---- what is journalled --------------------------------------------------------------------------


def test_both_ends_journal_what_was_entrusted_delivered_and_destroyed() -> None:
    """I11"""
    party = Party()
    entries = journalled(party, ALICE)
    mine = party.got(BEN, CAT, count=2)
    name = str(party.bundles(ALICE)[0].name)
    here = [(each.event, each.actor, each.subject) for each in entries]

    assert [
        ("keys-entrusted", ANN, name),
        ("keys-entrusted", ANN, name),
        ("key-delivered", ANN, name),
    ] == here

    entries = journalled(party, BOB)
    party.dec(BEN, mine.key_ids)
    (entry,) = entries

    assert ("key-delivered", BEN, name) == (entry.event, entry.actor, entry.subject)
    assert {"index": 0, "count": 2, "peer": ANN, "link": AB} == entry.detail


def test_keys_are_recorded_with_the_answer_and_entrusted_behind_what_is_stored() -> None:
    party = Party()
    batches: list[list[Effect]] = []

    def watch(site: Site, effects: list[Effect]) -> None:
        if site.name == ALICE:
            batches.append(effects)

    party.watch = watch
    party.got(BEN, CAT)
    asked, answered = batches[0], batches[-1]
    saved = [each.record for each in answered if isinstance(each, Save)]

    assert 2 == sum(isinstance(each, SendFrame) for each in asked)
    assert not any(isinstance(each, Answer) for each in asked)
    assert any(isinstance(each, DeliverKeys) for each in answered)
    assert BundleState.HELD in [each.state for each in saved if isinstance(each, BundleRecord)]


# ---- alarms, doubts, old stores ------------------------------------------------------------------


def doubt(party: Party, name: NodeId) -> None:
    """This end of alice's link to bob is doubted: a mistake of ours."""
    site, out = party.sites[name], Outbox(party.moment)
    site.node._guarded(site.node.links[AB], out, _mistake)
    site.disk.commit(out.effects)
    for effect in out.effects:
        party.watch(site, [effect])
        party._carry_out(site, effect)
    party.settle()


def _mistake(out: Outbox) -> None:
    raise AssertionError("planted")


def test_under_an_alarm_of_its_link_nothing_is_begun_fetched_or_answered() -> None:
    """I13"""
    party = Party()
    mine = party.got(BEN, CAT)
    party.lose_frame = lambda sender, data: sender == BOB
    late = party.enc(BEN, CAT)
    party.settle()
    party.lose_frame = lambda sender, data: False
    party.block(900, qber=0.3)
    party.settle()
    number = party.enc(BEN, CAT)

    assert UNAVAILABLE is party.refusal(number)[0]
    assert "no key is served over alice~bob" in party.refusal(number)[1]
    assert UNAVAILABLE is outcome(party.dec(BEN, mine.key_ids))[0]
    assert (GOOD, "") == outcome(party.dec(CAT, mine.key_ids))
    assert party.reply(late) is None

    party.pass_time(limits.KEYS_TIMEOUT_MS)

    assert UNAVAILABLE is party.refusal(late)[0]


def test_keys_that_all_nodes_hold_are_not_given_when_a_link_has_come_under_alarm() -> None:
    """I13"""
    party = Party()
    number = party.enc(BEN, CAT)
    party.step(BOB, 10)
    party.step(CAROL, 10)
    party.block(900, ALICE, qber=0.3)
    inbox = party.sites[ALICE].inbox
    inbox.appendleft(inbox.pop())
    party.settle()

    assert UNAVAILABLE is party.refusal(number)[0]
    assert "no key is served over alice~bob" in party.refusal(number)[1]
    assert [BundleState.ENDED] == party.states(CAROL)


def test_what_went_over_a_link_that_is_doubted_is_compromised_and_destroyed() -> None:
    """I13"""
    party = Party()
    mine = party.got(BEN, ANA, CAT)
    number = party.enc(BEN, CAT)
    entries = journalled(party, ALICE)
    doubt(party, ALICE)

    assert UNAVAILABLE is party.refusal(number)[0]
    assert ["keys-compromised"] == [
        each.event for each in entries if each.event == "keys-compromised"
    ]
    assert (BAD, NOT_FOUND) == outcome(party.dec(ANA, mine.key_ids))
    party.pass_time(limits.WIPE_AFTER_MS)

    assert 0 == party.readable(ALICE)


def test_a_doubt_wipes_what_is_being_read_when_it_was_read() -> None:
    party = Party()
    mine = party.got(BEN, BEA, count=2)
    party.dec(BEN, mine.key_ids)
    party.dec(BEA, ids_of(mine)[0])
    doubt(party, BOB)

    assert ([BundleState.ENDED], 32) == (party.states(BOB), party.readable(BOB))

    party.pass_time(limits.WIPE_AFTER_MS)

    assert ([BundleState.ENDED], 0) == (party.states(BOB), party.readable(BOB))


def test_a_crash_between_a_doubt_and_the_wiping_leaves_nothing() -> None:
    party = Party()
    mine = party.got(BEN, BEA, count=2)
    party.dec(BEN, mine.key_ids)
    party.dec(BEA, ids_of(mine)[0])
    doubt(party, BOB)
    party.crash(BOB)
    party.settle()
    party.allow()

    assert ([BundleState.ENDED], 0) == (party.states(BOB), party.readable(BOB))


def test_a_name_that_is_forgotten_early_leaves_no_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BUNDLES_ENDED_MAX", 0)
    party = Party()
    mine = party.got(BEN, BEA, count=2)
    party.dec(BEN, mine.key_ids)
    party.dec(BEA, ids_of(mine)[0])
    doubt(party, BOB)

    assert ([], 0) == (party.bundles(BOB), party.readable(BOB))


@pytest.mark.parametrize("way", list(Way))
def test_a_store_that_was_put_back_gives_no_key_of_a_bundle_again(way: Way) -> None:
    """I2: which of them were fetched since it cannot know."""
    party = Party(watched=True)
    mine = party.got(BEN, BEA, CAT, count=2)
    party.dec(BEA, mine.key_ids)
    old = party.sites[BOB].disk.copy()
    party.dec(BEN, mine.key_ids)
    party.got(BEN)
    party.crash(BOB, old)
    party.settle()
    standing = party.enc(CAT, BEN, master=BEN, name=BOB)
    party.sites[BOB].inbox.append(Restored(way))
    party.settle()
    party.allow()

    assert UNAVAILABLE is party.refusal(standing, BOB)[0]
    assert (BAD, NOT_FOUND) == outcome(party.dec(BEN, mine.key_ids))


# ---- how much at a time --------------------------------------------------------------------------


def test_keys_for_several_nodes_wait_for_the_window_and_never_take_the_reserve() -> None:
    party = Party(blocks=8)
    size = 4096
    count = party.sites[ALICE].node.links[AB].level() // size - 2
    number = party.enc(BEN, CAT, count=count, size=size)
    for _ in range(20):
        party.pass_time(100)
    writer = party.sites[ALICE].node.links[AB].memory.writer

    assert GOOD is party.reply(number).outcome  # type: ignore[union-attr]
    assert writer.reserve() <= writer.level() < 3 * size + writer.reserve()


def test_a_short_key_needs_no_larger_window_than_its_message() -> None:
    """On a slow link there is none: nobody would ever get a key."""
    party = Party()
    outgoing = party.sites[ALICE].node.links[AB].outgoing
    outgoing.drawable = lambda: 128  # type: ignore[method-assign]

    assert GOOD is party.got(BEN, BEA).outcome


def test_only_so_many_are_on_their_way_for_one_application_and_for_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """I8, I10"""
    monkeypatch.setattr(limits, "FLIGHTS_MAX", limits.FLIGHTS_PER_APPLICATION_MAX + 1)
    party = Party()
    for _ in range(limits.FLIGHTS_PER_APPLICATION_MAX):
        party.enc(BEN, CAT)
    mine = party.enc(BEN, CAT)
    other = party.enc(BEN, CAT, master=ANA)
    full = party.enc(BEN, CAT, master=ANA)
    party.settle()

    assert "requests of this application wait" in party.refusal(mine)[1]
    assert GOOD is party.reply(other).outcome  # type: ignore[union-attr]
    assert "too many keys are on their way" in party.refusal(full)[1]


def test_a_withdrawal_that_cannot_be_said_is_kept_up_to_a_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "WITHDRAWALS_PER_LINK_MAX", 1)
    party = Party()
    for _ in range(3):
        party.enc(BEN, BEA)
    party.step(BOB, 100)
    party.cut(ALICE, BOB)
    party.settle()
    party.connect(ALICE, BOB)

    assert [BundleState.HELD, BundleState.HELD, BundleState.ENDED] == party.states(BOB)


def test_every_cell_of_the_table_of_bundles() -> None:
    party = Party()
    party.got(BEN, CAT)
    record = party.bundles(ALICE)[0]
    for state in BundleState:
        for event in BundleEvent:
            bundle = Bundle(attrs.evolve(record, state=state))
            after = TRANSITIONS[state].get(event)
            if after is None:
                with pytest.raises(AssertionError, match="cannot"):
                    bundle.move(event)

                assert state is bundle.record.state
            else:
                bundle.move(event, "because")

                assert (after, "because") == (bundle.record.state, bundle.record.reason)


def test_parts_that_are_left_when_time_is_over_are_not_sent() -> None:
    party = Party()
    number = party.enc_first_part(BEN, BEA)
    other = party.enc(BEN, BEA, master=ANA)
    party.pass_time(limits.KEYS_TIMEOUT_MS)
    before = party.level(BOB)
    party.pass_time(1000)

    assert [UNAVAILABLE] * 2 == [party.refusal(each)[0] for each in (number, other)]
    assert before == party.level(BOB)
    assert ([BundleState.ENDED], 0) == (party.states(BOB), party.readable(BOB))


def test_who_hangs_up_ends_its_own_keys_and_not_those_of_another() -> None:
    party = Party()
    mine, other = party.enc(BEN, CAT), party.enc(BEN, CAT, master=ANA)
    party.hang_up(mine)

    assert party.reply(mine) is None
    assert GOOD is party.reply(other).outcome  # type: ignore[union-attr]


def test_a_link_that_goes_down_ends_nothing_that_goes_elsewhere() -> None:
    party = Party()
    party.lose_frame = lambda sender, data: sender == CAROL
    number = party.enc(CAT, ANA)
    party.cut(ALICE, BOB)
    party.settle()
    doubt(party, ALICE)

    assert party.reply(number) is None


def test_keys_that_min_bps_promises_go_before_those_for_several_nodes() -> None:
    party = Party()
    wish = OpenConnect(source=ANN, destination=BEN, qos=QoS(key_chunk_size=32, min_bps=250))
    opened = party.answer(ALICE, ANN, wish)
    assert isinstance(opened, OpenReply)
    assert opened.ksid is not None, opened
    join = OpenConnect(source=BEN, destination=ANN, qos=QoS(), ksid=opened.ksid)
    party.answer(BOB, BEN, join)
    order: list[str] = []
    link = party.sites[ALICE].node.links[AB]
    entrust = link.entrust
    link.draw = lambda *given: order.append("stream")  # type: ignore
    link.entrust = lambda *given: (order.append("bundle"), entrust(*given))[1]  # type: ignore
    for _ in range(limits.STOCK_CHUNKS_MIN + 1):
        party.put(ALICE, ANN, GetKey(ksid=opened.ksid))
    party.pass_time(2000)
    order.clear()
    party.enc(BEN, CAT)

    assert ["stream", "bundle"] == order


def test_the_name_of_new_keys_is_never_one_that_is_known() -> None:
    party = Party()
    party.got(BEN, CAT)
    node = party.sites[ALICE].node
    node.streams._register.named = as_it_came
    number = party.enc(BEN, CAT, number=party.bundles(ALICE)[0].name.int ^ 5)

    assert (UNAVAILABLE, "the name of the new keys is taken: try again") == party.refusal(number)


@pytest.mark.parametrize("most", [0, 1])
def test_a_start_that_ends_bundles_forgets_the_oldest_names_and_nothing_of_them_stays(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    party = Party()
    older, younger = party.got(BEN, BEA), party.got(BEN, BEA)
    for mine in (younger, older):
        party.pass_time(limits.WIPE_AFTER_MS)
        party.dec(BEN, mine.key_ids)
        party.dec(BEA, mine.key_ids)
    monkeypatch.setattr(limits, "BUNDLES_ENDED_MAX", most)
    party.crash(BOB)
    party.settle()
    party.allow()

    assert ([BundleState.ENDED] * most, 0) == (party.states(BOB), party.readable(BOB))

    party.pass_time(HOUR_MS + 200, step_ms=HOUR_MS // 2)

    assert ([], []) == (party.bundles(BOB), party.in_memory(BOB))


def test_a_node_says_when_its_bundles_have_something_to_do() -> None:
    party = Party(blocks=0)
    node = party.sites[ALICE].node
    party.enc(BEN, CAT)

    assert party.now_ms + limits.KEYS_TIMEOUT_MS == node.deadline_ms()

    party.settle()

    assert party.now_ms + limits.WIPE_AFTER_MS == node.deadline_ms()

    party.pass_time(limits.WIPE_AFTER_MS)

    assert party.now_ms + HOUR_MS - limits.WIPE_AFTER_MS == node.deadline_ms()
