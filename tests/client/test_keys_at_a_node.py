"""Keys with IDs: both faces of the client against the node's own ETSI 014 interface."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
import structlog
import trio

from kms.adapters.edge import serve
from kms.adapters.etsi014_http import etsi014_app
from kms.adapters.memory.northbound import MemoryNorthbound
from kms.adapters.pki import create_ca, issue
from kms.adapters.tls import HTTP_1_1, CurrentTLS
from kms.client import KeyNotFound, Malformed, Refused, Unavailable
from kms.domain.errors import Sealed
from kms.domain.names import NodeId
from tests.client.key_faces import KEY_FACES, KeyFace

A, B, C = "sae:app.a", "sae:app.b", "sae:app.c"

Apps = tuple[KeyFace, KeyFace, KeyFace, MemoryNorthbound]


@pytest.fixture(params=list(KEY_FACES))
async def apps(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Apps]:
    """Applications a, b and c, and the counter."""
    create_ca(tmp_path)
    northbound, log = MemoryNorthbound(), structlog.get_logger()
    tls = CurrentTLS(issue(tmp_path, "kms:alice", ["127.0.0.1"]), alpn=HTTP_1_1)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    served = etsi014_app(northbound, NodeId("alice"), log)
    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        await nursery.start(partial(serve, served, listeners=listeners, tls=tls, log=log))
        url = f"https://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        faces = [KEY_FACES[request.param](url, issue(tmp_path, uri), "alice") for uri in (A, B, C)]
        for face in faces:
            stack.push_async_callback(face.aclose)
        yield (*faces, northbound)
        await stack.aclose()
        nursery.cancel_scope.cancel()


async def test_as_many_keys_as_a_request_may_have_arrive_at_both_ends(apps: Apps) -> None:
    a, b, _, _ = apps
    most = (await a.status(B)).max_key_per_request

    made = await a.enc_keys(B, number=most, size=128)
    fetched = await b.dec_keys(A, made.key_ids)

    assert most == len(made)
    assert [bytes(key) for key in made] == [bytes(key) for key in fetched]


async def test_a_key_is_delivered_once_and_to_its_slave_alone(apps: Apps) -> None:
    a, b, c, _ = apps
    made = await a.enc_keys(B)

    with pytest.raises((Refused, KeyNotFound)):
        await c.dec_keys(A, made.key_ids)
    assert bytes(made[0]) == bytes((await b.dec_keys(A, made.key_ids))[0])
    with pytest.raises(KeyNotFound):
        await b.dec_keys(A, made.key_ids)
    with pytest.raises(KeyNotFound):
        await b.dec_keys(A, [uuid4()])


async def test_what_a_node_cannot_do_it_says_in_the_standards_words(apps: Apps) -> None:
    a, _, _, northbound = apps

    with pytest.raises(Malformed, match="size shall be a multiple of 8"):
        await a.enc_keys(B, size=65)
    with pytest.raises(Malformed, match="not all extension_mandatory"):
        await a.enc_keys(B, extension_mandatory=[{"abc_route": "direct"}])
    northbound.fault = Sealed()
    with pytest.raises(Unavailable):
        await a.enc_keys(B)
