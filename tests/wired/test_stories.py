"""Seeded days of two wired nodes: each keeps the invariants, and comes out the same every time.

A seed that fails is made again with ``python -m tests.wired.story SEED``. Mistakes that are
planted in the shell on purpose must be found by the same days.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
import trio

from kms.domain.audit import AuditEntry
from kms.domain.effects import Write
from kms.domain.requests import KeyReply, Reply
from kms.domain.secret import Secret
from kms.shell.pump import Pump
from tests.wired.chance import scheduled_by
from tests.wired.story import day_of

ROOT = Path(__file__).parents[2]
DAYS = int(os.environ.get("KMS_DAYS", "6"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 1 + DAYS))
def test_a_day_keeps_the_invariants_and_both_applications_get_equal_keys(seed: int) -> None:
    day = day_of(seed)

    assert day.compared >= 10
    assert day.checks > 4 * day.compared
    assert len(day.trace.lines) > 500


@pytest.mark.slow
def test_one_seed_is_one_trace_and_another_seed_another() -> None:
    one, again, other = (day_of(seed).trace for seed in (5, 5, 6))

    assert one.lines == again.lines
    assert one.hash() != other.hash()


@pytest.mark.slow
@pytest.mark.parametrize("hash_seed", ["0", "4711"])
def test_one_seed_is_one_trace_in_another_process_whatever_its_hash_seed(hash_seed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.wired.story", "5"],
        cwd=ROOT,
        env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )

    assert done.stdout.split()[0] == day_of(5).trace.hash()


def test_the_order_of_tasks_is_of_the_trace() -> None:
    """What a race would change is seen: two tasks that write in the order they run."""

    def order(seed: int) -> list[int]:
        found = list[int]()

        async def one(number: int) -> None:
            for _ in range(3):
                await trio.lowlevel.checkpoint()
                found.append(number)

        async def race() -> None:
            async with trio.open_nursery() as nursery:
                for number in range(5):
                    nursery.start_soon(one, number)

        scheduled_by(seed)
        trio.run(race)
        return found

    assert order(1) == order(1)
    assert len({tuple(order(seed)) for seed in range(10)}) > 1


# ---- mistakes on purpose --------------------------------------------------------------------


def _commit_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch's writes are made durable with the next one's: its outputs leave before them."""
    real, kept = Pump._make_durable, dict[Pump, list[Write]]()

    async def late(self: Pump, writes: list[Write], entries: list[AuditEntry]) -> None:
        before, kept[self] = kept.get(self, []), writes
        await real(self, before, entries)

    monkeypatch.setattr(Pump, "_make_durable", late)


def _journal_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch's entries are journalled with the next one's."""
    real, kept = Pump._make_durable, dict[Pump, list[AuditEntry]]()

    async def late(self: Pump, writes: list[Write], entries: list[AuditEntry]) -> None:
        before, kept[self] = kept.get(self, []), entries
        await real(self, writes, before)

    monkeypatch.setattr(Pump, "_make_durable", late)


def _answer_with_the_last_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer is kept, and given to the next caller as well."""
    real, kept = Pump._answer, dict[Pump, KeyReply]()

    def answer(self: Pump, request_id: int, reply: Reply) -> None:
        if isinstance(reply, KeyReply) and reply.key is not None:
            reply = kept.setdefault(self, reply)
        real(self, request_id, reply)

    monkeypatch.setattr(Pump, "_answer", answer)


def _answer_with_other_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """One bit of each key is lost at one end."""
    real = Pump._answer

    def answer(self: Pump, request_id: int, reply: Reply) -> None:
        if isinstance(reply, KeyReply) and reply.key is not None and self.node.node == "bob":
            bits = bytearray(reply.key.expose())
            bits[0] ^= 1
            reply = attrs.evolve(reply, key=Secret(bits))
        real(self, request_id, reply)

    monkeypatch.setattr(Pump, "_answer", answer)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plant", "invariant"),
    [
        (_commit_late, "I5"),
        (_journal_late, "I11"),
        (_answer_with_the_last_key, "I1"),
        (_answer_with_other_bits, "I2"),
    ],
)
def test_a_planted_mistake_is_found_and_named(
    plant: Callable[[pytest.MonkeyPatch], None], invariant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    with pytest.raises((AssertionError, ExceptionGroup)) as raised:
        day_of(2)

    assert invariant in {str(each).split()[0] for each in _leaves(raised.value)}


def _leaves(fault: BaseException) -> list[BaseException]:
    if not isinstance(fault, BaseExceptionGroup):
        return [fault]
    return [leaf for each in fault.exceptions for leaf in _leaves(each)]
