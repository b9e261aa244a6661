"""A journal in several files: one chain, whatever is cut, altered, crashed or retired."""

from pathlib import Path

import attrs
import pytest

from kms.adapters.journal_chain import decode, head_path
from kms.adapters.journal_file import FileJournal
from kms.adapters.journal_segments import RETIRED, segment_path, segments, verify_journal
from kms.domain.errors import JournalFault
from kms.ports.journal import JournalHead
from tests.contract.test_journal import entry

SEGMENT_BYTES = 2_000
DAY_MS = 24 * 60 * 60 * 1000


async def write(path: Path, first: int, count: int, keep_ms: int | None = None) -> JournalHead:
    """Entries of one a day, each an append of its own; the head when the journal is closed."""
    journal = await FileJournal.open(path, segment_bytes=SEGMENT_BYTES, keep_ms=keep_ms)
    for number in range(first, first + count):
        await journal.append([attrs.evolve(entry(number), wall_ms=number * DAY_MS)])
    head = journal.head()
    await journal.aclose()
    return head


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A journal of forty records in several full files and a newest one."""
    journal = tmp_path / "audit.jsonl"
    await write(journal, 0, 40)
    return journal


async def test_the_chain_goes_through_all_files(path: Path) -> None:
    full = segments(path)
    report = verify_journal(path)

    assert len(full) >= 3
    assert all(each.stat().st_size >= SEGMENT_BYTES for each in full)
    assert path.stat().st_size < SEGMENT_BYTES
    assert (report.whole, report.records, report.retired) == (True, 40, 0)
    assert [str(each) for each in full] == [
        str(segment_path(path, decode(each.read_bytes().splitlines(keepends=True)[-1]).number))
        for each in full
    ]


async def test_a_restart_goes_on_in_the_newest_file_and_full_ones_are_left_alone(
    path: Path,
) -> None:
    before = {each: each.read_bytes() for each in segments(path)}
    head = await write(path, 40, 30)
    report = verify_journal(path, heads=[head])

    assert (70, True) == (head.number, report.whole)
    assert all(each.read_bytes() == data for each, data in before.items())


async def test_progress_is_told_over_all_files(path: Path) -> None:
    size = sum(each.stat().st_size for each in [*segments(path), path])
    report = verify_journal(path, progress=lambda done, whole: None)

    assert size == report.bytes_whole


async def test_an_alteration_in_any_file_is_found_and_named(path: Path) -> None:
    for each in [*segments(path), path]:
        data = each.read_bytes()
        place = len(data) // 2
        each.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        report = verify_journal(path)
        each.write_bytes(data)

        assert not report.whole
        assert each.name in report.fault
    assert verify_journal(path).whole


async def test_a_file_that_was_taken_away_is_found(path: Path) -> None:
    for each in segments(path):
        data = each.read_bytes()
        each.unlink()
        report = verify_journal(path)
        each.write_bytes(data)

        assert not report.whole
    oldest = segments(path)[0]
    oldest.unlink()

    assert "none says that they were retired" in verify_journal(path).fault


async def test_two_files_that_changed_places_are_found(path: Path) -> None:
    one, other = segments(path)[:2]
    here, there = one.read_bytes(), other.read_bytes()
    one.write_bytes(there)
    other.write_bytes(here)

    assert not verify_journal(path).whole


async def test_a_full_file_that_was_cut_short_is_found(path: Path) -> None:
    full = segments(path)[1]
    full.write_bytes(full.read_bytes()[:-10])

    assert "ends within a record" in verify_journal(path).fault
    last = segments(path)[-1]
    last.write_bytes(last.read_bytes()[:-10])
    with pytest.raises(JournalFault, match="its last line is no audit record"):
        await FileJournal.open(path)


async def test_a_crash_between_two_files_loses_nothing(tmp_path: Path) -> None:
    """The file was full and renamed, and the next one was not made yet."""
    path = tmp_path / "audit.jsonl"
    await write(path, 0, 40)
    last = decode(path.read_bytes().splitlines(keepends=True)[-1])
    path.rename(segment_path(path, last.number))

    assert (True, 40) == (verify_journal(path).whole, verify_journal(path).records)
    head = await write(path, 40, 1)

    assert (41, True) == (head.number, verify_journal(path).whole)


async def test_a_crash_before_the_head_is_noted_costs_a_look_at_more_records(path: Path) -> None:
    head_path(path).unlink()
    head = await write(path, 40, 1)

    assert (41, True) == (head.number, verify_journal(path).whole)


async def test_a_noted_head_that_is_not_in_the_newest_full_file_is_refused(path: Path) -> None:
    last = decode(path.read_bytes().splitlines(keepends=True)[-1])
    full = segment_path(path, last.number)
    path.rename(full)
    noted = head_path(path).read_text().replace(last.hash, "0" * 64)
    head_path(path).write_text(noted)
    with pytest.raises(JournalFault, match="noted as durable"):
        await FileJournal.open(path)


# ---- retired ------------------------------------------------------------------------------------


async def test_old_files_are_retired_in_order_and_the_journal_says_so(path: Path) -> None:
    before = segments(path)
    await write(path, 40, 20, keep_ms=25 * DAY_MS)
    left, report = segments(path), verify_journal(path)
    said = [
        record.entry
        for each in [*left, path]
        for line in each.read_bytes().splitlines(keepends=True)
        if (record := decode(line)).entry.event == RETIRED
    ]

    assert 0 < len(before) - len([each for each in before if each in left])
    assert before[0] not in left
    assert (True, True) == (report.whole, 0 < report.retired < 40)
    assert report.retired in [each.detail["last"] for each in said]
    oldest = decode(left[0].read_bytes().splitlines(keepends=True)[0])

    assert report.retired + 1 == oldest.number
    assert all(each.wall_ms <= 60 * DAY_MS for each in said)


async def test_what_is_younger_than_its_time_stays_and_nothing_ever_goes_by_default(
    path: Path,
) -> None:
    before = segments(path)
    await write(path, 40, 20, keep_ms=400 * DAY_MS)
    await write(path, 60, 20)

    assert before == segments(path)[: len(before)]


async def test_a_crash_behind_the_record_of_a_retirement_retires_it_again(path: Path) -> None:
    oldest = segments(path)[0]
    data = oldest.read_bytes()
    await write(path, 40, 20, keep_ms=25 * DAY_MS)
    assert oldest not in segments(path)
    others = segments(path)
    if decode(others[0].read_bytes().splitlines(keepends=True)[0]).number == (
        decode(data.splitlines(keepends=True)[-1]).number + 1
    ):
        oldest.write_bytes(data)

    assert verify_journal(path).whole
    await write(path, 60, 20, keep_ms=25 * DAY_MS)

    assert oldest not in segments(path)
    assert verify_journal(path).whole


async def test_a_retired_file_may_be_kept_elsewhere_and_still_verifies(path: Path) -> None:
    kept = {each.name: each.read_bytes() for each in segments(path)}
    await write(path, 40, 20, keep_ms=25 * DAY_MS)
    for name, data in kept.items():
        path.with_name(name).write_bytes(data)
    report = verify_journal(path)

    assert (True, 0) == (report.whole, report.retired)


async def test_a_directory_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(JournalFault, match="No such file"):
        verify_journal(tmp_path / "nowhere" / "audit.jsonl")
