"""Disks that fail, and disks that are photographed at every step, for the store's tests."""

import errno
import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from kms.adapters.store_sqlite import Disk
from kms.adapters.store_sqlite.disk import Buffer


class FailingDisk(Disk):
    """From the ``nth`` call of ``operation`` on, every call of it fails with ``code``."""

    def __init__(self) -> None:
        self.operation = ""
        self.after = 0
        self.code = errno.EIO

    def fail(self, operation: str, *, after: int = 0, code: int = errno.EIO) -> None:
        """``after``: calls that still work."""
        self.operation, self.after, self.code = operation, after, code

    def heal(self) -> None:
        self.operation = ""

    def _strike(self, operation: str) -> None:
        if operation != self.operation:
            return
        self.after -= 1
        if self.after < 0:
            raise OSError(self.code, "injected")

    def read(self, fd: int, length: int, offset: int) -> bytes:
        self._strike("read")
        return super().read(fd, length, offset)

    def write(self, fd: int, buffers: Sequence[Buffer], offset: int) -> None:
        self._strike("write")
        super().write(fd, buffers, offset)

    def sync(self, fd: int) -> None:
        self._strike("sync")
        super().sync(fd)

    def extend(self, fd: int, size: int) -> None:
        self._strike("extend")
        super().extend(fd, size)

    def commit(self, database: sqlite3.Connection) -> None:
        if self.operation == "full":
            database.execute("PRAGMA max_page_count = 1")  # SQLite's own SQLITE_FULL
        self._strike("commit")
        super().commit(database)


class PhotographedDisk(Disk):
    """Copies the directory before and after each write, sync and commit while ``into`` is set.

    ``kill``: the files as they are, which is what ``kill -9`` leaves. ``power``: slots and material
    as they were at their last sync, which is the least that a power cut leaves; SQLite's files as
    they are (its own syncs are its own affair).
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.into: Path | None = None
        self.pictures: list[Path] = []
        self._names: dict[int, str] = {}
        self._synced: dict[str, bytes] = {}

    def open(self, path: Path) -> int:
        fd = super().open(path)
        self._names[fd] = path.name
        return fd

    def begin(self, into: Path) -> None:
        """Everything so far is synced."""
        self.into = into
        into.mkdir()
        for name in ("slots", "material"):
            self._synced[name] = (self._directory / name).read_bytes()
        self._shoot("begin")

    def _shoot(self, moment: str) -> None:
        if self.into is None:
            return
        for kind in ("kill", "power"):
            picture = self.into / f"{len(self.pictures):03}-{moment}-{kind}"
            shutil.copytree(self._directory, picture)
            if kind == "power":
                for name, content in self._synced.items():
                    (picture / name).write_bytes(content)
            self.pictures.append(picture)

    def write(self, fd: int, buffers: Sequence[Buffer], offset: int) -> None:
        super().write(fd, buffers, offset)
        self._shoot(f"written-{self._names.get(fd, '')}")

    def sync(self, fd: int) -> None:
        super().sync(fd)
        name = self._names.get(fd, "")
        if self.into is not None and name in self._synced:
            self._synced[name] = (self._directory / name).read_bytes()
        self._shoot(f"synced-{name}")

    def commit(self, database: sqlite3.Connection) -> None:
        super().commit(database)
        self._shoot("committed")
