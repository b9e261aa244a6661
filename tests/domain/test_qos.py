"""Admission: what is refused comes with what would be admitted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kms.domain import limits
from kms.domain.pace import Pace, stock_chunks
from kms.domain.policy import Policy, Rule
from kms.domain.qos import cost_bps, is_settled, judge, min_bps_for
from kms.domain.status import QoS, Status
from tests.domain.streams_play import ANN, BEN, EVE, LINK, A, B, Pair, key_of

U32 = st.integers(-1, 2**32)
QOS = st.builds(
    QoS,
    key_chunk_size=U32,
    max_bps=U32,
    min_bps=U32,
    jitter=U32,
    priority=U32,
    timeout=U32,
    ttl=U32,
    metadata_mimetype=st.sampled_from(["", "\0x", "application/json", "text/html", "é"]),
)


@given(QOS, st.integers(0, 10**9))
def test_every_counter_proposal_is_admitted(asked: QoS, spare: int) -> None:
    proposal = judge(asked, spare).qos

    assert judge(proposal, spare).refused == ""
    assert judge(proposal, spare).qos == proposal
    assert is_settled(proposal)


@pytest.mark.parametrize(
    "asked",
    [
        QoS(key_chunk_size=limits.CHUNK_BYTES_MAX + 1),
        QoS(timeout=limits.TIMEOUT_MAX_MS + 1),
        QoS(ttl=limits.TTL_MAX_S + 1),
        QoS(min_bps=2, max_bps=1),
        QoS(min_bps=101),
        QoS(metadata_mimetype="text/html"),
    ],
)
def test_what_cannot_be_had_is_refused(asked: QoS) -> None:
    assert judge(asked, 100).refused != ""


def test_what_is_left_open_is_chosen() -> None:
    assert judge(QoS(), 0).qos == QoS(key_chunk_size=32, timeout=5_000, ttl=86_400)


def test_max_bps_is_never_exceeded() -> None:
    """8,000 bit/s are 31.25 chunks of 32 bytes a second."""
    pair = Pair().established(QoS(max_bps=8_000))
    for _ in range(200):
        for _ in range(5):
            pair.get(A)
        pair.pass_ms(50)

    assert 290 <= pair.a.stream().next_index <= 31.25 * 11


def test_key_that_lies_ready_is_not_delivered_above_max_bps_at_either_end() -> None:
    """In any second at most Max_bps and what the interface says more: here 100 ms of it."""
    pair = Pair().established(QoS(max_bps=8_000))
    pair.pass_ms(60_000)
    asked = [pair.get(node) for node in (A, "bob") for _ in range(64)]  # type: ignore[arg-type]
    most = []
    for end in pair.ends.values():
        for _ in range(100):
            pair.pass_ms(10)
        most.append(len(end.keys))

    assert len(asked) == 128
    assert most[0] * 256 <= 8_000 * 1.1 + 256
    assert 30 <= most[0]
    assert most[1] * 256 <= 8_000 * 2.1 + 256


def test_who_is_held_back_by_max_bps_until_its_timeout_is_told_so() -> None:
    pair = Pair().established(QoS(key_chunk_size=4096, max_bps=1_000, timeout=1_000))
    first, second = pair.get(A), pair.get(A)
    pair.pass_ms(1_001)

    assert first in pair.a.keys
    assert pair.a.answers[second].status == Status.TIMEOUT  # type: ignore[union-attr]
    assert "Max_bps" in pair.a.answers[second].message  # type: ignore[union-attr]


def test_a_reconnection_gives_nobody_another_second_of_max_bps() -> None:
    pair = Pair().established(QoS(max_bps=8_000))
    for _ in range(10):
        for _ in range(64):
            pair.get(A)
        pair.cut()
        pair.link()
        pair.settle()
        pair.pass_ms(100)

    assert len(pair.a.keys) * 256 <= 8_000 * 1.1 + 256


@pytest.mark.parametrize(("jitter", "granted"), [(255, 256), (256, 256), (0, 0), (9_999, 9_999)])
def test_jitter_is_a_chunk_a_second_at_the_least(jitter: int, granted: int) -> None:
    asked = QoS(key_chunk_size=32, max_bps=8_000, jitter=jitter)
    verdict = judge(asked, 0)

    assert verdict.qos.jitter == granted
    assert bool(verdict.refused) == (jitter != granted)
    assert not judge(QoS(jitter=1), 0).refused


def test_jitter_bounds_what_one_second_brings_above_max_bps() -> None:
    strict = Pace(QoS(key_chunk_size=32, max_bps=80_000, jitter=256), 0)
    loose = Pace(QoS(key_chunk_size=32, max_bps=80_000), 0)
    at_once = []
    for pace in (strict, loose):
        count = 0
        while pace.held_until_ms(60_000) is None:
            pace.delivered(60_000)
            count += 1
        at_once.append(count)

    assert at_once == [1, 32]


@given(
    st.integers(1, limits.CHUNK_BYTES_MAX),
    st.integers(1, 2**32 - 1),
    st.integers(1, 2**32 - 1),
)
def test_a_larger_promise_never_costs_less_and_designations_are_counted(
    chunk: int, one: int, other: int
) -> None:
    low, high = sorted((one, other))
    cost = [cost_bps(QoS(key_chunk_size=chunk, min_bps=bps)) for bps in (low, high)]

    assert low < cost[0] <= cost[1]


@given(st.integers(1, limits.CHUNK_BYTES_MAX), st.integers(0, 2**33))
def test_what_the_message_says_can_be_promised_can(chunk: int, spare: int) -> None:
    fits = min_bps_for(chunk, spare)

    assert cost_bps(QoS(key_chunk_size=chunk, min_bps=fits)) <= spare or not fits
    assert cost_bps(QoS(key_chunk_size=chunk, min_bps=fits * 11 // 10 + 10)) > spare


def test_small_chunks_are_admitted_with_what_their_designations_cost() -> None:
    """One chunk of 32 bytes a second is 256 bit/s of key and 1,152 of talk."""
    assert cost_bps(QoS(key_chunk_size=32, min_bps=256)) == 256 + 1_152
    assert cost_bps(QoS(key_chunk_size=1_024, min_bps=1_000_000)) < 1_010_000
    assert judge(QoS(min_bps=256), 1_400).refused
    assert not judge(QoS(min_bps=256), 1_408).refused


def test_promised_rate_goes_first_then_priority() -> None:
    pair = Pair()
    numbers = {}
    asked = [QoS(key_chunk_size=1024), QoS(key_chunk_size=1024, priority=5)]
    asked.append(QoS(key_chunk_size=1024, min_bps=8_192))
    for qos in asked:
        opening = pair.open(A, ANN, qos=qos)
        pair.settle()
        numbers[opening] = pair.a.answers[opening].ksid  # type: ignore[union-attr]
    pair.a.channel.window = 0
    for ksid in numbers.values():
        pair.open("bob", BEN, ksid)  # type: ignore[arg-type]
    pair.settle()
    plain, urgent, promised = numbers.values()
    made = []
    for _ in range(8):
        pair.a.channel.window = 1024
        pair.tick()
        made.append([pair.a.stream(ksid).next_index for ksid in (plain, urgent, promised)])

    assert made[0] == [0, 0, 1]
    assert made[3] == [0, 3, 1]


def test_streams_of_one_priority_share_evenly() -> None:
    pair = Pair()
    ksids = []
    for size in (64, 4096):
        opening = pair.open(A, ANN, qos=QoS(key_chunk_size=size))
        pair.settle()
        ksids.append(pair.a.answers[opening].ksid)  # type: ignore[union-attr]
        pair.open("bob", BEN, ksids[-1])  # type: ignore[arg-type]
    pair.settle()
    pair.a.channel.window = 0
    for ksid in ksids:
        for index in range(4, 60):
            pair.get(A, index * 60 if ksid == ksids[0] else index, ksid=ksid)
    for _ in range(12):
        pair.a.channel.window = 8192
        pair.tick()
    got = [pair.a.stream(k).next_index * pair.a.stream(k).qos.key_chunk_size for k in ksids]

    assert abs(got[0] - got[1]) <= 32_768, got


def test_the_goal_doubles_while_somebody_waits_and_halves_at_rest() -> None:
    pace = Pace(QoS(key_chunk_size=32), 0)
    goals = []
    for _ in range(4):
        pace.missed()
        goals.append(pace.need(0, 0, 1))
        pace.made(1)
    soon = pace.need(9_900, 0, 0)
    rested = pace.need(30_000, 0, 0)

    assert (goals, soon, rested) == ([8, 16, 32, 64], 64, 8)
    assert stock_chunks(1) == limits.STOCK_CHUNKS_MAX
    assert stock_chunks(limits.CHUNK_BYTES_MAX) == 8


def test_who_asks_for_many_keys_now_and_then_finds_them_ready() -> None:
    pace = Pace(QoS(key_chunk_size=32), 0)
    needs = []
    for burst in range(1, 6):
        for _ in range(20):
            pace.delivered(burst * 3_000)
        needs.append(pace.need((burst + 1) * 3_000 - 1, 0, 0))
    long_after = pace.need(60_000, 0, 0)

    assert needs == [40] * 5
    assert long_after < 20


def test_a_promise_grows_with_time_and_is_kept_for_a_second_at_most() -> None:
    pace = Pace(QoS(key_chunk_size=32, min_bps=2_560), 0)
    pace.made(10)
    promised = [pace.promised(at_ms) for at_ms in (0, 99, 499, 500, 1_000, 5_000)]

    assert promised == [0, 0, 0, 5, 10, 10]


def test_what_a_stream_in_line_was_promised_and_did_not_get_is_owed_to_it() -> None:
    pace = Pace(QoS(key_chunk_size=32, min_bps=2_560), 0)
    pace.made(10)
    pace.queued = 1
    owed = [pace.promised(at_ms) for at_ms in (1_000, 10_000, limits.PROMISE_OWED_MS * 2)]
    pace.queued = 0
    left_line = pace.promised(limits.PROMISE_OWED_MS * 2 + 1)

    assert owed == [10, 100, 600]
    assert left_line == 10


def test_streams_that_are_gone_are_owed_nothing() -> None:
    """On a dry link nobody looks at more of them than the first few."""
    pair = Pair()
    for end in pair.ends.values():
        end.channel.stock = end.channel.window = 0
        end.channel.rate = 10**9
    stay, leave = range(1, 70), range(100, 130)
    for number in (*stay, *leave):
        pair.open(A, ANN, key_of(number), qos=QoS(min_bps=1_000))
        pair.settle()
        pair.open(B, BEN, key_of(number))
        pair.settle()
    pair.pass_ms(2_000)
    owed = pair.a.streams._register.owed
    before = len(owed[LINK])
    for number in leave:
        pair.close(A, key_of(number))
        pair.close(B, key_of(number))
        pair.settle()
    after = len(owed[LINK])
    for number in stay:
        pair.close(A, key_of(number))
        pair.close(B, key_of(number))
        pair.settle()

    assert (before, after) == (99, 69)
    assert owed == {}


def test_a_second_of_what_is_promised_lies_ready_before_anybody_asks() -> None:
    promised = Pace(QoS(key_chunk_size=32, min_bps=256_000), 0)
    plain = Pace(QoS(key_chunk_size=32), 0)

    assert promised.need(0, 0, 0) == 1_000
    assert plain.need(0, 0, 0) == limits.STOCK_CHUNKS_MIN


def test_policy_denies_by_default_and_allows_either_to_open() -> None:
    policy = Policy(rules=(Rule(one="sae:ann.*", other="sae:*.bob"),))

    assert policy.may_share(ANN, BEN)
    assert policy.may_share(BEN, ANN)
    assert not policy.may_share(EVE, BEN)
    assert not Policy().may_share(ANN, BEN)


def test_an_application_that_asks_and_waits_is_not_taken_for_gone() -> None:
    """TTL is for applications that crashed: asking, answered or not, shows that one has not."""
    pair = Pair().established(QoS(ttl=2, timeout=1_000))
    pair.a.channel.stock = pair.b.channel.stock = 0
    for _ in range(64):
        pair.get(A)
    for _ in range(6):
        pair.get(A)
        pair.get("bob")  # type: ignore[arg-type]
        pair.pass_ms(1_000)

    assert pair.a.stream().local_closed is False
    assert pair.b.stream().local_closed is False
