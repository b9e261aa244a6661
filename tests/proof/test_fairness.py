"""Under ten times more demand than key: even within a class, and the first class hardly notices.

The same figures on any machine: virtual time, from a seed.
"""

import attrs
import pytest

from kms.domain.stream import Stream
from kms.domain.supply import Supply
from tests.proof.fairness import BUSY, DEMAND, RATE_BPS, busy_waits_ms, jain, shares

SEED = 1
SECONDS = 10
JAIN_MIN = 0.95
FIRST = max(DEMAND)

pytestmark = pytest.mark.slow


def test_ten_times_the_demand_is_shared_evenly_and_the_first_class_hardly_waits() -> None:
    alone = shares({FIRST: DEMAND[FIRST]}, SECONDS, SEED)
    crowd = shares(DEMAND, SECONDS, SEED)

    assert crowd.wrong == []
    assert sum(DEMAND.values()) == pytest.approx(10)
    assert min(crowd.jain.values()) >= JAIN_MIN
    assert crowd.p99_ms[FIRST] <= 2 * alone.p99_ms[FIRST]
    assert crowd.refused[FIRST] == 0
    assert crowd.bps[FIRST] > 0.8 * DEMAND[FIRST] * RATE_BPS


def test_a_first_class_that_has_to_wait_alone_waits_at_most_twice_as_long_in_the_crowd() -> None:
    alone = busy_waits_ms({FIRST: BUSY[FIRST]}, SECONDS, SEED)
    crowd = busy_waits_ms(BUSY, SECONDS, SEED)

    assert alone > 100
    assert crowd <= 2 * alone


def test_a_class_that_takes_everything_shares_it_evenly_and_a_promise_is_kept() -> None:
    promise_bps = 20_000
    crowd = shares(dict.fromkeys(DEMAND, 10 / 3), SECONDS, SEED, {0: promise_bps})

    assert crowd.wrong == []
    assert crowd.jain[FIRST] >= JAIN_MIN
    assert crowd.jain[0] >= JAIN_MIN
    assert crowd.bps[0] == pytest.approx(4 * promise_bps, rel=0.2)
    assert crowd.bps[FIRST] > 5 * crowd.bps[5]


def test_a_pacer_that_puts_the_first_class_last_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def inverted(self: Supply, stream: Stream, now_ms: int) -> None:
        qos = stream.record.qos
        stream.record = attrs.evolve(
            stream.record, qos=attrs.evolve(qos, priority=FIRST - qos.priority)
        )
        stand(self, stream, now_ms)
        stream.record = attrs.evolve(stream.record, qos=qos)

    stand = Supply._stand_in_line
    monkeypatch.setattr(Supply, "_stand_in_line", inverted)
    crowd = shares(DEMAND, SECONDS, SEED)

    assert crowd.p99_ms[FIRST] > 2 * shares({FIRST: DEMAND[FIRST]}, SECONDS, SEED).p99_ms[FIRST]
    alone = busy_waits_ms({FIRST: BUSY[FIRST]}, SECONDS, SEED)
    assert busy_waits_ms(BUSY, SECONDS, SEED) > 2 * alone


def test_a_pacer_with_a_favourite_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: the bytes that one stream got are never counted."""

    def unfair(self: Supply, stream: Stream, now_ms: int) -> None:
        self._floor.clear()
        stream.pace.share = 0 if stream.ksid.int % 4 == 1 else 10**12
        stand(self, stream, now_ms)

    stand = Supply._stand_in_line
    monkeypatch.setattr(Supply, "_stand_in_line", unfair)

    assert min(shares(DEMAND, SECONDS, SEED).jain.values()) < JAIN_MIN


def test_jains_index_is_one_for_equal_shares_and_one_nth_for_one() -> None:
    assert jain([7, 7, 7, 7]) == 1
    assert jain([9, 0, 0, 0]) == 0.25
