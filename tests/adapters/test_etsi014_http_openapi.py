"""The document that is served is true: every status it names happens, and it reads as OpenAPI."""

from collections.abc import Mapping
from typing import Any

import attrs
import pytest

from kms.adapters.etsi014_http.openapi import document
from kms.adapters.etsi014_http.routes import OPENAPI, PREFIX
from kms.adapters.memory.northbound import MemoryNorthbound
from kms.domain.errors import KMSError, Sealed
from kms.domain.limits import KEYS_BODY_BYTES_MAX
from kms.ports.northbound import Forbidden
from tests.adapters.etsi004_http_client import ALICE, BOB, WAYS
from tests.adapters.etsi014_http_client import Client, ids, site, url

pytestmark = pytest.mark.parametrize("way", WAYS)


@attrs.frozen(kw_only=True)
class Case:
    """How to get one status out of any operation."""

    status: int
    fault: KMSError | None = None
    query: str = ""
    body: bytes | None = None
    headers: Mapping[str, str] = attrs.Factory(dict)


CASES = [
    Case(status=200),
    Case(status=400, query="?size=257", body=b"{"),
    Case(status=401, fault=Forbidden("policy refuses", hint="ask")),
    Case(status=413, body=b" " * (KEYS_BODY_BYTES_MAX + 1)),
    Case(status=503, fault=Sealed()),
]
OPERATIONS = [
    (path, verb)
    for path, item in dict(document()["paths"]).items()  # type: ignore[call-overload]
    for verb in ("get", "post")
    if verb in item and path != OPENAPI
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.status))
@pytest.mark.parametrize(("path", "verb"), OPERATIONS)
async def test_every_status_of_the_document_happens_as_it_says(
    way: str, path: str, verb: str, case: Case
) -> None:
    paths: Any = document()["paths"]
    method = path.rpartition("/")[2]
    counter = MemoryNorthbound()
    async with site(way, counter) as here, here.client() as alice, here.client(BOB) as bob:
        key_id = ids(await alice.enc_keys())[0]
        counter.fault = case.fault
        client, other = (bob, ALICE) if method == "dec_keys" else (alice, BOB)
        if str(case.status) not in paths[path][verb]["responses"]:
            assert (case.status, verb) == (413, "get")
            return
        # The client validates the answer against the document.
        answer = await _asked(client, verb, method, other, key_id, case)

    assert case.status == answer.status


async def _asked(
    client: Client, verb: str, method: str, other: str, key_id: str, case: Case
) -> Any:
    path = url(method, other)
    if verb == "get":
        query = f"?key_ID={key_id}" if method == "dec_keys" and not case.query else case.query
        return await client.send("GET", path + query)
    body = b'{"key_IDs": [{"key_ID": "%s"}]}' % key_id.encode() if method == "dec_keys" else b"{}"
    headers = {"Content-Type": "application/json", **case.headers}
    return await client.send("POST", path, case.body or body, headers)


async def test_the_document_is_served_to_callers_and_refused_to_others(way: str) -> None:
    counter = MemoryNorthbound()
    async with site(way, counter) as here, here.client() as alice:
        served = await alice.send("GET", OPENAPI)
        with_query = await alice.send("GET", f"{OPENAPI}?a=b")
        counter.is_revoked = lambda fingerprint: True  # type: ignore[method-assign]
        revoked = await alice.send("GET", OPENAPI)

    assert served.json == document()
    assert (400, 401) == (with_query.status, revoked.status)


def test_the_document_has_the_urls_of_the_standard(way: str) -> None:
    paths: Any = document()["paths"]

    assert {
        f"{PREFIX}/{{slave_SAE_ID}}/status": {"get"},
        f"{PREFIX}/{{slave_SAE_ID}}/enc_keys": {"get", "post"},
        f"{PREFIX}/{{master_SAE_ID}}/dec_keys": {"get", "post"},
        OPENAPI: {"get"},
    } == {path: set(item) - {"parameters"} for path, item in paths.items()}
