"""One day of two wired nodes, as a seed draws it; ``python -m tests.wired.story SEED`` prints its
trace's hash.

Streams are opened and closed, keys are read at both ends, callers hang up, blocks come, the link is
cut and healed, a node is stopped and started again, disks are slow. What the seed draws is the
order of tasks within trio's scheduler and the story itself, nothing else: the same seed gives the
same trace on every machine, whatever PYTHONHASHSEED.
"""

import random
import sys
from functools import partial

import structlog
import trio
import trio.testing

from kms.domain.names import KSID
from kms.domain.requests import KeyReply
from tests.wired.chance import scheduled_by
from tests.wired.client import close, get, open_stream
from tests.wired.nodes import Wired, WiredNode, wired
from tests.wired.parts import Trace
from tests.world import LINK

TURNS = 40


class Story:
    """What happens, turn by turn."""

    def __init__(self, nodes: Wired, seed: int) -> None:
        self._nodes, self._chance = nodes, random.Random(seed)
        self._streams: list[KSID] = []
        self._turns = [
            *[self._read] * 6,
            *[self._read_and_hang_up] * 2,
            self._open,
            self._close,
            self._blocks,
            self._cut,
            self._stop,
        ]

    async def run(self) -> None:
        await self._open()
        for _ in range(TURNS):
            for node in self._nodes.nodes:
                node.disk.latency_s = self._chance.choice((0.0, 0.001, 0.02))
            await self._chance.choice(self._turns)()
            await trio.sleep(self._chance.random() / 2)

    async def _open(self) -> None:
        one, other = self._chance.sample(self._nodes.nodes, 2)
        opened = await open_stream(one)
        if opened.ksid is not None:
            await open_stream(other, opened.ksid)
            self._streams.append(opened.ksid)

    async def _close(self) -> None:
        if len(self._streams) > 1:
            ksid = self._streams.pop(self._chance.randrange(len(self._streams)))
            for node in self._nodes.nodes:
                await close(node, ksid)

    async def _read(self) -> None:
        """Several at both ends at once."""
        async with trio.open_nursery() as nursery:
            for node in self._nodes.nodes:
                for _ in range(self._chance.randint(1, 8)):
                    nursery.start_soon(self._get, node, self._chance.choice(self._streams))

    async def _read_and_hang_up(self) -> None:
        with trio.move_on_after(self._chance.random() / 50):
            await self._read()

    async def _get(self, node: WiredNode, ksid: KSID) -> None:
        reply = await get(node, ksid)
        self._nodes.trace.add(node.name, "answer", *_told(reply))

    async def _blocks(self) -> None:
        self._nodes.give(self._chance.randint(1, 4))

    async def _cut(self) -> None:
        hub = self._nodes.hub
        self._chance.choice((hub.cut, hub.lose_in_flight))(LINK)
        await trio.sleep(self._chance.random() * 3)
        hub.heal(LINK)

    async def _stop(self) -> None:
        node = self._chance.choice(self._nodes.nodes)
        readers = trio.CancelScope()

        async def read() -> None:
            with readers:
                await self._read()

        self._nodes.nursery.start_soon(read)
        await trio.sleep(self._chance.random() / 100)
        node.stop.set()
        await node.ended.wait()
        readers.cancel()
        await trio.sleep(self._chance.random())
        await self._nodes.nursery.start(node.run)
        with trio.fail_after(60):
            await node.pump.until(partial(node.has, 0))


def _told(reply: KeyReply) -> tuple[object, ...]:
    return (reply.status.name, reply.index)


def trace_of(seed: int) -> tuple[Trace, int, int]:
    """The trace of this seed's day; chunks that were delivered at both ends; checks made."""
    found: list[tuple[Trace, int, int]] = []

    async def day() -> None:
        async with wired(blocks=4) as nodes:
            await Story(nodes, seed).run()
            found.append((nodes.trace, nodes.ledger.compare(), nodes.ledger.checks))

    scheduled_by(seed)
    trio.run(day, clock=trio.testing.MockClock(autojump_threshold=0))
    return found[0]


def main() -> None:
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    trace, compared, checks = trace_of(int(sys.argv[1]))
    print(trace.hash(), len(trace.lines), compared, checks)


if __name__ == "__main__":
    main()
