"""The document that is served is true: every status it names happens, and it reads as OpenAPI."""

from collections.abc import Iterator, Mapping
from http import HTTPStatus

import attrs
import pytest

from kms.adapters.etsi004_http.openapi import PREFIX, document
from kms.adapters.memory.northbound import MemoryNorthbound
from kms.domain.errors import KMSError, LocalFault, Sealed
from kms.domain.status import Status
from kms.ports.northbound import Forbidden
from tests.adapters.etsi004_http_client import ALICE, BOB, WAYS, Answer, Client, on, site

KSID = {"Key_stream_ID": "550e8400-e29b-41d4-a716-446655440000"}
BODIES: dict[str, Mapping[str, object]] = {
    "open_connect": {"source": ALICE, "destination": BOB},
    "get_key": KSID,
    "close": KSID,
}
NO = {"Accept": "text/html"}


@pytest.fixture(autouse=True, params=WAYS)
def _way(request: pytest.FixtureRequest) -> Iterator[None]:
    """One contract, on both ways."""
    with on(request.param):
        yield


@attrs.frozen(kw_only=True)
class Case:
    """How to get one status out of one function."""

    status: int
    fault: KMSError | None = None
    body: bytes | None = None
    headers: Mapping[str, str] = attrs.Factory(dict)


CASES = [
    Case(status=200),
    Case(status=400, body=b"{"),
    Case(status=403, fault=Forbidden("policy refuses", hint="ask")),
    Case(status=406, headers=NO),
    Case(status=413, body=b" " * 70_000),
    Case(status=415, headers={"Content-Type": "text/plain"}),
    Case(status=500, fault=LocalFault("the journal is full", hint="make room")),
    Case(status=503, fault=Sealed()),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.status))
@pytest.mark.parametrize("function", list(BODIES))
async def test_every_status_of_the_document_happens_as_it_says(function: str, case: Case) -> None:
    counter = MemoryNorthbound()
    counter.fault = case.fault
    async with site(counter) as here, here.client() as alice:
        body = case.body if case.body is not None else BODIES[function]
        # The client validates the answer against the document.
        answer = await alice.post(function, body, headers=case.headers)

    assert case.status == answer.status


def test_the_cases_are_all_the_statuses_of_the_document() -> None:
    paths = document()["paths"]
    assert isinstance(paths, dict)
    for function in BODIES:
        named = {int(code) for code in paths[f"{PREFIX}/{function}"]["post"]["responses"]}

        assert named == {case.status for case in CASES}


async def test_the_document_is_served_to_callers_and_refused_to_others() -> None:
    counter = MemoryNorthbound()
    async with site(counter) as here, here.client() as alice:
        served = await alice.get(f"{PREFIX}/openapi.json")
        refused = await alice.get(f"{PREFIX}/openapi.json", NO)
        counter.is_revoked = lambda fingerprint: True  # type: ignore[method-assign]
        revoked = await alice.get(f"{PREFIX}/openapi.json")

    assert served.json == document()
    assert (refused.status, revoked.status) == (406, 403)


async def test_every_status_of_the_standard_happens_in_an_answer_of_the_document() -> None:
    """A tour of table 2. 4 has no cause in the fake counter; its answer is shaped like 3."""
    seen: set[int] = set()

    def note(answer: Answer) -> Answer:
        assert answer.status == HTTPStatus.OK
        seen.add(answer.json["status"])
        return answer

    async def opening(client: Client, source: str, other: str, **more: object) -> Answer:
        return note(
            await client.post("open_connect", {"source": source, "destination": other, **more})
        )

    async with (
        site(MemoryNorthbound(chunks=1)) as here,
        here.client() as alice,
        here.client(BOB) as bob,
        here.client("sae:eve.a") as eve,
    ):
        qos = {"Metadata_mimetype": "application/json"}
        ksid = (await opening(alice, ALICE, BOB, QoS=qos)).json["Key_stream_ID"]
        note(await alice.post("get_key", {"Key_stream_ID": ksid}))
        await opening(bob, BOB, ALICE, Key_stream_ID=ksid)
        await opening(eve, "sae:eve.a", BOB, Key_stream_ID=ksid)
        await opening(alice, ALICE, BOB, QoS={"Min_bps": 2**32 - 1})
        await opening(alice, ALICE, BOB, QoS={"Timeout": 20}, **KSID)
        little = {"Key_stream_ID": ksid, "Metadata": {"Metadata_size": 1}}
        note(await alice.post("get_key", little))
        note(await alice.post("get_key", {"Key_stream_ID": ksid}))
        note(await alice.post("get_key", {"Key_stream_ID": ksid}))

    assert seen == {int(status) for status in Status} - {int(Status.NO_QKD_CONNECTION)}
