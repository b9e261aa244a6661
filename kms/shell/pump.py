"""The pump: events to the node, writes to the store, then outputs to the world.

Theory of operation. One task owns the node. It takes every event that has arrived, lets the node
handle them as one batch, makes the batch's writes durable in one transaction (group commit) and, at
the same time, its audit entries; then it tells the witness, if the store's generation rose; only
when all of that is durable it carries out the batch's outputs, in order. While it waits for the
disk the next batch gathers. So nothing leaves the node before what it depends on is durable (I1,
I5, I11), and a disk that is slow makes batches larger, not queues longer. A crash on the way leaves
an audit record of what did not leave, or a write whose outputs did not.

Keys are delivered beside it (``delivery``), then and there or by a second task; a commit that wipes
waits for those that are not read yet. A third task reads and takes material for the node: what it
finds comes back as an event.

A store, journal or witness that fails or hangs ends the pump, and with it the node: after a failed
sync nothing about the disk is known, and without a journal no key may leave.
"""

import math
from collections import deque
from collections.abc import Callable
from typing import Final, Never, Protocol

import attrs
import trio

from kms.domain import limits
from kms.domain.audit import AuditEntry
from kms.domain.effects import (
    Alarm,
    Answer,
    Attest,
    Audit,
    BlockStored,
    DeliverKey,
    DeliverKeys,
    Disconnect,
    Forget,
    Note,
    Output,
    ReadMaterial,
    Refuse,
    Save,
    SendFrame,
    StoreMaterial,
    TakeMaterial,
    WipeMaterial,
    Write,
)
from kms.domain.errors import StoreFault
from kms.domain.events import (
    Asked,
    DeviceChanged,
    Event,
    HungUp,
    MaterialOpened,
    PeerConnected,
    PeerFrame,
    PeerLost,
    Tick,
)
from kms.domain.names import BlockId, DeviceId, LinkId
from kms.domain.node import Node
from kms.domain.requests import Close, Reply
from kms.domain.status import Status
from kms.ports.clock import Clock
from kms.ports.journal import Journal
from kms.ports.northbound import Forbidden, Overloaded
from kms.ports.peer import PeerLinks
from kms.ports.storage import Storage
from kms.ports.witness import Witness
from kms.shell.auditruns import in_runs
from kms.shell.delivery import Delivery, key_of
from kms.shell.disktime import disk_time
from kms.shell.waiter import Waiter

_WRITES: Final = (Save, Forget, StoreMaterial, WipeMaterial)
_BEFORE_OUTPUTS: Final = (*_WRITES, Audit, Attest)
Fields = dict[str, str | int | float | bool | None]


class Watcher(Protocol):
    """Who is told what the node reports."""

    def noted(self, name: str, fields: Fields) -> None: ...

    def alarmed(self, kind: str, link: LinkId | None, detail: str) -> None: ...


@attrs.frozen(kw_only=True)
class PumpStatistics:
    """What the pump holds and has done."""

    events: int
    batches: int
    events_waiting: int
    """in line and in the batch that gathers"""
    waiters: int
    """callers whose answer has not come"""


class Pump:
    """Runs one ``Node``. Implements ``ports.peer.PeerInbox``."""

    def __init__(
        self,
        node: Node,
        *,
        storage: Storage,
        journal: Journal,
        peers: PeerLinks,
        clock: Clock,
        watcher: Watcher,
        witness: Witness | None = None,
    ) -> None:
        self.node = node
        self._witness = witness
        self._storage, self._journal, self._peers = storage, journal, peers
        self._clock, self._watcher = clock, watcher
        self._send, self._receive = trio.open_memory_channel[Event](limits.INBOX_EVENTS_MAX)
        # What must not be refused or wait: bytes that the node asked for (bounded by its windows),
        # callers that hung up (bounded by those that waited), devices that came or went.
        self._soon: deque[MaterialOpened | HungUp | DeviceChanged] = deque()
        self._wake = trio.Event()
        self._to_read, self._reads = trio.open_memory_channel[TakeMaterial | ReadMaterial](math.inf)
        self._ticked_ms = -limits.TICK_MS
        self._waiters: dict[int, Waiter] = {}
        self._delivery = Delivery(
            storage, watcher.alarmed, waits=self._waiters.__contains__, answer=self._answer
        )
        self._done: dict[int, trio.Event] = {}
        self._stored: dict[tuple[DeviceId, BlockId], list[trio.Event]] = {}
        self._changed = trio.Event()
        self.batches = self.events = 0
        self._entries: list[AuditEntry] = []

    # ---- in -----------------------------------------------------------------------------

    async def put(self, event: Event) -> None:
        """The event is in line; waits while the line is full."""
        await self._send.send(event)
        self._wake.set()

    def put_now(self, event: Event) -> None:
        """The event is in line. Raises ``Overloaded`` when the line is full."""
        try:
            self._send.send_nowait(event)
        except trio.WouldBlock:
            raise Overloaded("the node is overloaded", hint="try again in a second") from None
        self._wake.set()

    def put_soon(self, event: MaterialOpened | HungUp | DeviceChanged) -> None:
        """The event is in the next batch."""
        self._soon.append(event)
        self._wake.set()

    async def handled(self, event: Event) -> None:
        """The event was handled, and what it wrote is durable."""
        done = self._done[id(event)] = trio.Event()
        try:
            await self.put(event)
            await done.wait()
        finally:
            del self._done[id(event)]

    def record(self, entry: AuditEntry) -> None:
        """The shell's own entry is journalled with the next batch."""
        self._entries.append(entry)
        self._wake.set()

    async def connected(self, link: LinkId, session: int) -> None:
        await self.put(PeerConnected(link=link, session=session))

    async def frame(self, link: LinkId, session: int, data: bytes) -> None:
        await self.put(PeerFrame(link=link, session=session, data=data))

    async def lost(self, link: LinkId, session: int, reason: str) -> None:
        await self.put(PeerLost(link=link, session=session, reason=reason))

    # ---- who waits ----------------------------------------------------------------------

    def expect_answer(self, request_id: int) -> Waiter:
        self._waiters[request_id] = waiter = Waiter()
        return waiter

    def forget_answer(self, request_id: int) -> None:
        """The caller is gone; an answer that comes later is wiped."""
        self._waiters.pop(request_id, None)

    def expect_stored(self, device: DeviceId, block_id: BlockId) -> trio.Event:
        """Set when the block is durable or refused: an event for each who gives it."""
        stored = trio.Event()
        self._stored.setdefault((device, block_id), []).append(stored)
        return stored

    def forget_stored(self, device: DeviceId, block_id: BlockId, stored: trio.Event) -> None:
        """Nobody waits for this event; others who gave the same block wait on."""
        waiting = self._stored.get((device, block_id), [])
        if stored in waiting:
            waiting.remove(stored)
            if not waiting:
                del self._stored[device, block_id]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Returns when ``condition`` holds after some batch; asked again after each one."""
        while not condition():
            await self._changed.wait()

    def statistics(self) -> PumpStatistics:
        line = self._receive.statistics().current_buffer_used
        return PumpStatistics(
            events=self.events,
            batches=self.batches,
            events_waiting=line + len(self._soon),
            waiters=len(self._waiters),
        )

    # ---- the loop -----------------------------------------------------------------------

    async def run(self) -> Never:
        """Pumps until cancelled. Raises the fault of store, journal or witness: the node stops."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read_material)
            nursery.start_soon(self._delivery.run)
            while True:
                with trio.move_on_after(max(0.0, self._pause_s())):
                    await self._wake.wait()
                events = self._gathered()
                if events or self._entries:
                    await self._batch(events)

    def _gathered(self) -> list[Event]:
        """What has arrived and is still wanted, as much as one batch takes; a tick when it is
        time."""
        self._wake = trio.Event()
        events: list[Event] = [*self._soon]
        self._soon.clear()
        try:
            for _ in range(limits.BATCH_EVENTS_MAX):
                event = self._receive.receive_nowait()
                if self._wanted(event):
                    events.append(event)
            self._wake.set()
        except trio.WouldBlock:
            pass  # Nothing is left in line.
        if self._pause_s() <= 0:
            self._ticked_ms = self._clock.now().mono_ms
            events.append(Tick())
        return events

    def _wanted(self, event: Event) -> bool:
        """Not so if its caller hung up before its turn: no key is spent, no stream opened. What was
        to be closed is closed all the same."""
        if not isinstance(event, Asked) or isinstance(event.request, Close):
            return True
        if event.request_id in self._waiters:
            return True
        if event.drawn is not None:
            event.drawn.wipe()
        return False

    def _pause_s(self) -> float:
        now = self._clock.now().mono_ms
        due = self._ticked_ms + limits.TICK_MS
        deadline = self.node.deadline_ms()
        if deadline is not None:
            due = min(due, max(deadline, self._ticked_ms + 1))
        return (due - now) / 1000

    async def _batch(self, events: list[Event]) -> None:
        self.batches += 1
        self.events += len(events)
        effects = self.node.handle_all(self._clock.now(), events)
        writes: list[Write] = [each for each in effects if isinstance(each, _WRITES)]
        entries = [each.entry for each in effects if isinstance(each, Audit)]
        entries = in_runs(entries) + self._entries
        self._entries = []
        await self._delivery.read_before(writes)
        with disk_time():
            await self._make_durable(writes, entries)
            for effect in effects:
                if isinstance(effect, Attest):
                    # After the commit: a witness ahead of its store would call a sound one old.
                    assert self._witness is not None, "told to ``Started``"
                    await self._witness.attest(effect.attestation)
        for effect in effects:
            if not isinstance(effect, _BEFORE_OUTPUTS):
                self._carry_out(effect)
        for event in events:
            if (done := self._done.get(id(event))) is not None:
                done.set()
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    async def _make_durable(self, writes: list[Write], entries: list[AuditEntry]) -> None:
        if writes and entries:
            async with trio.open_nursery() as both:
                both.start_soon(self._journal.append, entries)
                both.start_soon(self._commit, writes)
        elif writes:
            await self._commit(writes)
        elif entries:
            await self._journal.append(entries)

    async def _commit(self, writes: list[Write]) -> None:
        await self._storage.commit(writes)
        for write in writes:
            if isinstance(write, StoreMaterial):
                write.bits.wipe()

    def _carry_out(self, output: Output) -> None:
        match output:
            case SendFrame(link=link, session=session, data=data):
                self._peers.send(link, session, data)
            case DeliverKey() | DeliverKeys():
                self._delivery.deliver(output)
            case TakeMaterial() | ReadMaterial():
                self._to_read.send_nowait(output)
            case Answer(request_id=request_id, reply=reply):
                self._answer(request_id, reply)
            case Refuse(request_id=request_id, message=message):
                waiter = self._waiters.pop(request_id, None)
                if waiter is not None:
                    hint = "the operator's policy decides who may share keys with whom"
                    waiter.fail(Forbidden(message, hint=hint, status=Status.NO_QKD_CONNECTION))
            case BlockStored(device=device, block_id=block_id):
                for stored in self._stored.pop((device, block_id), []):
                    stored.set()
            case Disconnect(link=link, session=session, reason=reason):
                self._peers.disconnect(link, session, reason)
            case Alarm(kind=kind, link=link, detail=detail):
                self._watcher.alarmed(kind, link, detail)
            case Note(name=name, fields=fields):
                self._watcher.noted(name, fields)

    def _answer(self, request_id: int, reply: Reply) -> None:
        waiter = self._waiters.pop(request_id, None)
        if waiter is not None:
            waiter.answer(reply)
        elif (key := key_of(reply)) is not None:
            key.wipe()

    # ---- material -----------------------------------------------------------------------

    async def _read_material(self) -> None:
        async for asked in self._reads:
            with disk_time():
                self.put_soon(await self._open(asked))

    async def _open(self, asked: TakeMaterial | ReadMaterial) -> MaterialOpened:
        read = self._storage.take if isinstance(asked, TakeMaterial) else self._storage.read
        bits, reason = None, ""
        try:
            bits = await read(asked.material, asked.offset, asked.length)
        except StoreFault as fault:
            reason = fault.reason
        return MaterialOpened(
            material=asked.material,
            offset=asked.offset,
            length=asked.length,
            bits=bits,
            reason=reason,
        )
