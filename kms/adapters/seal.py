"""The sealer port: epoch keys in a key file, each wrapped under the node's passphrase.

    passphrase --Argon2id, salt--> key-encrypting key --XChaCha20-Poly1305--> epoch keys (key file)
    epoch key  --XChaCha20-Poly1305, context---------> data keys (the store's slots)

Rules. The key file is only ever replaced whole: written beside, synced, renamed, directory synced.
The file that was replaced is overwritten through the descriptor that still holds it, so a retired
epoch's key is in no file of the node (a flash disk may keep old sectors: docs/storage.md).
What is in the file is bounded before it is believed: a hostile cost parameter would eat the memory.
"""

import hashlib
import os
import secrets
import struct
import threading
from pathlib import Path
from typing import Final, Self

import attrs
import msgspec
import trio
from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
)
from nacl.exceptions import CryptoError
from nacl.pwhash import argon2id

from kms.domain.errors import LocalFault, Sealed, StoreFault
from kms.domain.secret import Secret

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 24
TAG_BYTES: Final = 16
_EPOCH = struct.Struct("<I")
WRAPPED_BYTES: Final = _EPOCH.size + NONCE_BYTES + KEY_BYTES + TAG_BYTES
# A key file is a few hundred bytes per epoch; more is no key file.
_FILE_BYTES_MAX: Final = 256 * 1024
# Epochs kept at a time; a rekey retires the old ones long before.
EPOCHS_MAX: Final = 256
# The largest password hash that a file may ask for.
_MEMORY_BYTES_MAX: Final = 1024 * 1024 * 1024
_PASSES_MAX: Final = 32
_FORMAT: Final = "kms epoch keys 1"


@attrs.frozen(kw_only=True)
class Cost:
    """What a guess at the passphrase costs (Argon2id)."""

    passes: int
    memory_bytes: int


# 256 MiB and three passes: about half a second, once per start.
STRONG: Final = Cost(passes=argon2id.OPSLIMIT_MODERATE, memory_bytes=argon2id.MEMLIMIT_MODERATE)
# For tests: the least the library takes.
WEAK: Final = Cost(passes=argon2id.OPSLIMIT_MIN, memory_bytes=argon2id.MEMLIMIT_MIN)


class _KeyFile(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The file, as JSON."""

    format: str
    passes: int
    memory_bytes: int
    salt: bytes
    keys: dict[int, bytes]
    """epoch number: its key, wrapped"""
    digest: str
    """SHA-256 of the rest: tells a damaged file from a wrong passphrase"""

    def digest_now(self) -> str:
        """What the digest must be."""
        rest = [self.format, self.passes, self.memory_bytes, self.salt, sorted(self.keys.items())]
        return hashlib.sha256(msgspec.json.encode(rest)).hexdigest()


@attrs.frozen
class _Open:
    """The epoch keys while unsealed. Replaced whole, so the store's thread sees all or nothing."""

    keys: dict[int, Secret]
    kek: Secret

    @property
    def epoch(self) -> int:
        return max(self.keys)


class FileSealer:
    """Epoch keys in one file. Implements ``Sealer``. ``wrap`` and ``unwrap`` may be called from any
    thread."""

    def __init__(self, path: Path) -> None:
        """Sealed. The file is read by ``unseal``."""
        self._path = path
        self._open: _Open | None = None
        self._changing = trio.Lock()
        # A key must not be wiped between being found and being used: it would wrap as zeros.
        self._using = threading.Lock()

    @classmethod
    def create(cls, path: Path, passphrase: Secret, *, cost: Cost = STRONG) -> Self:
        """A new key file with one epoch key is durable; the sealer is open. Blocks for the time of
        the password hash. ``LocalFault`` if the file is there already, or the passphrase empty."""
        _check_passphrase(passphrase)
        if path.exists():
            raise LocalFault(
                f"the key file {path} is there already",
                hint="unseal with it; to start anew, move it away (its keys are then lost)",
            )
        salt = secrets.token_bytes(argon2id.SALTBYTES)
        kek = _derive(passphrase, salt, cost)
        sealer = cls(path)
        opened = _Open({1: Secret(secrets.token_bytes(KEY_BYTES))}, kek)
        _write(path, _sealed_file(opened, salt, cost))
        sealer._open = opened
        return sealer

    @classmethod
    def opened(cls, path: Path, passphrase: Secret) -> Self:
        """Open, from a file that is there; or ``LocalFault``. Blocks as ``create`` does."""
        sealer = cls(path)
        sealer._open = _unsealed(path, passphrase)
        return sealer

    @property
    def sealed(self) -> bool:
        return self._open is None

    @property
    def epoch(self) -> int:
        opened = self._open
        return opened.epoch if opened is not None else 0

    async def unseal(self, passphrase: Secret) -> None:
        """As ``Sealer.unseal``. Open already: the passphrase is checked, and that is all."""
        async with self._changing:
            opened = await trio.to_thread.run_sync(_unsealed, self._path, passphrase)
            if self._open is None:
                self._open = opened

    def seal(self) -> None:
        """The keys are wiped from memory: ``wrap`` and ``unwrap`` raise ``Sealed``."""
        with self._using:
            opened, self._open = self._open, None
            if opened is not None:
                opened.kek.wipe()
                for key in opened.keys.values():
                    key.wipe()

    def wrap(self, data_key: Secret, context: bytes) -> bytes:
        """``WRAPPED_BYTES`` long: epoch, nonce, sealed key."""
        assert len(data_key) == KEY_BYTES, "a data key has 32 bytes"
        with self._using:
            opened = self._require()
            epoch = opened.epoch
            key = bytes(opened.keys[epoch].expose())
        head = _EPOCH.pack(epoch)
        nonce = secrets.token_bytes(NONCE_BYTES)
        plain = bytes(data_key.expose())
        return (
            head
            + nonce
            + crypto_aead_xchacha20poly1305_ietf_encrypt(plain, head + context, nonce, key)
        )

    def unwrap(self, wrapped: bytes, context: bytes) -> Secret:
        """As ``Sealer.unwrap``."""
        head, rest = wrapped[: _EPOCH.size], wrapped[_EPOCH.size :]
        epoch = _EPOCH.unpack(head)[0] if len(wrapped) == WRAPPED_BYTES else 0
        with self._using:
            held = self._require().keys.get(epoch)
            key = bytes(held.expose()) if held is not None else None
        if epoch == 0:
            raise _altered()
        if key is None:
            raise StoreFault(
                f"a data key is wrapped under epoch {epoch}, which is not kept",
                hint="the epoch was retired, or the key file is an older copy: use the latest",
            )
        try:
            return Secret(
                crypto_aead_xchacha20poly1305_ietf_decrypt(
                    rest[NONCE_BYTES:], head + context, rest[:NONCE_BYTES], key
                )
            )
        except CryptoError:
            raise _altered() from None

    async def rotate(self) -> int:
        """As ``Sealer.rotate``. Cancellation: before anything changed, or not at all."""
        async with self._changing:
            opened = self._require()
            if len(opened.keys) >= EPOCHS_MAX:
                raise LocalFault(
                    f"{EPOCHS_MAX} epochs are kept", hint="wrap the data keys anew, retire old ones"
                )
            keys = dict(opened.keys)
            keys[opened.epoch + 1] = Secret(secrets.token_bytes(KEY_BYTES))
            await self._replace(_Open(keys, opened.kek))
            return self.epoch

    async def retire(self, before_epoch: int) -> None:
        """As ``Sealer.retire``. The current epoch's key always stays."""
        async with self._changing:
            opened = self._require()
            kept = {
                epoch: key
                for epoch, key in opened.keys.items()
                if epoch >= min(before_epoch, opened.epoch)
            }
            # Also without change: a replacement that a crash interrupted is finished.
            await self._replace(_Open(kept, opened.kek))
            with self._using:
                for epoch, key in opened.keys.items():
                    if epoch not in kept:
                        key.wipe()

    async def change_passphrase(self, passphrase: Secret, *, cost: Cost = STRONG) -> None:
        """The epoch keys are kept under this passphrase only, durably."""
        _check_passphrase(passphrase)
        async with self._changing:
            opened = self._require()
            salt = secrets.token_bytes(argon2id.SALTBYTES)
            kek = await trio.to_thread.run_sync(_derive, passphrase, salt, cost)
            changed = _Open(opened.keys, kek)
            await trio.to_thread.run_sync(_write, self._path, _sealed_file(changed, salt, cost))
            self._open = changed
            opened.kek.wipe()

    async def _replace(self, opened: _Open) -> None:
        """The file, and then the sealer, hold these keys."""

        def write() -> None:
            old = _read(self._path)
            cost = Cost(passes=old.passes, memory_bytes=old.memory_bytes)
            _write(self._path, _sealed_file(opened, old.salt, cost))

        await trio.to_thread.run_sync(write)
        self._open = opened

    def _require(self) -> _Open:
        opened = self._open
        if opened is None:
            raise Sealed
        return opened


def _check_passphrase(passphrase: Secret) -> None:
    if len(passphrase) == 0:
        raise LocalFault("the passphrase is empty", hint="give one; a line of words is good")


def _altered() -> StoreFault:
    return StoreFault(
        "a wrapped data key was altered, or belongs elsewhere",
        hint="the disk alters data: burn the block, check the disk",
    )


def _derive(passphrase: Secret, salt: bytes, cost: Cost) -> Secret:
    return Secret(
        argon2id.kdf(
            KEY_BYTES,
            bytes(passphrase.expose()),
            salt,
            opslimit=cost.passes,
            memlimit=cost.memory_bytes,
        )
    )


def _bound(epoch: int) -> bytes:
    return f"{_FORMAT} epoch {epoch}".encode()


def _sealed_file(opened: _Open, salt: bytes, cost: Cost) -> _KeyFile:
    keys = {}
    for epoch, key in opened.keys.items():
        nonce = secrets.token_bytes(NONCE_BYTES)
        keys[epoch] = nonce + crypto_aead_xchacha20poly1305_ietf_encrypt(
            bytes(key.expose()), _bound(epoch), nonce, bytes(opened.kek.expose())
        )
    file = _KeyFile(
        format=_FORMAT,
        passes=cost.passes,
        memory_bytes=cost.memory_bytes,
        salt=salt,
        keys=keys,
        digest="",
    )
    file.digest = file.digest_now()
    return file


def _unsealed(path: Path, passphrase: Secret) -> _Open:
    """The epoch keys, or ``LocalFault``."""
    file = _read(path)
    kek = _derive(passphrase, file.salt, Cost(passes=file.passes, memory_bytes=file.memory_bytes))
    keys = {}
    for epoch, wrapped in file.keys.items():
        try:
            plain = crypto_aead_xchacha20poly1305_ietf_decrypt(
                wrapped[NONCE_BYTES:], _bound(epoch), wrapped[:NONCE_BYTES], bytes(kek.expose())
            )
        except CryptoError:
            raise LocalFault(
                "the passphrase is wrong", hint=f"give the passphrase of {path}"
            ) from None
        keys[epoch] = Secret(plain)
    return _Open(keys, kek)


def _read(path: Path) -> _KeyFile:
    """The file, its bounds checked; ``LocalFault`` if it is missing or damaged."""
    damaged = LocalFault(
        f"the key file {path} is damaged",
        hint="restore it from a copy; without it the stored key material is lost",
    )
    try:
        with path.open("rb") as source:
            text = source.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise LocalFault(
            f"the key file {path} cannot be read: {error.strerror}",
            hint="check its path in the node's configuration; kms init makes a new one",
        ) from error
    if len(text) > _FILE_BYTES_MAX:
        raise damaged
    try:
        file = msgspec.json.decode(text, type=_KeyFile)
    except (msgspec.MsgspecError, ValueError):
        raise damaged from None
    sound = (
        file.format == _FORMAT
        and argon2id.OPSLIMIT_MIN <= file.passes <= _PASSES_MAX
        and argon2id.MEMLIMIT_MIN <= file.memory_bytes <= _MEMORY_BYTES_MAX
        and len(file.salt) == argon2id.SALTBYTES
        and 1 <= len(file.keys) <= EPOCHS_MAX
        and all(0 < epoch < 2**32 for epoch in file.keys)
        and all(len(key) == NONCE_BYTES + KEY_BYTES + TAG_BYTES for key in file.keys.values())
        and file.digest == file.digest_now()
    )
    if not sound:
        raise damaged
    return file


def _write(path: Path, file: _KeyFile) -> None:
    """The file is replaced, durably, and what it replaced is overwritten."""
    beside = path.with_name(path.name + ".new")
    try:
        _overwrite(beside)  # left by a crash
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            text = msgspec.json.encode(file)
            while text:
                text = text[os.write(fd, text) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        try:
            old = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            old = -1
        try:
            beside.replace(path)
            directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
            if old >= 0:
                os.pwrite(old, bytes(os.fstat(old).st_size), 0)
                os.fdatasync(old)
        finally:
            if old >= 0:
                os.close(old)
    except OSError as error:
        raise LocalFault(
            f"the key file {path} cannot be written: {error.strerror}",
            hint="look at the disk and the rights of the directory, then try again",
        ) from error


def _overwrite(path: Path) -> None:
    """A file that is there is overwritten and gone."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.pwrite(fd, bytes(os.fstat(fd).st_size), 0)
        os.fdatasync(fd)
    finally:
        os.close(fd)
    path.unlink()
