"""What ten streams were promised and what they got, on a link at 120 % of its rate (FR-5).

Theory of operation. Two whole nodes in virtual time (``fairness.Market``). Ten streams of three
priorities, opened from either end, ask together for 1.2 times what the devices give: each class has
a promise, one stream in it asks for less than its promise, one is held back by Max_bps. What an
application got is counted at the opener's end, in each second of the count.

    promised   Min_bps as admitted, and at most Max_bps
    asked      what the application asked for, bit/s
    got        what it got on the whole; in its worst and in its best second
"""

import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

import attrs

from kms.domain import limits
from kms.domain.status import QoS
from tests.proof.fairness import BLOCK_BYTES, TIMEOUT_MS, Client, Market, Wish, jain
from tests.proof.report import PartReport, Tell

DEMAND: Final = 1.2
"""asked for as far as Max_bps allows it, in shares of the link's rate"""
CHUNK_BYTES: Final = 256
_KBPS: Final = (
    # priority, Min_bps, Max_bps, asked
    (9, 40, 0, 140),
    (9, 40, 0, 140),
    (9, 40, 60, 120),
    (5, 50, 0, 150),
    (5, 50, 0, 150),
    (5, 50, 0, 48),
    (0, 30, 0, 140),
    (0, 30, 0, 140),
    (0, 30, 0, 140),
    (0, 0, 0, 92),
)
WISHES: Final = tuple(
    Wish(
        qos=QoS(
            key_chunk_size=CHUNK_BYTES,
            priority=priority,
            min_bps=min_kbps * 1000,
            max_bps=max_kbps * 1000,
            timeout=TIMEOUT_MS,
        ),
        bps=asked_kbps * 1000,
    )
    for priority, min_kbps, max_kbps, asked_kbps in _KBPS
)


@attrs.frozen(kw_only=True)
class Got:
    """One stream's contract and what came of it, bit/s."""

    wish: Wish
    bps: float
    worst_bps: float
    best_bps: float
    p99_ms: float

    @property
    def due_bps(self) -> float:
        """What it has a right to: its promise, or what it asked for if that is less."""
        return min(self.wish.qos.min_bps, self.wish.bps)


def promised_and_got(
    seconds: int, seed: int, wishes: Iterable[Wish] = WISHES
) -> tuple[list[Got], Market]:
    """Each stream's figures over so many seconds of virtual time."""
    market = Market(wishes, seed)
    # The stock of before the clients came would hide for a while that the link gives less than is
    # asked.
    market.drain(16 * BLOCK_BYTES)
    market.warm_up()
    seen: list[list[int]] = [[] for _ in market.clients]
    for _ in range(seconds):
        before = [client.bytes_got for client in market.clients]
        market.count(1_000)
        for each, client, then in zip(seen, market.clients, before, strict=True):
            each.append(8 * (client.bytes_got - then))
    return [_got(*each) for each in zip(market.clients, seen, strict=True)], market


def _got(client: Client, by_second: list[int]) -> Got:
    waits = sorted(client.waits_ms) or [0]
    return Got(
        wish=client.wish,
        bps=sum(by_second) / len(by_second),
        worst_bps=min(by_second),
        best_bps=max(by_second),
        p99_ms=waits[len(waits) * 99 // 100],
    )


def run(amount: float, seed: int, tell: Tell) -> PartReport:
    """So many seconds of virtual time, in which every stream had what it was promised."""
    began = time.monotonic()
    got, market = promised_and_got(int(amount), seed)
    tell(f"{amount:g} virtual seconds")
    broken = broken_promises(got, int(amount))
    wrong = [words for client in market.clients for words in client.wrong[:5]]
    again = f"; again: tests.proof.promised.run({amount:g}, {seed}, print)"
    return PartReport(
        part="promised",
        invariants=("I8",),
        seed=seed,
        made={"virtual seconds": int(amount), "streams": len(got)},
        checks=_CHECKS_PER_STREAM * len(got),
        table=(HEAD, *map(row, got)),
        violations=tuple(f"I8 {each}{again}" for each in (*broken, *wrong)),
        seconds=time.monotonic() - began,
    )


# An application asks at uneven times, by chunks, and this is how far a second's count can be off.
RAGGED_BPS: Final = 12 * CHUNK_BYTES * 8
JAIN_MIN: Final = 0.98
_CHECKS_PER_STREAM: Final = 5


def broken_promises(got: Iterable[Got], seconds: int) -> list[str]:
    """Who got less than was promised, or more than was allowed; and whether the excess went by
    priority: the first two classes lack nothing, the last lacks what is missing, evenly."""
    broken = []
    classes: dict[int, list[Got]] = defaultdict(list)
    for number, each in enumerate(got):
        qos = each.wish.qos
        classes[qos.priority].append(each)
        burst = qos.max_bps * limits.DELIVERY_BURST_MS / 1000 + CHUNK_BYTES * 8
        wanted = min(each.wish.bps, qos.max_bps or each.wish.bps)
        verdicts = {
            "Min_bps on the whole": each.bps >= 0.98 * each.due_bps,
            "Min_bps in its worst second": each.worst_bps >= each.due_bps - RAGGED_BPS,
            "Max_bps in its best second": not qos.max_bps or each.best_bps <= qos.max_bps + burst,
            "Max_bps on the whole": not qos.max_bps or each.bps <= qos.max_bps + burst / seconds,
            "what it asked for before its class": not qos.priority or each.bps >= 0.95 * wanted,
        }
        assert len(verdicts) == _CHECKS_PER_STREAM, "each is counted"
        broken += [
            f"stream {number} of priority {qos.priority} misses {what}: {each}"
            for what, holds in verdicts.items()
            if not holds
        ]
    excess = [int(each.bps - each.wish.qos.min_bps) for each in classes[0] if each.wish.qos.min_bps]
    if jain(excess) < JAIN_MIN:
        broken.append(f"the last class shares the rest unevenly: {excess}")
    return broken


HEAD: Final = ("priority", "Min_bps", "Max_bps", "asked", "got", "worst s", "best s", "99 % within")


def row(each: Got) -> tuple[str, ...]:
    """One stream's line of the table, under ``HEAD``."""
    figures = (each.wish.qos.min_bps, each.wish.qos.max_bps, each.wish.bps)
    figures += (each.bps, each.worst_bps, each.best_bps)
    return (
        str(each.wish.qos.priority),
        *(f"{figure / 1000:.1f}" for figure in figures),
        f"{each.p99_ms:.0f} ms",
    )
