"""The secret that two sites need before their link can protect anything, on a file for each.

Rules: made once, written to two files that only their owner can read, carried to the sites by
hand, imported once, then erased. Both files hold the same bits and name the same ``secret_id``;
a node refuses an id it has used before.

Theory of operation: the file is JSON with the bits in base64, so that it survives any medium.
Reading checks permissions, version, both names and the length, and says which is wrong.
"""

import base64
import binascii
import os
import stat
from pathlib import Path
from typing import Literal

import msgspec

from kms.domain import limits
from kms.domain.errors import BadName, LocalFault
from kms.domain.names import NodeId, link_id, node_id, secret_id
from kms.domain.secret import Secret
from kms.ports.admin import CarriedSecret
from kms.ports.entropy import Entropy


class _File(msgspec.Struct, forbid_unknown_fields=True):
    version: Literal[1]
    secret_id: str
    link: str
    bits: str


def make(one: NodeId, other: NodeId, entropy: Entropy) -> CarriedSecret:
    """A fresh secret for the link between two different nodes."""
    nodes = (min(one, other), max(one, other))
    link_id(*nodes)
    name = entropy.bits(16)
    return CarriedSecret(
        secret_id=secret_id(name.expose().hex()),
        nodes=nodes,
        bits=entropy.bits(limits.SECRET_BYTES),
    )


def write(secret: CarriedSecret, directory: Path) -> tuple[Path, Path]:
    """One file for each site, mode 0600, on disk. Raises ``LocalFault``, leaving neither, when
    one exists already or cannot be written."""
    link = link_id(*secret.nodes)
    paths = [directory / f"{link}.for-{node}.secret.json" for node in secret.nodes]
    made: list[Path] = []
    try:
        for path in paths:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            made.append(path)
            with os.fdopen(fd, "wb") as file:
                file.write(encode(secret))
                file.flush()
                os.fsync(fd)
    except OSError as error:
        for path in made:
            erase(path)
        raise LocalFault(
            f"{paths[len(made) - 1 if made else 0]}: {error.strerror}",
            hint="carry and import the secret that is there, or give another directory",
        ) from None
    return paths[0], paths[1]


def read_link_secret(path: Path, node: NodeId) -> CarriedSecret:
    """The secret of a file, for a link of ``node``. Raises ``LocalFault`` naming the file when
    others can read it, or it is no secret of this node."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            mode = os.fstat(fd).st_mode
            if not stat.S_ISREG(mode):
                raise LocalFault(f"{path} is not a regular file", hint="give the secret's file")
            if mode & 0o077:
                raise LocalFault(
                    f"{path} is open to others (mode {stat.S_IMODE(mode):04o})",
                    hint=f"if nobody read it: chmod 600 {path}; else make another secret",
                )
            data = file.read(limits.ADMIN_BODY_BYTES_MAX)
    except OSError as error:
        raise LocalFault(f"{path}: {error.strerror}", hint="give the secret's file") from None
    return decode(data, node, what=str(path))


def encode(secret: CarriedSecret) -> bytes:
    """The contents of the secret's file."""
    bits = base64.b64encode(secret.bits.expose()).decode()
    file = _File(version=1, secret_id=secret.secret_id, link=link_id(*secret.nodes), bits=bits)
    return msgspec.json.format(msgspec.json.encode(file)) + b"\n"


def decode(data: bytes, node: NodeId, *, what: str = "the secret") -> CarriedSecret:
    """The secret of such contents. Raises ``LocalFault``; no message holds any of the bits."""
    hint = "make one with: kms link-secret A B"
    try:
        file = msgspec.json.decode(data, type=_File)
        one, _, other = file.link.partition("~")
        nodes = (node_id(one), node_id(other))
        name = secret_id(file.secret_id)
        if link_id(*nodes) != file.link:
            raise BadName("link", file.link, "the smaller node name first")
        bits = bytearray(base64.b64decode(file.bits, validate=True))
    except (msgspec.DecodeError, binascii.Error, RecursionError) as error:
        # Only the kind of error: its text may quote the file.
        reason = f"{what} is no link secret: {type(error).__name__}"
        raise LocalFault(reason, hint=hint) from None
    except BadName as error:
        raise LocalFault(f"{what}: {error.reason}", hint=hint) from None
    secret = CarriedSecret(secret_id=name, nodes=nodes, bits=Secret.adopt(bits))
    if len(bits) != limits.SECRET_BYTES:
        secret.bits.wipe()
        reason = f"{what} holds {len(bits)} bytes, not {limits.SECRET_BYTES}"
        raise LocalFault(reason, hint=hint)
    if node not in nodes:
        secret.bits.wipe()
        raise LocalFault(
            f"{what} is for the link {file.link}, and this node is {node}",
            hint="take the file of a link of this node",
        )
    return secret


def erase(path: Path) -> None:
    """The file is gone, its contents overwritten first (which proves nothing on flash, see
    docs/storage.md). A file that is gone already is no error. Raises ``LocalFault``."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.pwrite(fd, bytes(os.fstat(fd).st_size), 0)
            os.fsync(fd)
        finally:
            os.close(fd)
        path.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        hint = "erase it by hand: it was imported, and must not lie about"
        raise LocalFault(f"{path}: {error.strerror}", hint=hint) from None
