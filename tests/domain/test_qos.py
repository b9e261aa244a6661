"""Admission: what is refused comes with what would be admitted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kms.domain import limits
from kms.domain.pace import Pace, stock_chunks
from kms.domain.policy import Policy, Rule
from kms.domain.qos import is_settled, judge
from kms.domain.status import QoS
from tests.domain.streams_play import ANN, BEN, EVE, A, Pair

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
    promised = [pace.promised(at_ms) for at_ms in (0, 99, 100, 500, 1_000, 5_000)]

    assert promised == [0, 0, 1, 5, 10, 10]


def test_policy_denies_by_default_and_allows_either_to_open() -> None:
    policy = Policy(rules=(Rule(one="sae:ann.*", other="sae:*.bob"),))

    assert policy.may_share(ANN, BEN)
    assert policy.may_share(BEN, ANN)
    assert not policy.may_share(EVE, BEN)
    assert not Policy().may_share(ANN, BEN)
