"""A process at the other end of a floor or a tunnel: started, ready, done.

Its own process, because two ends in one would share one core, which two nodes never do.
"""

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import structlog

from kms.domain.errors import LocalFault

# It imports in a second; a slow machine takes ten times that.
READY_S = 60.0
_END_S = 5.0


@contextmanager
def other_end(serve: Callable[..., None], *arguments: Any) -> Iterator[int]:
    """Runs ``serve(connection, *arguments)`` in a process of its own, which sends its port first.
    Yields the port; the process is gone afterwards."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_silent, args=(serve, theirs, *arguments), daemon=True)
    process.start()
    theirs.close()
    try:
        yield _port(ours)
    finally:
        ours.close()
        process.terminate()
        process.join(_END_S)
        if process.is_alive():
            process.kill()
            process.join()
        process.close()


def _silent(serve: Callable[..., None], connection: Connection, *arguments: Any) -> None:
    """Our stdout is the caller's, who may print JSON there."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    serve(connection, *arguments)


def _port(connection: Connection) -> int:
    try:
        if connection.poll(READY_S):
            return int(connection.recv())
    except EOFError:
        pass  # It ended; what it said is on stderr.
    raise LocalFault(
        "the other end of a measurement did not start", hint="see above, or try kms bench again"
    )
