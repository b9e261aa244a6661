"""The operator's counter: what the admin socket may ask of this node."""

import itertools
from collections.abc import Callable
from typing import Protocol

import trio

from kms.domain.audit import AuditEntry
from kms.domain.errors import LocalFault, Sealed
from kms.domain.events import KeysOrdered, LinkAdded, Restored, SecretCarried
from kms.domain.linkmemory import LinkSettings
from kms.domain.names import WHOLE_LINK, NodeId, link_id
from kms.domain.orders import KeyOrder, OrderDone
from kms.domain.records import LinkState, Way
from kms.domain.secret import Secret
from kms.domain.statistics import NodeState, NodeStatus
from kms.ports.admin import CarriedSecret
from kms.ports.clock import Clock
from kms.shell.pump import Pump
from kms.shell.view import Alarms, RunningView

# How long an order's answer waits for the neighbour's: some round trips and two commits.
TOLD_WITHIN_S = 2.0


class Hands(Protocol):
    """What only the wiring can do, since it knows the adapters."""

    async def unseal(self, passphrase: Secret) -> None: ...

    async def rekey(self) -> int: ...

    def erase_secret_files(self) -> None: ...

    def add_neighbour(self, peer: NodeId, address: str | None) -> None: ...

    async def reload(self) -> tuple[str, ...]: ...

    def stop(self) -> None: ...


class Operator:
    """Implements ``ports.admin.Admin``; before the node is open it can only be unsealed."""

    def __init__(
        self,
        node: NodeId,
        *,
        hands: Hands,
        clock: Clock,
        settings: Callable[[NodeId], LinkSettings],
        sealed_status: Callable[[], NodeStatus],
    ) -> None:
        self._node, self._hands, self._clock = node, hands, clock
        self._settings, self._sealed_status = settings, sealed_status
        self._pump: Pump | None = None
        self._view: RunningView | None = None
        self._alarms: Alarms | None = None
        self._began_ms = clock.now().mono_ms
        self._stopping = False
        self._numbers = itertools.count(-1, -1)
        """of requests: those of applications count upwards"""
        self._open = trio.Event()

    def opened(self, pump: Pump, view: RunningView, alarms: Alarms) -> None:
        """The node is open."""
        self._pump, self._view, self._alarms = pump, view, alarms
        self._open.set()

    def stopping(self) -> None:
        """The node says from now on that it stops."""
        self._stopping = True

    def status(self) -> NodeStatus:
        if self._view is None:
            return self._sealed_status()
        uptime_s = (self._clock.now().mono_ms - self._began_ms) / 1000
        return self._view.status(stopping=self._stopping, uptime_s=uptime_s)

    async def unseal(self, passphrase: Secret) -> None:
        await self._hands.unseal(passphrase)
        # Opening the store takes its time; if it fails the process ends and says why.
        await self._open.wait()

    async def rekey(self) -> int:
        self._require()
        epoch = await self._hands.rekey()
        self._record("rekeyed", subject=self._node, epoch=epoch)
        return epoch

    async def add_link(
        self, peer: NodeId, address: str | None, secret: CarriedSecret | None
    ) -> None:
        pump = self._require()
        link = link_id(self._node, peer)
        self._hands.add_neighbour(peer, address)
        await pump.handled(LinkAdded(peer=peer, settings=self._settings(peer)))
        self._record("link-added", subject=link, address=address)
        if secret is not None:
            await self._carry(secret)

    async def restart_link(self, secret: CarriedSecret) -> None:
        self._require()
        await self._carry(secret)

    async def carry_once(self, secret: CarriedSecret) -> bool:
        """The secret of a configuration file is imported, unless it was before; whether it was
        now."""
        pump, link = self._require(), link_id(*secret.nodes)
        if pump.node.refuses_secret(link, secret.secret_id):
            secret.bits.wipe()
            return False
        await self._carry(secret)
        return True

    async def restore(self, way: Way) -> None:
        pump = self._require()
        if pump.node.standing is None:
            reason = "the node does not stand: its store is the newest that its witness knows"
            raise LocalFault(reason, hint="kms status shows how it is")
        # What came back with the copy may have been used since.
        self._hands.erase_secret_files()
        await pump.handled(Restored(way))

    async def order_keys(self, order: KeyOrder) -> tuple[OrderDone, bool]:
        pump, number = self._require(), next(self._numbers)
        waiter = pump.expect_answer(number)
        try:
            await pump.handled(KeysOrdered(request_id=number, order=order))
            # It is there: the batch is carried out.
            done = await waiter.answered()
        finally:
            pump.forget_answer(number)
        assert isinstance(done, OrderDone), "the answer fits the question"
        if done.refused:
            raise LocalFault(done.refused, hint=done.hint)
        with trio.move_on_after(TOLD_WITHIN_S):
            await pump.until(lambda: _told(pump, done))
        return done, _told(pump, done)

    async def reload(self) -> tuple[str, ...]:
        changes = await self._hands.reload()
        if self._pump is not None:
            self._record("reloaded", subject=self._node, changes="; ".join(changes))
        return changes

    async def stop(self) -> None:
        self._hands.stop()

    async def _carry(self, secret: CarriedSecret) -> None:
        pump, link = self._require(), link_id(*secret.nodes)
        refused = pump.node.refuses_secret(link, secret.secret_id)
        if refused:
            secret.bits.wipe()
            raise LocalFault(refused, hint="one secret serves one link, once")
        event = SecretCarried(link=link, secret_id=secret.secret_id, bits=secret.bits)
        await pump.handled(event)
        if self._alarms is not None:
            self._alarms.ended(link)

    def _require(self) -> Pump:
        if self._pump is None:
            raise Sealed()
        return self._pump

    def _record(self, event: str, subject: str, **detail: str | int | None) -> None:
        self._require().record(
            AuditEntry(
                wall_ms=self._clock.now().wall_ms,
                event=event,
                actor="operator",
                subject=subject,
                detail=dict(detail),
            )
        )


def _told(pump: Pump, done: OrderDone) -> bool:
    """A link that is doubted for its compromise is so because both ends know."""
    streams = pump.node.streams
    if done.bundle is not None:
        return streams.told_keys(done.bundle)
    assert done.link is not None, "what is done is about a link"
    doubted = pump.node.links[done.link].memory.state is LinkState.DOUBTED
    whole = done.ksid is None
    return streams.told(done.link, done.ksid or WHOLE_LINK) or (whole and doubted)


def sealed_status(node: NodeId, version: str, why: str, state: NodeState) -> NodeStatus:
    """What a node shows before it is open."""
    return NodeStatus(node=node, version=version, state=state, why=(why,), uptime_s=0.0)
