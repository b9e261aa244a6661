"""The file operations that the store uses, in one place, so that a test can make each one fail.

Rule: nothing in this package writes, syncs or commits but through a ``Disk``. (SQLite does its own
file work; ``commit`` is the one moment of it that matters here.)
"""

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from kms.adapters.store_sqlite.limits import BUFFERS_PER_WRITE_MAX

Buffer = bytes | bytearray | memoryview


class Disk:
    """The real thing. Every method raises ``OSError`` as the system gives it."""

    def open(self, path: Path) -> int:
        """A descriptor to read and write the file, which exists with mode 0600."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def read(self, fd: int, length: int, offset: int) -> bytes:
        """Up to ``length`` bytes; fewer only where the file ends."""
        first = os.pread(fd, length, offset)
        if len(first) == length or not first:
            return first
        parts, got = [first], len(first)
        while got < length and (more := os.pread(fd, length - got, offset + got)):
            parts.append(more)
            got += len(more)
        return b"".join(parts)

    def write(self, fd: int, buffers: Sequence[Buffer], offset: int) -> None:
        """All of the buffers lie one after the other from ``offset`` on; not yet durable."""
        for at in range(0, len(buffers), BUFFERS_PER_WRITE_MAX):
            group = buffers[at : at + BUFFERS_PER_WRITE_MAX]
            wanted = sum(len(each) for each in group)
            done = os.pwritev(fd, group, offset)
            if done < wanted:
                rest = memoryview(b"".join(group))
                while done < wanted:
                    done += os.pwrite(fd, rest[done:], offset + done)
            offset += wanted

    def sync(self, fd: int) -> None:
        """What was written is durable. After an error nothing is known about it."""
        os.fdatasync(fd)

    def size(self, fd: int) -> int:
        """Bytes of the file."""
        return os.fstat(fd).st_size

    def extend(self, fd: int, size: int) -> None:
        """The file is ``size`` bytes long and has its room on the disk."""
        os.posix_fallocate(fd, 0, size)

    def close(self, fd: int) -> None:
        os.close(fd)

    def sync_directory(self, path: Path) -> None:
        """Files made in the directory are found there after a power loss."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def commit(self, database: sqlite3.Connection) -> None:
        """The open transaction is durable."""
        database.execute("COMMIT")
