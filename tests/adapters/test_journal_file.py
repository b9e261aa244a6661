"""The journal on disk: every alteration is found, a crash costs nothing that was acknowledged."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from kms.adapters.journal_chain import AuditReport, decode, encode, head_path, verify_file
from kms.adapters.journal_file import FileJournal, FileOperations
from kms.domain import limits
from kms.domain.audit import AuditEntry, chained
from kms.domain.errors import JournalFault
from kms.ports.journal import JournalHead
from tests.contract.test_journal import entry

RECORDS = 200


@pytest.fixture
async def written(tmp_path: Path) -> Path:
    """A journal of 200 records, closed in order."""
    path = tmp_path / "audit.jsonl"
    journal = await FileJournal.open(path)
    await journal.append([entry(number) for number in range(RECORDS)])
    await journal.aclose()
    return path


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def fault_in(path: Path, lines: list[bytes]) -> str:
    """What verification says of the journal with these lines instead of its own."""
    path.write_bytes(b"".join(lines))
    return verify_file(path).fault


# ---- verification ---------------------------------------------------------------------------


async def test_a_whole_journal_verifies_to_its_head(written: Path) -> None:
    told: list[tuple[int, int]] = []
    last = decode(lines_of(written)[-1])

    report = verify_file(written, progress=lambda done, size: told.append((done, size)))

    assert report == AuditReport(
        records=RECORDS,
        head=JournalHead(number=RECORDS, hash=last.hash),
        bytes_whole=written.stat().st_size,
    )
    assert report.whole


@pytest.mark.slow
async def test_every_edit_of_a_field_of_every_record_is_found(written: Path) -> None:
    """Even one that recomputes the record's own hash: the next record tells."""
    lines = lines_of(written)
    for number, line in enumerate(lines):
        record = decode(line)
        forged = chained(record.number, record.previous, entry(9999))
        fault = fault_in(written, [*lines[:number], encode(forged), *lines[number + 1 :]])

        last = number == RECORDS - 1
        wanted = f"line {RECORDS} is not the record" if last else f"line {number + 2} does not"
        assert fault.startswith(wanted)


@pytest.mark.slow
async def test_every_removal_is_found(written: Path) -> None:
    lines = lines_of(written)
    for number in range(RECORDS):
        fault = fault_in(written, lines[:number] + lines[number + 1 :])

        last = number == RECORDS - 1
        assert fault.startswith("ends at record 199" if last else f"line {number + 1} does not")


@pytest.mark.slow
async def test_every_swap_of_neighbours_and_every_repetition_is_found(written: Path) -> None:
    lines = lines_of(written)
    for number in range(RECORDS - 1):
        swapped = list(lines)
        swapped[number], swapped[number + 1] = swapped[number + 1], swapped[number]
        repeated = [*lines[: number + 1], *lines[number:]]

        assert fault_in(written, swapped) == f"line {number + 1} does not follow the one before"
        assert fault_in(written, repeated) == f"line {number + 2} does not follow the one before"


async def test_any_changed_byte_of_a_record_is_found(written: Path) -> None:
    """Not only what a field means: the spelling is fixed, so white space counts as well."""
    lines = lines_of(written)
    victim = lines[100]
    for place in range(len(victim)):
        spoiled = bytearray(victim)
        spoiled[place] ^= 1
        with pytest.raises(ValueError, match="was altered"):
            decode(bytes(spoiled))
    for other in (b" " + victim, victim[:-1] + b" \n", victim.replace(b",", b", ", 1)):
        assert fault_in(written, [*lines[:100], other, *lines[101:]]).startswith("line 101 ")


async def test_records_cut_off_the_end_show_against_the_noted_head(written: Path) -> None:
    lines = lines_of(written)

    for kept in (0, 1, 150, 199):
        fault = fault_in(written, lines[:kept])
        assert fault == f"ends at record {kept}; record 200 was noted as durable: cut off"


async def test_a_shortened_journal_and_head_file_show_against_a_head_kept_elsewhere(
    written: Path,
) -> None:
    """Who can write both files can shorten both; the neighbours' copy of the head cannot be."""
    lines = lines_of(written)
    elsewhere = JournalHead(number=RECORDS, hash=decode(lines[-1]).hash)
    written.write_bytes(b"".join(lines[:150]))
    head_path(written).unlink()

    assert verify_file(written).whole, "nothing here can tell"
    assert not verify_file(written, heads=[elsewhere]).whole


async def test_a_rewritten_chain_shows_against_a_head_kept_elsewhere(tmp_path: Path) -> None:
    genuine, forged = tmp_path / "genuine", tmp_path / "forged"
    for path, first in ((genuine, 0), (forged, 1)):
        journal = await FileJournal.open(path)
        await journal.append([entry(first), entry(2)])
        await journal.aclose()
    elsewhere = verify_file(genuine).head

    fault = verify_file(forged, heads=[elsewhere]).fault

    assert fault == "the head file differs from a head kept elsewhere"
    head_path(forged).unlink()
    assert verify_file(forged, heads=[elsewhere]).fault == "line 2 is not the record noted as head"


@pytest.mark.parametrize(
    "data",
    [b"\n", b"{}\n", b"null\n", b"[1,2,3,4]\n", b"[" * 60_000 + b"\n", b"\xff\n", b"x" * 200_000],
    ids=["empty", "object", "null", "numbers", "deep", "not UTF-8", "endless"],
)
def test_a_file_that_is_no_journal_is_told_not_crashed_on(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(data)

    assert verify_file(path).fault.startswith("line 1 ")


def test_a_journal_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(JournalFault, match="No such file"):
        verify_file(tmp_path / "none")


# ---- opening --------------------------------------------------------------------------------


async def test_the_chain_goes_on_after_a_restart(written: Path) -> None:
    journal = await FileJournal.open(written)
    head = await journal.append([entry(1)])
    await journal.aclose()

    assert head.number == RECORDS + 1
    assert verify_file(written).head == head


@pytest.mark.slow
async def test_every_torn_end_is_cut_back_to_the_last_whole_record(tmp_path: Path) -> None:
    """A crash in the middle of an append that nobody was told of, at every byte of it."""
    path = tmp_path / "audit.jsonl"
    journal = await FileJournal.open(path)
    acknowledged = await journal.append([entry(1), entry(2)])
    await journal.aclose()
    under_way = encode(chained(3, acknowledged.hash, entry(3)))
    sound = path.read_bytes()

    for kept in range(1, len(under_way)):
        path.write_bytes(sound + under_way[:kept])
        journal = await FileJournal.open(path)
        await journal.aclose()

        assert journal.opened.bytes_torn == kept
        assert journal.head() == acknowledged
        assert path.read_bytes() == sound


async def test_a_whole_record_that_nobody_was_told_of_stays(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    journal = await FileJournal.open(path)
    acknowledged = await journal.append([entry(1)])
    await journal.aclose()
    with path.open("ab") as file:
        file.write(encode(chained(2, acknowledged.hash, entry(2))))

    journal = await FileJournal.open(path)
    await journal.aclose()

    assert journal.head().number == 2


async def test_an_acknowledged_record_that_lost_its_end_is_not_mistaken_for_a_torn_one(
    written: Path,
) -> None:
    """The noted head names it, so the node refuses to start rather than cut it off."""
    written.write_bytes(written.read_bytes()[:-1])

    with pytest.raises(JournalFault, match="record 200, noted as durable, is not there"):
        await FileJournal.open(written)


async def test_a_journal_altered_while_the_node_was_down_is_refused_at_open(written: Path) -> None:
    lines = lines_of(written)
    written.write_bytes(b"".join([*lines[:-1], encode(chained(200, "0" * 64, entry(5)))]))

    with pytest.raises(JournalFault, match="not there"):
        await FileJournal.open(written)


async def test_without_a_head_file_everything_is_verified_at_open(written: Path) -> None:
    lines = lines_of(written)
    head_path(written).unlink()
    written.write_bytes(b"".join([*lines[:3], *lines[4:]]))

    with pytest.raises(JournalFault, match="line 4 does not follow"):
        await FileJournal.open(written)


async def test_a_damaged_head_file_is_refused_with_the_way_out(written: Path) -> None:
    head_path(written).write_bytes(b"[200]\n")

    with pytest.raises(JournalFault, match="is damaged") as refusal:
        await FileJournal.open(written)

    assert "kms audit verify" in refusal.value.hint


async def test_two_processes_cannot_hold_one_journal(written: Path) -> None:
    journal = await FileJournal.open(written)

    with pytest.raises(JournalFault, match="held by another process"):
        await FileJournal.open(written)

    await journal.aclose()
    await (await FileJournal.open(written)).aclose()


async def test_the_journal_is_its_owners_alone(written: Path) -> None:
    assert written.stat().st_mode & 0o777 == 0o600
    assert head_path(written).stat().st_mode & 0o777 == 0o600


async def test_a_journal_in_no_directory_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(JournalFault, match="No such file"):
        await FileJournal.open(tmp_path / "none" / "audit.jsonl")


# ---- appending ------------------------------------------------------------------------------


async def test_one_append_is_one_sync_and_returns_after_it(tmp_path: Path) -> None:
    calls: list[str] = []

    def write(fd: int, data: bytes) -> int:
        calls.append("write")
        return os.write(fd, data)

    files = FileOperations(write=write, sync=lambda fd: calls.append("sync"))
    journal = await FileJournal.open(tmp_path / "audit.jsonl", files=files)
    await journal.append([entry(number) for number in range(50)])
    seen = list(calls)
    await journal.aclose()

    assert seen == ["write", "sync"]


async def test_a_disk_that_takes_a_byte_at_a_time_gets_it_all(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    files = FileOperations(write=lambda fd, data: os.write(fd, data[:1]))
    journal = await FileJournal.open(path, files=files)
    head = await journal.append([entry(1)])
    await journal.aclose()

    assert verify_file(path).head == head


@pytest.mark.parametrize("failing", ["write", "sync"])
async def test_a_failing_disk_is_named_and_nothing_more_is_taken(
    tmp_path: Path, failing: str
) -> None:
    def fail(*arguments: object) -> int:
        raise OSError(28, "No space left on device")

    path = tmp_path / "audit.jsonl"
    files = FileOperations(**{failing: fail})
    journal = await FileJournal.open(path, files=files)

    for _ in range(2):
        with pytest.raises(JournalFault, match="No space left on device"):
            await journal.append([entry(1)])
    await journal.aclose()

    assert journal.head().number == 0


async def test_an_entry_that_cannot_be_written_stops_the_journal_not_its_thread(
    tmp_path: Path,
) -> None:
    journal = await FileJournal.open(tmp_path / "audit.jsonl")
    wrong = AuditEntry(wall_ms=1, event="e", actor="a", subject="s", detail={"x": float("nan")})

    with pytest.raises(JournalFault, match="cannot be written: ValueError"):
        await journal.append([wrong])
    await journal.aclose()


async def test_an_entry_longer_than_a_reader_holds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    journal = await FileJournal.open(path)
    long = AuditEntry(wall_ms=1, event="e", actor="a", subject="x" * limits.JOURNAL_LINE_BYTES_MAX)

    with pytest.raises(JournalFault):
        await journal.append([long])
    await journal.aclose()

    assert path.read_bytes() == b""


async def test_a_waiter_that_gives_up_does_not_interrupt_the_write(tmp_path: Path) -> None:
    """The write is held up until the waiter is gone; it is on disk all the same."""
    path = tmp_path / "audit.jsonl"
    gone = trio.Event()
    token = trio.lowlevel.current_trio_token()

    def sync(fd: int) -> None:
        trio.from_thread.run(gone.wait, trio_token=token)
        os.fsync(fd)

    journal = await FileJournal.open(path, files=FileOperations(sync=sync))
    with trio.move_on_after(0.01) as waiting:
        await journal.append([entry(1)])
    gone.set()
    head = await journal.append([entry(2)])
    await journal.aclose()

    assert waiting.cancelled_caught
    assert head.number == 2
    assert verify_file(path).records == 2


async def test_the_head_is_noted_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a start after a crash verifies a bounded part."""
    monkeypatch.setattr(limits, "JOURNAL_HEAD_EVERY_RECORDS", 10)
    path = tmp_path / "audit.jsonl"
    journal = await FileJournal.open(path)
    for number in range(25):
        await journal.append([entry(number)])
    noted = head_path(path).read_bytes()
    await journal.aclose()

    assert noted.startswith(b"[20,")


CHILD = """
import sys, trio
from pathlib import Path
from kms.adapters.journal_file import FileJournal
from tests.contract.test_journal import entry

async def main():
    journal = await FileJournal.open(Path(sys.argv[1]))
    number = 0
    while True:
        head = await journal.append([entry(number), entry(number + 1)])
        print(head.number, head.hash, flush=True)
        number += 2

trio.run(main)
"""


@pytest.mark.slow
@pytest.mark.processes
def test_no_acknowledged_record_is_lost_to_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    root = Path(__file__).parents[2]
    for acknowledgements in (1, 7, 40):
        with subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, text=True, cwd=root
        ) as child:
            assert child.stdout is not None
            told = [child.stdout.readline().split() for _ in range(acknowledgements)]
            child.kill()
            told += [line.split() for line in child.stdout if line.endswith("\n")]
        number, hash_ = told[-1]
        head = JournalHead(number=int(number), hash=hash_)

        report = verify_file(path, heads=[head])

        assert not report.fault
        assert report.records >= head.number
