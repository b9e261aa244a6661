"""What is wrong with a request is 400 and says what; it reaches no counter (I9)."""

import json
from collections.abc import Callable

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from kms.adapters.edge import Answer
from kms.adapters.etsi004_http.strict import Malformed, Members, read
from kms.adapters.etsi014_http import reading
from kms.adapters.etsi014_http.reading import BadRequest
from kms.adapters.etsi014_http.routes import Route, route
from kms.adapters.memory.northbound import MemoryNorthbound
from kms.domain.keyrequests import DecKeys, EncKeys
from kms.domain.limits import KEYS_BODY_BYTES_MAX, KEYS_PER_REQUEST_MAX
from kms.domain.names import SAEId
from tests.adapters.etsi004_http_client import ALICE, BOB, WAYS
from tests.adapters.etsi014_http_client import parsed, site, url
from tests.edge.support import reply

ID = "550e8400-e29b-41d4-a716-446655440000"
OTHER_ID = "550e8400-e29b-41d4-a716-446655440001"
EIGHT = "size shall be a multiple of 8"

ENC = [
    # body, part of the message
    (b"null", "body"),
    (b"[]", "body"),
    (b'"text"', "body"),
    (b" ", "body"),
    (b"{", "body"),
    (b"{} {}", "body"),
    (b"{}x", "body"),
    (b"\xff\xfe{}", "body"),
    (b"\xef\xbb\xbf{}", "body"),
    (b"[" * 60_000, "body"),
    (b'{"a":' * 10_000, "body"),
    (b'{"number": ' + b"9" * 5_000 + b"}", "body"),
    (b'{"number": NaN}', "NaN"),
    (b'{"size": Infinity}', "Infinity"),
    (b'{"number": 0}', "number shall be 1 to 1024"),
    (b'{"number": 1025}', "number shall be 1 to 1024"),
    (b'{"number": 4294967295}', "number shall be 1 to 1024"),
    (b'{"number": -1}', "number"),
    (b'{"number": 4294967296}', "number"),
    (b'{"number": 1.5}', "number"),
    (b'{"number": 1e-2}', "number"),
    (b'{"number": 1e999}', "number"),
    (b'{"number": true}', "number"),
    (b'{"number": "1"}', "number"),
    (b'{"number": [1]}', "number"),
    (b'{"number": {}}', "number"),
    (b'{"number": 1, "number": 1}', "number: is given twice"),
    (b'{"size": 257}', EIGHT),
    (b'{"size": 1}', EIGHT),
    (b'{"size": 4294967295}', EIGHT),
    (b'{"size": 0}', "size shall be 64 to 32768"),
    (b'{"size": 56}', "size shall be 64 to 32768"),
    (b'{"size": 32776}', "size shall be 64 to 32768"),
    (b'{"size": 4294967288}', "size shall be 64 to 32768"),
    (b'{"size": -8}', "size"),
    (b'{"size": 256.5}', "size"),
    (b'{"size": "256"}', "size"),
    (b'{"size": false}', "size"),
    (b'{"Size": 256}', "Size: is not known"),
    (b'{"bits": 256}', "bits: is not known"),
    (b'{"\\ud800": 0}', "is not known"),
    (b'{"": 0}', "is not known"),
    (b'{"key_type": 1}', "oblivious"),
    (b'{"key_type": "1"}', "key_type"),
    (b'{"additional_slave_SAE_IDs": "sae:carol.c"}', "additional_slave_SAE_IDs"),
    (b'{"additional_slave_SAE_IDs": {"0": "sae:carol.c"}}', "additional_slave_SAE_IDs"),
    (b'{"additional_slave_SAE_IDs": [5]}', "additional_slave_SAE_IDs[0]"),
    (b'{"additional_slave_SAE_IDs": [null]}', "additional_slave_SAE_IDs[0]"),
    (b'{"additional_slave_SAE_IDs": [""]}', "additional_slave_SAE_IDs[0]"),
    (b'{"additional_slave_SAE_IDs": [" "]}', "additional_slave_SAE_IDs[0]"),
    (b'{"additional_slave_SAE_IDs": ["carol!"]}', "additional_slave_SAE_IDs[0]"),
    (b'{"additional_slave_SAE_IDs": ["sae:' + b"c" * 61 + b'"]}', "additional_slave_SAE_IDs[0]"),
    (b'{"additional_slave_SAE_IDs": ["sae:c\\ud800"]}', "additional_slave_SAE_IDs[0]"),
    (
        b'{"additional_slave_SAE_IDs": ["sae:carol.c", "sae:carol.c"]}',
        "additional_slave_SAE_IDs[1]: sae:carol.c is master, slave or named twice",
    ),
    (f'{{"additional_slave_SAE_IDs": ["{BOB}"]}}'.encode(), "[0]: sae:bob.b is master, slave"),
    (f'{{"additional_slave_SAE_IDs": ["{ALICE}"]}}'.encode(), "[0]: sae:alice.a is master, slave"),
    (
        f'{{"additional_slave_SAE_IDs": {json.dumps([f"sae:{n}.c" for n in range(9)])}}}'.encode(),
        "max_SAE_ID_count",
    ),
    (f'{{"additional_slave_SAE_IDs": {json.dumps([None] * 9)}}}'.encode(), "max_SAE_ID_count"),
    (b'{"extension_mandatory": {}}', "extension_mandatory: must be an array"),
    (b'{"extension_mandatory": ["abc"]}', "extension_mandatory[0]: must be an object"),
    (b'{"extension_mandatory": [null]}', "extension_mandatory[0]: must be an object"),
    (b'{"extension_optional": "abc"}', "extension_optional: must be an array"),
    (b'{"extension_optional": [{}, 1]}', "extension_optional[1]: must be an object"),
    (b'{"extension_optional": [{"a": 1, "a": 2}]}', "a: is given twice"),
    (b'{"extension_optional": [{"a": NaN}]}', "NaN"),
]

DEC = [
    (b"", "body"),
    (b"{", "body"),
    (b"{}", "key_IDs: names no key"),
    (b'{"key_IDs": null}', "key_IDs: names no key"),
    (b'{"key_IDs": []}', "key_IDs: names no key"),
    (b'{"key_IDs": {}}', "key_IDs: must be an array"),
    (f'{{"key_IDs": "{ID}"}}'.encode(), "key_IDs: must be an array"),
    (f'{{"key_IDs": ["{ID}"]}}'.encode(), "key_IDs[0]: must be an object"),
    (b'{"key_IDs": [{}]}', "key_IDs[0].key_ID: is needed"),
    (b'{"key_IDs": [{"key_ID": null}]}', "key_IDs[0].key_ID: is needed"),
    (b'{"key_IDs": [{"key_ID": 5}]}', "key_IDs[0].key_ID: must be a string"),
    (b'{"key_IDs": [{"key_ID": ""}]}', "key_IDs[0].key_ID: must be a UUID"),
    (f'{{"key_IDs": [{{"key_ID": "{ID[:-1]}"}}]}}'.encode(), "key_ID: must be a UUID"),
    (f'{{"key_IDs": [{{"key_ID": "{ID}0"}}]}}'.encode(), "key_ID"),
    (f'{{"key_IDs": [{{"key_ID": "{ID.replace("-", "")}"}}]}}'.encode(), "must be a UUID"),
    (f'{{"key_IDs": [{{"key_ID": "{ID[:-1]}g"}}]}}'.encode(), "must be a UUID"),
    (f'{{"key_IDs": [{{"key_ID": "{ID[:-2]}  "}}]}}'.encode(), "must be a UUID"),
    (f'{{"key_IDs": [{{"key_ID": "{ID[:-1]}-"}}]}}'.encode(), "must be a UUID"),
    (f'{{"key_IDs": [{{"key_ID": "{ID[:-1]}é"}}]}}'.encode(), "must be a UUID"),
    (f'{{"key_IDs": [{{"key_ID": "0{ID[:-1]}"}}]}}'.encode(), "must be a UUID"),
    (f'{{"key_IDs": [{{"key_ID": "{ID}", "x": 1}}]}}'.encode(), "key_IDs[0].x: is not known"),
    (f'{{"key_IDs": [{{"key_ID": "{ID}", "key_ID": "{ID}"}}]}}'.encode(), "given twice"),
    (
        f'{{"key_IDs": [{{"key_ID": "{ID}", "key_ID_extension": 1}}]}}'.encode(),
        "key_IDs[0].key_ID_extension: must be an object",
    ),
    (
        f'{{"key_IDs": [{{"key_ID": "{ID}"}}], "key_IDs_extension": []}}'.encode(),
        "key_IDs_extension: must be an object",
    ),
    (f'{{"key_IDs": [{{"key_ID": "{ID}"}}], "number": 1}}'.encode(), "number: is not known"),
    (
        f'{{"key_IDs": [{{"key_ID": "{ID}"}}, {{"key_ID": "{ID.upper()}"}}]}}'.encode(),
        "names a key twice",
    ),
    (
        json.dumps({"key_IDs": [{"key_ID": f"{ID[:-6]}{n:06x}"} for n in range(1025)]}).encode(),
        "key_IDs: names more than 1024 keys",
    ),
]

QUERIES = [
    # method, query, part of the message
    ("enc_keys", "?number=0", "number shall be"),
    ("enc_keys", "?number=-1", "number"),
    ("enc_keys", "?number=", "number"),
    ("enc_keys", "?number", "query"),
    ("enc_keys", "?number=1.0", "number"),
    ("enc_keys", "?number=+1", "number"),
    ("enc_keys", "?number=%C2%B2", "number"),
    ("enc_keys", "?number=%D9%A3", "number"),
    ("enc_keys", "?number=%FF", "query"),
    ("enc_keys", "?number=%zz", "number"),
    ("enc_keys", "?number=99999999999", "number"),
    ("enc_keys", "?number=9999999999", "number"),
    ("enc_keys", "?number=1&number=1", "number: is given twice"),
    ("enc_keys", "?number=1&&size=256", "query"),
    ("enc_keys", "?size=257", EIGHT),
    ("enc_keys", "?size=0", "size shall be"),
    ("enc_keys", "?Size=256", "Size: is not known"),
    ("enc_keys", "?additional_slave_SAE_IDs=sae:c", "is not known"),
    ("enc_keys", "?extension_mandatory=x", "is not known"),
    ("enc_keys", "?" + "&".join(f"a{n}=1" for n in range(20)), "query"),
    ("enc_keys", "?key_ID=" + ID, "is not known"),
    ("dec_keys", "", "key_IDs: names no key"),
    ("dec_keys", "?key_ID=", "must be a UUID"),
    ("dec_keys", "?key_ID=1", "must be a UUID"),
    ("dec_keys", f"?key_ID={ID}&key_ID={OTHER_ID}", "key_ID: is given twice"),
    ("dec_keys", f"?key_ID={ID},{OTHER_ID}", "key_ID"),
    ("dec_keys", f"?key_IDs={ID}", "is not known"),
    ("dec_keys", f"?key_ID={ID}&number=1", "number: is not known"),
    ("status", "?size=256", "takes no parameter"),
]

NAMES = ["", " ", "bob!", "sae:", "sae:" + "b" * 61, ".", "..", "sae:b\0", "sae:é", "SAE:b"]


class Untouched(MemoryNorthbound):
    async def _checkpoint(self) -> None:
        raise AssertionError("a malformed request reached the counter")


@pytest.mark.parametrize("way", WAYS)
async def test_a_body_that_is_wrong_is_400_says_what_and_reaches_no_counter(way: str) -> None:
    async with site(way, Untouched()) as here, here.client() as alice:
        cases = [("enc_keys", *case) for case in ENC] + [("dec_keys", *case) for case in DEC]
        for method, body, words in cases:
            answer = await alice.post(method, BOB, body)

            assert answer.status == 400, (method, body[:80])
            assert words in answer.json["message"], (method, body[:80])
            assert len(answer.body) < 600


@pytest.mark.parametrize("way", WAYS)
async def test_a_query_that_is_wrong_is_400_says_what_and_reaches_no_counter(way: str) -> None:
    async with site(way, Untouched()) as here, here.client() as alice:
        for method, query, words in QUERIES:
            answer = await alice.get(method, BOB, query)

            assert answer.status == 400, (method, query)
            assert words in answer.json["message"], (method, query)


@pytest.mark.parametrize("way", WAYS)
async def test_a_sae_id_in_the_url_that_is_none_or_the_callers_is_400(way: str) -> None:
    bodies = {"enc_keys": b"", "dec_keys": json.dumps({"key_IDs": [{"key_ID": ID}]}).encode()}
    async with site(way, Untouched()) as here, here.client() as alice:
        for name in [*NAMES, ALICE]:
            for method, body in bodies.items():
                answer = await alice.post(method, name, body)

                assert answer.status == 400, (method, name)
                assert "_SAE_ID: " in answer.json["message"]
            assert (await alice.get("status", name)).status == 400
        for segment in ("sae:%zz", "sae:%", "sae:b%2", "sae:%FF%FE", "sae:%C3%A9", "sae:b%00"):
            answer = await alice.send("GET", f"/api/v1/keys/{segment}/status")

            assert answer.status == 400, segment


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 400),
        ({"Content-Type": ""}, 400),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 400),
        ({"Content-Type": "multipart/form-data; boundary=x"}, 400),
        ({"Content-Type": "application/json; charset=utf-16"}, 400),
        ({"Content-Type": "application/json, text/plain"}, 400),
        ({"Content-Encoding": "gzip"}, 400),
        ({"Content-Type": "application/json; charset=UTF-8"}, 200),
        ({"Content-Type": "APPLICATION/JSON"}, 200),
        ({"Content-Encoding": "identity"}, 200),
        ({"Accept": "text/html"}, 200),
    ],
)
async def test_a_body_is_json_and_says_so(way: str, headers: dict[str, str], status: int) -> None:
    async with site(way) as here, here.client() as alice:
        answer = await alice.post("enc_keys", BOB, {"number": 1}, headers)

    assert status == answer.status


@pytest.mark.parametrize("way", WAYS)
async def test_parameters_of_a_post_belong_in_its_body_and_those_of_a_get_in_its_url(
    way: str,
) -> None:
    async with site(way, Untouched()) as here, here.client() as alice:
        posted = await alice.send("POST", url("enc_keys", BOB) + "?number=3", b"")
        got = await alice.send(
            "GET", url("enc_keys", BOB), b'{"number": 3}', {"Content-Type": "application/json"}
        )

    assert (400, 400) == (posted.status, got.status)
    assert "takes no parameter" in posted.json["message"]
    assert "a GET has no body" in got.json["message"]


@pytest.mark.parametrize("way", WAYS)
async def test_a_body_above_its_bound_is_413_in_json_and_the_largest_below_is_read(
    way: str,
) -> None:
    async with site(way) as here:
        async with here.client() as alice:
            fits = await alice.post("enc_keys", BOB, b"{}" + b" " * (KEYS_BODY_BYTES_MAX - 2))
        async with here.client() as alice:
            too_large = await alice.post("enc_keys", BOB, b"{}" + b" " * (KEYS_BODY_BYTES_MAX - 1))

    assert (200, 413) == (fits.status, too_large.status)


@pytest.mark.parametrize("way", WAYS)
async def test_two_content_types_are_none(way: str) -> None:
    async with site(way) as here, here.client() as alice:
        head = (
            f"POST {url('enc_keys', BOB)} HTTP/1.1\r\nHost: k\r\nContent-Length: 2\r\n"
            "Content-Type: application/json\r\nContent-Type: application/json\r\n"
        )
        await alice.stream.send_all(f"{head}\r\n{{}}".encode())
        answer = parsed(await reply(alice.stream))

    assert answer.status == 400


# ---- any bytes ------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
NAMED = st.sampled_from(
    ["number", "size", "additional_slave_SAE_IDs", "extension_mandatory", "extension_optional"]
) | st.sampled_from(["key_type", "key_IDs", "key_IDs_extension"])
KEY_IDS = st.lists(
    st.fixed_dictionaries({"key_ID": st.sampled_from([ID, OTHER_ID, ID.upper()]) | JSON}),
    max_size=3,
)
VALUES = JSON | KEY_IDS | st.sampled_from([ALICE, BOB, ID, 0, 1, 8, 64, 256, 2**32])
BODIES = (
    st.binary(max_size=200)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(NAMED, VALUES).map(lambda value: json.dumps(value).encode())
)
CALLER = SAEId(ALICE)


@given(body=BODIES, other=st.text(max_size=70) | st.just(BOB))
@settings(max_examples=400, deadline=None)
def test_any_body_is_a_request_within_the_limits_or_a_refusal_and_nothing_else(
    body: bytes, other: str
) -> None:
    _judge(lambda: reading.enc_keys(CALLER, other, read(body)))
    _judge(lambda: reading.dec_keys(CALLER, other, read(body)))


@given(query=st.text(st.characters(max_codepoint=126, min_codepoint=33), max_size=60))
@settings(max_examples=400, deadline=None)
def test_any_query_is_a_request_within_the_limits_or_a_refusal_and_nothing_else(
    query: str,
) -> None:
    _judge(lambda: reading.enc_keys(CALLER, BOB, reading.enc_query(query)))
    _judge(lambda: reading.dec_keys(CALLER, BOB, reading.dec_query(query)))


@given(
    verb=st.sampled_from(["GET", "POST", "PUT"]),
    target=st.binary(max_size=60).map(lambda rest: b"/" + bytes(33 + one % 94 for one in rest)),
    inside=st.booleans(),
)
@settings(max_examples=400, deadline=None)
def test_any_request_line_has_a_route_or_an_answer(verb: str, target: bytes, inside: bool) -> None:
    found = route(verb, b"/api/v1/keys" + target + b"/enc_keys" if inside else target)

    assert isinstance(found, Route) or (isinstance(found, Answer) and found.status in (404, 405))


def _judge(asked: Callable[[], EncKeys | DecKeys]) -> None:
    outcome = _outcome(asked)
    if isinstance(outcome, str):
        assert outcome.isascii()
        assert len(outcome) < 400
    elif isinstance(outcome, EncKeys):
        assert 1 <= outcome.number <= KEYS_PER_REQUEST_MAX
        assert 8 <= outcome.key_bytes <= 4096
        assert outcome.slave != CALLER
    else:
        assert len(outcome.key_ids) % 16 == 0
        assert 0 < len(outcome.key_ids) <= 16 * KEYS_PER_REQUEST_MAX


def _outcome(asked: Callable[[], EncKeys | DecKeys]) -> EncKeys | DecKeys | str:
    try:
        return asked()
    except (Malformed, BadRequest) as error:
        return str(error)


def test_a_name_that_is_not_ascii_is_shown_in_ascii() -> None:
    with pytest.raises(Malformed) as raised:
        reading.enc_keys(CALLER, "sae:é", Members({}))

    assert str(raised.value).isascii()
