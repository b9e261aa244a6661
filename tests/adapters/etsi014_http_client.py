"""A client of the 014 interface that checks each exchange against the OpenAPI document."""

import base64
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import attrs
import structlog
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from kms.adapters.edge import Bounds
from kms.adapters.etsi014_http import HotKeys, etsi014_app
from kms.adapters.etsi014_http.openapi import document
from kms.adapters.etsi014_http.routes import OPENAPI, PREFIX
from kms.adapters.memory.northbound import MemoryNorthbound
from kms.domain.limits import KEYS_BODY_BYTES_MAX
from kms.domain.names import NodeId
from tests.adapters.etsi004_http_client import ALICE, AUTHORITY, BOB, CONTEXTS, Answer
from tests.edge.authority import Authority
from tests.edge.support import Running, Stream, reply, running

EVE = "sae:eve.a"
NODE = NodeId("a")
BOUNDS = attrs.evolve(Bounds(), body_bytes_max=KEYS_BODY_BYTES_MAX)
_BASE = "urn:kms:openapi014"
_PATH = re.compile(re.escape(PREFIX) + r"/[^/]*/(status|enc_keys|dec_keys)")


@attrs.define
class Client:
    """One application's connection. What it exchanges is held against the document."""

    stream: Stream

    async def enc_keys(self, slave: str = BOB, body: object = None) -> Answer:
        return await self.post("enc_keys", slave, {} if body is None else body)

    async def dec_keys(self, master: str, *key_ids: str) -> Answer:
        body = {"key_IDs": [{"key_ID": one} for one in key_ids]}
        return await self.post("dec_keys", master, body)

    async def status(self, slave: str = BOB) -> Answer:
        return await self.get("status", slave)

    async def get(self, method: str, other: str, query: str = "") -> Answer:
        return await self.send("GET", url(method, other) + query)

    async def post(
        self,
        method: str,
        other: str,
        body: object,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """``body`` in bytes goes as it is."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **(headers or {})}
        answer = await self.send("POST", url(method, other), raw, sent)
        if answer.status == 200 and raw:
            _check_request(method, json.loads(raw))
        return answer

    async def send(
        self,
        verb: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        lines = [f"{verb} {path} HTTP/1.1", "Host: kms"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        lines += [] if body is None else [f"Content-Length: {len(body)}"]
        head = "\r\n".join(lines) + "\r\n\r\n"
        await self.stream.send_all(head.encode("latin-1") + (body or b""))
        answer = parsed(await reply(self.stream, seconds=10.0))
        check_answer(verb, path, answer)
        return answer


@attrs.frozen
class Site:
    """The adapter behind the edge, with the fake counter."""

    edge: Running
    counter: MemoryNorthbound

    @asynccontextmanager
    async def client(self, name: str = ALICE) -> AsyncIterator[Client]:
        async with self.edge.connect(CONTEXTS[name]) as stream:
            yield Client(stream)


@asynccontextmanager
async def site(
    way: str,
    counter: MemoryNorthbound | None = None,
    *,
    authority: Authority = AUTHORITY,
    bounds: Bounds = BOUNDS,
) -> AsyncIterator[Site]:
    """``way``: ``fast`` or ``slow``, the same contract."""
    counter = counter or MemoryNorthbound()
    log = structlog.wrap_logger(None, processors=[_drop])
    hot = HotKeys(counter, NODE, log) if way == "fast" else None
    app = etsi014_app(counter, NODE, log)
    async with running(app, authority=authority, bounds=bounds, hot=hot) as edge:
        edge.probe = _gets_a_key
        yield Site(edge, counter)


async def _gets_a_key(stream: Stream) -> bool:
    """Whether alice is given one on this connection."""
    await stream.send_all(f"GET {url('enc_keys', BOB)} HTTP/1.1\r\nHost: k\r\n\r\n".encode())
    raw = await reply(stream)
    return raw.startswith(b"HTTP/1.1 200") and len(ids(parsed(raw))) == 1


def url(method: str, other: str) -> str:
    return f"{PREFIX}/{quote(other, safe='')}/{method}"


def ids(answer: Answer) -> list[str]:
    return [one["key_ID"] for one in answer.json["keys"]]


def bits(answer: Answer) -> list[bytes]:
    return [base64.b64decode(one["key"], validate=True) for one in answer.json["keys"]]


def parsed(raw: bytes) -> Answer:
    head, _, body = raw.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    return Answer(int(status.split(" ")[1]), headers, body)


def check_answer(verb: str, path: str, answer: Answer) -> None:
    """The status, media type and body are ones that the document describes; 401 has no body, and
    every other error is JSON with a message."""
    assert answer.headers["cache-control"] == "no-store"
    if answer.status == 401:
        assert answer.body == b""
        assert "content-type" not in answer.headers
    else:
        assert answer.headers["content-type"] == "application/json"
        if answer.status != 200:
            assert isinstance(answer.json["message"], str)
    template = _template(path.partition("?")[0])
    operation: Any = document()["paths"]
    operation = operation.get(template, {}).get(verb.lower())
    if operation is None:
        assert answer.status in (404, 405)
        return
    described = operation["responses"][str(answer.status)]
    if "content" in described:
        at = f"/paths/{_escaped(template)}/{verb.lower()}/responses/{answer.status}"
        _validate(f"{at}/content/application~1json/schema", answer.json)
    else:
        assert answer.body == b""


def _check_request(method: str, body: object) -> None:
    """A request that was served is one that the document describes."""
    at = f"/paths/{_escaped(_template(url(method, 'x')))}/post/requestBody"
    _validate(f"{at}/content/application~1json/schema", body)


def _template(path: str) -> str:
    if path == OPENAPI:
        return path
    found = _PATH.fullmatch(path)
    other = "master_SAE_ID" if found and found[1] == "dec_keys" else "slave_SAE_ID"
    return f"{PREFIX}/{{{other}}}/{found[1]}" if found else "none"


def _escaped(path: str) -> str:
    # A fragment is percent-decoded when it is looked up; braces stay as they are.
    return path.replace("~", "~0").replace("/", "~1")


def _validate(pointer: str, value: object) -> None:
    resource = Resource.from_contents(document(), default_specification=DRAFT202012)
    registry: Any = Registry().with_resource(_BASE, resource)
    schema = {"$ref": f"{_BASE}#{pointer}"}
    Draft202012Validator(schema, registry=registry).validate(value)


def _drop(*_: Any) -> Any:
    raise structlog.DropEvent
