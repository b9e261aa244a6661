"""The log: events with fields, a line each, on stderr. Not the audit, and never a key.

Rules: an event is a stable word, what varies is a field; nothing is worked into the word. A field
that holds ``Secret`` or any bytes is not printed: it is replaced by a refusal, so that a mistake
costs a line and not a key. No local variables in tracebacks. One event may fill so many lines in
a while; the rest are counted, and the count is on the next line that passes.

Theory of operation: structlog processors, in order: level, rate limit, time, traceback,
redaction, rendering. Redaction is last but one, so that nothing a processor adds escapes it. What
libraries say through ``logging`` takes the same way, from warning on.
"""

import logging
import re
import sys
import time
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Literal, TextIO

import attrs
import structlog

from kms.domain import limits
from kms.domain.secret import Secret

Event = MutableMapping[str, Any]
_DEPTH_MAX = 4
_ITEMS_MAX = 64
_BITS = (Secret, bytes, bytearray, memoryview)
_PLAIN = (int, float, bool, type(None))

_PRINTED_BYTES = re.compile(r"""\bb(?:'(?:[^'\\]|\\.)*(?:'|\\?\Z)|"(?:[^"\\]|\\.)*(?:"|\\?\Z))""")


def configure(
    *,
    level: Literal["debug", "info", "warning", "error"] = "info",
    form: Literal["json", "console"] = "json",
    stream: TextIO | None = None,
) -> None:
    """``structlog.get_logger()`` and ``logging`` write to ``stream``, stderr by default."""
    output = stream or sys.stderr
    number = logging.getLevelNamesMapping()[level.upper()]
    renderer: Callable[..., str | bytes] = structlog.processors.JSONRenderer(sort_keys=False)
    if form == "console":
        renderer = structlog.dev.ConsoleRenderer(
            colors=output.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        RateLimit(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=output),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_library, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(number, logging.WARNING))


def redact(logger: object, method: str, event: Event) -> Event:
    """Every field is a number, a bounded text, or a small collection of those."""
    return {_text(str(name)): _safe(value, _DEPTH_MAX) for name, value in event.items()}


@attrs.define
class _Window:
    started_ms: float
    passed: int = 0
    held: int = 0


class RateLimit:
    """Drops an event that came too often, and says how many were dropped.

    Counted by event and link, so that a noisy link does not silence the others.
    """

    def __init__(self, now_ms: Callable[[], float] = lambda: time.monotonic() * 1000) -> None:
        self._now_ms = now_ms
        self._windows: dict[tuple[str, str], _Window] = {}

    def __call__(self, logger: object, method: str, event: Event) -> Event:
        name = (_text(str(event.get("event", ""))), _text(str(event.get("link", ""))))
        now_ms = self._now_ms()
        window = self._windows.get(name)
        if window is None:
            if len(self._windows) >= limits.LOG_NAMES_MAX:
                self._windows.pop(next(iter(self._windows)))
            window = self._windows[name] = _Window(started_ms=now_ms)
        if now_ms - window.started_ms >= limits.LOG_WINDOW_MS:
            window.started_ms, window.passed = now_ms, 0
        if window.passed >= limits.LOG_EVENTS_PER_WINDOW_MAX:
            window.held += 1
            raise structlog.DropEvent
        window.passed += 1
        if window.held:
            event["suppressed"] = window.held
            window.held = 0
        return event


def _library(logger: object, method: str, event: Event) -> Event:
    """A library's sentence becomes a field: the word is ours."""
    record = event.get("_record")
    return {
        **event,
        "event": "library",
        "logger": getattr(record, "name", ""),
        "said": event.get("event"),
    }


def _safe(value: object, depth: int) -> object:
    if isinstance(value, _BITS):
        return f"[refused: {type(value).__name__}]"
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, BaseException):
        return _text(f"{type(value).__name__}: {value}")
    if depth and isinstance(value, Mapping):
        items = list(value.items())[:_ITEMS_MAX]
        return {_text(str(name)): _safe(inner, depth - 1) for name, inner in items}
    if depth and isinstance(value, list | tuple | set | frozenset):
        return [_safe(inner, depth - 1) for inner in list(value)[:_ITEMS_MAX]]
    fields: tuple[attrs.Attribute[Any], ...] = getattr(value, "__attrs_attrs__", ())
    if depth and fields:
        return {field.name: _safe(getattr(value, field.name), depth - 1) for field in fields}
    if fields or isinstance(value, Mapping | list | tuple | set | frozenset):
        return "[too deep]"
    return _text(str(value))


def _text(value: str) -> str:
    """Without what looks like printed bytes, in an exception's words for instance; bounded, with
    the middle left out, since a traceback says most at its end."""
    value = _PRINTED_BYTES.sub("[refused: bytes]", value[: 32 * limits.LOG_TEXT_MAX])
    half = limits.LOG_TEXT_MAX // 2
    over = len(value) - limits.LOG_TEXT_MAX
    return value if over <= 0 else f"{value[:half]}[{over} more]{value[-half:]}"
