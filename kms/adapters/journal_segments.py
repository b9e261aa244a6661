"""The files that a journal lies in: the full ones, named by their last record, and the newest.

Rules: the chain goes through all of them, from the first record of the first file to the last of
the newest. Full files are deleted oldest first only, and each only after a record that names its
last record is on disk in a later file (``RETIRED``): so what is left shows that what is missing
was retired, and a file that was just taken away is found.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import attrs

from kms.adapters.journal_chain import (
    AuditReport,
    decode,
    follow,
    head_path,
    read_head,
)
from kms.domain import limits
from kms.domain.audit import GENESIS, AuditEntry, AuditRecord
from kms.domain.errors import JournalFault
from kms.ports.journal import JournalHead

RETIRED = "audit-retired"
"""the event: ``last`` and ``hash`` of the last record that was in the file"""
_DIGITS = 15
_START = JournalHead(number=0, hash=GENESIS)


def segment_path(path: Path, last: int) -> Path:
    """Where the full file whose last record has this number lies."""
    return path.with_name(f"{path.name}.{last:0{_DIGITS}d}")


def segments(path: Path) -> list[Path]:
    """The full files of the journal ``path``, oldest first."""
    if not path.parent.is_dir():
        return []
    name = re.compile(re.escape(path.name) + rf"\.\d{{{_DIGITS}}}")
    return sorted(each for each in path.parent.iterdir() if name.fullmatch(each.name))


def retirement(segment: Path, last: AuditRecord, wall_ms: int) -> AuditEntry:
    """The entry that is on disk before the file goes."""
    return AuditEntry(
        wall_ms=wall_ms,
        event=RETIRED,
        actor="node",
        subject=segment.name,
        detail={"last": last.number, "hash": last.hash},
    )


def last_record(path: Path) -> AuditRecord:
    """The last record of a full file. Raises ``JournalFault``."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, 2)
            file.seek(max(0, end - limits.JOURNAL_LINE_BYTES_MAX - 1))
            return decode(file.read().splitlines(keepends=True)[-1])
    except OSError as error:
        raise JournalFault(f"{path}: {error.strerror}", hint="make it readable") from None
    except (ValueError, IndexError):
        raise JournalFault(
            f"{path}: its last line is no audit record, or was altered",
            hint=f"keep the file; run: kms audit verify {path.with_name(_base(path))}",
        ) from None


def verify_journal(
    path: Path,
    *,
    heads: Iterable[JournalHead] = (),
    progress: Callable[[int, int], None] | None = None,
) -> AuditReport:
    """All files of the journal that are left, against ``<file>.head`` and ``heads``, which were
    kept elsewhere. Raises ``JournalFault`` only when a file cannot be read; what is wrong in them
    is in the report."""
    wanted = {head.number: head for head in heads}
    noted = read_head(head_path(path))
    if noted is not None and wanted.setdefault(noted.head.number, noted.head) != noted.head:
        return _report(_START, fault="the head file differs from a head kept elsewhere")
    files = segments(path)
    if path.exists() or not files:
        # A crash between two files leaves none of the journal's own name.
        files.append(path)
    size = sum(each.stat().st_size for each in files if each.exists())
    retired: dict[int, str] = {}

    def look(record: AuditRecord) -> None:
        if record.entry.event == RETIRED:
            last, hash_ = record.entry.detail.get("last"), record.entry.detail.get("hash")
            if isinstance(last, int) and isinstance(hash_, str):
                retired[last] = hash_

    begins = head = _begin(files)
    done = torn = 0
    for place, each in enumerate(files):
        newest = place == len(files) - 1
        behind = done
        tell = (lambda bytes_: progress(behind + bytes_, size)) if progress else None  # noqa: B023
        try:
            with each.open("rb") as file:
                found = follow(
                    file,
                    after=head,
                    heads=wanted,
                    progress=tell,
                    look=look,
                    newest=newest,
                )
        except OSError as error:
            raise JournalFault(
                f"{each}: {error.strerror}", hint="give a readable journal"
            ) from None
        head, torn = found.head, found.bytes_torn
        done += found.bytes_whole
        fault = found.fault or ("ends within a record" if torn and not newest else "")
        if fault:
            name = f"{each.name}: " if len(files) > 1 else ""
            return attrs.evolve(found, fault=f"{name}{fault}", retired=begins.number)
    fault = ""
    if begins.number and retired.get(begins.number) != begins.hash:
        fault = f"records 1 to {begins.number} are missing, and none says that they were retired"
    return AuditReport(
        records=head.number,
        head=head,
        bytes_whole=done,
        bytes_torn=torn,
        fault=fault,
        retired=begins.number,
    )


def _begin(files: list[Path]) -> JournalHead:
    """What the first record that is left says it follows; the beginning if it cannot be read."""
    for path in files:
        try:
            with path.open("rb") as file:
                record = decode(file.readline(limits.JOURNAL_LINE_BYTES_MAX + 1))
        except (OSError, ValueError):
            return _START
        return JournalHead(number=record.number - 1, hash=record.previous)
    return _START


def _base(segment: Path) -> str:
    return segment.name[: -_DIGITS - 1]


def _report(head: JournalHead, *, fault: str) -> AuditReport:
    return AuditReport(records=head.number, head=head, bytes_whole=0, fault=fault)
