"""A small key manager that speaks ETSI GS QKD 014 by the letter, for both its sites at once."""

import json
import secrets
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote
from uuid import UUID, uuid4

import attrs
import trio

from kms.adapters.tls import Credentials, uri_sans
from tests.client.faces import http, read_request, scripted

NOT_FOUND = "one or more keys specified are not found on KME"
NO_EXTENSION = "not all extension_mandatory parameters are supported"
KNOWN = "test_colour"
"""the one extension that this key manager knows"""


@attrs.define
class Stored:
    master: str
    waiting: set[str]
    """slaves that have not fetched it"""
    bits: bytes


@attrs.define
class FakeKME:
    """Keys by ID, delivered once to each; ``asked`` is what came in."""

    keys: dict[UUID, Stored] = attrs.field(factory=dict)
    slaves: frozenset[str] = frozenset({"sae:app.a", "sae:app.b", "sae:app.c", "sae:odd/ü%"})
    empty: bool = False
    """no key is left"""
    asked: list[tuple[str, str, str]] = attrs.field(factory=list)
    """caller, method and path"""

    async def serve(self, stream: trio.SSLStream[trio.SocketStream]) -> None:
        caller = uri_sans(stream.getpeercert(binary_form=True) or b"")[0]
        while request := await read_request(stream):
            head, _, body = request.partition(b"\r\n\r\n")
            method, path, _ = head.split(b"\r\n")[0].decode().split(" ")
            self.asked.append((caller, method, path))
            status, told = self._answer(caller, method, path, body)
            said = b"" if told is None else json.dumps(told).encode()
            await stream.send_all(
                http(said, status=status, headers="Content-Type: application/json\r\n")
            )

    def _answer(
        self, caller: str, method: str, path: str, body: bytes
    ) -> tuple[str, dict[str, Any] | None]:
        parts = path.split("/")
        if parts[:4] != ["", "api", "v1", "keys"] or len(parts) != 6:
            return "404 Not Found", {"message": "no such method"}
        other, function = unquote(parts[4]), parts[5]
        if other not in self.slaves:
            return _bad("unknown SAE")
        if (method, function) == ("GET", "status"):
            return "200 OK", self._status(caller, other)
        asked = json.loads(body or b"{}")
        if (method, function) == ("POST", "enc_keys"):
            return self._enc_keys(caller, other, asked)
        if (method, function) == ("POST", "dec_keys"):
            return self._dec_keys(caller, other, asked)
        return "405 Method Not Allowed", {"message": "no such method"}

    def _status(self, caller: str, other: str) -> dict[str, Any]:
        return {
            "source_KME_ID": "kme-a",
            "target_KME_ID": "kme-b",
            "master_SAE_ID": caller,
            "slave_SAE_ID": other,
            "key_size": 256,
            "stored_key_count": 0 if self.empty else 1000,
            "max_key_count": 1000,
            "max_key_per_request": 16,
            "max_key_size": 8192,
            "min_key_size": 64,
            "max_SAE_ID_count": 2,
            "status_extension": {"test_mood": "good"},
        }

    def _enc_keys(self, caller: str, other: str, asked: dict[str, Any]) -> tuple[str, Any]:
        size = asked.get("size", 256)
        if size % 8:
            return _bad("size shall be a multiple of 8")
        if not 64 <= size <= 8192 or not 1 <= asked.get("number", 1) <= 16:
            return _bad("too much or too little")
        unknown = [
            name for each in asked.get("extension_mandatory", []) for name in each if name != KNOWN
        ]
        if unknown:
            return _bad(NO_EXTENSION, [{"extension_mandatory_unsupported": unknown[0]}])
        if self.empty:
            return "503 Service Unavailable", {"message": "no key is left"}
        made = {}
        for _ in range(asked.get("number", 1)):
            slaves = {other, *asked.get("additional_slave_SAE_IDs", [])}
            made[uuid4()] = Stored(caller, slaves, secrets.token_bytes(size // 8))
        self.keys |= made
        return "200 OK", _container({key_id: stored.bits for key_id, stored in made.items()})

    def _dec_keys(self, caller: str, master: str, asked: dict[str, Any]) -> tuple[str, Any]:
        ids = [UUID(each["key_ID"]) for each in asked["key_IDs"]]
        found = {key_id: self.keys[key_id] for key_id in ids if key_id in self.keys}
        if len(found) != len(ids):
            return _bad(NOT_FOUND)
        if any(stored.master != master for stored in found.values()):
            return "401 Unauthorized", None
        if any(caller not in stored.waiting for stored in found.values()):
            return _bad(NOT_FOUND) if caller in self.slaves else ("401 Unauthorized", None)
        for stored in found.values():
            stored.waiting.remove(caller)
        # The order is nowhere promised.
        return "200 OK", _container({key_id: found[key_id].bits for key_id in reversed(ids)})


def _bad(message: str, details: list[dict[str, Any]] | None = None) -> tuple[str, dict[str, Any]]:
    return "400 Bad Request", {"message": message, **({"details": details} if details else {})}


def _container(keys: dict[UUID, bytes]) -> dict[str, Any]:
    return {
        "keys": [
            {"key_ID": str(key_id), "key": b64encode(bits).decode()}
            for key_id, bits in keys.items()
        ]
    }


@asynccontextmanager
async def key_manager(credentials: Credentials) -> AsyncIterator[tuple[FakeKME, str]]:
    """The key manager and its URL."""
    kme = FakeKME()
    async with scripted(credentials, kme.serve) as port:
        yield kme, f"https://127.0.0.1:{port}"
