"""The other end of the admin socket: what the command line uses. Plain and blocking.

Rules: a refusal of the node is raised here as the same kind of fault, hint included; a node that
is not there is told from one that refuses.
"""

import socket
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import msgspec

from kms.domain.errors import LocalFault

# Argon2id on a slow machine takes seconds; rekeying a full store takes longer.
_ANSWER_S = 600.0
_ANSWER_BYTES_MAX = 16 * 1024 * 1024


class AdminClient:
    """One node's operator counter, by the path of its socket. One connection per command."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, target: str) -> bytes:
        """The body of the answer. Raises ``LocalFault``."""
        return self._ask("GET", target, None)

    def post(self, target: str, body: bytes | bytearray = b"") -> dict[str, Any]:
        """The fields of the answer. Raises ``LocalFault``."""
        fields: dict[str, Any] = msgspec.json.decode(self._ask("POST", target, body))
        return fields

    def _ask(self, method: str, target: str, body: bytes | bytearray | None) -> bytes:
        connection = _UnixConnection(self._path)
        try:
            connection.request(method, target, body=body)
            response = connection.getresponse()
            data = response.read(_ANSWER_BYTES_MAX)
        except (FileNotFoundError, ConnectionRefusedError):
            raise LocalFault(
                f"no node answers at {self._path}", hint="start it with: kms run NODE.toml"
            ) from None
        except PermissionError:
            raise LocalFault(
                f"{self._path} is another user's", hint="run this as the node's user"
            ) from None
        except (OSError, HTTPException) as error:
            raise LocalFault(
                f"the node broke off: {error or type(error).__name__}",
                hint="look at its log; what the command did so far is in the audit",
            ) from None
        finally:
            connection.close()
        if response.status >= 300:
            raise _refusal(response.status, data)
        return data


class _UnixConnection(HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_ANSWER_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _refusal(status: int, data: bytes) -> LocalFault:
    try:
        fields = msgspec.json.decode(data, type=dict[str, str])
    except msgspec.DecodeError:
        fields = {}
    reason = fields.get("message") or f"the node answered {status}"
    return LocalFault(reason, hint=fields.get("hint") or "look at the node's log")
