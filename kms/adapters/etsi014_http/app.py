"""The slow way: an ASGI application for the edge, on a listener with mutual TLS.

Reason: plain ASGI, without Quart. A SAE ID in the path may hold an encoded slash, which Quart's
routing sees decoded; and of all it offers, nothing would be left to use here.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from structlog.typing import FilteringBoundLogger

from kms.adapters.edge import PEER_DER, Answer
from kms.adapters.etsi014_http import answering
from kms.adapters.etsi014_http.desk import Desk
from kms.adapters.etsi014_http.reading import BadRequest
from kms.adapters.etsi014_http.routes import Route, route
from kms.adapters.identity import Identities
from kms.domain.names import NodeId
from kms.ports.northbound import Northbound

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
Application = Callable[[Any, Any, Any], Awaitable[None]]


def etsi014_app(
    northbound: Northbound,
    node: NodeId,
    log: FilteringBoundLogger,
    identities: Identities | None = None,
) -> Application:
    """``node``: this KME, as its certificate names it after ``kms:``. ``identities`` None: an
    application is its URI SAN."""
    desk = Desk(northbound, node, log, identities)

    async def app(scope: MutableMapping[str, Any], receive: _Receive, send: _Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif (body := await _body(receive)) is not None:
            await _send_whole(send, await _answer(desk, scope, body))

    return app


async def _answer(desk: Desk, scope: MutableMapping[str, Any], body: bytes) -> Answer:
    query: bytes = scope["query_string"]
    found = route(scope["method"], scope["raw_path"] + (b"?" + query if query else b""))
    if not isinstance(found, Route):
        return found
    headers: list[tuple[bytes, bytes]] = list(scope["headers"])
    types = [value for name, value in headers if name == b"content-type"]
    codings = [value for name, value in headers if name == b"content-encoding"]
    if len(types) > 1 or any(coding.lower() != b"identity" for coding in codings):
        reason = "one Content-Type, and no Content-Encoding: the body is JSON as it is"
        return answering.bad_request(BadRequest(reason))
    said = types[0].decode("latin-1") if types else ""
    return await desk.answer(found, said, scope["state"].get(PEER_DER), body)


async def _body(receive: _Receive) -> bytes | None:
    """The whole of it; None if the client is gone. The edge bounds its size and its time."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message["body"]
        if not message["more_body"]:
            return bytes(body)


async def _send_whole(send: _Send, answer: Answer) -> None:
    headers = {**answer.headers, "content-length": str(len(answer.body))}
    await send(
        {
            "type": "http.response.start",
            "status": answer.status,
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": answer.body, "more_body": False})


async def _live(receive: _Receive, send: _Send) -> None:
    """Nothing is to be done at start and stop."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
