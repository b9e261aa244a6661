"""Who asked the node, and waits for its answer."""

import trio
from trio.lowlevel import Abort, RaiseCancelT

from kms.domain.errors import AppFault
from kms.domain.requests import Reply


class Waiter:
    """One caller that waits for the node's answer. Only one task waits, so it needs no event."""

    __slots__ = ("_fault", "_reply", "_task")

    def __init__(self) -> None:
        self._reply: Reply | None = None
        self._fault: AppFault | None = None
        self._task: trio.lowlevel.Task | None = None

    def answer(self, reply: Reply) -> None:
        self._reply = reply
        self._wake()

    def fail(self, fault: AppFault) -> None:
        self._fault = fault
        self._wake()

    async def answered(self) -> Reply:
        """The answer, as soon as it is there. Raises the fault that it is."""
        if self._reply is None and self._fault is None:
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._give_up)
        if self._fault is not None:
            raise self._fault
        assert self._reply is not None, "who is woken has an answer"
        return self._reply

    def _wake(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            trio.lowlevel.reschedule(task)

    def _give_up(self, raise_cancel: RaiseCancelT) -> Abort:
        self._task = None
        return Abort.SUCCEEDED
