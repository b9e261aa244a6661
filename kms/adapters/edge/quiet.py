"""A log that strangers cannot fill: each event name at most once in a while, with a count.

Also the face of it that hypercorn wants to see.
"""

import sys
from typing import Any

import trio
from structlog.typing import FilteringBoundLogger

# A flood of failures becomes one line per event name in this time.
_QUIET_S = 10.0


class QuietLog:
    """One line per event name and ten seconds; ``suppressed`` says how many were not written."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log
        self._next_at: dict[str, float] = {}
        self._suppressed: dict[str, int] = {}

    def event(self, name: str, **fields: object) -> None:
        """Written, or counted. ``name`` is one of our own words, so the tables stay small."""
        now = trio.current_time()
        if now < self._next_at.get(name, 0.0):
            self._suppressed[name] = self._suppressed.get(name, 0) + 1
            return
        self._next_at[name] = now + _QUIET_S
        self._log.warning(name, suppressed=self._suppressed.pop(name, 0), **fields)

    def fault(self, name: str, error: BaseException, **fields: object) -> None:
        """An exception, by type, words and place; never by the values of local variables."""
        self.event(
            name, error=type(error).__name__, reason=str(error)[:200], at=place_of(error), **fields
        )


def place_of(error: BaseException) -> str:
    """The innermost place of an exception, or of the first one in a group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "?"
    code = trace.tb_frame.f_code
    return f"{code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno} {code.co_name}"


class HypercornLog:
    """What hypercorn calls a logger. Request lines are never logged: they may carry key names."""

    def __init__(self, log: QuietLog) -> None:
        self._log = log

    async def access(self, *_: Any) -> None:
        """Nothing."""

    async def exception(self, message: str, *_: Any) -> None:
        """An application raised: called in the handler of that exception."""
        error = sys.exception()
        if error is None:
            self._log.event("edge_application_failed", reason=message)
        else:
            self._log.fault("edge_application_failed", error)

    async def warning(self, message: str, *_: Any) -> None:
        self._log.event("edge_hypercorn", reason=message)

    info = debug = error = critical = warning
