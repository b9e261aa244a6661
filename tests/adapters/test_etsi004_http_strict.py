"""What does not parse is 400 with the member named, and changes nothing (I9)."""

import json
from collections.abc import Callable, Iterator

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from kms.adapters.etsi004_http import reading
from kms.adapters.etsi004_http.strict import Malformed, Members, read
from kms.adapters.memory.northbound import MemoryNorthbound
from kms.domain.requests import Close, GetKey, OpenConnect
from kms.domain.status import QoS
from tests.adapters.etsi004_http_client import ALICE, BOB, WAYS, on, site

KSID = "550e8400-e29b-41d4-a716-446655440000"
OPEN = f'"source": "{ALICE}", "destination": "{BOB}"'
GET = f'"Key_stream_ID": "{KSID}"'

MALFORMED = [
    # function, body, field
    ("close", b"", "body"),
    ("close", b"null", "body"),
    ("close", b"[]", "body"),
    ("close", b'"text"', "body"),
    ("close", b"{", "body"),
    ("close", b"{} {}", "body"),
    ("close", b"\xff\xfe{}", "body"),
    ("close", b"\xef\xbb\xbf{}", "body"),
    ("close", '{"Key_stream_ID": "é"}'.encode("latin-1"), "body"),
    ("close", b'{"Key_stream_ID": "' + KSID.encode() + b'",}', "body"),
    ("close", b"[" * 60_000, "body"),
    ("close", b'{"a":' * 10_000, "body"),
    ("close", b'{"Key_stream_ID": ' + b"9" * 5_000 + b"}", "body"),
    ("close", b'{"Key_stream_ID": NaN}', "body"),
    ("close", b'{"Key_stream_ID": -Infinity}', "body"),
    ("close", b"{}", "Key_stream_ID"),
    ("close", b'{"Key_stream_ID": null}', "Key_stream_ID"),
    ("close", b'{"Key_stream_ID": 5}', "Key_stream_ID"),
    ("close", b'{"Key_stream_ID": ["' + KSID.encode() + b'"]}', "Key_stream_ID"),
    ("close", b'{"Key_stream_ID": "550e8400"}', "Key_stream_ID"),
    ("close", b'{"Key_stream_ID": "550e8400-e29b-11d4-a716-446655440000"}', "Key_stream_ID"),
    ("close", b'{"Key_stream_ID": "' + b"a" * 300 + b'"}', "Key_stream_ID"),
    ("close", f"{{{GET}, {GET}}}".encode(), "Key_stream_ID"),
    ("close", f'{{{GET}, "key_stream_id": "{KSID}"}}'.encode(), "Key_stream_ID"),
    ("close", f'{{{GET}, "status": 0}}'.encode(), "status"),
    ("close", f'{{{GET}, "\\ud800": 0}}'.encode(), "\\ud800"),
    ("close", f'{{{GET}, "KEY_STREAM_ID": 0}}'.encode(), "KEY_STREAM_ID"),
    ("get_key", f'{{{GET}, "index": -1}}'.encode(), "index"),
    ("get_key", f'{{{GET}, "index": 4294967296}}'.encode(), "index"),
    ("get_key", f'{{{GET}, "index": 1.5}}'.encode(), "index"),
    ("get_key", f'{{{GET}, "index": 1e-999999999}}'.encode(), "index"),
    ("get_key", f'{{{GET}, "index": 4294967294.9999999999}}'.encode(), "index"),
    ("get_key", f'{{{GET}, "index": 1e999}}'.encode(), "index"),
    ("get_key", f'{{{GET}, "index": 1e999999999999999999999}}'.encode(), "body"),
    ("get_key", f'{{{GET}, "index": true}}'.encode(), "index"),
    ("get_key", f'{{{GET}, "index": "1"}}'.encode(), "index"),
    ("get_key", f'{{{GET}, "Metadata": []}}'.encode(), "Metadata"),
    ("get_key", f'{{{GET}, "Metadata": 5}}'.encode(), "Metadata"),
    (
        "get_key",
        f'{{{GET}, "Metadata": {{"Metadata_size": -1}}}}'.encode(),
        "Metadata.Metadata_size",
    ),
    ("get_key", f'{{{GET}, "Metadata": {{"size": 1}}}}'.encode(), "Metadata.size"),
    (
        "get_key",
        f'{{{GET}, "Metadata": {{"Metadata_buffer": 1}}}}'.encode(),
        "Metadata.Metadata_buffer",
    ),
    ("get_key", f'{{{GET}, "Metadata": null, "metadata": null}}'.encode(), "Metadata"),
    ("open_connect", b"{}", "source"),
    ("open_connect", f'{{"source": "{ALICE}"}}'.encode(), "destination"),
    ("open_connect", b'{"source": "al ice", "destination": "sae:b"}', "source"),
    ("open_connect", b'{"source": "sae:a\\u0000", "destination": "sae:b"}', "source"),
    ("open_connect", b'{"source": "sae:a\\ud800", "destination": "sae:b"}', "source"),
    ("open_connect", f'{{{OPEN}, "QoS": 7}}'.encode(), "QoS"),
    ("open_connect", f'{{{OPEN}, "QoS": {{"Jitter": false}}}}'.encode(), "QoS.Jitter"),
    ("open_connect", f'{{{OPEN}, "QoS": {{"ttl": 1, "TTL": 1}}}}'.encode(), "QoS.TTL"),
    ("open_connect", f'{{{OPEN}, "QoS": {{"Max_bps": 4294967296}}}}'.encode(), "QoS.Max_bps"),
    ("open_connect", f'{{{OPEN}, "QoS": {{"Speed": 1}}}}'.encode(), "QoS.Speed"),
    ("open_connect", f'{{{OPEN}, "QoS": {{}}, "qos": {{}}}}'.encode(), "QoS"),
    (
        "open_connect",
        f'{{{OPEN}, "QoS": {{"Metadata_mimetype": "{"a" * 256}"}}}}'.encode(),
        "QoS.Metadata_mimetype",
    ),
    (
        "open_connect",
        f'{{{OPEN}, "QoS": {{"Metadata_mimetype": "a\\nb"}}}}'.encode(),
        "QoS.Metadata_mimetype",
    ),
]


@pytest.fixture(autouse=True, params=WAYS)
def _way(request: pytest.FixtureRequest) -> Iterator[None]:
    """One contract, on both ways."""
    with on(request.param):
        yield


async def test_what_is_malformed_is_400_with_the_member_named_and_reaches_no_counter() -> None:
    class Untouched(MemoryNorthbound):
        async def _checkpoint(self) -> None:
            raise AssertionError("a malformed request reached the counter")

    async with site(Untouched()) as here, here.client() as alice:
        # What is wrong for CLOSE is wrong for GET_KEY, which has more members.
        cases = [("get_key", body, field) for name, body, field in MALFORMED if name == "close"]
        for function, body, field in MALFORMED + cases:
            answer = await alice.post(function, body)

            assert answer.status == 400, (function, body[:80])
            assert field == answer.json["field"], (function, body[:80])
            assert len(answer.body) < 600


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": ""}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "multipart/form-data; boundary=x"}, 415),
        ({"Content-Type": "application/json; charset=utf-16"}, 415),
        ({"Content-Encoding": "gzip"}, 415),
        ({"Accept": "text/html"}, 406),
        ({"Accept": "application/json;q=0"}, 406),
        ({"Content-Type": "application/json; charset=UTF-8"}, 200),
        ({"Content-Type": "APPLICATION/JSON"}, 200),
    ],
)
@pytest.mark.parametrize("function", ["close", "get_key"])
async def test_media_types_are_what_they_say(
    function: str, headers: dict[str, str], status: int
) -> None:
    async with site() as here, here.client() as alice:
        answer = await alice.post(function, f"{{{GET}}}".encode(), headers=headers)

    assert status == answer.status


@pytest.mark.parametrize("function", ["close", "get_key"])
async def test_a_body_above_64_kib_is_413_and_the_largest_below_is_read(function: str) -> None:
    padding = " " * (64 * 1024 - len(GET) - 2)
    async with site() as here:
        async with here.client() as alice:
            fits = await alice.post(function, f"{{{GET}{padding}}}".encode())
        async with here.client() as alice:
            too_large = await alice.post(function, f"{{{GET}{padding} }}".encode())

    assert fits.status == 200
    assert too_large.status == 413


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
NAMES = st.sampled_from(
    ["source", "destination", "QoS", "qos", "Key_stream_ID", "index", "Metadata", "TTL"]
)
VALUES = JSON | st.sampled_from([ALICE, BOB, KSID, 0, 2**32 - 1, 2**32])
BODIES = (
    st.binary(max_size=200)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(NAMES, VALUES).map(lambda value: json.dumps(value).encode())
)


NUMBERS = ("Key_chunk_size", "Max_bps", "Min_bps", "Jitter", "Priority", "Timeout", "TTL")
NO_UINT32 = (
    "-1",
    "4294967296",
    "1.5",
    "true",
    '"32"',
    '""',
    "[]",
    "{}",
    "9" * 5000,
    "1e400",
    "-0.5",
)


@pytest.mark.parametrize("wrong", NO_UINT32, ids=lambda wrong: wrong[:12])
def test_what_is_no_uint32_is_refused_in_every_number_of_the_qos(wrong: str) -> None:
    faults = []
    for name in NUMBERS:
        body = f'{{{OPEN}, "QoS": {{"{name}": {wrong}}}}}'.encode()
        with pytest.raises(Malformed) as refused:
            reading.open_connect(read(body))
        faults.append(refused.value.field)

    # More digits than any number has are not read as one at all.
    long = len(wrong) > 4000
    assert faults == ["body" if long else f"QoS.{name}" for name in NUMBERS]


@pytest.mark.parametrize("null", ["null", "0", ""])
def test_a_number_of_the_qos_that_is_null_zero_or_absent_leaves_the_choice_to_the_kms(
    null: str,
) -> None:
    members = ", ".join(f'"{name}": {null}' for name in NUMBERS) if null else ""
    whole = reading.open_connect(read(f'{{{OPEN}, "QoS": {{{members}}}}}'.encode()))
    absent = reading.open_connect(read(f"{{{OPEN}}}".encode()))
    none = reading.open_connect(read(f'{{{OPEN}, "QoS": null, "Key_stream_ID": null}}'.encode()))

    assert QoS() == whole.qos
    assert whole == absent == none


@pytest.mark.parametrize(
    ("written", "index"),
    [("7", 7), ("7.0", 7), ("7e2", 700), ("700e-2", 7), ("-0.0", 0), ("4294967295.0", 2**32 - 1)],
)
def test_a_whole_number_may_be_written_as_json_schema_knows_it(written: str, index: int) -> None:
    request = reading.get_key(read(f'{{{GET}, "index": {written}}}'.encode()))

    assert (type(request.index), request.index) == (int, index)


@given(body=BODIES)
@settings(max_examples=300, deadline=None)
def test_any_body_is_a_request_or_malformed_and_nothing_else(body: bytes) -> None:
    for parser, kind in (
        (reading.open_connect, OpenConnect),
        (reading.get_key, GetKey),
        (reading.close, Close),
    ):
        outcome = _outcome(parser, body)
        if isinstance(outcome, Malformed):
            assert outcome.field.isascii()
            assert len(outcome.field) < 200
        else:
            assert isinstance(outcome, kind)


def _outcome(parser: Callable[[Members], object], body: bytes) -> object:
    try:
        return parser(read(body))
    except Malformed as error:
        return error
