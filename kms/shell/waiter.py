"""Who asked the node, and waits for its answer."""

import trio

from kms.domain.errors import AppFault
from kms.domain.requests import Reply


class Waiter:
    """One caller that waits for the node's answer."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.reply: Reply | None = None
        self.fault: AppFault | None = None

    def answer(self, reply: Reply) -> None:
        self.reply = reply
        self.done.set()

    def fail(self, fault: AppFault) -> None:
        self.fault = fault
        self.done.set()
