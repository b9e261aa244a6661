"""What every storage adapter must do: the port's docstring, sentence by sentence."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import attrs
import pytest
import trio
import trio.testing

from kms.adapters.memory.sealer import MemorySealer
from kms.adapters.memory.storage import MemoryDisk
from kms.adapters.store_sqlite import SQLiteStore
from kms.domain.effects import Forget, Save
from kms.domain.errors import StoreFault
from kms.domain.names import MaterialId, NodeId
from kms.domain.records import NodeRecord, StreamRecord
from kms.domain.secret import Secret
from kms.ports.storage import Storage
from tests.contract.storage_samples import bits, sample, samples, store, stretch, wipe

BLOCK = MaterialId("block/1")
UNIT = 4096


class Rig(Protocol):
    """A store's disk, and the processes that come and go on it."""

    async def open(self) -> Storage: ...

    async def crash(self) -> Storage:
        """The process is gone without a word; another opens what is on the disk."""
        ...

    async def aclose(self) -> None: ...


class MemoryRig:
    def __init__(self) -> None:
        self._disk = MemoryDisk("a")

    async def open(self) -> Storage:
        return self._disk.open("a")

    async def crash(self) -> Storage:
        self._disk.crash()
        return self._disk.open("a")

    async def aclose(self) -> None:
        pass


class SQLiteRig:
    """A crash is a copy of the directory, as it lies, opened as if it were the original."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sealer = MemorySealer()
        self._copies = 0
        self._opened: list[SQLiteStore] = []

    async def open(self) -> Storage:
        opened = await SQLiteStore.open(self._path, self._sealer, node="a")
        self._opened.append(opened)
        return opened

    async def crash(self) -> Storage:
        self._copies += 1
        copy = self._path.with_name(f"copy-{self._copies}")
        shutil.copytree(self._path, copy)
        self._path = copy
        return await self.open()

    async def aclose(self) -> None:
        for each in self._opened:
            await each.aclose()


@pytest.fixture(params=["memory", "sqlite"])
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    made: Rig = MemoryRig() if request.param == "memory" else SQLiteRig(tmp_path / "store")
    yield made
    await made.aclose()


async def before_and_after_a_crash(rig: Rig, storage: Storage) -> AsyncIterator[Storage]:
    yield storage
    yield await rig.crash()


async def shown(storage: Storage, offset: int, length: int, name: MaterialId = BLOCK) -> bytes:
    return bytes((await storage.read(name, offset, length)).expose())


async def test_every_record_comes_back_as_it_was_saved(rig: Rig) -> None:
    storage = await rig.open()
    await storage.commit([Save(record) for record in samples()])
    again = await rig.crash()

    assert samples() == list(again.load())


async def test_the_latest_record_of_a_key_is_kept(rig: Rig) -> None:
    storage = await rig.open()
    first, second = NodeRecord(node="a", boot=1), NodeRecord(node="a", boot=2)  # type: ignore[arg-type]
    await storage.commit([Save(first), Save(second)])
    await storage.commit([Save(first), Forget(first), Save(second)])
    again = await rig.crash()

    assert [second] == list(again.load())


async def test_a_forgotten_record_is_gone_and_its_neighbour_stays(rig: Rig) -> None:
    storage = await rig.open()
    gone, stays = sample(StreamRecord, 1), sample(StreamRecord, 2)
    await storage.commit([Save(gone), Save(stays)])
    await storage.commit([Forget(attrs.evolve(gone, reason="only the key counts"))])
    again = await rig.crash()

    assert [stays] == list(again.load())


async def test_forgetting_what_was_never_saved_is_no_error(rig: Rig) -> None:
    storage = await rig.open()
    await storage.commit([Forget(sample(StreamRecord, 1))])

    assert [] == list((await rig.crash()).load())


@pytest.mark.parametrize("length", [1, 32, UNIT - 1, UNIT, UNIT + 1, 3 * UNIT + 77])
async def test_material_of_any_length_reads_back(rig: Rig, length: int) -> None:
    storage = await rig.open()
    await storage.commit([store(BLOCK, bits(length), UNIT)])
    again = await rig.crash()

    assert bits(length) == await shown(again, 0, length)
    assert length == again.statistics().material_bytes


async def test_any_range_reads_and_stays(rig: Rig) -> None:
    storage = await rig.open()
    material = bits(3 * UNIT)
    await storage.commit([store(BLOCK, material, UNIT)])

    for offset, length in ((0, 1), (UNIT - 1, 2), (17, 2 * UNIT), (3 * UNIT - 1, 1)):
        for _ in "twice":
            assert material[offset : offset + length] == await shown(storage, offset, length)


async def test_what_is_taken_is_gone_also_after_a_crash(rig: Rig) -> None:
    storage = await rig.open()
    material = bits(4 * UNIT)
    await storage.commit([store(BLOCK, material, UNIT)])
    taken = await storage.take(BLOCK, UNIT, 2 * UNIT)

    assert material[UNIT : 3 * UNIT] == bytes(taken.expose())
    async for each in before_and_after_a_crash(rig, storage):
        for offset in (UNIT, 2 * UNIT):
            with pytest.raises(StoreFault):
                await each.take(BLOCK, offset, UNIT)
            with pytest.raises(StoreFault):
                await each.read(BLOCK, offset, 1)
        assert material[:UNIT] == await shown(each, 0, UNIT)
        assert material[3 * UNIT :] == await shown(each, 3 * UNIT, UNIT)
        assert 2 * UNIT == each.statistics().material_bytes


async def test_the_short_last_unit_is_taken_whole(rig: Rig) -> None:
    storage = await rig.open()
    material = bits(UNIT + 5)
    await storage.commit([store(BLOCK, material, UNIT)])

    assert material[UNIT:] == bytes((await storage.take(BLOCK, UNIT, 5)).expose())


@pytest.mark.parametrize(("offset", "length"), [(1, UNIT), (0, UNIT - 1), (UNIT, UNIT + 1)])
async def test_parts_of_units_are_not_taken(rig: Rig, offset: int, length: int) -> None:
    storage = await rig.open()
    await storage.commit([store(BLOCK, bits(4 * UNIT), UNIT)])
    with pytest.raises(StoreFault):
        await storage.take(BLOCK, offset, length)

    assert bits(4 * UNIT) == await shown(storage, 0, 4 * UNIT)


@pytest.mark.parametrize(
    ("offset", "length"), [(-1, 1), (0, 0), (0, -1), (0, 2 * UNIT + 1), (2 * UNIT, 1), (1 << 70, 1)]
)
async def test_bytes_outside_the_material_are_a_fault(rig: Rig, offset: int, length: int) -> None:
    storage = await rig.open()
    await storage.commit([store(BLOCK, bits(2 * UNIT), UNIT)])

    for ask in (storage.read, storage.take):
        with pytest.raises(StoreFault):
            await ask(BLOCK, offset, length)


async def test_what_is_not_there_is_a_fault_to_read_and_none_to_wipe(rig: Rig) -> None:
    storage = await rig.open()
    await storage.commit([store(BLOCK, bits(UNIT), UNIT)])
    await storage.commit([wipe("never stored", 0, 100)])
    await storage.commit([wipe(BLOCK, 7, 0), wipe(BLOCK, 9, -5), wipe(BLOCK, UNIT, 1 << 70)])
    for ask in (storage.read, storage.take):
        with pytest.raises(StoreFault):
            await ask(MaterialId("never stored"), 0, 1)

    assert await shown(storage, 0, UNIT) == bits(UNIT)


async def test_a_wiped_range_is_gone_and_the_survivors_of_its_units_stay(rig: Rig) -> None:
    storage = await rig.open()
    material = bits(3 * UNIT)
    await storage.commit([store(BLOCK, material, UNIT)])
    await storage.commit([wipe(BLOCK, UNIT - 10, UNIT + 30)])

    async for each in before_and_after_a_crash(rig, storage):
        assert material[: UNIT - 10] == await shown(each, 0, UNIT - 10)
        assert material[2 * UNIT + 20 :] == await shown(each, 2 * UNIT + 20, UNIT - 20)
        assert 2 * UNIT - 30 == each.statistics().material_bytes
        for offset in (UNIT - 10, UNIT, 2 * UNIT + 19):
            with pytest.raises(StoreFault):
                await each.read(BLOCK, offset, 1)
        with pytest.raises(StoreFault):
            await each.take(BLOCK, 0, UNIT)


async def test_holes_may_be_wiped_in_any_order_and_twice(rig: Rig) -> None:
    storage = await rig.open()
    material = bits(UNIT)
    await storage.commit([store(BLOCK, material, UNIT)])
    for at in (512, 2048, 512, 1024):
        await storage.commit([wipe(BLOCK, at, 256), wipe(BLOCK, at + 256, 128)])

    async for each in before_and_after_a_crash(rig, storage):
        for start, end in ((0, 512), (896, 1024), (1408, 2048), (2432, UNIT)):
            assert material[start:end] == await shown(each, start, end - start)
        for start in (512, 767, 768, 1024, 2048, 2431):
            with pytest.raises(StoreFault):
                await each.read(BLOCK, start, 1)


async def test_a_wipe_longer_than_the_material_wipes_all_of_it(rig: Rig) -> None:
    storage = await rig.open()
    await storage.commit([store(BLOCK, bits(3 * UNIT), UNIT)])
    await storage.commit([wipe(BLOCK, 0, 1 << 60)])

    async for each in before_and_after_a_crash(rig, storage):
        assert (0, 0) == (each.statistics().material_bytes, each.statistics().slots_live)


async def test_material_stored_and_wiped_in_one_commit_keeps_only_the_rest(rig: Rig) -> None:
    storage = await rig.open()
    material = bits(2 * UNIT)
    await storage.commit([store(BLOCK, material, UNIT), wipe(BLOCK, 10, UNIT)])

    async for each in before_and_after_a_crash(rig, storage):
        assert material[:10] == await shown(each, 0, 10)
        assert material[UNIT + 10 :] == await shown(each, UNIT + 10, UNIT - 10)
        with pytest.raises(StoreFault):
            await each.read(BLOCK, 10, 1)


async def test_a_commit_that_is_refused_changes_nothing(rig: Rig) -> None:
    storage = await rig.open()
    await storage.commit([store(BLOCK, bits(UNIT), UNIT)])
    with pytest.raises(StoreFault):
        await storage.commit(
            [Save(NodeRecord(node="a", boot=9)), store("b", bits(9)), store(BLOCK, bits(UNIT, 2))]  # type: ignore[arg-type]
        )

    async for each in before_and_after_a_crash(rig, storage):
        assert bits(UNIT) == await shown(each, 0, UNIT)
        assert UNIT == each.statistics().material_bytes
        with pytest.raises(StoreFault):
            await each.read(MaterialId("b"), 0, 1)


async def test_a_caller_that_is_cancelled_only_stops_waiting(rig: Rig) -> None:
    """Its own bits are wiped at once; what was handed over is stored all the same."""
    storage = await rig.open()
    write = store(BLOCK, bits(UNIT), UNIT)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(storage.commit, [write])
            await trio.testing.wait_all_tasks_blocked(0.0)
            write.bits.wipe()
            scope.cancel()
    await storage.commit([])  # its turn comes after

    assert bits(UNIT) == await shown(storage, 0, UNIT)


async def test_bits_are_the_callers_again_when_commit_returns(rig: Rig) -> None:
    storage = await rig.open()
    write = store("chunk/1", bits(UNIT), UNIT)
    await storage.commit([write])
    write.bits.wipe()

    assert bits(UNIT) == await shown(storage, 0, UNIT, MaterialId("chunk/1"))


async def test_wiping_what_was_read_leaves_the_store_as_it_is(rig: Rig) -> None:
    storage = await rig.open()
    name = MaterialId("chunk/1")
    await storage.commit([store(name, bits(UNIT), UNIT)])
    for _ in "again":
        secret: Secret = await storage.read(name, 0, UNIT)
        secret.wipe()

    assert bits(UNIT) == await shown(storage, 0, UNIT, name)


async def test_a_wiped_chunk_is_not_read_from_any_memory(rig: Rig) -> None:
    storage = await rig.open()
    name = MaterialId("chunk/1")
    await storage.commit([store(name, bits(2 * UNIT), UNIT)])
    await storage.commit([wipe(name, 32, 64)])

    assert bits(2 * UNIT)[:32] == await shown(storage, 0, 32, name)
    assert bits(2 * UNIT)[96:200] == await shown(storage, 96, 104, name)
    for offset in (32, 95):
        with pytest.raises(StoreFault):
            await storage.read(name, offset, 1)
    await storage.take(name, UNIT, UNIT)
    with pytest.raises(StoreFault):
        await storage.read(name, UNIT, 1)


async def test_what_is_at_hand_is_what_reading_returns_and_gone_when_it_is_wiped(rig: Rig) -> None:
    storage = await rig.open()
    name = MaterialId("chunk/1")
    await storage.commit([store(name, bits(2 * UNIT), UNIT)])
    before = storage.at_hand(name, 32, 64)
    if before is not None:
        assert bits(2 * UNIT)[32:96] == bytes(before.expose())
        before.wipe()
    await storage.commit([wipe(name, 32, 64)])

    assert storage.at_hand(name, 32, 64) is None
    assert storage.at_hand(name, 95, 1) is None
    assert storage.at_hand(name, 2 * UNIT - 1, 2) is None
    assert storage.at_hand(MaterialId("chunk/2"), 0, 1) is None
    assert bits(2 * UNIT)[:32] == await shown(storage, 0, 32, name)


async def test_stretches_of_many_materials_read_as_one_in_order_and_stay(
    rig: Rig,
) -> None:
    storage = await rig.open()
    names = [f"chunk/{number}" for number in range(40)]
    await storage.commit([store(each, bits(3 * UNIT, at), UNIT) for at, each in enumerate(names)])
    asked = [
        (number, offset, length)
        for offset, length in ((17, 32), (0, UNIT), (UNIT - 1, 2), (5, 3 * UNIT - 5))
        for number in (*range(39, -1, -1), 7, 7)
    ]
    expected = b"".join(bits(3 * UNIT, at)[start : start + size] for at, start, size in asked)
    stretches = [stretch(names[at], start, size) for at, start, size in asked]

    async for each in before_and_after_a_crash(rig, storage):
        for _ in "again":
            read = await each.read_all(stretches)
            assert expected == bytes(read.expose())
            read.wipe()
    assert 0 == len(await each.read_all([]))


@pytest.mark.parametrize("gone", [0, 3, 6])
@pytest.mark.parametrize("offset", [-1, 100, 2 * UNIT - 1, 1 << 70])
async def test_one_stretch_that_is_not_there_is_a_fault_and_the_others_stay(
    rig: Rig, gone: int, offset: int
) -> None:
    storage = await rig.open()
    names = [f"chunk/{number}" for number in range(7)]
    await storage.commit([store(each, bits(2 * UNIT), UNIT) for each in names])
    await storage.commit([wipe(names[gone], 110, 1)])
    stretches = [stretch(each, 0, 32) for each in names]
    stretches[gone] = stretch(names[gone], offset, 32)

    async for each in before_and_after_a_crash(rig, storage):
        with pytest.raises(StoreFault):
            await each.read_all(stretches)
        del stretches[gone]
        assert bits(2 * UNIT)[:32] * 6 == bytes((await each.read_all(stretches)).expose())
        stretches.insert(gone, stretch(names[gone], offset, 32))
    await storage.aclose()
    with pytest.raises(StoreFault):
        await storage.read_all(stretches[:1])


async def test_a_commit_after_a_reading_of_all_takes_nothing_from_it(rig: Rig) -> None:
    """What was handed over first is done first."""
    storage = await rig.open()
    names = [f"chunk/{number}" for number in range(40)]
    await storage.commit([store(each, bits(UNIT), UNIT) for each in names])
    storage = await rig.crash()
    found: list[Secret] = []

    async def read() -> None:
        found.append(await storage.read_all([stretch(each, 0, 32) for each in names]))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked(0.0)
        await storage.commit([wipe(each, 0, UNIT) for each in names])

    assert bits(UNIT)[:32] * 40 == bytes(found[0].expose())
    assert storage.at_hand(MaterialId(names[0]), 0, 32) is None


async def test_a_record_that_a_commit_names_twice_is_as_it_was_named_last(rig: Rig) -> None:
    storage = await rig.open()
    one, two, three = (NodeRecord(node=NodeId("a"), boot=boot) for boot in (1, 2, 3))
    await storage.commit([Save(one), Forget(one), Save(two)])
    await storage.commit([Save(one), Save(three)])
    await storage.aclose()

    assert [three] == [each for each in (await rig.open()).load() if isinstance(each, NodeRecord)]


async def test_a_second_open_is_refused_until_the_first_is_closed(rig: Rig) -> None:
    storage = await rig.open()
    with pytest.raises(StoreFault, match="lock") as refused:
        await rig.open()
    await storage.aclose()
    await storage.aclose()
    again = await rig.open()

    assert refused.value.hint
    assert [] == list(again.load())


async def test_a_closed_store_refuses_everything(rig: Rig) -> None:
    storage = await rig.open()
    await storage.commit([store(BLOCK, bits(UNIT), UNIT)])
    await storage.aclose()

    with pytest.raises(StoreFault):
        await storage.commit([])
    with pytest.raises(StoreFault):
        await storage.read(BLOCK, 0, 1)
    with pytest.raises(StoreFault):
        await storage.take(BLOCK, 0, UNIT)


async def test_statistics_count_what_was_done(rig: Rig) -> None:
    storage = await rig.open()
    await storage.commit([store(BLOCK, bits(3 * UNIT), UNIT)])
    await storage.commit([Save(sample(StreamRecord, 1)), wipe(BLOCK, 0, UNIT)])
    seen = storage.statistics()

    assert (2, 3, 2 * UNIT, 2) == (
        seen.commits,
        seen.writes,
        seen.material_bytes,
        seen.slots_live,
    )
