"""How a start begins: the passphrase is hashed while the rest of the node is imported.

Theory of operation. A start is two things of more than half a second each: Argon2id, which is C
code on one core, and importing the node, which is Python on another. So what reads the
configuration and opens the key file is imported first, and the hash is under way while ``kms.app``
is imported.

Rules: the process is hardened before it reads the passphrase. Nothing is written here: a start that
is refused later on leaves everything as it was.
"""

import ctypes
import resource
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import attrs

from kms import config as configuration
from kms.adapters.seal import FileSealer
from kms.config import Config
from kms.domain.errors import LocalFault
from kms.domain.secret import Secret

# prctl(2); Python has no name for it.
_PR_SET_DUMPABLE = 4


@attrs.frozen
class Beginning:
    """A node that is about to run."""

    path: Path
    """of the configuration"""
    config: Config
    sealer: Future[FileSealer] | None
    """open, or the fault why not; None where there is no passphrase, or no key file, yet"""


def begin(path: Path) -> Beginning:
    """The process is hardened, and the hash of the passphrase is under way. Raises
    ``LocalFault``."""
    config = configuration.load(path)
    harden()
    sealer = None
    if config.node.passphrase_file is not None and key_file(config).exists():
        passphrase = read_passphrase(config.node.passphrase_file)
        sealer = ThreadPoolExecutor(1).submit(_opened, key_file(config), passphrase)
    return Beginning(path, config, sealer)


def key_file(config: Config) -> Path:
    """The node's epoch keys."""
    return config.node.directory / "epoch-keys.json"


def _opened(path: Path, passphrase: Secret) -> FileSealer:
    try:
        return FileSealer.opened(path, passphrase)
    finally:
        passphrase.wipe()


def harden() -> None:
    """No core dumps and no debugger of the same user: both reveal keys
    (docs/limits-of-python.md)."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "prctl"):
        libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def read_passphrase(path: Path) -> Secret:
    """A passphrase file's content, without the line end that editors add."""
    try:
        return Secret(path.read_bytes().rstrip(b"\r\n"))
    except OSError as error:
        raise LocalFault(
            f"{path}: {error.strerror}", hint="[node] passphrase_file must be readable by the node"
        ) from None
