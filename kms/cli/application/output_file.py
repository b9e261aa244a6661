"""A file that is there whole, or not at all, and is its owner's alone."""

import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from kms.domain.errors import LocalFault


def refuse_existing(path: Path, *, force: bool) -> None:
    """Raises ``LocalFault`` if the file could not take its place; asked before key is spent."""
    if path.is_dir():
        raise LocalFault(f"{path} is a directory", hint="give the name of a file with --output")
    if not force and (path.exists() or path.is_symlink()):
        raise LocalFault(f"{path} is there already", hint="give another --output, or --force")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise LocalFault(f"{path.parent} cannot be written to", hint="give another --output")


@contextmanager
def new_file(path: Path, *, force: bool, size: int = 0) -> Iterator[BinaryIO]:
    """The file takes its place, durably and with mode 0600, when the block ends well; else nothing
    of it stays. A ``kill -9`` leaves a hidden file ``.kms-*`` beside it. ``size``: so many bytes
    have room before the block begins. Raises ``LocalFault``."""
    refuse_existing(path, force=force)
    before = _end_in_order()
    descriptor, name = -1, ""
    try:
        # mkstemp makes it 0600, whatever the umask.
        descriptor, name = tempfile.mkstemp(prefix=".kms-", dir=path.parent)
        with os.fdopen(descriptor, "w+b") as file:
            if size:
                os.posix_fallocate(descriptor, 0, size)
            yield file
            file.flush()
            os.fsync(file.fileno())
        # Without --force what came there meanwhile stays as it is.
        if not force:
            refuse_existing(path, force=force)
        os.replace(name, path)
        name = ""
        _sync_directory(path.parent)
    except OSError as error:
        raise LocalFault(
            f"{path}: {error.strerror or error}", hint="make room, or give another --output"
        ) from None
    finally:
        if name:
            Path(name).unlink(missing_ok=True)
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _end_in_order() -> "signal._HANDLER":
    """SIGTERM ends the command as Ctrl-C does, so that nothing is left. What it did before."""
    if threading.current_thread() is not threading.main_thread():
        return None
    return signal.signal(signal.SIGTERM, signal.default_int_handler)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
