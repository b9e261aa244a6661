"""What policy permits: where a stream may be opened, and how much key it may get."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kms.domain import limits
from kms.domain.caps import Cap
from kms.domain.effects import Refuse
from kms.domain.names import KSID, NodeId, SAEId
from kms.domain.policy import Policy, Rule, Share
from kms.domain.qos import judge
from kms.domain.requests import OpenReply
from kms.domain.status import QoS, Status
from tests.domain.streams_play import (
    ANN,
    BEN,
    DIRECTORY,
    EVE,
    KNOWN,
    A,
    B,
    Pair,
    key_of,
)

ANN_BEN = Rule(one="sae:ann.*", other="sae:ben.*")
EVE_BEN = Rule(one="sae:eve.*", other="sae:ben.*")


def ruled(*rules: Rule) -> Pair:
    pair = Pair()
    pair.tell_network(DIRECTORY, Policy(rules=rules))
    return pair


def capped(max_bps: int, per: Share = Share.PAIR) -> Rule:
    return attrs.evolve(ANN_BEN, one="sae:*", max_bps=max_bps, per=per)


def opened(pair: Pair, number: int, *, caller: str = ANN, qos: QoS | None = None) -> KSID:
    """A stream of ``caller`` and Ben that both have opened."""
    ksid = key_of(number)
    pair.open(A, caller, ksid, qos=qos)  # type: ignore[arg-type]
    pair.settle()
    pair.open(B, BEN, ksid, other=caller)  # type: ignore[arg-type]
    pair.settle()
    return ksid


def drink(pair: Pair, seconds: int, *who: tuple[KSID, str]) -> None:
    """Everybody asks for as much as it can get, all the time."""
    for _ in range(seconds * 20):
        for ksid, caller in who:
            for _ in range(4):
                pair.get(A, ksid=ksid, caller=caller)  # type: ignore[arg-type]
        pair.pass_ms(50)


def made(pair: Pair, *ksids: KSID) -> int:
    """Bits made so far."""
    records = [pair.a.stream(ksid) for ksid in ksids]
    return sum(record.next_index * record.qos.key_chunk_size * 8 for record in records)


# ---- where ---------------------------------------------------------------------------------------


def test_a_stream_is_opened_where_the_rule_says_and_joined_at_the_other_end() -> None:
    pair = ruled(attrs.evolve(ANN_BEN, at=A))
    early = pair.open(B, BEN, KNOWN)
    waiting = pair.open(A, ANN, KNOWN)
    pair.settle()
    joining = pair.open(B, BEN, KNOWN)
    pair.settle()

    refused = pair.b.answers[early]
    assert isinstance(refused, Refuse)
    assert "only the other application" in refused.message
    assert [pair.status(A, waiting), pair.status(B, joining)] == [Status.SUCCESS] * 2
    assert pair.b.audit[0].event == "refused"


def test_the_peers_node_refuses_what_was_opened_at_the_wrong_node() -> None:
    """Bob's file is newer than Alice's."""
    pair = ruled(ANN_BEN)
    pair.tell(B, Policy(rules=(attrs.evolve(ANN_BEN, at=B),)))
    number = pair.open(A, ANN)
    pair.settle()

    assert pair.status(A, number) is Status.NO_QKD_CONNECTION
    assert "policy does not let" in pair.message(A, number)
    assert [end.disk.streams() for end in pair.ends.values()] == [[], []]


@pytest.mark.parametrize(("at", "streams"), [(A, ["established"] * 2), (B, ["closed"] * 2)])
def test_a_reload_closes_what_was_opened_at_the_wrong_node(at: NodeId, streams: list[str]) -> None:
    pair = ruled(ANN_BEN).established()
    pair.tell_network(DIRECTORY, Policy(rules=(attrs.evolve(ANN_BEN, at=at),)))
    pair.settle()

    found = [end.stream() for end in pair.ends.values()]
    assert streams == ["closed" if each.local_closed else "established" for each in found]


def test_a_stream_that_one_end_lost_is_told_again_by_the_end_that_did_not_open_it() -> None:
    pair = ruled(attrs.evolve(ANN_BEN, at=A))
    before = pair.a.disk.copy()
    pair.established()
    pair.read(B)
    pair.crash(A, before)
    pair.tell_network(DIRECTORY, Policy(rules=(attrs.evolve(ANN_BEN, at=A),)))
    pair.link()
    pair.settle()

    assert [pair.a.stream().designates, pair.b.stream().designates] == [True, False]


def test_the_first_rule_that_matches_decides() -> None:
    first = attrs.evolve(ANN_BEN, max_bps=1)
    policy = Policy(rules=(attrs.evolve(ANN_BEN, at=B), first, capped(2)))

    assert policy.rule_for(ANN, BEN, A) == first
    assert policy.rule_for(BEN, ANN, B) == policy.rules[0]
    assert policy.rule_for(EVE, BEN, A) == capped(2)
    assert policy.rule_for(ANN, EVE, A) is None


def test_a_rule_is_looked_for_once_among_all_and_found_at_once_while_its_pair_is_in_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a thousand rules each enc_keys and each status took 2 ms of the core."""
    monkeypatch.setattr(limits, "RULES_FOUND_MAX", 2)
    looked = list[SAEId]()

    class Watched(Rule):
        def matches(self, caller: SAEId, peer: SAEId) -> bool:
            looked.append(caller)
            return super().matches(caller, peer)

    policy = Policy(rules=(Watched(one=ANN, other=BEN),))
    strangers = [SAEId(f"sae:s{number}.alice") for number in range(100)]
    found = [policy.rule_for(ANN, BEN, A)]
    for stranger in strangers:
        assert policy.rule_for(stranger, BEN, A) is None
        found.append(policy.rule_for(ANN, BEN, A))

    assert found == [policy.rules[0]] * 101
    assert looked == [ANN, *strangers]
    assert policy.rule_for(ANN, BEN, B) == policy.rules[0], "another node may be another rule's"
    assert policy == Policy(rules=policy.rules)
    assert len(policy._found) == 2


# ---- how much is promised ------------------------------------------------------------------------


def reply(pair: Pair, number: int) -> OpenReply:
    answer = pair.a.answers[number]
    assert isinstance(answer, OpenReply)
    return answer


def test_a_promise_above_what_policy_permits_is_7_and_the_proposal_is_admitted() -> None:
    pair = ruled(capped(8_000))
    first = reply(pair, pair.open(A, ANN, qos=QoS(min_bps=8_001, max_bps=9_000)))
    second = pair.open(A, ANN, qos=first.qos)
    pair.settle()

    assert (first.status, first.qos.min_bps) == (Status.QOS_NOT_MET, 8_000)
    assert "policy permits 8000 bit/s" in first.message
    assert reply(pair, second).status is Status.PEER_NOT_CONNECTED_YET


@pytest.mark.parametrize(
    ("per", "caller", "left"),
    [
        (Share.PAIR, ANN, 3_000),
        (Share.PAIR, EVE, 8_000),
        (Share.RULE, EVE, 3_000),
        (Share.STREAM, ANN, 8_000),
    ],
)
def test_who_shares_a_rate_shares_what_may_be_promised(per: Share, caller: str, left: int) -> None:
    pair = ruled(capped(8_000, per))
    opened(pair, 1, qos=QoS(min_bps=5_000))
    answer = reply(pair, pair.open(A, caller, qos=QoS(min_bps=8_001)))  # type: ignore[arg-type]

    assert left == answer.qos.min_bps


def test_a_stream_that_is_closed_gives_its_promise_back() -> None:
    pair = ruled(capped(8_000))
    ksid = opened(pair, 1, qos=QoS(min_bps=8_000))
    full = reply(pair, pair.open(A, ANN, qos=QoS(min_bps=1)))
    pair.close(A, ksid)
    pair.close(B, ksid)
    pair.settle()
    pair.pass_ms(limits.DESTROY_WITHIN_MS)
    again = pair.open(A, ANN, qos=QoS(min_bps=8_000))
    pair.settle()

    assert (full.status, full.qos.min_bps) == (Status.QOS_NOT_MET, 0)
    assert reply(pair, again).status is Status.PEER_NOT_CONNECTED_YET


def test_the_peers_node_refuses_a_promise_that_its_policy_does_not_permit() -> None:
    pair = ruled(ANN_BEN)
    pair.tell(B, Policy(rules=(capped(1_000),)))
    number = pair.open(A, ANN, qos=QoS(min_bps=1_001))
    pair.settle()
    refused = reply(pair, number)
    again = pair.open(A, ANN, qos=refused.qos)
    pair.settle()

    assert refused.status is Status.QOS_NOT_MET
    assert reply(pair, again).status is Status.PEER_NOT_CONNECTED_YET


@given(st.integers(-1, 2**32), st.integers(-1, 2**32), st.integers(0, 10**9), st.integers(0, 10**9))
def test_every_counter_proposal_under_a_policy_is_admitted(
    min_bps: int, max_bps: int, spare: int, permitted: int
) -> None:
    proposal = judge(QoS(min_bps=min_bps, max_bps=max_bps), spare, permitted).qos

    assert judge(proposal, spare, permitted).refused == ""
    assert proposal.min_bps <= permitted


# ---- how much is made ----------------------------------------------------------------------------


def test_a_stream_without_max_bps_never_exceeds_what_policy_permits() -> None:
    pair = ruled(capped(8_000))
    ksid = opened(pair, 1)
    drink(pair, 10, (ksid, ANN))

    assert 9 * 8_000 <= made(pair, ksid) <= 11 * 8_000


def test_max_bps_below_the_permitted_rate_holds() -> None:
    pair = ruled(capped(8_000))
    ksid = opened(pair, 1, qos=QoS(max_bps=4_000))
    drink(pair, 10, (ksid, ANN))

    assert 9 * 4_000 <= made(pair, ksid) <= 11 * 4_000


@pytest.mark.parametrize(
    ("per", "other", "most"),
    [
        (Share.PAIR, ANN, 1),
        (Share.PAIR, EVE, 2),
        (Share.RULE, EVE, 1),
        (Share.STREAM, ANN, 2),
    ],
)
def test_streams_that_share_a_rate_get_it_together(per: Share, other: str, most: int) -> None:
    pair = ruled(capped(8_000, per))
    one, two = opened(pair, 1), opened(pair, 2, caller=other)
    drink(pair, 10, (one, ANN), (two, other))

    assert most * 9 * 8_000 <= made(pair, one, two) <= most * 11 * 8_000


def test_streams_under_one_rate_have_it_evenly_whatever_their_chunks() -> None:
    pair = ruled(capped(80_000))
    small = opened(pair, 1, qos=QoS(key_chunk_size=512))
    large = opened(pair, 2, qos=QoS(key_chunk_size=4096))
    drink(pair, 20, (small, ANN), (large, ANN))
    got = [made(pair, ksid) for ksid in (small, large)]

    assert abs(got[0] - got[1]) <= 2 * 4096 * 8, got


def test_many_streams_under_one_rate_have_all_of_it_evenly() -> None:
    pair = ruled(capped(80_000))
    ksids = [opened(pair, number, qos=QoS(key_chunk_size=64)) for number in range(1, 25)]
    before = made(pair, *ksids)
    for _ in range(40):
        for ksid in ksids:
            for _ in range(8):
                pair.get(A, ksid=ksid)
        pair.pass_ms(250)
    got = [made(pair, ksid) for ksid in ksids]

    assert 0.9 * 10 * 80_000 <= sum(got) - before <= 11 * 80_000
    # One turn may take all that came in one pause.
    pause_ms = len(ksids) * limits.CAP_PAUSE_MS_PER_STREAM
    assert max(got) - min(got) <= 2 * 80 * pause_ms, got


def test_the_promise_goes_first_under_one_rate_as_well() -> None:
    pair = ruled(capped(8_000))
    plain = opened(pair, 1)
    promised = opened(pair, 2, qos=QoS(min_bps=6_000))
    drink(pair, 20, (plain, ANN), (promised, ANN))

    assert made(pair, promised) >= 19 * 6_000
    assert made(pair, plain, promised) <= 21 * 8_000


def test_a_chunk_larger_than_a_seconds_worth_is_made_and_then_paid_for() -> None:
    pair = ruled(capped(800))
    ksid = opened(pair, 1, qos=QoS(key_chunk_size=1000))
    counts = []
    for _ in range(4):
        drink(pair, 5, (ksid, ANN))
        counts.append(pair.a.stream(ksid).next_index)

    assert counts == [1, 2, 2, 3]


def test_closing_and_opening_again_does_not_begin_a_new_seconds_worth() -> None:
    pair = ruled(capped(8_000))
    ksids = []
    for number in range(1, 30):
        ksids.append(opened(pair, number))
        drink(pair, 1, (ksids[-1], ANN))
        pair.close(A, ksids[-1])
        pair.close(B, ksids[-1])
        pair.settle()

    designated = sum(
        int(entry.detail["count"] or 0) * 32 * 8
        for entry in pair.a.audit
        if entry.event == "keys-designated"
    )
    assert designated <= 31 * 8_000


def test_the_other_end_counts_what_is_opened_there() -> None:
    """What is opened at Bob's is made at Bob's."""
    pair = ruled(capped(8_000))
    pair.open(B, BEN, KNOWN)
    pair.settle()
    pair.open(A, ANN, KNOWN)
    pair.settle()
    drink(pair, 10, (KNOWN, ANN))

    assert pair.b.stream().designates
    assert 9 * 8_000 <= made(pair, KNOWN) <= 11 * 8_000


# ---- reload and restart --------------------------------------------------------------------------


def test_another_rate_holds_at_once_for_streams_that_stand() -> None:
    pair = ruled(capped(800))
    ksid = opened(pair, 1, qos=QoS(key_chunk_size=1000))
    drink(pair, 1, (ksid, ANN))
    pair.tell_network(DIRECTORY, Policy(rules=(capped(80_000),)))
    drink(pair, 5, (ksid, ANN))
    faster = made(pair, ksid)
    pair.tell_network(DIRECTORY, Policy(rules=(capped(8_000),)))
    drink(pair, 10, (ksid, ANN))

    assert 4 * 80_000 <= faster <= 6 * 80_000
    assert 8 * 8_000 <= made(pair, ksid) - faster <= 11 * 8_000


def test_a_rate_that_is_set_or_lifted_holds_at_once() -> None:
    pair = ruled(ANN_BEN)
    ksid = opened(pair, 1)
    pair.tell_network(DIRECTORY, Policy(rules=(capped(256),)))
    before = made(pair, ksid)
    drink(pair, 10, (ksid, ANN))
    bound = made(pair, ksid) - before
    pair.tell_network(DIRECTORY, Policy(rules=(ANN_BEN,)))
    drink(pair, 1, (ksid, ANN))

    assert bound <= 11 * 256
    assert made(pair, ksid) - bound > 10 * 256


def test_a_rate_below_what_was_promised_holds_all_the_same() -> None:
    pair = ruled(capped(8_000))
    ksid = opened(pair, 1, qos=QoS(min_bps=8_000))
    before = made(pair, ksid)
    pair.tell_network(DIRECTORY, Policy(rules=(capped(800),)))
    drink(pair, 10, (ksid, ANN))
    answer = reply(pair, pair.open(A, ANN, qos=QoS(min_bps=1)))

    assert made(pair, ksid) - before <= 11 * 800
    assert (answer.status, answer.qos.min_bps) == (Status.QOS_NOT_MET, 0)


def test_after_a_restart_streams_are_under_their_rate_again() -> None:
    pair = ruled(capped(8_000))
    ksid = opened(pair, 1, qos=QoS(min_bps=5_000))
    pair.crash(A)
    pair.tell_network(DIRECTORY, Policy(rules=(capped(8_000),)))
    pair.link()
    pair.settle()
    before = made(pair, ksid)
    drink(pair, 10, (ksid, ANN))
    answer = reply(pair, pair.open(A, ANN, qos=QoS(min_bps=8_000)))

    assert 9 * 8_000 <= made(pair, ksid) - before <= 11 * 8_000
    assert answer.qos.min_bps == 3_000


def test_rates_of_pairs_without_streams_are_forgotten_when_they_rest() -> None:
    pair = ruled(capped(8_000, Share.STREAM))
    caps = pair.a.streams._register.caps
    rule = capped(8_000, Share.STREAM)
    record = attrs.evolve(pair.established().a.stream())
    for number in range(10, 10 + 3 * limits.CAPS_KEPT_MIN):
        one = attrs.evolve(record, ksid=key_of(number))
        caps.put(one, rule, pair.now.mono_ms)
        caps.drop(one.ksid)

    assert len(caps._caps) <= limits.CAPS_KEPT_MIN + 2


# ---- the bucket ----------------------------------------------------------------------------------


@given(
    st.integers(1, 10**6),
    st.lists(st.tuples(st.integers(1, 100_000), st.integers(0, 5_000), st.integers(1, 9))),
)
def test_over_any_time_a_cap_lets_through_its_rate_a_second_more_and_a_chunk(
    bps: int, steps: list[tuple[int, int, int]]
) -> None:
    cap, now_ms, bits, largest = Cap(bps), 0, 0, 0
    for chunk_bytes, pause_ms, wanted in steps:
        count = min(wanted, cap.allowed(chunk_bytes, now_ms))
        cap.made(count * chunk_bytes)
        bits += count * chunk_bytes * 8
        largest = max(largest, chunk_bytes * 8)
        now_ms += pause_ms

        assert bits * 1000 <= max(bps, largest) * 1000 + bps * now_ms


@given(st.integers(1, 10**6), st.integers(1, 100_000), st.integers(0, 10_000))
def test_who_waits_as_long_as_a_cap_says_gets_a_chunk(
    bps: int, chunk_bytes: int, early_ms: int
) -> None:
    cap = Cap(bps)
    cap.made(cap.allowed(chunk_bytes, 0) * chunk_bytes)
    cap.made(cap.allowed(1, 0))
    at_ms = cap.allowed_at_ms(chunk_bytes, 0)

    assert cap.allowed(1, min(early_ms, at_ms - 1)) == 0
    assert cap.allowed_at_ms(1, min(early_ms, at_ms - 1)) == at_ms
    assert cap.allowed(chunk_bytes, at_ms) > 0
