"""A process that stores, wipes and takes as fast as it can, to be killed by ``test_store_kill``.

It says on its output what was acknowledged, after it was: ``stored N``, ``wiped N``, ``took N``.
Material ``m/N`` is ``bits(LENGTH, N)``, so the other side knows what to find.
"""

import sys
from pathlib import Path

import trio

from kms.adapters.seal import FileSealer
from kms.adapters.store_sqlite import SQLiteStore
from kms.domain.effects import Save
from kms.domain.names import MaterialId, NodeId
from kms.domain.records import NodeRecord
from kms.domain.secret import Secret
from tests.contract.storage_samples import bits, store, wipe

UNIT = 4096
LENGTH = 3 * UNIT
PASSPHRASE = b"of the victim"


async def main(directory: Path, first: int) -> None:
    sealer = FileSealer(directory / "keys")
    await sealer.unseal(Secret(PASSPHRASE))
    storage = await SQLiteStore.open(directory / "store", sealer, node="a")
    storage.load()
    print("open", flush=True)
    for number in range(first, first + 1_000_000):
        name = f"m/{number}"
        record = Save(NodeRecord(node=NodeId("a"), boot=number))
        await storage.commit([record, store(name, bits(LENGTH, number), UNIT)])
        print(f"stored {number}", flush=True)
        if number % 3 == 0:
            await storage.commit([wipe(name, 100, UNIT)])
            print(f"wiped {number}", flush=True)
        if number % 3 == 1:
            await storage.take(MaterialId(name), 0, UNIT)
            print(f"took {number}", flush=True)


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]), int(sys.argv[2]))
