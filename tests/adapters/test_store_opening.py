"""Which store is opened, which is refused and why; how an older one is brought up."""

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest

from kms.adapters.memory.sealer import MemorySealer
from kms.adapters.store_sqlite import LIBRARY, SQLiteStore, rows, schema
from kms.domain.effects import Save
from kms.domain.errors import StoreFault
from kms.domain.names import MaterialId, NodeId
from kms.domain.records import NodeRecord, StreamRecord
from tests.contract.storage_samples import bits, sample, samples, store

UNIT = 4096
BLOCK = MaterialId("block/1")
VERSION_1 = Path(__file__).parent / "store_version_1.sql"


@pytest.fixture
def sealer() -> MemorySealer:
    return MemorySealer()


@pytest.fixture
async def closed(tmp_path: Path, sealer: MemorySealer) -> Path:
    """The directory of a store that has records and material."""
    storage = await SQLiteStore.open(tmp_path / "store", sealer, node="a")
    await storage.commit([Save(record) for record in samples()])
    await storage.commit([store(BLOCK, bits(3 * UNIT), UNIT)])
    await storage.aclose()
    return tmp_path / "store"


def edit(directory: Path, *statements: str) -> None:
    """As an operator's tool would; the store is closed."""
    database = sqlite3.connect(directory / "records.db", isolation_level=None)
    for statement in statements:
        database.execute(statement)
    database.close()


async def refusal(directory: Path, sealer: MemorySealer, node: str = "a") -> StoreFault:
    """Why it does not open; and nothing is held afterwards."""
    for _ in "twice":
        with pytest.raises(StoreFault) as refused:
            await SQLiteStore.open(directory, sealer, node=node)
        assert refused.value.hint
    return refused.value


async def test_files_are_the_owners_alone(closed: Path) -> None:
    modes = {each.name: each.stat().st_mode & 0o777 for each in closed.iterdir()}

    assert closed.stat().st_mode & 0o777 == 0o700
    assert modes == dict.fromkeys(("records.db", "material", "slots", "lock"), 0o600)


async def test_a_directory_that_others_may_read_is_closed_to_them(
    closed: Path, sealer: MemorySealer
) -> None:
    closed.chmod(0o755)
    await (await SQLiteStore.open(closed, sealer, node="a")).aclose()

    assert closed.stat().st_mode & 0o777 == 0o700


async def test_a_second_process_is_told_who_holds_the_store(
    closed: Path, sealer: MemorySealer
) -> None:
    storage = await SQLiteStore.open(closed, sealer, node="a")
    with pytest.raises(StoreFault) as refused:
        await SQLiteStore.open(closed, sealer, node="a")
    await storage.aclose()

    assert f"process {os.getpid()}" in refused.value.reason


@pytest.mark.processes
@pytest.mark.slow
async def test_the_lock_goes_with_its_process(closed: Path, sealer: MemorySealer) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path;"
            "from kms.adapters.store_sqlite.directory import Directory;"
            "from kms.adapters.store_sqlite import Disk;"
            "held = Directory(Path(sys.argv[1]), Disk()); print('held', flush=True);"
            "sys.stdin.read()",
            str(closed),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    assert holder.stdout.readline() == b"held\n"
    refused = await refusal(closed, sealer)
    holder.kill()
    holder.wait()
    holder.stdin.close()
    holder.stdout.close()

    assert f"process {holder.pid}" in refused.reason
    await (await SQLiteStore.open(closed, sealer, node="a")).aclose()


async def test_a_database_that_a_tool_has_open_is_locked(
    closed: Path, sealer: MemorySealer
) -> None:
    tool = sqlite3.connect(closed / "records.db", isolation_level=None)
    tool.execute("BEGIN IMMEDIATE")
    refused = await refusal(closed, sealer)
    tool.close()

    assert "locked" in refused.reason


async def test_another_nodes_store_is_refused(closed: Path, sealer: MemorySealer) -> None:
    refused = await refusal(closed, sealer, node="b")

    assert "'a'" in refused.reason
    assert "'b'" in refused.reason


async def test_another_programs_database_is_refused_and_left_alone(
    tmp_path: Path, sealer: MemorySealer
) -> None:
    directory = tmp_path / "foreign"
    directory.mkdir()
    edit(directory, "CREATE TABLE theirs (x)")
    before = (directory / "records.db").read_bytes()
    refused = await refusal(directory, sealer)

    assert "another program" in refused.reason
    assert before == (directory / "records.db").read_bytes()


async def test_a_newer_layout_is_refused_and_left_alone(closed: Path, sealer: MemorySealer) -> None:
    edit(closed, f"PRAGMA user_version = {schema.VERSION + 1}")
    before = (closed / "records.db").read_bytes()
    refused = await refusal(closed, sealer)

    assert "newer kms" in refused.reason
    assert before == (closed / "records.db").read_bytes()


@pytest.mark.parametrize("length", [100, 5000])
async def test_a_database_that_is_garbage_or_cut_is_refused(
    closed: Path, sealer: MemorySealer, length: int
) -> None:
    image = (closed / "records.db").read_bytes()
    (closed / "records.db").write_bytes(bits(len(image)) if length == 100 else image[:length])
    refused = await refusal(closed, sealer)

    assert "backup" in refused.hint


async def test_a_corrupt_page_is_found_when_the_store_opens(
    closed: Path, sealer: MemorySealer
) -> None:
    image = bytearray((closed / "records.db").read_bytes())
    for page in range(1, len(image) // 4096):
        image[page * 4096 : page * 4096 + 64] = bits(64, page)
    (closed / "records.db").write_bytes(image)
    refused = await refusal(closed, sealer)

    assert "backup" in refused.hint


async def test_a_damaged_layout_is_refused_whatever_bytes_sqlite_quotes_of_it(
    closed: Path, sealer: MemorySealer
) -> None:
    edit(
        closed,
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_schema SET name = CAST(x'ed6f' AS TEXT), sql = CAST(x'ed6f' AS TEXT)"
        " WHERE rowid = 1",
    )

    assert "cannot be used" in (await refusal(closed, sealer)).reason


async def test_a_path_that_is_a_file_is_refused(tmp_path: Path, sealer: MemorySealer) -> None:
    (tmp_path / "file").write_text("")
    refused = await refusal(tmp_path / "file", sealer)

    assert "directory" in refused.reason


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("stream", "qos = '{}x'"),
        ("stream", 'qos = \'{"priority": "high"}\''),
        ("stream", "qos = '{\"colour\": 1}'"),
        ("stream", "designates = 2"),
        ("stream", "ksid = 'nonsense'"),
        ("link", "state = 'ajar'"),
        ("link", "secrets = '[1]'"),
        ("link", "secrets = '" + "[" * 5000 + "'"),
        ("block", "direction = 'sideways'"),
        ("key_run", "state = ''"),
    ],
)
async def test_a_row_that_is_no_record_is_named(
    closed: Path, sealer: MemorySealer, table: str, change: str
) -> None:
    edit(closed, f"UPDATE {table} SET {change} WHERE rowid = 1")
    storage = await SQLiteStore.open(closed, sealer, node="a")
    with pytest.raises(StoreFault) as refused:
        storage.load()
    await storage.aclose()

    assert f"table {table}" in refused.value.reason
    assert "'" in refused.value.reason, "the key is shown"


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE unit SET spans = '[]'",
        "UPDATE unit SET spans = '[[0, 99999]]' WHERE number = 0",
        "UPDATE unit SET spans = '[[5, 3]]' WHERE number = 0",
        "UPDATE unit SET spans = 'x'",
        "UPDATE unit SET slot = 0",
        "UPDATE unit SET slot = -1 WHERE number = 0",
        "UPDATE unit SET slot = 1 << 50 WHERE number = 0",
        "UPDATE unit SET place = 0",
        "UPDATE unit SET place = 1 << 50 WHERE number = 0",
        "UPDATE unit SET number = 77 WHERE number = 0",
        "UPDATE unit SET material = 77",
        "UPDATE material SET length = -1",
        "UPDATE material SET unit_bytes = 0",
    ],
)
async def test_a_unit_that_cannot_be_is_refused(
    closed: Path, sealer: MemorySealer, change: str
) -> None:
    edit(closed, change)
    refused = await refusal(closed, sealer)

    assert "backup" in refused.hint


async def test_an_older_store_is_brought_up_with_all_it_holds(
    tmp_path: Path, sealer: MemorySealer
) -> None:
    """The old file is a store of layout 1, as text: records, and where two units lie."""
    directory = tmp_path / "store"
    directory.mkdir()
    database = sqlite3.connect(directory / "records.db")
    database.executescript(VERSION_1.read_text())
    database.close()
    storage = await SQLiteStore.open(directory, sealer, node="a")
    records = list(storage.load())
    await storage.aclose()
    database = sqlite3.connect(directory / "records.db")
    version = database.execute("PRAGMA user_version").fetchone()[0]
    database.close()

    assert schema.VERSION == version
    assert [NodeRecord(node=NodeId("a"), boot=7)] == records
    again = await SQLiteStore.open(directory, sealer, node="a")
    assert records == list(again.load())
    await again.aclose()


async def test_units_of_layout_1_keep_their_bytes(closed: Path, sealer: MemorySealer) -> None:
    """The store of today taken back to layout 1, then brought up again."""
    edit(
        closed,
        "ALTER TABLE unit RENAME TO new",
        "CREATE TABLE unit (material INTEGER NOT NULL, number INTEGER NOT NULL, start INTEGER"
        " NOT NULL, length INTEGER NOT NULL, place INTEGER NOT NULL, slot INTEGER NOT NULL,"
        " PRIMARY KEY (material, number)) STRICT, WITHOUT ROWID",
        f"INSERT INTO unit SELECT material, number, number * {UNIT}, {UNIT}, place, slot FROM new",
        "DROP TABLE new",
        "DELETE FROM _sqlite_migrations WHERE name LIKE 'm002%'",
        "PRAGMA user_version = 1",
    )
    storage = await SQLiteStore.open(closed, sealer, node="a")

    assert bytes((await storage.read(BLOCK, 0, 3 * UNIT)).expose()) == bits(3 * UNIT)
    assert samples() == list(storage.load())
    await storage.aclose()


async def test_a_new_field_with_a_default_becomes_a_column(
    closed: Path, sealer: MemorySealer
) -> None:
    """Seen from behind: a store written before the fields with defaults were there."""
    optional = [f.name for f in attrs.fields(StreamRecord) if f.default is not attrs.NOTHING]
    edit(closed, *(f'ALTER TABLE stream DROP COLUMN "{name}"' for name in optional))
    storage = await SQLiteStore.open(closed, sealer, node="a")
    streams = [record for record in storage.load() if isinstance(record, StreamRecord)]
    await storage.aclose()

    assert optional
    assert [
        attrs.evolve(sample(StreamRecord, 1), **defaults(StreamRecord)),
        attrs.evolve(sample(StreamRecord, 2, full=False), **defaults(StreamRecord)),
    ] == streams


def defaults(kind: type) -> dict[str, Any]:
    return {f.name: f.default for f in attrs.fields(kind) if f.default is not attrs.NOTHING}


async def test_a_column_that_no_record_knows_is_refused(closed: Path, sealer: MemorySealer) -> None:
    edit(closed, "ALTER TABLE pad ADD COLUMN colour TEXT")
    refused = await refusal(closed, sealer)

    assert "colour" in refused.reason


async def test_a_missing_column_without_a_default_is_refused(
    closed: Path, sealer: MemorySealer
) -> None:
    edit(closed, "DROP TABLE node")
    edit(closed, "CREATE TABLE node (node TEXT PRIMARY KEY) STRICT")
    refused = await refusal(closed, sealer)

    assert "boot" in refused.reason


async def test_a_directory_copied_elsewhere_is_the_same_store(
    closed: Path, tmp_path: Path, sealer: MemorySealer
) -> None:
    shutil.copytree(closed, tmp_path / "copy")
    storage = await SQLiteStore.open(tmp_path / "copy", sealer, node="a")

    assert samples() == list(storage.load())
    await storage.aclose()


async def test_integers_that_sqlite_cannot_hold_are_refused_cleanly(
    closed: Path, sealer: MemorySealer
) -> None:
    storage = await SQLiteStore.open(closed, sealer, node="a")
    with pytest.raises(StoreFault, match="refuses a record"):
        await storage.commit([Save(NodeRecord(node=NodeId("a"), boot=2**63))])
    await storage.commit([Save(NodeRecord(node=NodeId("a"), boot=2**63 - 1))])
    await storage.aclose()

    assert LIBRARY.startswith("SQLite 3.")


def test_every_record_class_has_a_table_of_its_own() -> None:
    names = [table.name for table in rows.TABLES.values()]

    assert len(set(names)) == len(names)
    assert not {"store", "material", "unit"} & set(names)
