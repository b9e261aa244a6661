"""The audit journal on disk, written by a thread of its own, synced before anyone may act on it.

Rules: one append call is one write and one sync; it returns after the sync. After any failure the
journal takes nothing more: what the disk holds is not known then, so no key leaves (I11). One
process at a time holds the file.

Theory of operation: ``append`` hands its entries to the thread and waits; a waiter that is
cancelled stops waiting, the write goes on. A crash can leave the last write short. Everything up
to the last acknowledged record ended in a newline when it was synced, and nothing is acknowledged
before its sync; so bytes behind the last newline belong to an append that nobody was told of, and
are cut off at the next open. Whole records of such an append stay: they say that something was
about to happen, which is the safe side. That a *later* byte never reaches the disk before an
earlier one of the same append rests on the file only growing (ext4 ordered mode and xfs raise the
size after the data); where it does not hold, open refuses and names the line, it never repairs.

At open the records behind the noted head are verified, ``JOURNAL_HEAD_EVERY_RECORDS`` or so;
without a head file all of them. ``kms audit verify`` reads everything. A file that is full is
renamed, and the chain goes on in another one (``journal_segments``).
"""

import fcntl
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

import attrs
import trio

from kms.adapters.journal_chain import (
    AuditReport,
    NotedHead,
    decode,
    encode,
    follow,
    head_path,
    read_head,
    spell_head,
)
from kms.adapters.journal_segments import last_record, retirement, segment_path, segments
from kms.domain import limits
from kms.domain.audit import GENESIS, AuditEntry, chained
from kms.domain.errors import JournalFault
from kms.ports.journal import JournalHead

_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
# Full files looked at when one more is full: bounds the time that an append takes.
_RETIRED_AT_ONCE = 16


@attrs.frozen(kw_only=True)
class FileOperations:
    """The calls that can fail, so that tests can make them fail."""

    write: Callable[[int, bytes], int] = os.write
    sync: Callable[[int], None] = os.fsync


@attrs.frozen(kw_only=True)
class _Job:
    entries: Sequence[AuditEntry]
    done: Callable[[JournalHead | JournalFault], None]


class FileJournal:
    """The Journal port over one file."""

    def __init__(
        self,
        path: Path,
        fd: int,
        report: AuditReport,
        files: FileOperations,
        *,
        segment_bytes: int | None = None,
        keep_ms: int | None = None,
    ) -> None:
        """Use ``open``."""
        self._segment_bytes, self._keep_ms = segment_bytes, keep_ms
        self.opened = report
        """what was found at open; ``bytes_torn`` were cut off"""
        self._path = path
        self._fd = fd
        self._files = files
        self._head = report.head
        self._size_bytes = report.bytes_whole
        self._last_start_bytes = report.bytes_whole
        self._noted_number = 0
        self._fault = ""
        self._closed = False
        self._slots = trio.Semaphore(limits.JOURNAL_APPENDS_WAITING_MAX)
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._ended = trio.Event()

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        files: FileOperations | None = None,
        segment_bytes: int | None = None,
        keep_ms: int | None = None,
    ) -> "FileJournal":
        """The journal, its end verified, held by this process; made if there is none. It goes on
        in a new file when it has ``segment_bytes``; a full file whose last record is ``keep_ms``
        old is retired then. Without them neither ever happens. Raises ``JournalFault`` when it is
        held, unreadable, or does not verify."""
        make = partial(FileJournal, segment_bytes=segment_bytes, keep_ms=keep_ms)
        journal = await trio.to_thread.run_sync(_open, path, files or FileOperations(), make)
        token = trio.lowlevel.current_trio_token()
        # Daemon: a disk that never answers must not keep a stopped node from ending.
        Thread(target=journal._work, args=(token,), name="journal", daemon=True).start()
        return journal

    def head(self) -> JournalHead:
        return self._head

    async def append(self, entries: Sequence[AuditEntry]) -> JournalHead:
        """As the port says. Cancelled while ``JOURNAL_APPENDS_WAITING_MAX`` others are under
        way, it has written nothing."""
        await self._slots.acquire()
        if self._closed or self._fault:
            self._slots.release()
            raise self._refusal()
        settled = trio.Event()
        results: list[JournalHead | JournalFault] = []

        def done(result: JournalHead | JournalFault) -> None:
            self._slots.release()
            results.append(result)
            settled.set()

        self._jobs.put(_Job(entries=tuple(entries), done=done))
        await settled.wait()
        if isinstance(results[0], JournalFault):
            raise results[0]
        return results[0]

    async def aclose(self) -> None:
        """What was appended is on disk, the head is noted, the file is free. Twice is once."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
        await self._ended.wait()

    # ---- the thread -------------------------------------------------------------------------

    def _work(self, token: trio.lowlevel.TrioToken) -> None:
        while (job := self._jobs.get()) is not None:
            _tell(token, partial(job.done, self._written(job.entries)))
        if not self._fault:
            self._note_head()
        os.close(self._fd)
        _tell(token, self._ended.set)

    def _written(self, entries: Sequence[AuditEntry]) -> JournalHead | JournalFault:
        """The new head, or the fault that this and all later appends meet."""
        try:
            if not self._fault:
                return self._write(entries)
        except OSError as error:
            self._fault = f"{self._path}: {error.strerror or type(error).__name__}"
        except Exception as error:  # noqa: BLE001
            # Whatever it is (an entry with bytes in it, say), it is our own mistake. The thread
            # must live to answer, and the journal must take nothing more.
            self._fault = f"an entry cannot be written: {type(error).__name__}"
        return self._refusal()

    def _write(self, entries: Sequence[AuditEntry]) -> JournalHead:
        self._put(entries)
        if self._segment_bytes is not None and self._size_bytes >= self._segment_bytes:
            self._begin_file()
            self._retire(entries[-1].wall_ms)
        elif self._head.number - self._noted_number >= limits.JOURNAL_HEAD_EVERY_RECORDS:
            self._note_head()
        return self._head

    def _put(self, entries: Sequence[AuditEntry]) -> None:
        """The entries are on the disk."""
        head, lines = self._head, []
        for entry in entries:
            record = chained(head.number + 1, head.hash, entry)
            lines.append(encode(record))
            head = JournalHead(number=record.number, hash=record.hash)
        if not lines:
            return
        self._write_all(b"".join(lines))
        self._files.sync(self._fd)
        self._size_bytes += sum(map(len, lines))
        self._last_start_bytes = self._size_bytes - len(lines[-1])
        # Assigned whole, read by the trio thread: it sees the old head or the new one.
        self._head = head

    def _begin_file(self) -> None:
        """The chain goes on in an empty file. A crash between the steps leaves no file of the
        journal's name: the next open makes it, and goes on behind the newest full one."""
        self._note_head()
        self._path.rename(segment_path(self._path, self._head.number))
        fd = os.open(self._path, _FLAGS | os.O_EXCL, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _sync_directory(self._path.parent)
        os.close(self._fd)
        self._fd = fd
        self._size_bytes = self._last_start_bytes = 0

    def _retire(self, now_ms: int) -> None:
        """Full files that are old enough are gone, oldest first, each after a record says so."""
        for segment in segments(self._path)[:_RETIRED_AT_ONCE] if self._keep_ms else ():
            last = last_record(segment)
            if last.entry.wall_ms > now_ms - (self._keep_ms or 0):
                return
            self._put([retirement(segment, last, now_ms)])
            segment.unlink()
            _sync_directory(self._path.parent)

    def _write_all(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._files.write(self._fd, bytes(rest)) :]

    def _note_head(self) -> None:
        """The head file names the last record, durably. A failure leaves the old note: a lower
        bound, still true."""
        noted = NotedHead(head=self._head, start_bytes=self._last_start_bytes)
        path = head_path(self._path)
        fresh = path.with_name(path.name + ".new")
        try:
            fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            try:
                os.write(fd, spell_head(noted))
                os.fsync(fd)
            finally:
                os.close(fd)
            fresh.replace(path)
            _sync_directory(path.parent)
        except OSError:
            return
        self._noted_number = noted.head.number

    def _refusal(self) -> JournalFault:
        if self._fault:
            hint = "make the disk good, then restart the node; no key leaves until then"
            return JournalFault(f"the audit journal failed: {self._fault}", hint=hint)
        return JournalFault("the audit journal is closed", hint="the node is stopping")


def _tell(token: trio.lowlevel.TrioToken, function: Callable[[], object]) -> None:
    """Runs ``function`` in the trio thread; if that has ended, there is nobody to tell."""
    try:
        token.run_sync_soon(function)
    except trio.RunFinishedError:
        return


def _open(
    path: Path,
    files: FileOperations,
    make: Callable[[Path, int, AuditReport, FileOperations], FileJournal],
) -> FileJournal:
    new = not path.exists()
    fd = -1
    try:
        fd = os.open(path, _FLAGS, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if new:
            _sync_directory(path.parent)
        noted = read_head(head_path(path))
        report, last = _verified_end(path, noted)
        if report.bytes_torn:
            os.ftruncate(fd, report.bytes_whole)
            files.sync(fd)
        journal = make(path, fd, report, files)
        journal._last_start_bytes = last
        journal._note_head()
    except BlockingIOError:
        os.close(fd)
        raise JournalFault(f"{path} is held by another process", hint="stop it first") from None
    except OSError as error:
        if fd >= 0:
            os.close(fd)
        hint = "the journal must be a file this user may write, in a directory that exists"
        raise JournalFault(f"{path}: {error.strerror}", hint=hint) from None
    except JournalFault:
        os.close(fd)
        raise
    return journal


def _verified_end(path: Path, noted: NotedHead | None) -> tuple[AuditReport, int]:
    """What the journal holds from the noted head on, and where its last record starts."""
    start = JournalHead(number=0, hash=GENESIS)
    for full in segments(path)[-1:]:
        last = last_record(full)
        start = JournalHead(number=last.number, hash=last.hash)
    if noted is not None and noted.head.number == start.number and noted.head != start:
        raise _unsound(path, f"record {start.number} is not the one that was noted as durable")
    with path.open("rb") as file:
        if noted is not None and noted.head.number > start.number:
            file.seek(noted.start_bytes)
            try:
                record = decode(file.readline(limits.JOURNAL_LINE_BYTES_MAX + 1))
            except ValueError:
                record = None
            found = record and JournalHead(number=record.number, hash=record.hash)
            if found != noted.head:
                raise _unsound(path, f"record {noted.head.number}, noted as durable, is not there")
            start = noted.head
        report = follow(file, after=start)
        if report.fault:
            raise _unsound(path, report.fault)
        return report, _start_of_last(path, report.bytes_whole)


def _start_of_last(path: Path, end: int) -> int:
    with path.open("rb") as file:
        window = min(end, limits.JOURNAL_LINE_BYTES_MAX + 1)
        file.seek(end - window)
        return end - window + file.read(window)[:-1].rfind(b"\n") + 1 if end else 0


def _unsound(path: Path, fault: str) -> JournalFault:
    return JournalFault(
        f"{path}: {fault}",
        hint=f"keep the file; run: kms audit verify {path}; compare with the neighbours' heads",
    )


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
