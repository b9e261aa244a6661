"""What every journal must keep, the one on disk and the fake."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import attrs
import pytest
import trio

from kms.adapters.journal_file import FileJournal, FileOperations
from kms.adapters.memory.journal import MemoryJournal
from kms.domain import audit
from kms.domain.audit import GENESIS, AuditEntry
from kms.domain.errors import JournalFault
from kms.ports.journal import Journal, JournalHead


def entry(number: int) -> AuditEntry:
    """A typical record, with the kinds of detail there are."""
    return AuditEntry(
        wall_ms=1_700_000_000_000 + number,
        event="key-delivered",
        actor="sae:camera.A",
        subject="6b1f3a52-0f1c-4c7e-9a8b-2d4e6f8a0b1c",
        detail={"index": number, "peer": "B", "share": 0.5, "again": False, "none": None},
    )


@attrs.frozen
class World:
    """A journal, and how a test breaks its disk."""

    journal: Journal
    fail: Callable[[], object]


@pytest.fixture(params=["file", "memory"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    if request.param == "memory":
        memory = MemoryJournal()
        yield World(memory, memory.fail)
        return
    broken: list[bool] = []

    def sync(fd: int) -> None:
        if broken:
            raise OSError(28, "No space left on device")

    path = tmp_path / "audit.jsonl"
    journal = await FileJournal.open(path, files=FileOperations(sync=sync))
    yield World(journal, lambda: broken.append(True))
    await journal.aclose()


async def test_an_empty_journal_stands_at_the_start(world: World) -> None:
    assert world.journal.head() == JournalHead(number=0, hash=GENESIS)


async def test_the_head_is_that_of_the_chain_of_all_entries_in_order(world: World) -> None:
    entries = [entry(number) for number in range(10)]
    previous, expected = GENESIS, []
    for number, one in enumerate(entries, 1):
        expected.append(audit.chained(number, previous, one))
        previous = expected[-1].hash

    first = await world.journal.append(entries[:3])
    last = await world.journal.append(entries[3:])

    assert first == JournalHead(number=3, hash=expected[2].hash)
    assert last == JournalHead(number=10, hash=expected[9].hash) == world.journal.head()


async def test_nothing_appended_is_nothing_changed(world: World) -> None:
    before = await world.journal.append([entry(1)])

    assert await world.journal.append([]) == before


async def test_appends_at_once_are_all_there(world: World) -> None:
    heads: list[JournalHead] = []

    async def append(number: int) -> None:
        heads.append(await world.journal.append([entry(number)]))

    async with trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(append, number)

    assert sorted(head.number for head in heads) == list(range(1, 101))
    assert world.journal.head().number == 100


async def test_after_one_failure_every_append_raises_and_the_head_stays(world: World) -> None:
    before = await world.journal.append([entry(1)])
    world.fail()

    for _ in range(3):
        with pytest.raises(JournalFault):
            await world.journal.append([entry(2)])

    assert world.journal.head() == before


async def test_a_closed_journal_takes_nothing(world: World) -> None:
    await world.journal.aclose()
    await world.journal.aclose()

    with pytest.raises(JournalFault):
        await world.journal.append([entry(1)])
