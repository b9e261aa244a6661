"""A controller in memory: a test gives the views and reads the reports."""

from collections.abc import Mapping

import trio

from kms.domain.errors import LocalFault
from kms.ports.sdn import Network


class MemorySDN:
    """``give`` replaces the view; ``fail`` makes the next views bad until another is given."""

    def __init__(self, network: Network) -> None:
        self.reports: list[Mapping[str, object]] = []
        """what the node reported, oldest first"""
        self._network = network
        self._shown: Network | None = None
        self._reason = ""
        self._changed = trio.Event()

    def give(self, network: Network) -> None:
        self._network = network
        self._reason = ""
        self._changed.set()

    def fail(self, reason: str) -> None:
        self._reason = reason

    async def network(self) -> Network:
        await trio.lowlevel.checkpoint()
        if self._reason:
            raise LocalFault(self._reason, hint="a test asked for it")
        self._shown = self._network
        return self._network

    async def changed(self) -> None:
        await trio.lowlevel.checkpoint()
        while self._reason or self._network == self._shown:
            self._changed = trio.Event()
            await self._changed.wait()

    async def report(self, state: Mapping[str, object]) -> None:
        await trio.lowlevel.checkpoint()
        self.reports.append(dict(state))
