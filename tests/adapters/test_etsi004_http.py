"""ETSI GS QKD 004 over HTTP: sequences of clause 6.2, media types, identity, faults."""

import base64
import json
from collections.abc import Iterator

import pytest
import trio

from kms.adapters.memory.northbound import MemoryNorthbound
from kms.adapters.tls import fingerprint
from kms.domain.errors import KMSError, LocalFault, Sealed
from kms.domain.names import SAEId
from kms.domain.policy import Policy, Rule
from kms.domain.requests import GetKey, KeyReply
from kms.domain.secret import Secret
from kms.ports.northbound import Overloaded
from tests.adapters.etsi004_http_client import ALICE, BOB, WAYS, on, site

UNKNOWN = "550e8400-e29b-41d4-a716-446655440000"
OCTETS = {"Accept": "application/octet-stream"}


@pytest.fixture(autouse=True, params=WAYS)
def _way(request: pytest.FixtureRequest) -> Iterator[None]:
    """One contract, on both ways."""
    with on(request.param):
        yield


async def test_two_applications_open_read_the_same_keys_and_close() -> None:
    async with site() as here, here.client() as alice, here.client(BOB) as bob:
        ksid = await here.open(alice, bob, Key_chunk_size=48)
        for index in range(3):
            one = (await alice.post("get_key", {"Key_stream_ID": ksid})).json
            other = (await bob.post("get_key", {"Key_stream_ID": ksid, "index": index})).json

            assert (0, index) == (one["status"], one["index"])
            assert one["Key_buffer"] == other["Key_buffer"]
            assert len(base64.b64decode(one["Key_buffer"], validate=True)) == 48
        for end in (alice, bob):
            closed = (await end.post("close", {"Key_stream_ID": ksid})).json

            assert closed["status"] == 0


async def test_the_answer_to_open_has_every_member_of_the_qos_in_the_standards_spelling() -> None:
    async with site() as here, here.client() as alice:
        answer = await alice.post("open_connect", {"source": ALICE, "destination": BOB})

    assert answer.json["status"] == 1
    assert list(answer.json["QoS"]) == [
        "Key_chunk_size",
        "Max_bps",
        "Min_bps",
        "Jitter",
        "Priority",
        "Timeout",
        "TTL",
        "Metadata_mimetype",
    ]
    assert answer.json["QoS"]["Key_chunk_size"] == 32


@pytest.mark.parametrize(
    "qos", [None, {}, {"Key_chunk_size": 0, "TTL": None, "Metadata_mimetype": ""}]
)
async def test_null_absent_and_0_leave_the_choice_to_the_kms(qos: object) -> None:
    async with site() as here, here.client() as alice:
        plain = await alice.post("open_connect", {"source": ALICE, "destination": BOB})
        answer = await alice.post(
            "open_connect",
            {"source": ALICE, "destination": BOB, "QoS": qos, "Key_stream_ID": None},
        )

    assert plain.json["QoS"] == answer.json["QoS"]


async def test_lower_case_spellings_are_understood() -> None:
    async with site() as here, here.client() as alice, here.client(BOB) as bob:
        opened = await alice.post(
            "open_connect",
            {
                "source": ALICE,
                "destination": BOB,
                "qos": {
                    "key_chunk_size": 16,
                    "max_bps": 1000,
                    "min_bps": 10,
                    "jitter": 128,
                    "priority": 2,
                    "timeout": 500,
                    "ttl": 60,
                    "metadata_mimetype": "application/json",
                },
            },
            alias=True,
        )
        ksid = opened.json["Key_stream_ID"]
        await bob.post(
            "open_connect",
            {"source": BOB, "destination": ALICE, "key_stream_id": ksid},
            alias=True,
        )
        answer = await alice.post(
            "get_key", {"key_stream_id": ksid, "metadata": {"metadata_size": 4}}, alias=True
        )

    assert list(opened.json["QoS"].values()) == [16, 1000, 10, 128, 2, 500, 60, "application/json"]
    assert answer.json["status"] == 8
    assert "Key_buffer" not in answer.json


async def test_octets_carry_the_key_as_the_body_and_the_rest_in_headers() -> None:
    async with site() as here, here.client() as alice, here.client(BOB) as bob:
        ksid = await here.open(alice, bob, Metadata_mimetype="application/json")
        octets = await alice.post("get_key", {"Key_stream_ID": ksid}, headers=OCTETS)
        in_json = (await bob.post("get_key", {"Key_stream_ID": ksid})).json

    assert octets.headers["content-type"] == "application/octet-stream"
    assert base64.b64decode(in_json["Key_buffer"]) == octets.body
    assert octets.headers["kms-status"] == "0"
    assert octets.headers["kms-index"] == "0"
    metadata = base64.b64decode(octets.headers["kms-metadata"])
    assert json.loads(metadata) == json.loads(in_json["Metadata"]["Metadata_buffer"])
    assert octets.headers["kms-metadata-size"] == str(len(metadata))


async def test_a_get_key_that_fails_is_json_also_for_a_client_of_octets() -> None:
    async with site() as here, here.client() as alice:
        answer = await alice.post("get_key", {"Key_stream_ID": UNKNOWN}, headers=OCTETS)

    assert answer.headers["content-type"] == "application/json"
    assert answer.json["status"] == 3


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("application/json, application/octet-stream", "application/json"),
        ("application/json;q=0.5, application/octet-stream", "application/octet-stream"),
        ("application/octet-stream;q=0, */*", "application/json"),
    ],
)
async def test_the_client_says_which_media_type_it_likes_best(accept: str, media_type: str) -> None:
    async with site() as here, here.client() as alice, here.client(BOB) as bob:
        ksid = await here.open(alice, bob)
        answer = await alice.post("get_key", {"Key_stream_ID": ksid}, headers={"Accept": accept})

    assert media_type == answer.headers["content-type"]


@pytest.mark.parametrize("size", [32, 64 * 1024, 1024 * 1024])
@pytest.mark.parametrize("headers", [{}, OCTETS], ids=["json", "octets"])
async def test_a_chunk_of_any_size_arrives_whole(size: int, headers: dict[str, str]) -> None:
    async with site() as here, here.client() as alice, here.client(BOB) as bob:
        ksid = await here.open(alice, bob, Key_chunk_size=size)
        answer = await alice.post("get_key", {"Key_stream_ID": ksid}, headers=headers)
        got = answer.body if headers else base64.b64decode(answer.json["Key_buffer"])

    assert size == len(got)
    assert len(set(got)) > 1


@pytest.mark.parametrize("headers", [{}, OCTETS], ids=["json", "octets"])
async def test_the_key_is_wiped_when_its_answer_is_made(headers: dict[str, str]) -> None:
    given: list[Secret] = []

    class Watched(MemoryNorthbound):
        async def get_key(self, caller: SAEId, request: GetKey) -> KeyReply:
            reply = await super().get_key(caller, request)
            if reply.key is not None:
                given.append(reply.key)
            return reply

    async with site(Watched()) as here, here.client() as alice, here.client(BOB) as bob:
        ksid = await here.open(alice, bob)
        answer = await alice.post("get_key", {"Key_stream_ID": ksid}, headers=headers)

    assert answer.status == 200
    assert Secret(bytes(32)) == given[0]


# ---- identity -------------------------------------------------------------------------------


async def test_a_caller_that_is_neither_source_nor_destination_is_forbidden() -> None:
    async with site() as here, here.client("sae:eve.a") as eve:
        answer = await eve.post("open_connect", {"source": ALICE, "destination": BOB})

    assert answer.status == 403
    assert "source" in answer.json["message"]


async def test_the_destination_may_open_as_in_client_server_use() -> None:
    async with site() as here, here.client(BOB) as bob:
        answer = await bob.post("open_connect", {"source": ALICE, "destination": BOB})

    assert answer.status == 200


async def test_policy_forbids_with_403() -> None:
    counter = MemoryNorthbound(policy=Policy(rules=(Rule(one="sae:x", other="sae:y"),)))
    async with site(counter) as here, here.client() as alice:
        answer = await alice.post("open_connect", {"source": ALICE, "destination": BOB})

    assert answer.status == 403


async def test_a_revoked_certificate_is_refused_on_the_connection_it_has() -> None:
    counter = MemoryNorthbound()
    async with site(counter) as here, here.client() as alice, here.client(BOB) as bob:
        ksid = await here.open(alice, bob)
        der = next(
            scope.peer_der
            for scope in here.edge.server._live
            if scope.peer_der is not None and b"sae:alice.a" in scope.peer_der
        )
        counter.policy = Policy(rules=counter.policy.rules, revoked=frozenset({fingerprint(der)}))
        refused = await alice.post("get_key", {"Key_stream_ID": ksid})
        served = await bob.post("get_key", {"Key_stream_ID": ksid})

    assert refused.status == 403
    assert "revoked" in refused.json["message"]
    assert served.json["status"] == 0


async def test_an_unknown_and_a_foreign_stream_get_the_same_bytes() -> None:
    async with (
        site() as here,
        here.client() as alice,
        here.client(BOB) as bob,
        here.client("sae:eve.a") as eve,
    ):
        ksid = await here.open(alice, bob)
        for function in ("get_key", "close"):
            foreign = await eve.post(function, {"Key_stream_ID": ksid})
            unknown = await eve.post(function, {"Key_stream_ID": UNKNOWN})

            assert foreign.body == unknown.body
            assert foreign.status == unknown.status
            assert _undated(foreign.headers) == _undated(unknown.headers)


# ---- faults ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "status", "retry"),
    [
        (Overloaded("too many requests wait", hint="try later"), 503, "1"),
        (Sealed(), 503, "30"),
        (LocalFault("disk at /secret/path", hint="look"), 500, None),
    ],
    ids=["overloaded", "sealed", "local"],
)
async def test_faults_of_the_node_are_told_from_outcomes(
    fault: KMSError, status: int, retry: str | None
) -> None:
    counter = MemoryNorthbound()
    async with site(counter) as here, here.client() as alice:
        counter.fault = fault
        answer = await alice.post("get_key", {"Key_stream_ID": UNKNOWN})

        assert status == answer.status
        assert retry == answer.headers.get("retry-after")
        # What is wrong inside is the operator's business.
        assert "unseal" not in answer.json["message"]
        assert "/secret/path" not in answer.json["message"]
        counter.fault = None

        assert (await alice.post("get_key", {"Key_stream_ID": UNKNOWN})).status == 200


async def test_hanging_up_ends_the_wait_and_nothing_else() -> None:
    counter = MemoryNorthbound()
    async with site(counter) as here, here.client() as alice:
        async with here.client(BOB) as bob:
            body = json.dumps(
                {"source": BOB, "destination": ALICE, "Key_stream_ID": UNKNOWN}
            ).encode()
            head = (
                "POST /etsi004/v2.1.1/open_connect HTTP/1.1\r\nHost: k\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            await bob.stream.send_all(head.encode() + body)
            await trio.sleep(0.05)
        with trio.fail_after(2):
            while here.edge.server.statistics().connections > 1:
                await trio.sleep(0.005)
        answer = await alice.post("get_key", {"Key_stream_ID": UNKNOWN})

    assert answer.json["status"] == 3


@pytest.mark.parametrize("path", ["/", "/etsi004/v2.1.1/", "/etsi004//v2.1.1/get_key", "/static/x"])
async def test_other_paths_are_404_in_json_and_never_a_redirect(path: str) -> None:
    async with site() as here, here.client() as alice:
        answer = await alice.get(path)

    assert answer.status == 404
    assert "message" in answer.json


async def test_other_methods_are_405_and_told_the_right_one() -> None:
    async with site() as here, here.client() as alice:
        for method in ("GET", "OPTIONS", "DELETE"):
            answer = await alice.send(method, "/etsi004/v2.1.1/get_key", b"", {})

            assert (answer.status, answer.headers["allow"]) == (405, "POST")


def _undated(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name != "date"}
