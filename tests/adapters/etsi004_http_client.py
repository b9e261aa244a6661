"""A client of the 004 binding that checks each exchange against the OpenAPI document."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any

import attrs
import structlog
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from kms.adapters.edge import Bounds
from kms.adapters.etsi004_http import HotGetKey, etsi004_app
from kms.adapters.etsi004_http.openapi import PREFIX, document
from kms.adapters.memory.northbound import MemoryNorthbound
from tests.edge.authority import Authority
from tests.edge.support import Running, Stream, reply, running

AUTHORITY = Authority()
ALICE, BOB = "sae:alice.a", "sae:bob.b"
CONTEXTS = {name: AUTHORITY.client_context(name) for name in (ALICE, BOB, "sae:eve.a")}
_BASE = "urn:kms:openapi"
WAYS = ("fast", "slow")
"""GET_KEY is answered on the connection's own task, or by hypercorn and Quart: the same contract"""
_way: ContextVar[str] = ContextVar("way", default="fast")


@attrs.frozen
class Answer:
    """One HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@attrs.define
class Client:
    """One application's connection. What it exchanges is held against the document."""

    stream: Stream
    checked: bool = True

    async def post(
        self,
        function: str,
        body: object,
        *,
        headers: Mapping[str, str] | None = None,
        alias: bool = False,
    ) -> Answer:
        """``body`` in bytes goes as it is. ``alias``: in spellings that the schema leaves out."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **(headers or {})}
        answer = await self.send("POST", f"{PREFIX}/{function}", raw, sent)
        if answer.status == 200 and not alias:
            check_request(f"{PREFIX}/{function}", json.loads(raw))
        return answer

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        return await self.send("GET", path, b"", headers or {})

    async def send(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        lines = [f"{method} {path} HTTP/1.1", "Host: kms", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join(lines) + "\r\n\r\n"
        await self.stream.send_all(head.encode("latin-1") + body)
        answer = _parsed(await reply(self.stream))
        check_answer(path, method, answer)
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

    async def open(self, alice: Client, bob: Client, **qos: object) -> str:
        """A stream of the two; its Key_stream_ID."""
        first = await alice.post("open_connect", {"source": ALICE, "destination": BOB, "QoS": qos})
        ksid: str = first.json["Key_stream_ID"]
        second = await bob.post(
            "open_connect", {"source": BOB, "destination": ALICE, "Key_stream_ID": ksid}
        )
        assert second.json["status"] == 0
        return ksid


@asynccontextmanager
async def site(counter: MemoryNorthbound | None = None) -> AsyncIterator[Site]:
    counter = counter or MemoryNorthbound()
    log = structlog.wrap_logger(None, processors=[_drop])
    app = etsi004_app(counter, log)
    hot = HotGetKey(counter, log) if _way.get() == "fast" else None
    async with running(app, authority=AUTHORITY, bounds=Bounds(), hot=hot) as edge:
        yield Site(edge, counter)


@contextmanager
def on(way: str) -> Iterator[None]:
    """Sites made inside answer GET_KEY on this way."""
    token = _way.set(way)
    try:
        yield
    finally:
        _way.reset(token)


def check_request(path: str, body: object) -> None:
    """A request that was served is one that the document describes."""
    _validate(f"/paths/{_escaped(path)}/post/requestBody/content/application~1json/schema", body)


def check_answer(path: str, method: str, answer: Answer) -> None:
    """The status, media type, headers and body are ones that the document describes."""
    path = path.partition("?")[0]
    operation = _paths().get(path, {}).get(method.lower())
    if operation is None:
        assert answer.status in (400, 404, 405)
        return
    described = operation["responses"][str(answer.status)]
    media_type = answer.headers["content-type"]
    assert media_type in described["content"], f"{media_type} is not in the document"
    assert answer.headers["cache-control"] == "no-store"
    at = f"/paths/{_escaped(path)}/{method.lower()}/responses/{answer.status}"
    for name, header in described.get("headers", {}).items():
        value = answer.headers.get(name.lower())
        octets = media_type == "application/octet-stream"
        if octets or header.get("required"):
            assert value is not None, f"{name} is missing"
            _validate(f"{at}/headers/{name}/schema", value)
    if media_type == "application/json":
        _validate(f"{at}/content/application~1json/schema", answer.json)


def _validate(pointer: str, value: object) -> None:
    resource = Resource.from_contents(document(), default_specification=DRAFT202012)
    registry: Any = Registry().with_resource(_BASE, resource)
    schema = {"$ref": f"{_BASE}#{pointer}"}
    Draft202012Validator(schema, registry=registry).validate(value)


def _escaped(path: str) -> str:
    return path.replace("~", "~0").replace("/", "~1")


def _paths() -> dict[str, Any]:
    paths: Any = document()["paths"]
    return dict(paths)


def _parsed(raw: bytes) -> Answer:
    head, _, body = raw.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return Answer(int(status.split(" ")[1]), headers, body)


def _drop(*_: Any) -> Any:
    raise structlog.DropEvent
