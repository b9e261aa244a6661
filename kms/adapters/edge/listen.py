"""Listening sockets: TCP by host and port, or a unix socket that only its owner may open."""

import os
import socket
import stat
from pathlib import Path

import trio

from kms.domain.errors import LocalFault

# Connections the kernel holds while we are busy; past it, clients retry.
_BACKLOG = 128


async def listen_tcp(host: str, port: int) -> list[trio.SocketListener]:
    """Bound and listening; port 0 takes a free one. Raises ``LocalFault``, naming the address."""
    try:
        return await trio.open_tcp_listeners(port, host=host, backlog=_BACKLOG)
    except OSError as error:
        raise LocalFault(
            f"cannot listen on {host} port {port}: {error.strerror or error}",
            hint="choose a free port and an address of this machine",
        ) from error


def listen_unix(path: Path, *, mode: int = 0o600) -> trio.SocketListener:
    """Bound and listening, with these permissions from the first moment on.

    A socket left by a dead process is replaced; any other file is not. Raises ``LocalFault``.
    """
    try:
        if path.exists() and not stat.S_ISSOCK(path.lstat().st_mode):
            raise LocalFault(f"{path} is not a socket", hint="remove it or choose another path")
        if path.exists() and _answers(path):
            raise LocalFault(f"{path} is in use", hint="another node runs here; stop it first")
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # The umask is the only way to have no moment at which others could connect.
            before = os.umask(0o777 & ~mode)
            try:
                listener.bind(str(path))
            finally:
                os.umask(before)
            listener.listen(_BACKLOG)
            return trio.SocketListener(trio.socket.from_stdlib_socket(listener))
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise LocalFault(
            f"cannot listen on {path}: {error.strerror or error}",
            hint="give a short path in a directory that the node may write",
        ) from error


def _answers(path: Path) -> bool:
    """Whether a live process listens there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
        except BlockingIOError:
            return True
        return True
