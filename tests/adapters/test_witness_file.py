"""The witness on disk: torn, lost and altered writes, and who may hold it."""

import itertools
import os
import threading
from pathlib import Path

import pytest
import trio
import trio.testing

from kms.adapters.witness_file import (
    SLOT_BYTES,
    SLOT_STEP_BYTES,
    FileOperations,
    FileWitness,
    read_slot,
    spell,
)
from kms.domain.attestation import Attestation
from kms.domain.errors import WitnessFault
from kms.domain.names import NodeId

NODE = NodeId("alice")


def said(generation: int) -> Attestation:
    return Attestation(node=NODE, store="a" * 32, generation=generation, wall_ms=generation * 1000)


async def written(path: Path, *generations: int) -> None:
    witness = await FileWitness.open(path, NODE)
    for generation in generations:
        await witness.attest(said(generation))
    await witness.aclose()


async def found(path: Path) -> Attestation | None:
    witness = await FileWitness.open(path, NODE)
    await witness.aclose()
    return witness.attestation


async def test_a_write_torn_anywhere_leaves_what_was_acknowledged(tmp_path: Path) -> None:
    """Goal: at each byte the new slot ends, the rest being what was there before."""
    for before in ((1,), (1, 2), (1, 2, 3)):
        path = tmp_path / f"{len(before)}.witness"
        await written(path, *before)
        whole = path.read_bytes()
        newest = spell(said(9))
        slot = len(before) % 2 == 0  # The slots take turns, beginning with the second.
        place = (1 if slot else 0) * SLOT_STEP_BYTES
        for cut in range(0, SLOT_BYTES, 7):
            torn = bytearray(whole.ljust(SLOT_STEP_BYTES + SLOT_BYTES, b"\0"))
            torn[place : place + cut] = newest[:cut]
            path.write_bytes(torn)
            attestation = await found(path)
            assert attestation is not None, f"nothing at {cut}"
            assert attestation.generation in (before[-1], 9), f"cut at {cut}"


async def test_no_altered_bit_of_a_slot_is_believed() -> None:
    slot = spell(said(5))
    used = len(slot.rstrip(b"\0"))
    for place, bit in itertools.product(range(used - 1), (0, 7)):
        altered = bytearray(slot)
        altered[place] ^= 1 << bit
        assert read_slot(bytes(altered)) is None, f"byte {place}"

    assert read_slot(slot) == said(5)


async def test_a_file_of_which_nothing_can_be_read_says_so(tmp_path: Path) -> None:
    path = tmp_path / "w"
    await written(path, 1, 2)
    path.write_bytes(b"\xa5" * path.stat().st_size)
    witness = await FileWitness.open(path, NODE)
    await witness.aclose()

    assert witness.attestation is None
    assert "damaged" in witness.trouble


async def test_a_write_that_was_cut_short_is_a_failure(tmp_path: Path) -> None:
    files = FileOperations(write=lambda fd, data, at: os.pwrite(fd, data[:100], at))
    witness = await FileWitness.open(tmp_path / "w", NODE, files=files)
    with pytest.raises(WitnessFault):
        await witness.attest(said(1))
    await witness.aclose()

    assert await found(tmp_path / "w") is None


async def test_every_acknowledged_word_was_synced_before(tmp_path: Path) -> None:
    done: list[str] = []

    def write(fd: int, data: bytes, at: int) -> int:
        done.append("write")
        return os.pwrite(fd, data, at)

    files = FileOperations(write=write, sync=lambda fd: done.append("sync"))
    witness = await FileWitness.open(tmp_path / "w", NODE, files=files)
    for generation in (1, 2):
        await witness.attest(said(generation))
        done.append("said")
    await witness.aclose()

    assert ["write", "sync", "said"] * 2 == done


async def test_a_disk_that_hangs_does_not_keep_the_caller_and_is_not_asked_again(
    tmp_path: Path,
) -> None:
    hung = threading.Event()

    def hang(fd: int) -> None:
        hung.wait(30)

    files = FileOperations(sync=hang)
    witness = await FileWitness.open(tmp_path / "w", NODE, files=files)
    with trio.move_on_after(0.05) as patience:
        await witness.attest(said(1))
    with pytest.raises(WitnessFault, match="given up"):
        await witness.attest(said(2))
    hung.set()
    await witness.aclose()

    assert patience.cancelled_caught


async def test_a_directory_that_is_not_there_is_named_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(WitnessFault, match="No such file") as refused:
        await FileWitness.open(tmp_path / "disk" / "w", NODE)

    assert "mounted" in refused.value.hint
    assert not (tmp_path / "disk").exists()


async def test_the_file_is_its_owners_alone_and_a_person_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "w"
    await written(path, 1, 2)

    assert 0o600 == path.stat().st_mode & 0o777
    assert b'"generation":2' in path.read_bytes()[:SLOT_BYTES]
