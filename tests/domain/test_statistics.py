"""Figures that every printout shares."""

import pytest

from kms.domain.statistics import Latencies, LatencyStatus, PadStatus


def test_a_pads_level_is_what_is_not_spent() -> None:
    assert PadStatus(mark=40, granted=60, end=100).level_bytes == 60


def test_a_mark_that_passed_the_end_leaves_nothing() -> None:
    assert PadStatus(mark=100, granted=100, end=90).level_bytes == 0


def test_an_observation_counts_below_the_first_bound_that_it_does_not_pass() -> None:
    latencies = Latencies()
    for taken_ms in (0.1, 0.5, 0.6, 1e9):
        latencies.observe(taken_ms)
    status = latencies.statistics()

    assert status.counts == (2, 1, *[0] * 13, 1)
    assert (status.count, status.sum_ms) == (4, 0.1 + 0.5 + 0.6 + 1e9)


@pytest.mark.parametrize(
    ("share", "bound"), [(0.01, 1.0), (0.5, 1.0), (0.51, 2.0), (0.75, 2.0), (1.0, float("inf"))]
)
def test_a_quantile_is_the_bound_below_which_that_share_lies(share: float, bound: float) -> None:
    status = LatencyStatus(bounds_ms=(1.0, 2.0), counts=(2, 1, 1), sum_ms=9.0)

    assert bound == status.quantile_ms(share)


def test_without_observations_there_is_no_quantile() -> None:
    assert Latencies().statistics().quantile_ms(0.99) is None


@pytest.mark.parametrize("share", [0.0, -1.0, 1.01])
def test_a_share_that_is_none_is_our_mistake(share: float) -> None:
    with pytest.raises(AssertionError, match="share"):
        Latencies().statistics().quantile_ms(share)


def test_counts_that_fell_below_zero_are_our_mistake() -> None:
    broken = LatencyStatus(bounds_ms=(1.0,), counts=(-3, 1), sum_ms=0.0)

    with pytest.raises(AssertionError, match="the counts do not add up"):
        broken.quantile_ms(0.5)
