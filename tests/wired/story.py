"""One day of two wired nodes, as a seed draws it; ``python -m tests.wired.story SEED`` prints its
trace's hash.

Streams are opened and closed, keys are read at both ends, callers hang up, blocks come, the link is
cut and healed, disks are slow. A part of a node hangs for a while, or so long that the node ends; a
node is stopped while it serves, while a part hangs, or while it starts; it is cancelled as a whole;
each time it is started again. Every caller is answered within its Timeout (and what hung), every
node ends within its bound. What the seed draws is the order of tasks within trio's scheduler and
the story itself, nothing else: the same seed gives the same trace on every machine, whatever
PYTHONHASHSEED.
"""

import random
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Final

import attrs
import structlog
import trio
import trio.testing

from kms.domain import limits
from kms.domain.errors import StoreFault
from kms.domain.names import KSID
from kms.domain.requests import KeyReply
from kms.shell.running import CLOSE_S
from tests.wired.chance import scheduled_by
from tests.wired.client import QOS, close, get, open_stream
from tests.wired.nodes import GRACE_S, Wired, WiredNode, wired
from tests.wired.parts import Trace
from tests.world import LINK

TURNS = 40
# What hangs for so long is late; a node whose disk hangs longer ends.
HANG_S_MAX: Final = 8.0
GATES: Final = ("commit", "append", "read", "inbox")
GATES_AT_STOP: Final = (*GATES, "network", "close_storage", "close_journal")
# Two ticks, a slow disk.
_SLACK_S: Final = 0.5
# The requests, the front, the store, the journal; a tick more.
_STOP_S_MAX: Final = GRACE_S + 3 * CLOSE_S + 0.1


@attrs.frozen(kw_only=True)
class Day:
    """What came of one seed's day."""

    trace: Trace
    compared: int
    """chunks that were delivered at both ends"""
    checks: int
    turns: Mapping[str, int]
    """how often each thing was done"""


class Story:
    """What happens, turn by turn."""

    def __init__(self, nodes: Wired, seed: int) -> None:
        self._nodes, self._chance = nodes, random.Random(seed)
        self._streams: list[KSID] = []
        self._scopes: dict[str, trio.CancelScope] = {}
        self._dying: set[str] = set()
        """nodes whose disk hangs for too long"""
        self.turns: Counter[str] = Counter()
        self._turns = [
            *[self._read] * 6,
            *[self._read_and_hang_up] * 2,
            self._open,
            self._close,
            self._blocks,
            self._cut,
            self._hang,
            self._stop,
            self._stop_while_it_hangs,
            self._stop_while_it_starts,
            self._cancel,
            self._end_by_the_disk,
        ]

    async def run(self) -> None:
        await self._open()
        for _ in range(TURNS):
            for node in self._nodes.nodes:
                node.disk.latency_s = self._chance.choice((0.0, 0.001, 0.02))
            turn = self._chance.choice(self._turns)
            await turn()
            self.turns[turn.__name__.strip("_").replace("_", " ")] += 1
            await trio.sleep(self._chance.random() / 2)

    async def _open(self) -> None:
        one, other = self._chance.sample(self._nodes.nodes, 2)
        with _answered_in_time():
            opened = await open_stream(one)
        if opened.ksid is not None:
            with _answered_in_time():
                await open_stream(other, opened.ksid)
            self._streams.append(opened.ksid)

    async def _close(self) -> None:
        if len(self._streams) > 1:
            ksid = self._streams.pop(self._chance.randrange(len(self._streams)))
            for node in self._nodes.nodes:
                with _answered_in_time():
                    await close(node, ksid)

    async def _read(self, hung_s: float = 0.0) -> None:
        """Several at both ends at once; ``hung_s``: for so long none may be answered."""
        async with trio.open_nursery() as nursery:
            for node in self._nodes.nodes:
                for _ in range(self._chance.randint(1, 8)):
                    nursery.start_soon(self._get, node, self._chance.choice(self._streams), hung_s)

    async def _read_and_hang_up(self) -> None:
        with trio.move_on_after(self._chance.random() / 50):
            await self._read()

    async def _get(self, node: WiredNode, ksid: KSID, hung_s: float = 0.0) -> None:
        with _answered_in_time(hung_s):
            reply = await get(node, ksid)
        self._nodes.trace.add(node.name, "answer", *_told(reply))

    async def _blocks(self) -> None:
        self._nodes.give(self._chance.randint(1, 4))

    async def _cut(self) -> None:
        hub = self._nodes.hub
        self._chance.choice((hub.cut, hub.lose_in_flight))(LINK)
        await trio.sleep(self._chance.random() * 3)
        hub.heal(LINK)

    async def _hang(self) -> None:
        """A part of one node answers nothing for a while."""
        gate = getattr(self._any_node().gates, self._chance.choice(GATES))
        hung_s = self._chance.random() * HANG_S_MAX
        gate.shut()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read, hung_s)
            await trio.sleep(hung_s)
            gate.open()

    # ---- a node ends, and is started again ----------------------------------------------------

    async def _stop(self) -> None:
        """While callers wait."""
        node = self._any_node()
        with self._readers():
            await trio.sleep(self._chance.random() / 100)
            await self._stopped(node)
        await trio.sleep(self._chance.random())
        await self._start(node)

    async def _stop_while_it_hangs(self) -> None:
        node = self._any_node()
        getattr(node.gates, self._chance.choice(GATES_AT_STOP)).shut()
        with self._readers():
            await trio.sleep(self._chance.random())
            await self._stopped(node)
        await self._start(node)

    async def _stop_while_it_starts(self) -> None:
        node = self._any_node()
        await self._stopped(node)
        self._nodes.nursery.start_soon(self._process, node)
        await trio.sleep(self._chance.random() / 10)
        await self._stopped(node)
        await self._start(node)

    async def _cancel(self) -> None:
        """The whole process is cancelled, wherever its tasks are."""
        node = self._any_node()
        await self._stopped(node)
        await self._start(node)
        with self._readers():
            await trio.sleep(self._chance.random() / 10)
            self._scopes[node.name].cancel()
            await self._ended(node)
        await self._start(node)

    async def _end_by_the_disk(self) -> None:
        """It answers nothing for so long that the node ends by itself."""
        node = self._any_node()
        await self._stopped(node)
        await self._start(node)
        self._dying.add(node.name)
        gate = getattr(node.gates, self._chance.choice(("commit", "append")))
        gate.shut()
        self._nodes.give(1)
        with self._readers():
            # What no caller makes it write or journal, a timer does.
            with trio.fail_after(90):
                await gate.waiting.wait()
            await self._ended(node, limits.DISK_ANSWER_MS / 1000 + _STOP_S_MAX)
        await self._start(node)
        self._dying.remove(node.name)

    # ---- inside -------------------------------------------------------------------------------

    def _any_node(self) -> WiredNode:
        return self._chance.choice(self._nodes.nodes)

    @contextmanager
    def _readers(self) -> Iterator[None]:
        """Callers at both nodes, who hang up at the end of the block if they still wait."""
        scope = trio.CancelScope()

        async def read() -> None:
            with scope:
                await self._read(_STOP_S_MAX + limits.DISK_ANSWER_MS / 1000)

        self._nodes.nursery.start_soon(read)
        try:
            yield
        finally:
            scope.cancel()

    async def _process(
        self, node: WiredNode, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        self._scopes[node.name] = trio.CancelScope()
        with self._scopes[node.name]:
            try:
                await node.run(task_status=task_status)
            except* StoreFault:
                if node.name not in self._dying:
                    raise

    async def _start(self, node: WiredNode) -> None:
        """What hung hangs no more, and the process that ended holds nothing any longer."""
        for gate in node.gates.all():
            gate.open()
        node.disk.crash()
        with trio.fail_after(60):
            await self._nodes.nursery.start(self._process, node)
            # Asked here: the neighbour of a node that stands would meet it for ever, at one time.
            assert node.pump.node.standing is None, "I1 a store that nobody put back is called old"
            await node.pump.until(partial(node.has, 0))

    async def _stopped(self, node: WiredNode) -> None:
        node.stop.set()
        await self._ended(node)

    async def _ended(self, node: WiredNode, limit_s: float = _STOP_S_MAX) -> None:
        with trio.move_on_after(limit_s) as patience:
            await node.ended.wait()
        assert not patience.cancelled_caught, f"I12 {node.name} did not end within {limit_s:g} s"


@contextmanager
def _answered_in_time(hung_s: float = 0.0) -> Iterator[None]:
    """A caller waits for its Timeout, and ``hung_s`` more if something hangs."""
    patience_s = QOS.timeout / 1000 + hung_s + _SLACK_S
    with trio.move_on_after(patience_s) as patience:
        yield
    assert not patience.cancelled_caught, f"I10 a caller was not answered within {patience_s:.1f} s"


def _told(reply: KeyReply) -> tuple[object, ...]:
    return (reply.status.name, reply.index)


def day_of(seed: int) -> Day:
    """This seed's day. Raises what broke."""
    found: list[Day] = []

    async def day() -> None:
        async with wired(blocks=4) as nodes:
            story = Story(nodes, seed)
            await story.run()
            ledger = nodes.ledger
            found.append(
                Day(
                    trace=nodes.trace,
                    compared=ledger.compare(),
                    checks=ledger.checks,
                    turns=story.turns,
                )
            )

    scheduled_by(seed)
    trio.run(day, clock=trio.testing.MockClock(autojump_threshold=0))
    return found[0]


def main() -> None:
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    day = day_of(int(sys.argv[1]))
    print(day.trace.hash(), len(day.trace.lines), day.compared, day.checks)


if __name__ == "__main__":
    main()
