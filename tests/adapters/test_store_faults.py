"""A disk that is full, or fails: refused cleanly, or stopped for good; never half done."""

import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
import trio.testing

from kms.adapters.entropy import OSEntropy
from kms.adapters.memory.sealer import MemorySealer
from kms.adapters.store_sqlite import SQLiteStore, engine
from kms.domain.effects import Save
from kms.domain.errors import LocalFault, Sealed, StoreFault
from kms.domain.names import MaterialId, NodeId
from kms.domain.records import NodeRecord
from kms.domain.secret import Secret
from tests.adapters.store_faults import FailingDisk
from tests.contract.storage_samples import bits, store, wipe

UNIT = 4096
OLD, NEW = MaterialId("old"), MaterialId("new")


@pytest.fixture
def disk() -> FailingDisk:
    return FailingDisk()


@pytest.fixture
def sealer() -> MemorySealer:
    return MemorySealer()


@pytest.fixture
async def storage(
    tmp_path: Path, disk: FailingDisk, sealer: MemorySealer
) -> AsyncIterator[SQLiteStore]:
    opened = await SQLiteStore.open(tmp_path / "store", sealer, node="a", disk=disk)
    await opened.commit([store(OLD, bits(3 * UNIT), UNIT)])
    yield opened
    disk.heal()
    await opened.aclose()


async def shown(storage: SQLiteStore, name: MaterialId, length: int) -> bytes:
    return bytes((await storage.read(name, 0, length)).expose())


@pytest.mark.parametrize("sync", [0, 1])
async def test_after_a_failed_sync_the_store_refuses_everything(
    storage: SQLiteStore, disk: FailingDisk, sync: int
) -> None:
    """A sync that failed may have dropped the pages: trying again would prove nothing."""
    disk.fail("sync", after=sync)
    with pytest.raises(StoreFault, match="disk failed while writing"):
        await storage.commit([store(NEW, bits(UNIT), UNIT)])
    disk.heal()

    for again in (
        storage.commit([]),
        storage.read(OLD, 0, 1),
        storage.take(OLD, 0, UNIT),
        storage.rewrap(1),
    ):
        with pytest.raises(StoreFault, match="stopped after a fault") as stopped:
            await again
        assert "start the node again" in stopped.value.hint


async def test_a_failed_database_commit_stops_the_store(
    storage: SQLiteStore, disk: FailingDisk
) -> None:
    disk.fail("commit")
    with pytest.raises(StoreFault, match="committing"):
        await storage.commit([Save(NodeRecord(node=NodeId("a"), boot=1))])

    with pytest.raises(StoreFault, match="stopped"):
        await storage.commit([])


async def test_a_key_that_cannot_be_destroyed_is_not_given_out(
    storage: SQLiteStore, disk: FailingDisk
) -> None:
    """I1: what might still be readable in the files must not be used."""
    disk.fail("sync")
    with pytest.raises(StoreFault, match="overwriting"):
        await storage.take(OLD, 0, UNIT)

    with pytest.raises(StoreFault, match="stopped"):
        await storage.take(OLD, UNIT, UNIT)


async def test_opening_finishes_what_a_failing_disk_left(
    tmp_path: Path, storage: SQLiteStore, disk: FailingDisk, sealer: MemorySealer
) -> None:
    disk.fail("sync")
    with pytest.raises(StoreFault):
        await storage.commit([wipe(OLD, 0, UNIT)])
    disk.heal()
    await storage.aclose()
    again = await SQLiteStore.open(tmp_path / "store", sealer, node="a")

    with pytest.raises(StoreFault, match="wiped"):
        await again.read(OLD, 0, 1)
    assert again.statistics().slots_live == 2
    await again.aclose()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
async def test_a_full_disk_refuses_new_material_and_serves_the_old(
    storage: SQLiteStore, disk: FailingDisk, code: int
) -> None:
    disk.fail("write", code=code)
    with pytest.raises(StoreFault, match="full"):
        await storage.commit([store(NEW, bits(UNIT), UNIT)])
    disk.heal()

    assert await shown(storage, OLD, 3 * UNIT) == bits(3 * UNIT)
    await storage.commit([store(NEW, bits(UNIT, 1), UNIT)])
    assert await shown(storage, NEW, UNIT) == bits(UNIT, 1)


async def test_no_room_to_grow_refuses_the_commit_and_loses_no_place(
    storage: SQLiteStore, disk: FailingDisk
) -> None:
    huge = 17 * 1024 * 1024
    disk.fail("extend", code=errno.ENOSPC)
    for _ in range(3):
        with pytest.raises(StoreFault, match="full"):
            await storage.commit([store(NEW, bytes(huge), 1024 * 1024)])
    disk.heal()
    await storage.commit([store(NEW, bits(2 * UNIT, 1), UNIT)])

    assert await shown(storage, NEW, 2 * UNIT) == bits(2 * UNIT, 1)
    assert storage.statistics().slots_live == 5


async def test_an_error_of_the_disk_while_writing_stops_the_store(
    storage: SQLiteStore, disk: FailingDisk
) -> None:
    disk.fail("write", code=errno.EIO)
    with pytest.raises(StoreFault, match="disk failed"):
        await storage.commit([store(NEW, bits(UNIT), UNIT)])

    with pytest.raises(StoreFault, match="stopped"):
        await storage.read(OLD, 0, 1)


async def test_a_database_without_room_rolls_back_and_erases_the_new_slots(
    tmp_path: Path, storage: SQLiteStore
) -> None:
    database = storage._engine._ledger._database
    pages = database.execute("PRAGMA page_count").fetchone()[0]
    database.execute(f"PRAGMA max_page_count = {pages}")
    many = [store(f"material {n} {'x' * 4000}", bits(1, n), UNIT) for n in range(50)]
    with pytest.raises(StoreFault, match="full"):
        await storage.commit(many)
    image = (tmp_path / "store" / "slots").read_bytes()
    database.execute("PRAGMA max_page_count = 1000000")

    assert sum(any(image[at : at + 512]) for at in range(0, len(image), 512)) == 3
    await storage.commit(many)
    assert storage.statistics().slots_live == 53


async def test_a_read_error_burns_the_unit_and_not_the_store(
    storage: SQLiteStore, disk: FailingDisk
) -> None:
    disk.fail("read", code=errno.EIO)
    with pytest.raises(StoreFault, match="cannot be read"):
        await storage.take(OLD, 0, UNIT)
    disk.heal()

    assert await shown(storage, OLD, UNIT) == bits(UNIT)


async def test_a_sealed_node_saves_records_and_refuses_material(
    storage: SQLiteStore, sealer: MemorySealer
) -> None:
    sealer.seal()
    await storage.commit([Save(NodeRecord(node=NodeId("a"), boot=1)), wipe(OLD, 0, UNIT)])
    for refused in (
        storage.commit([store(NEW, bits(UNIT), UNIT)]),
        storage.take(OLD, UNIT, UNIT),
        storage.read(OLD, UNIT, UNIT),
    ):
        with pytest.raises(Sealed):
            await refused
    await sealer.unseal(Secret(b""))

    assert bytes((await storage.read(OLD, UNIT, UNIT)).expose()) == bits(3 * UNIT)[UNIT : 2 * UNIT]


@pytest.mark.parametrize("how", ["fails", "repeats"])
async def test_a_random_source_that_fails_or_repeats_itself_seals_nothing_and_opens_all(
    tmp_path: Path, how: str
) -> None:
    """Two units under one key and nonce would show a thief what they differ by."""
    source = Source()
    storage = await SQLiteStore.open(
        tmp_path / "random", MemorySealer(), node="a", entropy=OSEntropy(source)
    )
    await storage.commit([store(OLD, bits(UNIT), UNIT)])
    source.how = how
    for _ in range(2):
        with pytest.raises(LocalFault, match=f"the random generator {how}"):
            await storage.commit([store(NEW, bits(UNIT), UNIT)])
    opened = await shown(storage, OLD, UNIT)
    await storage.aclose()

    assert opened == bits(UNIT)


class Source:
    """The kernel's, until it is told otherwise."""

    def __init__(self) -> None:
        self.how, self._last = "", b""

    def __call__(self, length: int) -> bytes:
        if self.how == "fails":
            raise OSError(errno.EIO, "Input/output error")
        if self.how != "repeats":
            self._last = os.urandom(length)
        return self._last


async def test_a_sealed_node_does_not_lose_survivors_to_a_partial_wipe(
    storage: SQLiteStore, sealer: MemorySealer
) -> None:
    """Sealing a unit anew needs the epoch key: the wipe is refused, and nothing is lost."""
    sealer.seal()
    with pytest.raises(Sealed):
        await storage.commit([wipe(OLD, 0, 10)])
    await sealer.unseal(Secret(b""))

    assert await shown(storage, OLD, 3 * UNIT) == bits(3 * UNIT)


async def test_a_cancelled_take_is_wiped_and_gone(storage: SQLiteStore) -> None:
    """I1: bytes that nobody received are burnt, not given out a second time."""
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(storage.take, OLD, 0, UNIT)
            await trio.testing.wait_all_tasks_blocked(0.0)
            scope.cancel()

    with pytest.raises(StoreFault, match="wiped"):
        await storage.take(OLD, 0, UNIT)


async def test_many_callers_at_once_are_served_in_turn(storage: SQLiteStore) -> None:
    """More than the writer's queue holds: the rest wait their turn."""

    async def one(number: int) -> None:
        await storage.commit([store(f"m{number}", bits(64, number), UNIT)])

    async with trio.open_nursery() as nursery:
        for number in range(200):
            nursery.start_soon(one, number)

    for number in (0, 99, 199):
        assert await shown(storage, MaterialId(f"m{number}"), 64) == bits(64, number)


async def test_an_unforeseen_error_stops_the_store(
    storage: SQLiteStore, disk: FailingDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistake(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(engine, "sealed", mistake)
    with pytest.raises(ZeroDivisionError):
        await storage.commit([store(NEW, bits(UNIT), UNIT)])

    with pytest.raises(StoreFault, match="stopped"):
        await storage.read(OLD, 0, 1)
