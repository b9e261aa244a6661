"""Hostile openings against the real edge: one client can only hurt itself (I10).

Theory of operation. First every listed opening (``tests/edge/*.toml``) of each listener
(``fronts``), with what it must be answered; then openings bent out of their pieces by the seed,
many at once, the listeners in turn. All the while a bystander on a connection of its own asks
and must be answered. At last the server is told to stop while openings of every kind hang in the
air, and stops in time. An exception that reached the server, though contained, is a violation.
"""

import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import cycle
from typing import Any, Final

import attrs
import trio

from kms.adapters.edge import Bounds
from tests.edge.authority import Authority
from tests.edge.hostile import hangs_up, try_bent
from tests.edge.support import SHORT, Running
from tests.proof.fronts import FRONTS, Front
from tests.proof.report import PartReport, Tell

_AT_ONCE: Final = 25
# Those of one server; then it is stopped with the next ones under way.
_PER_SERVER: Final = 200
_HANGING: Final = 16
# Beyond ``graceful_s`` (reliability figures of docs/proof.md).
STOP_S: Final = 2.0
# A bystander is answered within this, on a machine that does other things as well.
ANSWER_S: Final = 3.0
# What is listed is to be answered: a busy machine must not run into the deadlines before.
_LISTED: Final = attrs.evolve(
    SHORT, handshake_s=8.0, header_s=4.0, receive_s=4.0, linger_s=2.0, send_s=4.0
)
_BOUNDS: Final = attrs.evolve(
    _LISTED,
    header_s=0.1,
    receive_s=0.1,
    idle_s=0.1,
    linger_s=0.05,
    connections_per_address_max=10 * _AT_ONCE,
    connections_max=10 * _AT_ONCE,
)


@attrs.define
class _Run:
    """What was tried, and what was wrong."""

    tell: Tell
    openings: int = 0
    hung_up: int = 0
    bystander: Counter[str] = attrs.Factory(Counter)
    """how often each listener's was served"""
    servers: Counter[str] = attrs.Factory(Counter)
    front: str = ""
    """the listener that is tried"""
    contained: int = 0
    checks: int = 0
    stops_s: list[float] = attrs.Factory(list)
    violations: list[str] = attrs.Factory(list)

    def check(self, wrong: list[str]) -> None:
        self.checks += 1
        self.violations += [f"I10 {self.front}: {each}" for each in wrong]


def run(amount: float, seed: int, tell: Tell) -> PartReport:
    """So many openings, the listed ones first."""
    began = time.monotonic()
    tried = _Run(tell)
    trio.run(_all, tried, int(amount), random.Random(seed))
    again = f"; again: tests.proof.openings.run({amount:g}, {seed}, print)"
    return PartReport(
        part="openings",
        invariants=("I10",),
        seed=seed,
        made={
            "hostile openings": tried.openings,
            "bystanders served meanwhile": tried.bystander.total(),
            "stops": len(tried.stops_s),
        },
        checks=tried.checks,
        faults={
            "openings that hang up": tried.hung_up,
            "stops under fire": len(tried.stops_s),
            **{f"bystanders of {name}": tried.bystander[name] for name in tried.servers},
        },
        faults_min=1,
        measured={"stop_s_max": max(tried.stops_s, default=0.0), "contained": tried.contained},
        violations=tuple(each + again for each in tried.violations),
        seconds=time.monotonic() - began,
    )


async def _all(tried: _Run, amount: int, choice: random.Random) -> None:
    authority = Authority()
    for front in FRONTS:
        listed = front.listed[: max(0, amount - tried.openings)]
        if listed:
            async with _server(tried, front, authority, _LISTED) as edge:
                await _each(tried, edge, [_Listed(front, one) for one in listed])
                await _stop(tried, edge, front, choice, _LISTED.graceful_s)
    share = min(_PER_SERVER, -(-(amount - tried.openings) // len(FRONTS)))
    turns = cycle(FRONTS)
    while tried.openings < amount:
        front = next(turns)
        count = min(share, amount - tried.openings)
        async with _server(tried, front, authority, _BOUNDS) as edge:
            await _each(tried, edge, [_Bent(front.bent(choice)) for _ in range(count)])
            await _stop(tried, edge, front, choice, _BOUNDS.graceful_s)
        tried.tell(f"{tried.openings} openings of {amount}")


@attrs.frozen
class _Listed:
    front: Front
    opening: dict[str, Any]

    async def made(self, edge: Running) -> list[str]:
        return await self.front.tries(edge, self.opening)

    hangs_up = False


@attrs.frozen
class _Bent:
    opening: bytes

    async def made(self, edge: Running) -> list[str]:
        return await try_bent(edge, self.opening)

    @property
    def hangs_up(self) -> bool:
        return hangs_up(self.opening)


@asynccontextmanager
async def _server(
    tried: _Run, front: Front, authority: Authority, bounds: Bounds
) -> AsyncIterator[Running]:
    """A server with a bystander; when the block ends it was lived through."""
    tried.front = front.name
    tried.servers[front.name] += 1
    async with front.serving(authority, bounds) as edge:
        yield edge
        seen = edge.server.statistics()
        tried.contained += seen.contained
        tried.check(
            [f"{seen.contained} exceptions reached the server: {edge.logged('edge_contained')}"]
            if seen.contained
            else []
        )


async def _each(tried: _Run, edge: Running, openings: list[_Listed] | list[_Bent]) -> None:
    """All are made, some at a time, while the bystander is served."""
    slots = trio.CapacityLimiter(_AT_ONCE)

    async def one(opening: _Listed | _Bent) -> None:
        async with slots:
            wrong = ["its connection broke before it had its answer"]
            try:
                wrong = await opening.made(edge)
            except* (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            tried.check(wrong)
            tried.openings += 1
            tried.hung_up += opening.hangs_up

    async with trio.open_nursery() as nursery:
        await nursery.start(_bystander, tried, edge)
        async with trio.open_nursery() as hostile:
            for each in openings:
                hostile.start_soon(one, each)
        nursery.cancel_scope.cancel()


async def _bystander(tried: _Run, edge: Running, *, task_status: trio.TaskStatus[None]) -> None:
    """Is served, connection after connection; began when the first was."""
    first = True
    while True:
        served = False
        with trio.move_on_after(ANSWER_S), suppress(trio.BrokenResourceError):
            served = await edge.answers()
        tried.check([] if served else ["a bystander is not served"])
        tried.bystander[tried.front] += served
        if first:
            task_status.started()
            first = False
        await trio.sleep(0.05)


async def _stop(
    tried: _Run, edge: Running, front: Front, choice: random.Random, graceful_s: float
) -> None:
    """The server stops in time with openings hanging in the air."""
    most_s = graceful_s + STOP_S
    async with trio.open_nursery() as nursery:
        for _ in range(_HANGING):
            nursery.start_soon(_hang, edge, front.bent(choice))
        await trio.sleep(0.05)
        began = trio.current_time()
        edge.server.stop()
        with trio.move_on_after(2 * most_s):
            await edge.stopped.wait()
        took_s = trio.current_time() - began
        nursery.cancel_scope.cancel()
    tried.stops_s.append(took_s)
    tried.check(
        [f"the server took {took_s:.1f} s to stop, {most_s:g} at most"] if took_s > most_s else []
    )


async def _hang(edge: Running, opening: bytes) -> None:
    """Sends, and neither reads nor ends."""
    try:
        async with edge.connect() as stream:
            await stream.send_all(opening)
            await trio.sleep_forever()
    except (trio.BrokenResourceError, OSError):
        pass
