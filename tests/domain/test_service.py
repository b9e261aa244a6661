"""The parameters of ITU-T Y.3807, counted in fixed memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kms.domain.service import HALF_MS, Outages, ServiceMeter
from kms.domain.status import QoS, Status
from tests.domain.streams_play import KNOWN, LINK, A, B, Pair


def test_delays_have_a_mean_a_maximum_and_a_variation() -> None:
    meter = ServiceMeter(0)
    for delay_ms in (10, 20, 10, 20):
        meter.delivered(1_000, delay_ms, 32)
    status = meter.statistics(1_000, Outages())

    assert (status.delay_ms_mean, status.delay_ms_max) == (15.0, 20)
    assert status.variation_ms == pytest.approx(30 / 16, rel=0.1)
    assert (status.keys_total, status.bytes_total) == (4, 128)


def test_a_steady_delay_varies_by_nothing() -> None:
    meter = ServiceMeter(0)
    for _ in range(100):
        meter.delivered(0, 7, 32)

    assert meter.statistics(1, Outages()).variation_ms == 0.0


def test_throughput_is_of_the_last_minute_and_falls_to_nothing() -> None:
    meter = ServiceMeter(0)
    for second in range(120):
        meter.delivered(second * 1_000, 0, 1_000)
    bps = [meter.statistics(at_ms, Outages()).throughput_bps for at_ms in (119_999, 240_000)]

    assert bps[0] == pytest.approx(8_000, rel=0.01)
    assert bps[1] == 0.0


@given(st.lists(st.tuples(st.integers(0, 3 * HALF_MS), st.integers(0, 10**6)), max_size=50))
def test_no_history_makes_a_ratio_leave_its_bounds(steps: list[tuple[int, int]]) -> None:
    meter, outages, now_ms = ServiceMeter(0), Outages(), 0
    for number, (past_ms, size) in enumerate(steps):
        now_ms += past_ms
        outages.look(now_ms, serves=bool(size % 2))
        if number % 3 == 0:
            meter.erred()
        elif number % 3 == 1:
            meter.lost()
        else:
            meter.delivered(now_ms, size, size)
        status = meter.statistics(now_ms, outages)

        assert status.throughput_bps >= 0
        assert status.variation_ms >= 0
        assert 0 <= status.error_ratio + status.loss_ratio <= 1
        assert 0 <= status.availability <= 1


def test_availability_is_the_time_that_the_link_could_serve() -> None:
    meter, outages = ServiceMeter(0), Outages()
    for at_ms, serves in ((0, True), (2_000, False), (3_000, False), (4_000, True), (9_000, False)):
        outages.look(at_ms, serves=serves)
    status = meter.statistics(10_000, outages)

    assert status.availability == 0.7
    assert (status.outages_total, status.outage_ms_max) == (2, 2_000)


def test_a_stream_does_not_answer_for_outages_of_before_its_time() -> None:
    pair = Pair()
    pair.pass_ms(1_000)
    pair.cut()
    for _ in range(5):
        pair.pass_ms(1_000)
    pair.link()
    pair.settle()
    pair.pass_ms(1_000)
    pair.established()
    pair.pass_ms(1_000)
    (stream,) = pair.a.streams.statistics()
    _, link, _ = pair.a.streams.service(LINK)

    assert stream.service is not None
    assert link is not None
    assert (stream.service.availability, stream.service.outages_total) == (1.0, 0)
    assert link.outages_total == 1
    assert link.availability < 0.5


def test_requests_without_key_in_their_timeout_are_losses_and_own_mistakes_are_not() -> None:
    pair = Pair().established(QoS(timeout=1_000))
    pair.a.channel.stock = 0
    kept = [pair.get(A) for _ in range(4)]
    late = pair.get(A)
    pair.pass_ms(1_001)
    again = pair.get(A, 0)
    far = pair.get(A, 2**31)
    (stream,) = pair.a.streams.statistics()

    assert all(number in pair.a.keys for number in kept)
    for number in (late, again, far):
        assert pair.a.answers[number].status == Status.INSUFFICIENT_KEY  # type: ignore[union-attr]
    assert stream.service is not None
    assert (stream.service.keys_total, stream.service.losses_total) == (4, 1)
    assert (stream.service.errors_total, stream.service.loss_ratio) == (0, 0.2)


def test_a_chunk_that_this_end_lost_and_the_peer_may_have_is_an_error() -> None:
    pair = Pair().established()
    taken = pair.get(B, 0)
    pair.compromise(A, "the link is doubted")
    lost = pair.get(A, 0)
    (stream,) = pair.a.streams.statistics()
    _, link, delays = pair.a.streams.service(LINK)

    assert taken in pair.b.keys
    assert lost in pair.a.answers
    assert stream.service is not None
    assert link is not None
    assert delays is not None
    assert (stream.service.errors_total, stream.service.error_ratio) == (1, 1.0)
    assert (link.errors_total, delays.count) == (1, 0)


def test_the_response_delay_is_from_the_request_to_the_key() -> None:
    pair = Pair().established()
    pair.a.channel.window = 0
    numbers = [pair.get(A) for _ in range(5)]
    pair.pass_ms(250)
    pair.a.channel.window = 8_192
    pair.tick()
    pair.settle()
    (stream,) = pair.a.streams.statistics()
    _, _, delays = pair.a.streams.service(LINK)

    assert all(number in pair.a.keys for number in numbers)
    assert stream.service is not None
    assert delays is not None
    assert stream.ksid == KNOWN
    assert stream.service.delay_ms_max == 250
    assert delays.count == 5
