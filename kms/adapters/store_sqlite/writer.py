"""The one thread that touches the store's files.

Theory of operation. A task hands over a call and waits. The thread makes the calls in the order
they came, each to its end: a task that is cancelled stops waiting, and nothing else. Results come
back to the event loop's thread in the same order, so ``settle`` of one call runs before that of the
next, and before its own task goes on.

A dedicated thread, not ``trio.to_thread``: one hop costs about half, and the order is certain.
"""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Generic, TypeVar, cast

import attrs
import outcome
import trio

from kms.adapters.store_sqlite.limits import JOBS_WAITING_MAX
from kms.domain.secret import Secret

T = TypeVar("T")


@attrs.define(eq=False)
class _Job(Generic[T]):
    work: Callable[[], T]
    settle: Callable[[outcome.Outcome[T]], None]
    done: trio.Event = attrs.Factory(trio.Event)
    result: outcome.Outcome[T] | None = None
    abandoned: bool = False


class Writer:
    """Started by ``start``; ends with ``stop``, or with the process."""

    def __init__(self, name: str) -> None:
        """The thread waits for work. Call it from the event loop."""
        self._room = trio.Semaphore(JOBS_WAITING_MAX)
        self._token = trio.lowlevel.current_trio_token()
        self._jobs: SimpleQueue[_Job[object] | None] = SimpleQueue()
        # A daemon: a process that crashes out of its event loop ends, as after kill -9.
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def run(
        self,
        work: Callable[[], T],
        settle: Callable[[outcome.Outcome[T]], None] = lambda result: None,
    ) -> T:
        """What ``work`` returned or raised, in the thread. ``settle`` runs in the event loop, also
        when the caller was cancelled meanwhile. Cancelled before there was room: nothing runs but
        ``settle``."""
        try:
            await self._room.acquire()
        except trio.Cancelled as cancelled:
            settle(outcome.Error(cancelled))
            raise
        job = _Job(work, settle)
        self._jobs.put(cast(_Job[object], job))
        try:
            await job.done.wait()
        except trio.Cancelled:
            job.abandoned = True
            raise
        assert job.result is not None, "a job that is done has a result"
        return job.result.unwrap()

    async def stop(self) -> None:
        """What was handed over is done, and the thread has ended."""
        self._jobs.put(None)
        await trio.to_thread.run_sync(self._thread.join)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            result = outcome.capture(job.work)
            try:
                self._token.run_sync_soon(self._settle, job, result)
            except trio.RunFinishedError:
                return

    def _settle(self, job: _Job[object], result: outcome.Outcome[object]) -> None:
        job.result = result
        self._room.release()
        job.settle(result)
        if job.abandoned and isinstance(result, outcome.Value) and isinstance(result.value, Secret):
            result.value.wipe()
        job.done.set()
