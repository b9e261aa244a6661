"""Records that are not those that were written are found when they load, whatever SQLite says."""

import sqlite3
from pathlib import Path
from uuid import UUID

import pytest

from kms.adapters.memory.sealer import MemorySealer
from kms.adapters.store_sqlite import SQLiteStore
from kms.domain.effects import Forget, Save, Write
from kms.domain.errors import StoreFault
from kms.domain.names import BlockId, LinkId, MaterialId, NodeId
from kms.domain.records import BlockRecord, BlockState, LinkRecord, LinkState, NodeRecord, Record


def node(boot: int, name: str = "a") -> NodeRecord:
    return NodeRecord(node=NodeId(name), boot=boot)


def link(number: int, epoch: int = 1) -> LinkRecord:
    return LinkRecord(link=LinkId(f"a~{number}"), state=LinkState.OPEN, epoch=epoch)


@pytest.fixture
async def closed(tmp_path: Path) -> Path:
    """A store of ten links, closed in order."""
    directory = tmp_path / "store"
    await commit(directory, [Save(node(1)), *(Save(link(number)) for number in range(10))])
    return directory


async def commit(directory: Path, writes: list[Write]) -> None:
    storage = await SQLiteStore.open(directory, MemorySealer(), node="a")
    await storage.commit(writes)
    await storage.aclose()


async def loaded(directory: Path) -> list[Record]:
    storage = await SQLiteStore.open(directory, MemorySealer(), node="a")
    try:
        return list(storage.load())
    finally:
        await storage.aclose()


def edit(directory: Path, sql: str) -> None:
    with sqlite3.connect(directory / "records.db") as database:
        database.execute(sql)
    database.close()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE node SET boot = 2",
        "UPDATE link SET epoch = 0 WHERE link = 'a~3'",
        "UPDATE link SET link = 'a~33' WHERE link = 'a~3'",
        "UPDATE link SET log_hash = x'00' WHERE link = 'a~3'",
        "DELETE FROM link WHERE link = 'a~9'",
        "DELETE FROM node",
        "UPDATE node SET node = 'b'",
        "UPDATE store SET value = replace(value, '1', '2') WHERE fact = 'sum'",
    ],
)
async def test_a_record_that_was_altered_or_lost_is_found(closed: Path, change: str) -> None:
    """Each is a store that SQLite finds sound, and each row is a record that could be."""
    edit(closed, change)
    with pytest.raises(StoreFault, match="not those that were written") as refused:
        await loaded(closed)

    assert "backup" in refused.value.hint


async def test_records_of_different_ages_are_found(closed: Path, tmp_path: Path) -> None:
    """What a rotten log leaves whose pages were moved in part: each row was true once."""
    await commit(closed, [Save(link(3, epoch=2)), Save(link(4, epoch=2))])
    edit(closed, "UPDATE link SET epoch = 1 WHERE link = 'a~3'")
    with pytest.raises(StoreFault, match="not those that were written"):
        await loaded(closed)


async def test_a_store_that_goes_on_without_loading_looks_first(closed: Path) -> None:
    edit(closed, "UPDATE link SET epoch = 0 WHERE link = 'a~3'")
    with pytest.raises(StoreFault, match="not those that were written"):
        await commit(closed, [Save(node(2))])


async def test_every_kind_of_change_keeps_the_sum(closed: Path) -> None:
    """Saved twice in one commit, forgotten, forgotten without being there, and saved again."""
    await commit(closed, [Save(node(2)), Save(node(3)), Forget(link(1)), Forget(link(77))])
    await commit(closed, [Forget(link(2)), Save(link(2, epoch=9)), Save(link(1)), Forget(link(1))])
    found = await loaded(closed)

    assert node(3) in found
    assert link(2, epoch=9) in found
    assert len(found) == 10


async def test_a_refused_commit_leaves_the_sum_as_it_was(closed: Path) -> None:
    storage = await SQLiteStore.open(closed, MemorySealer(), node="a")
    with pytest.raises(StoreFault, match="refuses a record"):
        await storage.commit([Save(link(3, epoch=5)), Save(node(2**70))])
    await storage.commit([Save(link(4, epoch=6))])
    await storage.aclose()
    found = await loaded(closed)

    assert link(3) in found
    assert link(4, epoch=6) in found


async def test_a_store_from_before_the_sum_is_taken_as_it_is(closed: Path) -> None:
    edit(closed, "DELETE FROM store WHERE fact = 'sum'")
    before = await loaded(closed)
    await commit(closed, [Save(node(2))])
    edit(closed, "UPDATE link SET epoch = 0 WHERE link = 'a~3'")

    assert len(before) == 11
    with pytest.raises(StoreFault, match="not those that were written"):
        await loaded(closed)


@pytest.mark.parametrize("qber", [0.0, -0.0, 0, 1, 0.0625, 1e-300, float("nan"), None])
async def test_a_number_comes_back_as_it_was_summed(tmp_path: Path, qber: float | None) -> None:
    """SQLite keeps a whole number as an integer, and no number as NULL."""
    directory = tmp_path / "store"
    block = BlockRecord(
        link=LinkId("a~b"),
        block_id=BlockId(UUID(int=1)),
        state=BlockState.HELD,
        length=4096,
        material=MaterialId("block/1"),
        device=None,
        origin="quantum",
        qber=qber,
        received_ms=1,
    )
    await commit(directory, [Save(block)])

    assert len(await loaded(directory)) == 1
