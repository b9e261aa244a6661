"""Rates over the last minute, or as long as there is something to see."""

from kms.domain.meter import SPAN_MS, RateMeter


def test_a_rate_needs_two_moments() -> None:
    meter = RateMeter()
    rates = [meter.bits_per_second()]
    for at_ms, total in ((1_000, 500), (1_000, 600), (3_000, 1_500)):
        meter.advance(at_ms, total)
        rates.append(meter.bits_per_second())

    assert [0.0, 0.0, 0.0, 4_000.0] == rates


def test_what_is_more_than_a_minute_old_counts_no_longer() -> None:
    meter = RateMeter()
    meter.advance(0, 0)
    meter.advance(1_000, 1_000_000)
    meter.advance(SPAN_MS, 1_000_000)
    whole = meter.bits_per_second()
    meter.advance(SPAN_MS + 1_000, 1_000_000)

    assert 8_000_000 * 1_000 / SPAN_MS == whole
    assert 0.0 == meter.bits_per_second()
