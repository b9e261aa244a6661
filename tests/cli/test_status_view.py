"""What the operator sees at a glance, and the figures behind it."""

import attrs
import pytest
from rich.console import Console

from kms.domain.statistics import Latencies, LatencyStatus, NodeState
from kms.status_view import rate, size, view
from tests.cli.fake_node import STATUS, latencies


def shown(status: object = STATUS, width: int = 240) -> str:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(view(status))  # type: ignore[arg-type]
    return capture.get()


def test_what_is_wrong_comes_before_the_figures() -> None:
    status = attrs.evolve(STATUS, state=NodeState.DEGRADED, why=("A~B is down",))
    lines = shown(status).splitlines()

    assert lines[0].startswith("A degraded")
    assert lines[1].strip() == "A~B is down"
    assert next(n for n, line in enumerate(lines) if "qber" in line) < next(
        n for n, line in enumerate(lines) if "10.1 kbit/s" in line
    )


def test_a_link_shows_rate_level_grants_marks_reserve_and_own_frames() -> None:
    (row,) = (line for line in shown().splitlines() if line.startswith("A~B"))

    for figure in ("10.1 kbit/s", "9.8 MiB / 2.0 KiB", "1.0 KiB / 512 B", "1000 / 0", "8.0 KiB"):
        assert figure in row
    assert "7, 700 B" in row


def test_a_stream_shows_what_it_was_promised_and_what_it_got() -> None:
    row = next(line for line in shown().splitlines() if "sae:camera.A" in line)

    for figure in ("8 kbit/s", "12.8 kbit/s", "3.5 ms"):
        assert figure in row


def test_the_audit_head_is_whole_so_that_it_can_be_kept_elsewhere() -> None:
    assert f"12:{STATUS.journal_hash}" in shown()


def test_a_neighbours_words_cannot_command_the_terminal() -> None:
    alarm = attrs.evolve(STATUS.alarms[0], detail="\x1b[2J\x9b2Jgone [red]x[/red]", kind="\x1b]0;x")
    link = attrs.evolve(STATUS.links[0], alarm="\x1b[8m")
    status = attrs.evolve(STATUS, alarms=(alarm,), links=(link,), why=("\x1b[1A",))

    assert "\x1b" not in shown(status)
    assert "\x9b" not in shown(status)
    assert "?[2J?2Jgone [red]x[/red]" in shown(status)


def test_a_node_with_nothing_yet_is_shown() -> None:
    empty = attrs.evolve(
        STATUS, links=(), streams=(), devices=(), alarms=(), store=None, get_key=None
    )

    assert "A ready" in shown(empty)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (1023, "1023 B"), (65536, "64.0 KiB"), (2**30, "1.0 GiB"), (2**50, "1024.0 TiB")],
)
def test_sizes(value: int, text: str) -> None:
    assert size(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0 bit/s"), (3.25, "3.25 bit/s"), (414e6, "414 Mbit/s")]
)
def test_rates(value: float, text: str) -> None:
    assert rate(value) == text


def test_a_latency_is_counted_under_the_first_bound_that_holds_it() -> None:
    observed = Latencies()
    for taken_ms in (0.0, 0.5, 0.51, 60_000.0, 60_000.1):
        observed.observe(taken_ms)

    status = observed.statistics()

    assert (status.counts[0], status.counts[1]) == (2, 1)
    assert status.counts[-2:] == (1, 1)
    assert status.count == 5


def test_quantiles_are_the_bound_that_holds_the_share() -> None:
    status = latencies().statistics()

    assert status.quantile_ms(0.5) == 2.0
    assert status.quantile_ms(0.99) == 2.0
    assert status.quantile_ms(1) == float("inf")
    assert LatencyStatus(bounds_ms=(1.0,), counts=(0, 0), sum_ms=0).quantile_ms(0.5) is None
