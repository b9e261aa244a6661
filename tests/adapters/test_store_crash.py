"""The store is killed, or loses power, between any two steps of what it does (I1, I5, I6)."""

from pathlib import Path

import attrs
import pytest

from kms.adapters.memory.sealer import MemorySealer
from kms.adapters.store_sqlite import SQLiteStore
from kms.domain.effects import Save, Write
from kms.domain.errors import StoreFault
from kms.domain.names import MaterialId, NodeId
from kms.domain.records import NodeRecord
from tests.adapters.store_faults import PhotographedDisk
from tests.contract.storage_samples import bits, store, wipe

UNIT = 4096
OLD, NEW = MaterialId("old"), MaterialId("new")


@attrs.frozen
class Scene:
    """A store with one material of three units and boot 1, on a disk that takes pictures."""

    storage: SQLiteStore
    disk: PhotographedDisk
    sealer: MemorySealer
    pictures: Path

    async def commit(self, writes: list[Write]) -> None:
        self.disk.begin(self.pictures)
        await self.storage.commit(writes)

    async def look(self, picture: Path) -> SQLiteStore:
        return await SQLiteStore.open(picture, self.sealer, node="a")


@pytest.fixture
async def scene(tmp_path: Path) -> Scene:
    directory = tmp_path / "store"
    disk, sealer = PhotographedDisk(directory), MemorySealer()
    storage = await SQLiteStore.open(directory, sealer, node="a", disk=disk)
    await storage.commit([boot(1), store(OLD, bits(3 * UNIT), UNIT)])
    return Scene(storage, disk, sealer, tmp_path / "pictures")


def boot(number: int) -> Save:
    return Save(NodeRecord(node=NodeId("a"), boot=number))


async def whole(storage: SQLiteStore, name: MaterialId, offset: int, length: int) -> bytes | None:
    """The bytes, or None where they are gone."""
    try:
        return bytes((await storage.read(name, offset, length)).expose())
    except StoreFault as fault:
        return None if "wiped" in fault.reason else fault.reason.encode()


def slots_in(directory: Path) -> int:
    """Sectors of the slot file that are not zero."""
    image = (directory / "slots").read_bytes()
    return sum(any(image[at : at + 512]) for at in range(0, len(image), 512))


@pytest.mark.slow
async def test_a_commit_is_there_or_not_whenever_the_crash_comes(scene: Scene) -> None:
    """Store, wipe a unit, wipe a part of another and save a record: all four or none."""
    await scene.commit([store(NEW, bits(2 * UNIT, 1), UNIT), wipe(OLD, 0, UNIT + 10), boot(2)])
    await scene.storage.aclose()
    outcomes = set()
    for picture in scene.disk.pictures:
        again = await scene.look(picture)
        [node] = again.load()
        assert isinstance(node, NodeRecord)
        seen = (
            node.boot,
            await whole(again, NEW, 0, 2 * UNIT),
            await whole(again, OLD, 0, UNIT),
            await whole(again, OLD, UNIT, 10),
        )
        old = bits(3 * UNIT)
        before = (1, None, old[:UNIT], old[UNIT : UNIT + 10])
        after = (2, bits(2 * UNIT, 1), None, None)
        assert seen in (before, after), picture.name
        assert old[UNIT + 10 :] == await whole(again, OLD, UNIT + 10, 2 * UNIT - 10)
        assert again.statistics().slots_live == slots_in(picture), "no orphan survives an open"
        outcomes.add(node.boot)
        await again.aclose()

    assert outcomes == {1, 2}
    last = await scene.look(scene.disk.pictures[-1])
    assert await whole(last, NEW, 0, 2 * UNIT) == bits(2 * UNIT, 1)
    await last.aclose()


@pytest.mark.slow
async def test_what_is_wiped_stays_wiped_once_the_transaction_is_durable(scene: Scene) -> None:
    """The slot is overwritten after the commit: a crash in between is finished by opening."""
    await scene.commit([wipe(OLD, 0, 3 * UNIT)])
    await scene.storage.aclose()
    committed = [p for p in scene.disk.pictures if "committed" in p.name]
    after = scene.disk.pictures[scene.disk.pictures.index(committed[0]) :]
    before_opening = [slots_in(picture) for picture in after]
    for picture in after:
        again = await scene.look(picture)
        assert await whole(again, OLD, 0, 1) is None
        assert slots_in(picture) == 0
        await again.aclose()

    assert max(before_opening) == 3, "the test saw the moment between commit and overwrite"
    assert before_opening[-1] == 0, "overwritten and synced before commit returned"


@pytest.mark.slow
async def test_a_take_is_never_half_readable_and_never_damage(scene: Scene) -> None:
    scene.disk.begin(scene.pictures)
    await scene.storage.take(OLD, 0, 2 * UNIT)
    await scene.storage.aclose()
    seen = []
    for picture in scene.disk.pictures:
        again = await scene.look(picture)
        seen.append([await whole(again, OLD, at * UNIT, UNIT) is not None for at in range(3)])
        await again.aclose()

    assert seen[0] == [True, True, True]
    assert seen[-1] == [False, False, True], "destroyed durably before take returned"
    assert all(each in ([True] * 3, [False, False, True]) for each in seen)


@pytest.mark.slow
async def test_slots_of_a_take_are_not_used_again_before_its_rows_are_gone(scene: Scene) -> None:
    """Else a crash would leave two rows that refer to one slot."""
    await scene.storage.take(OLD, 0, 2 * UNIT)
    scene.disk.begin(scene.pictures)
    await scene.storage.commit([store(NEW, bits(2 * UNIT, 1), UNIT)])
    await scene.storage.commit([store(MaterialId("next"), bits(2 * UNIT, 2), UNIT)])
    await scene.storage.aclose()
    for picture in scene.disk.pictures:
        again = await scene.look(picture)
        assert await whole(again, NEW, 0, 2 * UNIT) in (None, bits(2 * UNIT, 1))
        assert await whole(again, OLD, 2 * UNIT, UNIT) == bits(3 * UNIT)[2 * UNIT :]
        await again.aclose()

    assert len(scene.disk.pictures) > 10


@pytest.mark.slow
async def test_a_rekey_may_be_cut_at_any_point_and_run_again(scene: Scene) -> None:
    await scene.sealer.rotate()
    scene.disk.begin(scene.pictures)
    done = await scene.storage.rewrap(2)
    await scene.storage.aclose()
    for picture in scene.disk.pictures:
        again = await scene.look(picture)
        assert await whole(again, OLD, 0, 3 * UNIT) == bits(3 * UNIT)
        rest = await again.rewrap(2)
        assert (rest.unreadable, (await again.rewrap(2)).slots) == (0, 0)
        await again.aclose()

    assert (done.slots, done.unreadable) == (3, 0)
    await scene.sealer.retire(2)
    last = await scene.look(scene.disk.pictures[-1])
    assert await whole(last, OLD, 0, 3 * UNIT) == bits(3 * UNIT)
    await last.aclose()


async def test_a_slot_file_that_is_lost_or_old_burns_and_does_not_break(
    scene: Scene, tmp_path: Path
) -> None:
    """A backup contains no slots: what it knew is wiped, and the store goes on."""
    await scene.storage.aclose()
    directory = tmp_path / "store"
    (directory / "slots").unlink()
    again = await scene.look(directory)

    assert await whole(again, OLD, 0, 1) is None
    assert again.statistics().slots_live == 0
    await again.commit([store(NEW, bits(5), UNIT)])
    assert await whole(again, NEW, 0, 5) == bits(5)
    await again.aclose()


async def test_material_that_is_lost_reads_as_damaged_and_can_be_wiped(
    scene: Scene, tmp_path: Path
) -> None:
    await scene.storage.aclose()
    directory = tmp_path / "store"
    (directory / "material").write_bytes(b"")
    again = await scene.look(directory)

    with pytest.raises(StoreFault, match="damaged"):
        await again.read(OLD, 0, 1)
    await again.commit([wipe(OLD, 0, 10), store(NEW, bits(5), UNIT)])
    assert await whole(again, NEW, 0, 5) == bits(5)
    with pytest.raises(StoreFault, match="wiped"):
        await again.read(OLD, 20, 1)  # its survivors were lost: the wipe did not fail for it
    await again.commit([wipe(OLD, 0, 3 * UNIT)])
    assert again.statistics().slots_live == 1
    await again.aclose()


async def test_a_take_that_a_crash_interrupted_gives_its_slots_back_once(scene: Scene) -> None:
    """Crash after the overwrite, before the rows went: opening drops them, then uses the slots."""
    scene.disk.begin(scene.pictures)
    await scene.storage.take(OLD, 0, 2 * UNIT)
    await scene.storage.aclose()
    picture = scene.disk.pictures[-1]
    for round_ in range(3):
        again = await scene.look(picture)
        assert again.statistics().slots_live == 1 + 2 * round_
        await again.commit([store(f"next {round_}", bits(2 * UNIT, round_), UNIT)])
        await again.aclose()
    last = await scene.look(picture)

    for round_ in range(3):
        name = MaterialId(f"next {round_}")
        assert await whole(last, name, 0, 2 * UNIT) == bits(2 * UNIT, round_)
    assert await whole(last, OLD, 2 * UNIT, UNIT) == bits(3 * UNIT)[2 * UNIT :]
    await last.aclose()
