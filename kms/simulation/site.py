"""One site: a process that runs a real node, and the machine under it.

Theory of operation: what arrives waits in ``inbox``; a batch takes all of it, the node handles it,
and after the disk's time the writes are durable and outputs leave, in order, as the real shell does
it. A crash may come before the commit, or after any number of outputs. While the process is frozen
(SIGSTOP) nothing of it happens, and all of it afterwards. ``life`` tells a process from the one
that was there before it: what was asked for in an earlier life never happens.
"""

from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING

import attrs

from kms.domain import limits
from kms.domain.attestation import Attestation
from kms.domain.audit import AuditEntry
from kms.domain.effects import Audit, DeliverKey, DeliverKeys, Effect, Refuse
from kms.domain.events import Asked, Event, HungUp, Started, Tick
from kms.domain.linkmemory import LinkSettings
from kms.domain.moment import Moment
from kms.domain.names import KSID, NodeId, SAEId
from kms.domain.node import Node
from kms.domain.requests import Reply, Request, bytes_wanted, may_want_name, wants_name
from kms.simulation.checker import Violation
from kms.simulation.clock import Clock
from kms.simulation.disk import Disk, DiskError, Health
from kms.simulation.entropy import Entropy, EntropyError
from kms.simulation.network import AlteredFrame
from kms.simulation.outputs import DURABLE, carry_out

if TYPE_CHECKING:
    from kms.simulation.simulation import Simulation

# From an arrival to the batch that takes it, on an idle processor.
BATCH_US = 50
# One commit of a healthy disk.
COMMIT_US = 500
# The real shell ticks each 100 ms; deadlines of streams are met exactly all the same.
TICK_MS = 500
# A supervisor's pause before it starts a process that ended by itself.
RESTART_MS = 2_000


class State(Enum):
    """Of the process."""

    RUNNING = "running"
    FROZEN = "frozen"
    DOWN = "down"


@attrs.frozen(kw_only=True)
class Outcome:
    """What an application got: a reply, or a key, or a refusal by policy."""

    reply: Reply | DeliverKey | DeliverKeys | Refuse
    key: bytes | None = None


OnAnswer = Callable[[Outcome | None], None]


class Site:
    """``name`` is the node's; ``place`` is the machine's: a clone has another place."""

    def __init__(
        self,
        simulation: "Simulation",
        name: NodeId,
        links: Mapping[NodeId, LinkSettings],
        *,
        place: str = "",
    ) -> None:
        self.simulation, self.name, self.place = simulation, name, place or name
        self.loop, self.watch = simulation.loop, simulation.watch
        self.links = dict(links)
        self.disk, self.clock = Disk(), Clock(simulation.loop)
        self.entropy = Entropy(f"{simulation.seed}/entropy/{self.place}", simulation.fired)
        self.journal: list[AuditEntry] = []
        """on the disk"""
        self.witness: Attestation | None = None
        """outside the disk: what it says of the store (I1)"""
        self.back_together = False
        """put back along with a neighbour: nobody else remembers what this store forgot"""
        self.node: Node
        self.state = State.DOWN
        self.life = 0
        self.inbox: deque[Event] = deque()
        self.alarms: list[tuple[str, str]] = []
        self.commit_us = COMMIT_US
        """the disk's time for one commit"""
        self.crash_in: tuple[int, int, int] | None = None
        """(batches with effects from now, outputs that still leave or -1 for before the commit,
        ms until it starts again)"""
        self._busy = False
        self._awake = False
        self._parked: list[Callable[[], None]] = []
        self._waiting: dict[int, OnAnswer] = {}
        self._ticks_at: int | None = None

    # ---- the process ------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        return self.state is State.RUNNING

    @property
    def moment(self) -> Moment:
        return self.clock.moment

    def start(self) -> None:
        """A process begins on what the disk holds; without randomness it ends at once."""
        assert self.state is State.DOWN, "one process per site"
        try:
            fresh = self.entropy.uuid4().hex
        except EntropyError:
            self.simulation.start_later(self, RESTART_MS)
            return
        self.life += 1
        self.state = State.RUNNING
        self._busy = self._awake = False
        self.inbox.clear()
        self.node = Node(self.name, self.links, list(self.disk.records.values()))
        self.watch.tell("started", self)
        self.inbox.append(
            Started(
                watched=self.simulation.watched,
                attestation=self.witness,
                fresh=fresh,
            )
        )
        self.inbox.append(self.simulation.network_view(self.name))
        self._wake()
        self.later(TICK_MS * 1000, self._tick)
        self.simulation.booted(self)

    def stop(self, why: str, *, power: bool = False) -> None:
        """The process is gone; ``power``: the machine too, and its monotonic clock begins anew."""
        if self.state is State.DOWN:
            return
        self.state = State.DOWN
        self.life += 1
        self.crash_in = None
        self._parked.clear()
        self.inbox.clear()
        if power:
            self.clock.switch_on()
        self.watch.tell("stopped", self, why)
        waiting, self._waiting = self._waiting, {}
        for number, on_answer in waiting.items():
            self.watch.tell("answered", self, number, None)
            on_answer(None)
        self.simulation.network.site_stopped(self, power=power)

    def freeze(self) -> None:
        """SIGSTOP."""
        if self.running:
            self.state = State.FROZEN

    def thaw(self) -> None:
        """SIGCONT: what was due happens now."""
        if self.state is State.FROZEN:
            self.state = State.RUNNING
            parked, self._parked = self._parked, []
            for act in parked:
                self.later(0, act)
            self._wake()

    def slow(self, commit_ms: int) -> None:
        """The disk takes so long for each commit."""
        self.commit_us = commit_ms * 1000

    def fast(self) -> None:
        """The disk is as good as ever."""
        self.commit_us = COMMIT_US

    def heal(self) -> None:
        """The machine is as it should be, and the process runs."""
        self.crash_in = None
        self.fast()
        self.disk.health = Health.GOOD
        self.clock.go_at(mono_ppm=0, wall_ppm=0)
        self.entropy.take("")
        self.thaw()
        if self.state is State.DOWN:
            self.start()

    # ---- in ---------------------------------------------------------------------------------

    def put(self, event: Event) -> None:
        """The event is in line; nobody hears it when no process runs."""
        if self.state is not State.DOWN:
            self.inbox.append(event)
            self._wake()

    def ask(self, caller: SAEId, request: Request, on_answer: OnAnswer) -> int | None:
        """The request's number; None: nothing listens, or a name is wanted and there is none."""
        if self.state is State.DOWN:
            return None
        try:
            named = wants_name(request) or may_want_name(request)
            fresh = KSID(self.entropy.uuid4()) if named else None
        except EntropyError:
            if wants_name(request):
                return None
            fresh = None
        drawn, wanted = None, bytes_wanted(request)
        if wanted:
            with suppress(EntropyError):
                drawn = self.entropy.bits(wanted)
        number = self.simulation.next_number()
        self._waiting[number] = on_answer
        self.watch.tell("asked", self, number, caller, request)
        self.put(Asked(request_id=number, caller=caller, request=request, fresh=fresh, drawn=drawn))
        return number

    def answer(
        self,
        number: int,
        reply: Reply | DeliverKey | DeliverKeys | Refuse,
        key: bytes | None = None,
    ) -> None:
        """The caller has its answer, if it still waits."""
        on_answer = self._waiting.pop(number, None)
        if on_answer is not None:
            outcome = Outcome(reply=reply, key=key)
            self.watch.tell("answered", self, number, outcome)
            on_answer(outcome)

    def hang_up(self, number: int) -> None:
        """The caller is gone; its answer goes nowhere, and it goes on without one."""
        on_answer = self._waiting.pop(number, None)
        if on_answer is not None:
            self.watch.tell("answered", self, number, None)
            self.put(HungUp(request_id=number))
            on_answer(None)

    # ---- the pump ---------------------------------------------------------------------------

    def later(self, delay_us: int, act: Callable[[], None]) -> None:
        """``act`` happens so much later in this process: never once that has ended, and while it
        is frozen not yet."""
        self.loop.after_us(delay_us, partial(self._if_alive, self.life, act))

    def _if_alive(self, life: int, act: Callable[[], None]) -> None:
        if life != self.life:
            return
        if self.state is State.FROZEN:
            self._parked.append(act)
        else:
            act()

    def _wake(self) -> None:
        if self.inbox and not self._busy and not self._awake and self.running:
            self._awake = True
            self.later(BATCH_US, self._batch)

    def _tick(self) -> None:
        self.put(Tick())
        self.later(TICK_MS * 1000, self._tick)

    def _meet_deadline(self) -> None:
        due = self.node.deadline_ms()
        if due is None or due == self._ticks_at:
            return
        wait_ms = due - self.clock.mono_ms
        if wait_ms < TICK_MS:
            self._ticks_at = due
            self.later(max(1_000, wait_ms * 1000), self._due)

    def _due(self) -> None:
        self._ticks_at = None
        self.put(Tick())

    def _batch(self) -> None:
        self._awake = False
        events, effects = self._handled()
        self.simulation.trace.batch(self, events, effects)
        if DURABLE.isdisjoint(map(type, effects)):
            carry_out(self, effects)
        else:
            self._busy = True
            self.later(self.commit_us, partial(self._commit, effects))
        self._meet_deadline()
        self._wake()

    def _handled(self) -> tuple[list[Event], list[Effect]]:
        """The next events, and what the node makes of them. A frame that somebody altered comes
        alone, behind all that is due without it: so what it changes can be told (I9)."""
        inbox = self.inbox
        if type(inbox[0]) is AlteredFrame:
            due = self._handle([])
            frame = inbox.popleft()
            self.watch.tell("altered", self, frame)
            return [frame], due + self._handle([frame])
        events: list[Event] = []
        while inbox and type(inbox[0]) is not AlteredFrame:
            if len(events) == limits.BATCH_EVENTS_MAX:
                break
            events.append(inbox.popleft())
        return events, self._handle(events)

    def _handle(self, events: list[Event]) -> list[Effect]:
        try:
            effects = self.node.handle_all(self.moment, events)
        except Exception as error:  # A node that ends by itself serves nobody: I12.
            raise Violation(f"I12 the node {self.name} ended: {error!r}") from error
        self.watch.batch(self, events, effects)
        return effects

    def _commit(self, effects: list[Effect]) -> None:
        point, down_ms = self._crash_point(effects)
        entries = [each.entry for each in effects if type(each) is Audit]
        if point == -1:
            # The journal is synced beside the store: either may be first.
            if self.simulation.chance("journal first") < 0.5:
                self.journal += entries
            self.stop("killed before a commit")
            self.simulation.start_later(self, down_ms)
            return
        try:
            self.disk.commit(effects)
        except DiskError as error:
            if error.done:
                self.watch.durable(self, effects)
            self.simulation.disk_failed(self, str(error))
            return
        self.journal += entries
        self.watch.durable(self, effects)
        self._busy = False
        if point is not None:
            carry_out(self, effects[:point])
            self.stop("killed between outputs")
            self.simulation.start_later(self, down_ms)
            return
        carry_out(self, effects)
        self._wake()

    def _crash_point(self, effects: list[Effect]) -> tuple[int | None, int]:
        if self.crash_in is None:
            return None, 0
        batches, outputs, down_ms = self.crash_in
        if batches > 0:
            self.crash_in = (batches - 1, outputs, down_ms)
            return None, 0
        self.crash_in = None
        kind = "crash before a commit" if outputs < 0 else "crash at an effect"
        self.simulation.fired(kind)
        return min(outputs, len(effects)), down_ms
