"""Hostile openings against the real edge: one client can only hurt itself (I10).

Theory of operation. First every listed opening (``tests/edge/openings.toml``) over mutual TLS and
over plain TCP, each with what it must be answered; then openings bent out of their pieces by the
seed, many at once, half of them over TLS. All the while a bystander on a connection of its own asks
and must be answered. At last the server is told to stop while openings of every kind hang in the
air, and stops in time. An exception that reached the server, though contained, is a violation.
"""

import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import attrs
import trio

from kms.adapters.edge import Bounds
from tests.edge.authority import Authority
from tests.edge.hostile import OPENINGS, bent, hangs_up, status, try_bent, try_listed
from tests.edge.support import PROBE, SHORT, Running, SmallHot, reply, running, small_app
from tests.proof.report import PartReport, Tell

_AT_ONCE: Final = 25
# Those of one server; then it is stopped with the next ones under way.
_PER_SERVER: Final = 500
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
    bystander: int = 0
    contained: int = 0
    checks: int = 0
    stops_s: list[float] = attrs.Factory(list)
    violations: list[str] = attrs.Factory(list)

    def check(self, wrong: list[str]) -> None:
        self.checks += 1
        self.violations += [f"I10 {each}" for each in wrong]


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
            "bystanders served meanwhile": tried.bystander,
            "stops": len(tried.stops_s),
        },
        checks=tried.checks,
        faults={"openings that hang up": tried.hung_up, "stops under fire": len(tried.stops_s)},
        faults_min=1,
        measured={"stop_s_max": max(tried.stops_s, default=0.0), "contained": tried.contained},
        violations=tuple(each + again for each in tried.violations),
        seconds=time.monotonic() - began,
    )


async def _all(tried: _Run, amount: int, choice: random.Random) -> None:
    authority = Authority()
    for tls in (True, False):
        listed = OPENINGS[: max(0, amount - tried.openings)]
        async with _server(tried, authority if tls else None, _LISTED) as edge:
            await _each(tried, edge, [_Listed(one) for one in listed])
            await _stop(tried, edge, choice, _LISTED.graceful_s)
    tls = False
    while tried.openings < amount:
        tls = not tls
        count = min(_PER_SERVER, amount - tried.openings)
        async with _server(tried, authority if tls else None, _BOUNDS) as edge:
            await _each(tried, edge, [_Bent(bent(choice)) for _ in range(count)])
            await _stop(tried, edge, choice, _BOUNDS.graceful_s)
        tried.tell(f"{tried.openings} openings of {amount}")


@attrs.frozen
class _Listed:
    opening: dict[str, object]

    async def made(self, edge: Running) -> list[str]:
        return await try_listed(edge, self.opening)

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
    tried: _Run, authority: Authority | None, bounds: Bounds
) -> AsyncIterator[Running]:
    """A server with a bystander; when the block ends it was lived through."""
    app = small_app()
    app.logger.disabled = True  # it has an opening that asks for a fault
    async with running(app, authority=authority, bounds=bounds, hot=SmallHot()) as edge:
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
        got = "closed"
        with trio.move_on_after(ANSWER_S), suppress(trio.BrokenResourceError):
            async with edge.connect() as stream:
                await stream.send_all(PROBE)
                got = status(await reply(stream))
        tried.check([] if got == "200" else [f"a bystander is answered {got}"])
        tried.bystander += got == "200"
        if first:
            task_status.started()
            first = False
        await trio.sleep(0.05)


async def _stop(tried: _Run, edge: Running, choice: random.Random, graceful_s: float) -> None:
    """The server stops in time with openings hanging in the air."""
    most_s = graceful_s + STOP_S
    async with trio.open_nursery() as nursery:
        for _ in range(_HANGING):
            nursery.start_soon(_hang, edge, bent(choice))
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
