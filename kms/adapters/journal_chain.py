"""The journal's file format: one audit record a line, and how a file of them is verified.

Rules: a line is the one canonical spelling of its record, so that a changed byte anywhere in the
file is a changed record. The head file beside it, ``<file>.head``, notes a record that is durable;
the journal must hold that very record.

Theory of operation: the chain shows every edit, insertion, swap and removal but one: cutting
records off the end leaves a shorter, whole chain. That shows only against a head kept elsewhere.
``<file>.head`` finds the careless case; someone who may write both files defeats it, so the heads
that the neighbours and the store keep count (``verify_file(..., heads=...)``).
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import attrs

from kms.domain import limits
from kms.domain.audit import GENESIS, AuditEntry, AuditRecord, chained
from kms.domain.errors import JournalFault
from kms.ports.journal import JournalHead

_PROGRESS_EVERY_RECORDS = 10_000
_HASH = re.compile(r"[0-9a-f]{64}")
_CANONICAL = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
)
_START = JournalHead(number=0, hash=GENESIS)


@attrs.frozen(kw_only=True)
class AuditReport:
    """What a verification found."""

    records: int
    """that follow one another from the first on"""
    head: JournalHead
    """of the last of them"""
    bytes_whole: int
    """of the file, up to the end of the last of them"""
    bytes_torn: int = 0
    """of an incomplete last line, as a crash leaves it"""
    fault: str = ""
    """the first thing that is wrong, with its line; empty when the journal is whole"""
    retired: int = 0
    """records from the first on that are not there any more, as a later one says"""

    @property
    def whole(self) -> bool:
        return not self.fault


@attrs.frozen(kw_only=True)
class NotedHead:
    """The contents of a head file."""

    head: JournalHead
    start_bytes: int
    """where the record begins in the journal; the end of the file for number 0"""


def encode(record: AuditRecord) -> bytes:
    """The record's line, with its end. Raises ``JournalFault`` when it is too long."""
    line = _spell(
        [record.number, record.previous, attrs.asdict(record.entry, recurse=False), record.hash]
    )
    if len(line) > limits.JOURNAL_LINE_BYTES_MAX:
        raise JournalFault(
            f"audit record {record.entry.event} is {len(line)} bytes long",
            hint="a mistake in the node: report it",
        )
    return line


def decode(line: bytes) -> AuditRecord:
    """The record of a line, whose own hash is right. Raises ``ValueError`` for anything else."""
    try:
        number, previous, entry, claimed = json.loads(line)
        record = chained(number, previous, AuditEntry(**entry))
        same = record.hash == claimed and encode(record) == line
    except (ValueError, TypeError, JournalFault, RecursionError):
        same = False
    if not same:
        raise ValueError("is not an audit record, or was altered")
    return record


def verify_file(
    path: Path,
    *,
    heads: Iterable[JournalHead] = (),
    progress: Callable[[int, int], None] | None = None,
) -> AuditReport:
    """The whole journal, read from its first record; against ``<file>.head`` and ``heads``, which
    were kept elsewhere. ``progress`` is told bytes read and bytes in all, now and then. Raises
    ``JournalFault`` only when the file cannot be read; what is wrong in it is in the report."""
    noted = read_head(head_path(path))
    wanted = {head.number: head for head in heads}
    if noted is not None:
        earlier = wanted.setdefault(noted.head.number, noted.head)
        if earlier != noted.head:
            return _report(_START, 0, fault="the head file differs from a head kept elsewhere")
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            return follow(
                file, after=_START, heads=wanted, progress=progress and _scaled(progress, size)
            )
    except OSError as error:
        raise JournalFault(f"{path}: {error.strerror}", hint="give a readable journal") from None


def follow(
    file: BinaryIO,
    *,
    after: JournalHead,
    heads: dict[int, JournalHead] | None = None,
    progress: Callable[[int], None] | None = None,
    look: Callable[[AuditRecord], None] | None = None,
    newest: bool = True,
) -> AuditReport:
    """The rest of ``file``, whose next record must follow ``after``. Stops at the first fault.
    ``look`` is shown each record; heads above the last one are missing from the ``newest`` file."""
    head, heads, base = after, heads or {}, file.tell()
    whole = base
    for line in _lines(file):
        number = head.number + 1
        if not line.endswith(b"\n"):
            torn = len(line)
            if torn > limits.JOURNAL_LINE_BYTES_MAX:
                return _report(head, whole, fault=f"line {number} is too long")
            return _missing(_report(head, whole, torn=torn), heads if newest else {})
        try:
            record = decode(line)
        except ValueError as error:
            return _report(head, whole, fault=f"line {number} {error}")
        if record.number != number or record.previous != head.hash:
            return _report(head, whole, fault=f"line {number} does not follow the one before")
        head, whole = JournalHead(number=number, hash=record.hash), whole + len(line)
        if head != heads.get(number, head):
            return _report(head, whole, fault=f"line {number} is not the record noted as head")
        if look is not None:
            look(record)
        if progress is not None and number % _PROGRESS_EVERY_RECORDS == 0:
            progress(whole)
    return _missing(_report(head, whole), heads if newest else {})


def head_path(path: Path) -> Path:
    """Where the head of the journal ``path`` is noted."""
    return path.with_name(path.name + ".head")


def spell_head(noted: NotedHead) -> bytes:
    """The contents of a head file."""
    return _spell([noted.head.number, noted.head.hash, noted.start_bytes])


def read_head(path: Path) -> NotedHead | None:
    """The noted head, None if there is no such file. Raises ``JournalFault`` if it is damaged."""
    try:
        with path.open("rb") as file:
            data = file.read(limits.JOURNAL_LINE_BYTES_MAX)
        number, hash_, start = json.loads(data)
        noted = NotedHead(head=JournalHead(number=number, hash=hash_), start_bytes=start)
        good = type(number) is int and type(start) is int and min(number, start) >= 0
        good = good and isinstance(hash_, str) and _HASH.fullmatch(hash_) is not None
        if good and spell_head(noted) == data:
            return noted
    except FileNotFoundError:
        return None
    except OSError as error:
        raise JournalFault(f"{path}: {error.strerror}", hint="make it readable") from None
    except (ValueError, TypeError, RecursionError):
        pass
    raise JournalFault(
        f"{path} is damaged", hint="keep a copy, run kms audit verify, then remove this file"
    )


def _lines(file: BinaryIO) -> Iterator[bytes]:
    while line := file.readline(limits.JOURNAL_LINE_BYTES_MAX + 1):
        yield line


def _report(head: JournalHead, whole: int, *, torn: int = 0, fault: str = "") -> AuditReport:
    return AuditReport(
        records=head.number, head=head, bytes_whole=whole, bytes_torn=torn, fault=fault
    )


def _missing(report: AuditReport, heads: dict[int, JournalHead]) -> AuditReport:
    """The report, with a fault if a noted head lies behind its end: records were cut off."""
    last = max(heads, default=0)
    if last <= report.records:
        return report
    fault = f"ends at record {report.records}; record {last} was noted as durable: cut off"
    return attrs.evolve(report, fault=fault)


def _scaled(progress: Callable[[int, int], None], size: int) -> Callable[[int], None]:
    return lambda done: progress(done, size)


def _spell(fields: list[Any]) -> bytes:
    return _CANONICAL.encode(fields).encode() + b"\n"
