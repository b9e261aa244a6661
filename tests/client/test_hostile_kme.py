"""What the client makes of answers that no key manager should give to requests for keys."""

from base64 import b64encode
from contextlib import suppress
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kms.client import BadAnswer, ClientError, KeyNotFound, Keys, Malformed, Refused, Unavailable
from kms.client.etsi014 import dec_keys, enc_keys, status
from kms.client.exchange import Answer

IDS = [UUID(int=number + 1, version=4) for number in range(3)]
KEY = b64encode(bytes(range(32))).decode()


def answer(body: object, http_status: int = 200) -> Answer:
    said = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return Answer(http_status, {"content-type": "application/json"}, bytearray(said))


def container(*ids: UUID, key: str = KEY) -> dict[str, object]:
    return {"keys": [{"key_ID": str(each), "key": key} for each in ids]}


def encrypting(reply: Answer, number: int = 2, size: int | None = 256) -> Keys:
    return enc_keys("sae:b", number, size, (), (), ()).read(reply)


def decrypting(reply: Answer) -> Keys:
    return dec_keys("sae:a", IDS[:2]).read(reply)


def test_what_was_asked_for_reads_with_members_we_do_not_know() -> None:
    told = container(*IDS[:2]) | {"later": 1, "key_container_extension": {"x_y": 1}}

    keys = encrypting(answer(told))

    assert IDS[:2] == keys.key_ids
    assert {"x_y": 1} == keys.extension


def test_the_order_of_keys_with_ids_is_that_of_the_question() -> None:
    assert IDS[:2] == decrypting(answer(container(IDS[1], IDS[0]))).key_ids


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"keys":' + b"[" * 100_000,
        b"\xff\xfe",
        {"keys": None},
        {"keys": {}},
        {"keys": []},
        {"keys": [1, 2]},
        container(IDS[0]),
        container(*IDS),
        container(IDS[0], IDS[0]),
        container(*IDS[:2], key=""),
        container(*IDS[:2], key="!"),
        container(*IDS[:2], key=KEY[:-1]),
        container(*IDS[:2], key=KEY + "\n"),
        container(*IDS[:2], key="-_" + KEY[2:]),
        container(*IDS[:2], key=b64encode(bytes(31)).decode()),
        container(*IDS[:2], key=b64encode(bytes(33)).decode()),
        {"keys": [{"key_ID": str(IDS[0])}, {"key_ID": str(IDS[1]), "key": KEY}]},
        {"keys": [{"key_ID": "x", "key": KEY}, {"key_ID": str(IDS[1]), "key": KEY}]},
        {"keys": [{"key_ID": 1, "key": KEY}, {"key_ID": str(IDS[1]), "key": KEY}]},
        container(*IDS[:2]) | {"key_container_extension": 1},
    ],
)
def test_what_is_not_the_keys_asked_for_gives_no_key(body: object) -> None:
    with pytest.raises(BadAnswer) as raised:
        encrypting(answer(body))

    assert KEY not in repr(raised.value)
    assert raised.value.__cause__ is None


def test_keys_of_two_sizes_are_no_answer_even_where_none_was_asked_for() -> None:
    two = {
        "keys": [
            {"key_ID": str(IDS[0]), "key": KEY},
            {"key_ID": str(IDS[1]), "key": b64encode(bytes(16)).decode()},
        ]
    }

    with pytest.raises(BadAnswer, match="one size"):
        encrypting(answer(two), size=None)


@pytest.mark.parametrize("ids", [IDS[:1], IDS, [IDS[0], IDS[2]], [IDS[0], IDS[0]], []])
def test_other_ids_than_those_asked_for_give_no_key(ids: list[UUID]) -> None:
    with pytest.raises(BadAnswer):
        decrypting(answer(container(*ids)))


def test_the_answer_is_wiped_once_it_is_read() -> None:
    for reply in (answer(container(*IDS[:2])), answer(container(IDS[0]))):
        with suppress(BadAnswer):
            encrypting(reply)

        assert bytes(len(reply.body)) == reply.body


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"source_KME_ID": 1},
        {"key_size": -1},
        {"key_size": 2**53},
        {"key_size": 1.5},
        {"key_size": "256"},
        {"status_extension": []},
    ],
)
def test_a_status_that_is_none_is_told(told: dict[str, object]) -> None:
    whole: dict[str, object] = {
        "source_KME_ID": "a",
        "target_KME_ID": "b",
        "master_SAE_ID": "sae:a",
        "slave_SAE_ID": "sae:b",
        "key_size": 256,
        "stored_key_count": 1,
        "max_key_count": 1,
        "max_key_per_request": 1,
        "max_key_size": 256,
        "min_key_size": 256,
        "max_SAE_ID_count": 0,
    }
    assert status("sae:b").read(answer(whole)).key_size == 256
    with pytest.raises(BadAnswer):
        status("sae:b").read(answer(whole | told if told else {}))


@pytest.mark.parametrize(
    ("http_status", "body", "expected"),
    [
        (400, b'{"message":"bad request format"}', Malformed),
        (400, b'{"message":"one or more keys specified are not found on KME"}', KeyNotFound),
        (400, b'{"message":"x","details":[{"a":{"b":[1]}}]}', Malformed),
        (400, b'{"message":"x","details":' + b"[" * 50_000, Malformed),
        (400, b"", Malformed),
        (401, b"", Refused),
        (403, b"<html>", Refused),
        (404, b"", Malformed),
        (503, b'{"message":"error on server side"}', Unavailable),
        (500, b"", BadAnswer),
        (301, b"", BadAnswer),
    ],
)
def test_every_http_status_has_its_error(
    http_status: int, body: bytes, expected: type[ClientError]
) -> None:
    with pytest.raises(ClientError) as raised:
        decrypting(answer(body, http_status))

    assert type(raised.value) is expected
    assert 0 < len(raised.value.message) <= 500


def test_a_nodes_words_cannot_steer_a_terminal() -> None:
    with pytest.raises(Malformed) as raised:
        decrypting(answer({"message": "no\x1b[2Jkey\nerror: all is well\u202e"}, 400))

    assert raised.value.message == "no?[2Jkey?error: all is well?"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2**64) | st.text(max_size=5) | st.just(KEY),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["keys", "key", "key_ID", "key_extension", "message", "details"]), inner
        )
    ),
    max_leaves=8,
)


@given(_JSON, st.sampled_from([200, 400, 401, 503]))
def test_any_answer_is_the_keys_or_an_error_of_ours(body: object, http_status: int) -> None:
    for read in (encrypting, decrypting):
        with suppress(ClientError):
            assert 2 == len(read(answer(body, http_status)))
