"""The witness in a small file, outside the node's state directory: see docs/storage.md.

Rules: what was acknowledged is never lost to a torn write; a failed write is the last one; no
secret is in the file, and a person can read it (``head``).

Theory of operation. The file has two slots, a page apart, so that no sector holds parts of both. A
attestation goes into the slot that does not hold the last one, and is synced before it is
acknowledged. A write that a crash tears spoils its own slot only: its checksum fails, and the other
slot still has what was acknowledged before. A slot is one line of JSON and its SHA-256. The process
holds the file by ``flock``: a second node, or a second process of this one, is refused.
"""

import fcntl
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import attrs
import msgspec
import trio

from kms.domain.attestation import Attestation
from kms.domain.errors import WitnessFault
from kms.domain.names import NodeId

# Larger than any attestation, and one sector of the smallest that disks write whole.
SLOT_BYTES = 512
# No disk writes less than whole sectors of at most this.
SLOT_STEP_BYTES = 4096
_MAGIC = "kms witness 1"


@attrs.frozen(kw_only=True)
class FileOperations:
    """The calls that can fail, so that tests can make them fail."""

    write: Callable[[int, bytes, int], int] = os.pwrite
    sync: Callable[[int], None] = os.fdatasync


class FileWitness:
    """The Witness port over one file."""

    def __init__(
        self,
        path: Path,
        fd: int,
        *,
        attestation: Attestation | None,
        slot: int,
        trouble: str,
        files: FileOperations,
    ) -> None:
        """Use ``open``. ``slot``: where the attestation is."""
        self._path, self._fd, self._files = path, fd, files
        self._attestation, self._slot, self._trouble = attestation, slot, trouble
        self._fault = ""
        self._turn = trio.Lock()

    @classmethod
    async def open(
        cls, path: Path, node: NodeId, *, files: FileOperations | None = None
    ) -> "FileWitness":
        """The witness, held by this process; an empty one is made if there is none."""
        return await trio.to_thread.run_sync(_open, path, node, files or FileOperations())

    @property
    def attestation(self) -> Attestation | None:
        return self._attestation

    @property
    def trouble(self) -> str:
        return "" if self._attestation else self._trouble

    async def attest(self, attestation: Attestation) -> None:
        """As the port says. One at a time."""
        async with self._turn:
            if self._fault:
                raise self._refusal()
            try:
                # A disk that hangs must not keep the node from ending; then this was the last call.
                await trio.to_thread.run_sync(self._write, attestation, abandon_on_cancel=True)
            except trio.Cancelled:
                self._fault = "a write was given up"
                raise
            except OSError as error:
                self._fault = error.strerror or type(error).__name__
                raise self._refusal() from error

    async def aclose(self) -> None:
        async with self._turn:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1
            self._fault = self._fault or "it is closed"

    def _write(self, attestation: Attestation) -> None:
        slot = 1 - self._slot
        data = spell(attestation)
        written = self._files.write(self._fd, data, slot * SLOT_STEP_BYTES)
        if written != len(data):
            raise OSError(0, "the write was cut short")
        self._files.sync(self._fd)
        self._attestation, self._slot = attestation, slot

    def _refusal(self) -> WitnessFault:
        return WitnessFault(
            f"the witness {self._path} failed: {self._fault}",
            hint="make its disk good, then restart the node; nothing leaves until then",
        )


def spell(attestation: Attestation) -> bytes:
    """One slot."""
    line = f"{_MAGIC} ".encode() + msgspec.json.encode(attrs.asdict(attestation))
    data = line + b" " + hashlib.sha256(line).hexdigest().encode() + b"\n"
    assert len(data) <= SLOT_BYTES, "names are short, and numbers have 64 bits"
    return data.ljust(SLOT_BYTES, b"\0")


def read_slot(data: bytes) -> Attestation | None:
    """The attestation in a slot; None if it was never written, or not whole."""
    line, _, checksum = data.rstrip(b"\0").removesuffix(b"\n").rpartition(b" ")
    if hashlib.sha256(line).hexdigest().encode() != checksum:
        return None
    try:
        return msgspec.json.decode(line.removeprefix(f"{_MAGIC} ".encode()), type=Attestation)
    except msgspec.DecodeError:
        return None


def _open(path: Path, node: NodeId, files: FileOperations) -> FileWitness:
    fd = -1
    try:
        new = not path.exists()
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if new:
            _sync_directory(path.parent)
        slots = [os.pread(fd, SLOT_BYTES, number * SLOT_STEP_BYTES) for number in (0, 1)]
    except BlockingIOError:
        os.close(fd)
        raise WitnessFault(
            f"the witness {path} is held by another process",
            hint="each node needs a witness of its own; stop the other process",
        ) from None
    except OSError as error:
        if fd >= 0:
            os.close(fd)
        raise WitnessFault(
            f"the witness {path} cannot be used: {error.strerror}",
            hint="[witness] file must be writable; is its disk mounted?",
        ) from None
    read = [read_slot(slot) for slot in slots]
    best = max((0, 1), key=lambda number: each.generation if (each := read[number]) else -1)
    attestation = read[best]
    if attestation is not None and attestation.node != node:
        os.close(fd)
        raise WitnessFault(
            f"the witness {path} is node {attestation.node}'s, not {node}'s",
            hint="each node needs a witness of its own",
        )
    trouble = "its file is damaged" if any(slot.strip(b"\0") for slot in slots) else "it is empty"
    return FileWitness(
        path, fd, attestation=attestation, slot=best, trouble=f"{path}: {trouble}", files=files
    )


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
