"""The store's directory: private to its owner, and held by one process at a time.

The lock is ``flock`` on a file that names the holder. It goes with the process, however that ends.
"""

import fcntl
import os
from pathlib import Path

from kms.adapters.store_sqlite.disk import Disk
from kms.domain.errors import StoreFault

DATABASE = "records.db"
SLOTS = "slots"
MATERIAL = "material"
LOCK = "lock"


class Directory:
    """Held from construction until ``release``."""

    def __init__(self, path: Path, disk: Disk) -> None:
        """The directory exists with mode 0700 and is ours alone, or ``StoreFault``."""
        self.path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.chmod(0o700)
            self._fd = disk.open(path / LOCK)
        except OSError as error:
            raise StoreFault(
                f"the store's directory {path} cannot be used: {error.strerror}",
                hint="make it a directory that the node's user may read and write",
            ) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._fd)
            raise StoreFault(
                f"the store {path} is locked by process {holder}",
                hint=f"stop process {holder}, or give this node a directory of its own",
            ) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Another process may hold it."""
        os.close(self._fd)
