"""ETSI GS QKD 014 over HTTPS: the three methods, who may have which key, faults, URLs."""

import json
import uuid

import pytest
import trio

from kms.adapters.memory.northbound import MemoryNorthbound
from kms.adapters.tls import fingerprint
from kms.domain.errors import KMSError, LocalFault, Sealed
from kms.domain.keyrequests import (
    EncKeys,
    KeysReply,
    Outcome,
    PairStatus,
    PairStatusReply,
)
from kms.domain.limits import KEY_BYTES_MAX, KEYS_PER_REQUEST_MAX
from kms.domain.names import SAEId
from kms.domain.policy import Policy, Rule
from kms.domain.secret import Secret
from kms.ports.northbound import Overloaded
from tests.adapters.etsi004_http_client import ALICE, BOB, WAYS
from tests.adapters.etsi014_http_client import EVE, Client, bits, ids, parsed, site, url
from tests.edge.support import reply, until

UNKNOWN = "550e8400-e29b-41d4-a716-446655440000"
NOT_FOUND = "one or more keys specified are not found on KME"
BOTH_WAYS = pytest.mark.parametrize("way", WAYS)
pytestmark = BOTH_WAYS


# ---- Get key, Get key with key IDs ----------------------------------------------------------


async def test_the_master_gets_keys_and_the_slave_the_same_ones_by_their_ids(way: str) -> None:
    async with site(way) as here, here.client() as alice, here.client(BOB) as bob:
        made = await alice.enc_keys(body={"number": 3, "size": 128})
        fetched = await bob.dec_keys(ALICE, *ids(made))

    assert (200, 200) == (made.status, fetched.status)
    assert made.json == fetched.json
    assert [16, 16, 16] == [len(key) for key in bits(made)]
    assert len(set(bits(made))) == len(set(ids(made))) == 3
    assert all(str(uuid.UUID(one)) == one for one in ids(made))


async def test_the_get_forms_say_the_same(way: str) -> None:
    async with site(way) as here, here.client() as alice, here.client(BOB) as bob:
        made = await alice.get("enc_keys", BOB, "?number=2&size=1024")
        fetched = [await bob.get("dec_keys", ALICE, f"?key_ID={one}") for one in ids(made)]

    assert [128, 128] == [len(key) for key in bits(made)]
    assert bits(made) == [bits(one)[0] for one in fetched]


@pytest.mark.parametrize(
    "body",
    [b"", {}, {"number": None, "size": None, "additional_slave_SAE_IDs": None}],
    ids=["empty", "no_member", "null"],
)
async def test_without_number_and_size_it_is_one_key_of_the_size_in_the_status(
    way: str, body: object
) -> None:
    async with site(way) as here, here.client() as alice:
        size = (await alice.status()).json["key_size"]
        posted = await alice.enc_keys(body=body)
        got = await alice.get("enc_keys", BOB)

    assert [size // 8] == [len(key) for key in bits(posted)]
    assert [size // 8] == [len(key) for key in bits(got)]


async def test_a_post_without_a_body_needs_no_content_type(way: str) -> None:
    async with site(way) as here, here.client() as alice:
        answers = [await alice.send("POST", url("enc_keys", BOB), body) for body in (None, b"")]

    assert [200, 200] == [answer.status for answer in answers]


@pytest.mark.parametrize("size", [64, 72, 256, 8 * KEY_BYTES_MAX - 8, 8 * KEY_BYTES_MAX])
async def test_a_key_of_any_size_between_the_limits_arrives_whole(way: str, size: int) -> None:
    async with site(way) as here, here.client() as alice, here.client(BOB) as bob:
        made = await alice.enc_keys(body={"size": size, "number": 2})
        fetched = await bob.dec_keys(ALICE, *ids(made))

    assert [size // 8] * 2 == [len(key) for key in bits(made)]
    assert bits(made) == bits(fetched)


@pytest.mark.parametrize("size", [256, 8 * KEY_BYTES_MAX])
async def test_as_many_keys_as_the_status_allows_come_in_one_answer(way: str, size: int) -> None:
    async with site(way) as here, here.client() as alice, here.client(BOB) as bob:
        status = (await alice.status()).json
        wanted = {"number": status["max_key_per_request"], "size": size}
        made = await alice.enc_keys(body=wanted)
        # As a client writes it that likes to read it: more than 64 KiB.
        named = {"key_IDs": [{"key_ID": one, "key_ID_extension": None} for one in ids(made)]}
        fetched = await bob.post("dec_keys", ALICE, json.dumps(named, indent=4).encode())

    assert status["max_key_per_request"] == KEYS_PER_REQUEST_MAX == len(ids(made))
    assert status["max_key_size"] == 8 * KEY_BYTES_MAX
    assert made.body == fetched.body


async def test_keys_come_in_the_order_in_which_they_are_named(way: str) -> None:
    async with site(way) as here, here.client() as alice, here.client(BOB) as bob:
        made = await alice.enc_keys(body={"number": 4})
        fetched = await bob.dec_keys(ALICE, *reversed(ids(made)))

    assert ids(made)[::-1] == ids(fetched)
    assert bits(made)[::-1] == bits(fetched)


async def test_a_key_id_is_read_in_upper_case_and_written_in_lower(way: str) -> None:
    async with site(way) as here, here.client() as alice, here.client(BOB) as bob:
        made = await alice.enc_keys()
        fetched = await bob.dec_keys(ALICE, ids(made)[0].upper())

    assert made.json == fetched.json


async def test_a_key_is_delivered_once_to_the_slave(way: str) -> None:
    async with site(way) as here, here.client() as alice, here.client(BOB) as bob:
        key_id = ids(await alice.enc_keys())[0]
        first = await bob.dec_keys(ALICE, key_id)
        second = await bob.dec_keys(ALICE, key_id)

    assert first.status == 200
    assert (400, {"message": NOT_FOUND}) == (second.status, second.json)


async def test_one_unknown_key_among_others_delivers_none_and_loses_none(way: str) -> None:
    async with site(way) as here, here.client() as alice, here.client(BOB) as bob:
        made = await alice.enc_keys(body={"number": 2})
        refused = await bob.dec_keys(ALICE, ids(made)[0], UNKNOWN, ids(made)[1])
        fetched = await bob.dec_keys(ALICE, *ids(made))

    assert (400, {"message": NOT_FOUND}) == (refused.status, refused.json)
    assert bits(made) == bits(fetched)


async def test_the_url_of_dec_keys_names_the_master(way: str) -> None:
    async with site(way) as here, here.client() as alice, here.client(BOB) as bob:
        key_id = ids(await alice.enc_keys())[0]
        refused = await bob.dec_keys(EVE, key_id)

    assert (400, NOT_FOUND) == (refused.status, refused.json["message"])


async def test_a_key_that_was_made_for_somebody_else_is_401_and_stays(way: str) -> None:
    async with (
        site(way) as here,
        here.client() as alice,
        here.client(BOB) as bob,
        here.client(EVE) as eve,
    ):
        made = await alice.enc_keys(body={"number": 2})
        of_eve = ids(await alice.enc_keys(EVE))
        foreign = await eve.dec_keys(ALICE, *ids(made))
        one_foreign = await eve.dec_keys(ALICE, *of_eve, ids(made)[1])
        fetched = await bob.dec_keys(ALICE, *ids(made))
        own = await eve.dec_keys(ALICE, *of_eve)

    assert [401, 401] == [foreign.status, one_foreign.status]
    assert [200, 200] == [fetched.status, own.status]


async def test_when_key_is_short_it_is_503_and_what_there_is_can_be_had(way: str) -> None:
    async with site(way, MemoryNorthbound(keys_max=3)) as here, here.client() as alice:
        refused = await alice.enc_keys(body={"number": 4})
        left = (await alice.status()).json["stored_key_count"]
        served = await alice.enc_keys(body={"number": 3})

    assert refused.status == 503
    assert "not enough key" in refused.json["message"]
    assert (3, 200) == (left, served.status)


async def test_keys_are_wiped_when_their_answer_is_made(way: str) -> None:
    given: list[Secret] = []

    class Watched(MemoryNorthbound):
        async def enc_keys(self, caller: SAEId, request: EncKeys) -> KeysReply:
            made = await super().enc_keys(caller, request)
            assert made.keys is not None
            given.append(made.keys)
            return made

    async with site(way, Watched()) as here, here.client() as alice:
        answer = await alice.enc_keys(body={"number": 5})

    assert answer.status == 200
    assert [Secret(bytes(5 * 32))] == given


# ---- Get status -----------------------------------------------------------------------------


async def test_the_status_has_every_member_of_the_standard_in_bits(way: str) -> None:
    async with site(way, MemoryNorthbound(keys_max=50)) as here, here.client() as alice:
        await alice.enc_keys(body={"number": 8})
        answer = await alice.status()

    assert answer.json == {
        "source_KME_ID": "kms:a",
        "target_KME_ID": "kms:b",
        "master_SAE_ID": ALICE,
        "slave_SAE_ID": BOB,
        "key_size": 256,
        "stored_key_count": 42,
        "max_key_count": 50,
        "max_key_per_request": 1024,
        "max_key_size": 32768,
        "min_key_size": 64,
        "max_SAE_ID_count": 8,
    }


@pytest.mark.parametrize(
    ("outcome", "status"),
    [(Outcome.BAD_REQUEST, 400), (Outcome.NOT_ENTITLED, 401), (Outcome.UNAVAILABLE, 503)],
)
async def test_what_the_node_makes_of_a_request_is_told_with_its_words(
    way: str, outcome: Outcome, status: int
) -> None:
    class Refusing(MemoryNorthbound):
        async def enc_keys(self, caller: SAEId, request: EncKeys) -> KeysReply:
            return KeysReply(outcome=outcome, message="for this reason")

        async def pair_status(self, caller: SAEId, request: PairStatus) -> PairStatusReply:
            return PairStatusReply(outcome=outcome, message="for this reason")

    async with site(way, Refusing()) as here, here.client() as alice:
        for answer in (await alice.enc_keys(), await alice.status()):
            assert answer.status == status
            assert status == 401 or answer.json == {"message": "for this reason"}


# ---- extensions -----------------------------------------------------------------------------


async def test_an_unknown_mandatory_extension_is_refused_by_name(way: str) -> None:
    asked = [{"abc_route_type": "direct"}, {"abc_max_age": 3000, "oqkd_key_type": 1}]
    async with site(way) as here, here.client() as alice:
        answer = await alice.enc_keys(body={"extension_mandatory": asked})

    assert answer.status == 400
    assert answer.json == {
        "message": "not all extension_mandatory parameters are supported",
        "details": [
            {"extension_mandatory_unsupported": "abc_route_type is not supported"},
            {"extension_mandatory_unsupported": "abc_max_age is not supported"},
        ],
    }


async def test_a_thousand_mandatory_extensions_are_told_in_few_words(way: str) -> None:
    asked = [{f"abc_{number}_{'x' * 100}": number} for number in range(1000)]
    async with site(way) as here, here.client() as alice:
        answer = await alice.enc_keys(body={"extension_mandatory": asked})

    assert answer.status == 400
    assert len(answer.body) < 3000


async def test_a_known_mandatory_extension_that_is_not_met_says_so(way: str) -> None:
    async with site(way) as here, here.client() as alice:
        answer = await alice.enc_keys(body={"extension_mandatory": [{"oqkd_key_type": 1}]})

    assert answer.status == 400
    assert answer.json["message"] == "not all extension_mandatory request options could be met"
    assert "oblivious" in answer.json["details"][0]["extension_mandatory_unmet"]


async def test_a_mandatory_extension_of_ours_is_met_or_says_what_would_be(way: str) -> None:
    async with site(way) as here, here.client() as alice:
        met = await alice.enc_keys(body={"extension_mandatory": [{"kms_link_type": "PHYS"}]})
        unmet = await alice.enc_keys(body={"extension_mandatory": [{"kms_link_type": "VIRT"}]})
        mixed = await alice.enc_keys(
            body={"extension_mandatory": [{"kms_link_type": "PHYS", "abc_what": 1}]}
        )

    assert (met.status, unmet.status, mixed.status) == (200, 400, 400)
    assert unmet.json["message"] == "not all extension_mandatory request options could be met"
    assert "it is PHYS" in unmet.json["details"][0]["extension_mandatory_unmet"]
    assert [{"extension_mandatory_unsupported": "abc_what is not supported"}] == mixed.json[
        "details"
    ]


async def test_optional_extensions_are_ignored(way: str) -> None:
    asked = [{"abc_transfer_method": "qkd"}, {"oqkd_key_type": [1, {"deep": None}]}, {}]
    async with site(way) as here, here.client() as alice:
        answer = await alice.enc_keys(
            body={"extension_optional": asked, "extension_mandatory": [], "key_type": 0}
        )

    assert answer.status == 200


async def test_extensions_of_key_ids_are_ignored(way: str) -> None:
    async with site(way) as here, here.client() as alice, here.client(BOB) as bob:
        key_id = ids(await alice.enc_keys())[0]
        named = {"key_ID": key_id, "key_ID_extension": {"abc_what": [1]}}
        answer = await bob.post(
            "dec_keys", ALICE, {"key_IDs": [named], "key_IDs_extension": {"abc_ever": 2}}
        )

    assert answer.status == 200


@pytest.mark.parametrize("form", ["body", "query"])
async def test_oblivious_keys_are_refused_in_plain_words(way: str, form: str) -> None:
    async with site(way) as here, here.client() as alice:
        if form == "body":
            answer = await alice.enc_keys(body={"key_type": 1, "size": 32768})
        else:
            answer = await alice.get("enc_keys", BOB, "?number=1&size=32768&key_type=1")

    assert answer.status == 400
    assert "oblivious keys are not served here" in answer.json["message"]


# ---- identity -------------------------------------------------------------------------------


async def _each_method(client: Client) -> list[int]:
    answers = [
        await client.status(),
        await client.enc_keys(),
        await client.get("enc_keys", BOB),
        await client.dec_keys(BOB, UNKNOWN),
        await client.get("dec_keys", BOB, f"?key_ID={UNKNOWN}"),
    ]
    assert all(answer.body == b"" for answer in answers if answer.status == 401)
    return [answer.status for answer in answers]


async def test_what_policy_does_not_allow_is_401_without_a_body(way: str) -> None:
    counter = MemoryNorthbound(policy=Policy(rules=(Rule(one="sae:x", other="sae:y"),)))
    async with site(way, counter) as here, here.client() as alice:
        assert [401] * 5 == await _each_method(alice)


async def test_a_revoked_certificate_is_401_on_the_connection_it_has(way: str) -> None:
    counter = MemoryNorthbound()
    async with site(way, counter) as here, here.client() as alice, here.client(BOB) as bob:
        assert 200 == (await alice.status()).status
        der = next(
            one.peer_der
            for one in here.edge.server._live
            if one.peer_der is not None and b"sae:alice.a" in one.peer_der
        )
        counter.policy = Policy(rules=counter.policy.rules, revoked=frozenset({fingerprint(der)}))
        served = await bob.status(ALICE)

        assert [401] * 5 == await _each_method(alice)
        assert served.status == 200


async def test_who_may_not_ask_is_not_told_what_was_wrong_with_the_question(way: str) -> None:
    counter = MemoryNorthbound()
    async with site(way, counter) as here, here.client() as alice:
        counter.is_revoked = lambda fingerprint: True  # type: ignore[method-assign]
        answer = await alice.enc_keys(body=b"{")

    assert answer.status == 401


# ---- URLs -----------------------------------------------------------------------------------


async def test_a_sae_id_in_the_url_is_decoded_once_and_may_hold_anything_a_uri_may(
    way: str,
) -> None:
    asked: list[str] = []

    class Listening(MemoryNorthbound):
        async def enc_keys(self, caller: SAEId, request: EncKeys) -> KeysReply:
            asked.append(request.slave)
            return await super().enc_keys(caller, request)

    names = ["sae:b/o/b", "sae:50%25", "sae:b%2Fb", "sae:a+b?c=d&e#f", "sae:[::1]:80/x"]
    async with site(way, Listening()) as here, here.client() as alice:
        statuses = [(await alice.enc_keys(name)).status for name in names]
        plain = await alice.send("GET", "/api/v1/keys/sae:bob.b/enc_keys")

    assert [200] * 5 == statuses
    assert plain.status == 200
    assert [*names, BOB] == asked


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api/v1/keys",
        "/api/v1/keys/",
        "/api/v1/keys/sae:bob.b",
        "/api/v1/keys/sae:bob.b/",
        "/api/v1/keys/sae:bob.b/enc_keys/",
        "/api/v1/keys/sae:bob.b/ENC_KEYS",
        "/api/v1/keys/sae:b/b/enc_keys",
        "/api/v1/keys/sae:bob.b/enc_keys%2F",
        "/api/v1/keys/sae:bob.b%2Fenc_keys",
        "/api/v1//keys/sae:bob.b/enc_keys",
        "/api/v1/keys//sae:bob.b/enc_keys",
        "/api/v1/keys/../keys/sae:bob.b/enc_keys",
        "/api/v1%2Fkeys/sae:bob.b/enc_keys",
        "/api/v2/keys/sae:bob.b/enc_keys",
        "/etsi004/v2.1.1/get_key",
    ],
)
async def test_other_urls_are_404_in_json_and_never_a_redirect(way: str, path: str) -> None:
    async with site(way) as here, here.client() as alice:
        for verb in ("GET", "POST"):
            answer = await alice.send(verb, path, b"")

            assert answer.status == 404
            assert "/api/v1/keys/" in answer.json["message"]


async def test_other_methods_are_405_and_say_which_there_are(way: str) -> None:
    async with site(way) as here, here.client() as alice:
        for method, verbs in (("status", "GET"), ("enc_keys", "GET, POST")):
            for verb in ("PUT", "DELETE", "OPTIONS", "PATCH"):
                answer = await alice.send(verb, url(method, BOB), b"")

                assert (405, verbs) == (answer.status, answer.headers["allow"])
        answer = await alice.send("POST", url("status", BOB), b"")

    assert (405, "GET") == (answer.status, answer.headers["allow"])


async def test_head_delivers_no_key(way: str) -> None:
    counter = MemoryNorthbound(keys_max=1)
    async with site(way, counter) as here, here.client() as alice:
        await alice.stream.send_all(
            f"HEAD {url('enc_keys', BOB)} HTTP/1.1\r\nHost: k\r\n\r\n".encode()
        )
        with trio.fail_after(5):
            head = await alice.stream.receive_some(65536)
        served = await alice.enc_keys()

    assert head.startswith(b"HTTP/1.1 405")
    assert served.status == 200


# ---- faults ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "retry"),
    [
        (Overloaded("too many requests wait", hint="try later"), "1"),
        (Sealed(), "30"),
        (LocalFault("disk at /secret/path", hint="look"), None),
    ],
    ids=["overloaded", "sealed", "local"],
)
async def test_faults_of_the_node_are_503_and_its_own_words_stay_inside(
    way: str, fault: KMSError, retry: str | None
) -> None:
    counter = MemoryNorthbound()
    async with site(way, counter) as here, here.client() as alice:
        counter.fault = fault
        for answer in (await alice.enc_keys(), await alice.status()):
            assert answer.status == 503
            assert retry == answer.headers.get("retry-after")
            assert "unseal" not in answer.json["message"]
            assert "/secret/path" not in answer.json["message"]
        counter.fault = None

        assert (await alice.enc_keys()).status == 200


async def test_a_mistake_of_ours_is_one_requests_and_its_words_stay_inside(way: str) -> None:
    class Broken(MemoryNorthbound):
        async def enc_keys(self, caller: SAEId, request: EncKeys) -> KeysReply:
            raise ZeroDivisionError("0b5e55ed")

    async with site(way, Broken()) as here, here.client() as alice:
        answer = await alice.enc_keys()
        after = await alice.status()

        assert (503, {"message": "error on server side"}) == (answer.status, answer.json)
        assert after.status == 200
        assert here.edge.server.statistics().contained == 0


async def test_hanging_up_ends_the_wait_and_nothing_else(way: str) -> None:
    class Thinking(MemoryNorthbound):
        waiting = 0

        async def enc_keys(self, caller: SAEId, request: EncKeys) -> KeysReply:
            self.waiting += 1
            try:
                await trio.sleep(30)
            finally:
                self.waiting -= 1
            raise AssertionError("nobody waits so long")

    counter = Thinking()
    async with site(way, counter) as here, here.client(BOB) as bob:
        async with here.client() as alice:
            head = f"POST {url('enc_keys', BOB)} HTTP/1.1\r\nHost: k\r\nContent-Length: 0\r\n\r\n"
            await alice.stream.send_all(head.encode())
            await until(lambda: counter.waiting == 1)
        await until(lambda: counter.waiting == 0)

        assert (await bob.status(ALICE)).status == 200


# ---- two ways -------------------------------------------------------------------------------


async def test_the_ways_are_who_they_say(way: str) -> None:
    async with site(way) as here, here.client() as alice:
        await alice.enc_keys()
        await alice.get("enc_keys", BOB, "?number=2")
        await alice.dec_keys(BOB, UNKNOWN)
        await alice.get("dec_keys", BOB, f"?key_ID={UNKNOWN}")
        await alice.status()
        hot = here.edge.server.statistics().hot

    assert hot == (5 if way == "fast" else 0)


async def test_both_ways_say_the_same_to_the_byte(way: str) -> None:
    """The same conversation, held on this way and on the slow one."""
    asked = [
        ("POST", url("enc_keys", BOB), b'{"number": 3}'),
        ("POST", url("enc_keys", BOB), b'{"number": 0}'),
        ("POST", url("enc_keys", BOB), b"{"),
        ("POST", url("enc_keys", BOB), b""),
        ("GET", url("enc_keys", BOB) + "?size=512", None),
        ("GET", url("enc_keys", BOB) + "?size=513", None),
        ("GET", url("enc_keys", BOB), b"body"),
        ("GET", url("status", BOB), None),
        ("GET", url("status", ALICE), None),
        ("POST", url("dec_keys", BOB), b'{"key_IDs": []}'),
        ("GET", url("nothing", BOB), None),
        ("PUT", url("enc_keys", BOB), None),
    ]
    heard = []
    for each in (way, "slow"):
        async with site(each) as here, here.client() as alice:
            said = []
            for verb, path, body in asked:
                lines = [f"{verb} {path} HTTP/1.1", "Host: k", "Content-Type: application/json"]
                lines += [] if body is None else [f"Content-Length: {len(body)}"]
                await alice.stream.send_all("\r\n".join([*lines, "\r\n"]).encode() + (body or b""))
                said.append(_undated(await reply(alice.stream)))
            heard.append(said)

    assert heard[0] == heard[1]
    assert [200, 400, 400, 200, 200, 400, 400, 200, 400, 400, 404, 405] == [
        parsed(one).status for one in heard[0]
    ]


def _undated(answer: bytes) -> bytes:
    return b"\r\n".join(line for line in answer.split(b"\r\n") if not line.startswith(b"date: "))
