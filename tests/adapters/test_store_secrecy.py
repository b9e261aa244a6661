"""What is in the store's files: no plaintext, no open data key, nothing destroyed (I6).

Goal: whoever has every byte of the directory, and even the epoch keys, reads no destroyed key.
Method: data keys and nonces are recorded as they are drawn, then each byte of each file is searched
for them and for the plaintext; and what the slots still hold is unwrapped with the sealer in hand.
"""

import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from kms.adapters.memory.entropy import SeededEntropy
from kms.adapters.memory.sealer import MemorySealer
from kms.adapters.store_sqlite import SQLiteStore, slots, unit
from kms.adapters.store_sqlite.engine import Opened
from kms.adapters.store_sqlite.limits import FRESH_BYTES_MAX
from kms.domain.errors import StoreFault
from kms.domain.names import MaterialId
from kms.domain.secret import Secret
from tests.contract.storage_samples import bits, store, stretch, wipe

UNIT = 4096
BLOCK = MaterialId("block/1")


class Spy(SeededEntropy):
    """A source that remembers the data keys that were drawn."""

    def __init__(self) -> None:
        super().__init__(4711)
        self.keys: list[bytes] = []

    def bits(self, length_bytes: int) -> Secret:
        drawn = super().bits(length_bytes)
        self.keys.append(bytes(drawn.expose()[:32]))
        return drawn


@pytest.fixture
def spy() -> Spy:
    return Spy()


def windows(secret: bytes, length: int = 16) -> Iterator[bytes]:
    """Pieces of which one is in the files if 32 neighbouring bytes of the secret are."""
    for at in range(0, len(secret) - length + 1, length):
        yield secret[at : at + length]


def files(directory: Path) -> bytes:
    """Every byte of every file, the write-ahead log among them; pages of zeros are left out."""
    images = [each.read_bytes() for each in sorted(directory.iterdir())]
    pages = (image[at : at + 4096] for image in images for at in range(0, len(image), 4096))
    return b"".join(page for page in pages if page.strip(b"\0"))


def found(directory: Path, secrets: list[bytes]) -> int:
    """How many of the secrets show in the files."""
    image = files(directory)
    return sum(any(piece in image for piece in windows(secret)) for secret in secrets)


async def test_no_byte_of_the_directory_shows_plaintext_or_a_data_key(
    tmp_path: Path, spy: Spy
) -> None:
    directory = tmp_path / "store"
    storage = await SQLiteStore.open(directory, MemorySealer(), node="a", entropy=spy)
    material = [bits(2 * UNIT + 77, seed) for seed in range(8)]
    for seed, each in enumerate(material):
        await storage.commit([store(f"chunk/{seed}", each, UNIT)])
    for seed in range(0, 8, 2):
        await storage.commit([wipe(f"chunk/{seed}", 100, 50)])
        await storage.take(MaterialId(f"chunk/{seed}"), UNIT, UNIT)
    while_open = found(directory, material + spy.keys)
    names = {each.name for each in directory.iterdir()}
    await storage.aclose()

    assert len(spy.keys) == 8 * 3 + 4
    assert "records.db-wal" in names
    assert while_open == 0
    assert found(directory, material + spy.keys) == 0


async def test_the_search_would_find_what_it_looks_for(tmp_path: Path) -> None:
    """The checker's own check."""
    (tmp_path / "file").write_bytes(b"x" * 1000 + bits(48) + b"y" * 1000)

    assert found(tmp_path, [bits(48), bits(48, 1)]) == 1


async def test_with_the_epoch_keys_in_hand_no_slot_opens_what_was_destroyed(
    tmp_path: Path, spy: Spy
) -> None:
    """1,000 units, half of them destroyed in every way there is; then every sector is tried."""
    directory, sealer = tmp_path / "store", MemorySealer()
    storage = await SQLiteStore.open(directory, sealer, node="a", entropy=spy)
    for number in range(100):
        await storage.commit([store(f"m/{number}", bits(10 * 64, number), 64)])
    drawn = list(spy.keys)
    for number in range(100):
        name = MaterialId(f"m/{number}")
        await storage.take(name, 0, 3 * 64)
        await storage.commit([wipe(name, 3 * 64, 2 * 64)])
    image = (directory / "slots").read_bytes()
    contexts = [
        unit.context(MaterialId(f"m/{number}"), n, n * 64, n * 64 + 64)
        for number in range(100)
        for n in range(10)
    ]
    opened = set()
    for slot in range(1000):
        sector = image[slot * 512 : slot * 512 + 512]
        if any(sector):
            key = sealer.unwrap(storage._engine._slots.read(slot).wrapped, contexts[slot])
            opened.add(bytes(key.expose()))
    await storage.aclose()

    destroyed = {drawn[n] for n in range(1000) if n % 10 < 5}
    assert len(opened) == 500
    assert not opened & destroyed


async def test_a_rekey_leaves_no_slot_of_the_old_epoch(tmp_path: Path) -> None:
    directory, sealer = tmp_path / "store", MemorySealer()
    storage = await SQLiteStore.open(directory, sealer, node="a")
    await storage.commit([store(BLOCK, bits(30 * UNIT), UNIT)])
    old = {storage._engine._slots.read(slot).wrapped for slot in range(30)}
    await sealer.rotate()
    await storage.commit([store("later", bits(UNIT), UNIT)])
    done = await storage.rewrap(2)
    await sealer.retire(2)
    image = files(directory)

    assert (done.slots, done.unreadable) == (30, 0)
    assert not any(each in image for each in old)
    assert bytes((await storage.read(BLOCK, 0, 30 * UNIT)).expose()) == bits(30 * UNIT)
    await storage.aclose()


async def test_a_rekey_to_an_epoch_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """Its caller would go on to retire every epoch there is."""
    storage = await SQLiteStore.open(tmp_path / "store", MemorySealer(), node="a")
    await storage.commit([store(BLOCK, bits(UNIT), UNIT)])
    with pytest.raises(StoreFault, match="no epoch 2"):
        await storage.rewrap(2)

    assert bytes((await storage.read(BLOCK, 0, UNIT)).expose()) == bits(UNIT)
    await storage.aclose()


async def test_freed_space_is_used_again(tmp_path: Path) -> None:
    """Blocks come and go for ever; the files stop growing after the first."""
    storage = await SQLiteStore.open(tmp_path / "store", MemorySealer(), node="a")
    sizes = set()
    for number in range(60):
        name = MaterialId(f"block/{number}")
        await storage.commit([store(name, bytes(256 * 1024), 16 * 1024)])
        if number % 2:
            await storage.take(name, 0, 256 * 1024)
        else:
            await storage.commit([wipe(name, 1000, 10), wipe(name, 0, 256 * 1024)])
        sizes.add(sum((tmp_path / "store" / each).stat().st_size for each in ("material", "slots")))
    seen = storage.statistics()
    await storage.aclose()

    assert len(sizes) == 1
    assert (seen.material_bytes, seen.slots_live) == (0, 0)


async def test_the_plaintext_cache_is_bounded_and_wiped(tmp_path: Path) -> None:
    storage = await SQLiteStore.open(tmp_path / "store", MemorySealer(), node="a")
    size = 1024 * 1024
    kept = []
    for number in range(FRESH_BYTES_MAX // size + 4):
        await storage.commit([store(f"chunk/{number}", bits(size, number), size)])
        kept.append(storage._fresh._units[MaterialId(f"chunk/{number}"), 0].bits)
    full = storage._fresh.bytes
    first, last = kept[0], kept[-1]
    await storage.commit([wipe(f"chunk/{len(kept) - 1}", 0, size)])

    assert full == FRESH_BYTES_MAX
    assert not any(first), "evicted means wiped"
    assert not any(last), "wiped in the files means wiped in memory"
    await storage.aclose()
    assert not any(any(each) for each in kept)


async def test_a_chunk_that_is_a_whole_unit_is_read_without_pushing_out_those_still_to_be_read(
    tmp_path: Path,
) -> None:
    """Who delivers it asks once: kept, it would only take the place of one that is waited for."""
    storage = await SQLiteStore.open(tmp_path / "store", MemorySealer(), node="a")
    size = 1024 * 1024
    for number in range(FRESH_BYTES_MAX // size + 1):
        await storage.commit([store(f"chunk/{number}", bits(size, number), size)])
    gone = storage.at_hand(MaterialId("chunk/0"), 0, size)
    read = await storage.read(MaterialId("chunk/0"), 0, size)

    assert gone is None
    assert bits(size, 0) == bytes(read.expose())
    assert storage.at_hand(MaterialId("chunk/0"), 0, size) is None
    assert storage.at_hand(MaterialId("chunk/1"), 0, size) is not None
    await storage.aclose()


async def test_a_part_of_a_unit_that_is_read_leaves_the_rest_at_hand(tmp_path: Path) -> None:
    storage = await SQLiteStore.open(tmp_path / "store", MemorySealer(), node="a")
    await storage.commit([store("chunk/1", bits(UNIT), UNIT)])
    storage._fresh.clear()
    await storage.read(MaterialId("chunk/1"), 0, 32)
    rest = storage.at_hand(MaterialId("chunk/1"), 32, 32)

    assert rest is not None
    assert bits(UNIT)[32:64] == bytes(rest.expose())
    await storage.aclose()


async def test_units_that_several_stretches_share_are_opened_once_and_their_rest_is_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = await SQLiteStore.open(tmp_path / "store", MemorySealer(), node="a")
    await storage.commit([store("chunk/1", bits(2 * UNIT), UNIT), store(BLOCK, bits(UNIT), UNIT)])
    storage._fresh.clear()
    opened: list[MaterialId] = []
    read = storage._engine.read

    def spied(name: MaterialId, offset: int, length: int) -> tuple[list[Opened], int]:
        opened.append(name)
        return read(name, offset, length)

    monkeypatch.setattr(storage._engine, "read", spied)
    await storage.read_all([stretch("chunk/1", at, 32) for at in range(0, 2 * UNIT, 64)])
    await storage.read_all([stretch(BLOCK, 0, 32), stretch(BLOCK, 64, 32)])
    rest = storage.at_hand(MaterialId("chunk/1"), 32, 2 * UNIT - 64)

    assert opened == ["chunk/1"] * 2 + [BLOCK] * 2
    assert rest is not None
    assert bits(2 * UNIT)[32:-32] == bytes(rest.expose())
    assert storage._fresh.bytes == 2 * UNIT
    await storage.aclose()


@pytest.mark.parametrize("call", ["read", "read part", "read_all", "take"])
async def test_bits_that_nobody_waits_for_any_more_are_wiped(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller is cancelled while the thread is about to read for it."""
    storage = await SQLiteStore.open(tmp_path / "store", MemorySealer(), node="a")
    await storage.commit([store(BLOCK, bits(UNIT), UNIT), store("block/2", bits(UNIT), UNIT)])
    ask: dict[str, Callable[[], Awaitable[Secret]]] = {
        "read": lambda: storage.read(BLOCK, 0, UNIT),
        "read part": lambda: storage.read(BLOCK, 5, 32),
        "read_all": lambda: storage.read_all([stretch(BLOCK, 5, 9), stretch("block/2", 0, 9)]),
        "take": lambda: storage.take(BLOCK, 0, UNIT),
    }
    made: list[Secret] = []
    full: list[bool] = []
    adopt = Secret.adopt

    def spied(buffer: bytearray) -> Secret:
        made.append(adopt(buffer))
        full.append(any(buffer))
        return made[-1]

    monkeypatch.setattr(Secret, "adopt", spied)
    busy = threading.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(storage._writer.run, busy.wait)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as inner:
                inner.start_soon(ask[call])
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        busy.set()
    await storage.commit([])  # its turn comes after

    assert full
    assert all(full)
    assert not any(any(each.expose()) for each in made)
    await storage.aclose()


async def test_only_chunks_are_kept_in_memory(tmp_path: Path) -> None:
    storage = await SQLiteStore.open(tmp_path / "store", MemorySealer(), node="a")
    await storage.commit([store(BLOCK, bits(UNIT), UNIT), store("chunk/1", bits(UNIT), UNIT)])
    await storage.read(BLOCK, 0, 10)

    assert storage._fresh.bytes == UNIT
    await storage.aclose()


@pytest.mark.parametrize("byte", [*range(0, 60, 3), *range(60, 126, 7)])
async def test_a_flipped_bit_of_a_slot_is_found(tmp_path: Path, byte: int) -> None:
    """Never a crash, never other bytes."""
    directory = tmp_path / "store"
    sealer = MemorySealer()
    storage = await SQLiteStore.open(directory, sealer, node="a")
    await storage.commit([store(BLOCK, bits(2 * UNIT), UNIT)])
    await storage.aclose()
    with (directory / "slots").open("r+b") as file:
        file.seek(byte)
        flipped = file.read(1)[0] ^ 0x10
        file.seek(byte)
        file.write(bytes([flipped]))
    storage = await SQLiteStore.open(directory, sealer, node="a")

    if byte not in range(4, 8):  # the epoch is a label: the sealer's own is sealed
        for ask in (storage.read, storage.take):
            with pytest.raises(StoreFault, match=r"damaged|altered|retired"):
                await ask(BLOCK, 0, UNIT)
    assert bytes((await storage.take(BLOCK, UNIT, UNIT)).expose()) == bits(2 * UNIT)[UNIT:]
    await storage.aclose()


@pytest.mark.parametrize("byte", [0, 1, UNIT - 1])
async def test_a_flipped_bit_of_sealed_material_is_found(tmp_path: Path, byte: int) -> None:
    directory = tmp_path / "store"
    sealer = MemorySealer()
    storage = await SQLiteStore.open(directory, sealer, node="a")
    await storage.commit([store(BLOCK, bits(2 * UNIT), UNIT)])
    with (directory / "material").open("r+b") as material:
        material.seek(byte)
        flipped = material.read(1)[0] ^ 1
        material.seek(byte)
        material.write(bytes([flipped]))

    for ask in (storage.read, storage.take):
        with pytest.raises(StoreFault, match="damaged"):
            await ask(BLOCK, 0, 2 * UNIT)
    assert bytes((await storage.take(BLOCK, UNIT, UNIT)).expose()) == bits(2 * UNIT)[UNIT:]
    await storage.aclose()


async def test_swapped_slots_and_places_do_not_open(tmp_path: Path) -> None:
    """Each seal is bound to its material, unit and range."""
    directory = tmp_path / "store"
    sealer = MemorySealer()
    storage = await SQLiteStore.open(directory, sealer, node="a")
    await storage.commit([store(BLOCK, bits(2 * UNIT), UNIT), store("b", bits(UNIT, 1), UNIT)])
    image = (directory / "slots").read_bytes()
    with (directory / "slots").open("r+b") as file:
        file.write(image[512:1024] + image[:512])

    for at in (0, UNIT):
        with pytest.raises(StoreFault):
            await storage.read(BLOCK, at, 1)
    await storage.aclose()


def test_nothing_that_holds_key_bits_prints_them() -> None:
    text, image = unit.seal(MemorySealer(), SeededEntropy(1), bits(64), b"here")
    shown = repr(slots.Slot(epoch=1, tag=bits(16), nonce=bits(24), wrapped=bits(72)))

    assert bits(16)[:4].hex() not in shown
    assert repr(bits(16))[2:10] not in shown
    assert repr(Secret(bits(32))) == "Secret(32 B)"
    assert len(text) == 64
    assert len(image) == 512
