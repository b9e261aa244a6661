"""What two stopped nodes have on disk, held against each other and against what was delivered.

No passphrase is needed: records hold no key.
"""

import mmap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from uuid import UUID

from kms.adapters.seal import FileSealer
from kms.adapters.store_sqlite import SQLiteStore
from kms.config import load
from kms.domain.direction import written_by
from kms.domain.lifecycle import KeyState
from kms.domain.names import NodeId, link_id
from kms.domain.records import KeyRunRecord, LinkRecord, PadRecord, Record
from tests.processes.network import ALICE, BOB, RealNetwork


async def records(network: RealNetwork, name: str) -> Sequence[Record]:
    """All records of a stopped node."""
    config = load(network.node(name).config)
    directory = config.node.directory
    sealer = FileSealer(directory / "epoch-keys.json")
    store = await SQLiteStore.open(directory / "store", sealer, node=name)
    try:
        return store.load()
    finally:
        await store.aclose()


def pads_disagree(stores: Mapping[str, Sequence[Record]]) -> list[str]:
    """A writer never acted on a grant that the reader has not on disk (I1)."""
    link = link_id(NodeId(ALICE), NodeId(BOB))
    epochs = {
        name: record.epoch
        for name, found in stores.items()
        for record in found
        if isinstance(record, LinkRecord)
    }
    pads = {
        (name, record.direction): record
        for name, found in stores.items()
        for record in found
        if isinstance(record, PadRecord)
    }
    found = [] if len(set(epochs.values())) == 1 else [f"I7 the epochs on disk differ: {epochs}"]
    for writer, reader in ((ALICE, BOB), (BOB, ALICE)):
        way = written_by(NodeId(writer), link)
        written, read = pads[writer, way], pads[reader, way]
        if written.granted > read.granted:
            found.append(
                f"I1 {writer} used up to {written.granted}, {reader} granted {read.granted} only"
            )
    return found


def still_deliverable(
    name: str, stored: Sequence[Record], delivered: Mapping[UUID, Iterable[int]]
) -> list[str]:
    """Chunks that an application got and that the store would deliver again (I5, I2)."""
    runs: dict[UUID, list[KeyRunRecord]] = {}
    for record in stored:
        if isinstance(record, KeyRunRecord) and record.state is KeyState.PRE_ACTIVATION:
            runs.setdefault(record.ksid, []).append(record)
    return [
        f"I5 {name} has index {index} of {ksid} as never delivered"
        for ksid, indices in delivered.items()
        for index in indices
        if any(run.first <= index < run.first + run.count for run in runs.get(ksid, ()))
    ]


def readable(directory: Path, keys: Iterable[bytes]) -> list[str]:
    """Keys whose bytes lie in any file below, as they are (I6)."""
    found = []
    wanted = [key for key in keys if len(key) >= 16]
    for path in sorted(each for each in directory.rglob("*") if each.is_file()):
        if path.stat().st_size == 0:
            continue
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
            found += [f"I6 a key lies in {path.name}" for key in wanted if data.find(key) >= 0]
    return found
