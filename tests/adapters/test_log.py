"""The log: events with fields, bounded, and never a key."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
import structlog

from kms.adapters.log import RateLimit, configure
from kms.domain import limits
from kms.domain.secret import Secret

KEY = bytes(range(65, 97))
SPELLINGS = (KEY.decode(), KEY.hex(), repr(KEY), str(list(KEY)))


@pytest.fixture
def output() -> Iterator[io.StringIO]:
    """What the log writes; the set-up of other tests is back afterwards."""
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    stream = io.StringIO()
    configure(stream=stream)
    yield stream
    structlog.reset_defaults()
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)


def lines_of(output: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.getvalue().splitlines()]


def test_an_event_is_one_line_of_json_with_its_fields(output: io.StringIO) -> None:
    structlog.get_logger().info("link-up", link="A~B", epoch=1, rate_bps=0.5, alarm=None)

    (line,) = lines_of(output)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "link-up",
        "level": "info",
        "link": "A~B",
        "epoch": 1,
        "rate_bps": 0.5,
        "alarm": None,
    }


@attrs.frozen
class Holder:
    bits: Secret
    raw: bytes


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize(
    "value",
    [
        Secret(KEY),
        KEY,
        bytearray(KEY),
        memoryview(KEY),
        [KEY],
        (Secret(KEY),),
        {"a": {"b": [{"c": KEY}]}},
        {"a": {"b": {"c": {"d": {"e": KEY}}}}},
        {KEY: 1},
        frozenset({KEY}),
        Holder(Secret(KEY), KEY),
        [Holder(Secret(KEY), KEY)],
        ValueError(KEY),
        f"it was {KEY!r}",
        f"it was {bytearray(KEY)!r}",
        repr(KEY)[:-1],
    ],
    ids=lambda value: type(value).__name__,
)
def test_key_bits_in_a_field_are_refused_however_deep(
    output: io.StringIO, form: Any, value: object
) -> None:
    configure(stream=output, form=form)
    structlog.get_logger().warning("mistake", field=value)

    written = output.getvalue()
    assert "mistake" in written, "the line itself is there"
    assert not any(spelling in written for spelling in SPELLINGS)


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_shows_no_local_variables_and_no_bits(output: io.StringIO, form: Any) -> None:
    configure(stream=output, form=form)

    def deliver(bits: bytes) -> None:
        raise ValueError("cannot deliver", bits)

    try:
        deliver(KEY)
    except ValueError:
        structlog.get_logger().exception("failed")

    written = output.getvalue()
    assert "cannot deliver" in written
    assert not any(spelling in written for spelling in SPELLINGS)


def test_what_libraries_say_takes_the_same_way(output: io.StringIO) -> None:
    logging.getLogger("hypercorn.error").warning("odd: %s", KEY)
    logging.getLogger("hypercorn.error").info("chatter")

    (line,) = lines_of(output)
    assert (line["event"], line["logger"]) == ("library", "hypercorn.error")
    assert not any(spelling in output.getvalue() for spelling in SPELLINGS)


def test_a_stranger_cannot_write_a_line_of_his_own(output: io.StringIO) -> None:
    structlog.get_logger().info("refused", name='x"}\n{"event": "forged"}')

    (line,) = lines_of(output)
    assert line["event"] == "refused"


@pytest.mark.parametrize("value", ["x" * 10**6, ["x"] * 10**5, {str(n): n for n in range(10**4)}])
def test_no_field_grows_without_bound(output: io.StringIO, value: object) -> None:
    structlog.get_logger().info("long", field=value)

    assert len(output.getvalue()) < 4 * limits.LOG_TEXT_MAX


def test_below_the_level_nothing_is_written(output: io.StringIO) -> None:
    configure(stream=output, level="warning")
    structlog.get_logger().info("chatter")

    assert output.getvalue() == ""


def test_a_repeated_event_is_counted_and_the_next_window_says_how_often() -> None:
    now_ms = 0.0
    limit = RateLimit(lambda: now_ms)
    passed = dropped = 0
    for _ in range(limits.LOG_EVENTS_PER_WINDOW_MAX + 7):
        try:
            limit(None, "info", {"event": "refused"})
            passed += 1
        except structlog.DropEvent:
            dropped += 1
    now_ms += limits.LOG_WINDOW_MS

    later = limit(None, "info", {"event": "refused"})

    assert (passed, dropped) == (limits.LOG_EVENTS_PER_WINDOW_MAX, 7)
    assert later == {"event": "refused", "suppressed": 7}


def test_a_noisy_link_does_not_silence_another() -> None:
    limit = RateLimit(lambda: 0.0)
    for _ in range(limits.LOG_EVENTS_PER_WINDOW_MAX):
        limit(None, "info", {"event": "forged", "link": "A~B"})

    with pytest.raises(structlog.DropEvent):
        limit(None, "info", {"event": "forged", "link": "A~B"})
    assert limit(None, "info", {"event": "forged", "link": "A~C"})


def test_the_rate_limit_forgets_the_oldest_name_rather_than_grow() -> None:
    limit = RateLimit(lambda: 0.0)
    for number in range(limits.LOG_NAMES_MAX + 100):
        limit(None, "info", {"event": f"name-{number}"})

    assert len(limit._windows) == limits.LOG_NAMES_MAX
