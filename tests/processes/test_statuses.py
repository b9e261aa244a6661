"""Every status of ETSI GS QKD 004 that an application can meet, and what is no request at all."""

import json
from uuid import uuid4

import pytest

from kms.domain.limits import CHUNK_BYTES_MAX, STOCK_CHUNKS_MAX
from kms.domain.status import Status
from tests.processes.http import CLOSE, GET, OPEN, post
from tests.processes.network import ALICE, BOB, RealNetwork

ANN, BEN = "sae:app.alice", "sae:app.bob"
QOS: dict[str, object] = {
    "Key_chunk_size": 32,
    "Timeout": 1000,
    "Metadata_mimetype": "application/json",
}


def _open(network: RealNetwork, **qos: object) -> str:
    """A stream that ann has opened at alice; ben has not come yet."""
    order = {"source": ANN, "destination": BEN, "QoS": {**QOS, **qos}}
    opened = post(network, ALICE, OPEN, order)
    assert (200, Status.PEER_NOT_CONNECTED_YET) == (opened.status, opened.members["status"])
    return str(opened.members["Key_stream_ID"])


def _join(network: RealNetwork, ksid: str) -> int:
    order = {"source": BEN, "destination": ANN, "Key_stream_ID": ksid}
    return int(post(network, BOB, OPEN, order).members["status"])


def _get(network: RealNetwork, name: str, ksid: str, **members: object) -> dict[str, object]:
    answer = post(network, name, GET, {"Key_stream_ID": ksid, **members})
    assert answer.status == 200, answer
    return dict(answer.members)


def test_the_peer_application_is_not_there_yet_then_is(network: RealNetwork) -> None:
    ksid = _open(network)
    early = _get(network, ALICE, ksid)
    joined = _join(network, ksid)
    here, there = _get(network, ALICE, ksid, index=0), _get(network, BOB, ksid, index=0)

    assert early["status"] == Status.PEER_NOT_CONNECTED
    assert "Key_buffer" not in early
    assert joined == Status.SUCCESS
    assert (here["status"], there["status"]) == (Status.SUCCESS, Status.SUCCESS)
    assert here["Key_buffer"] == there["Key_buffer"]


def test_an_unknown_and_a_foreign_stream_get_the_same_answer(network: RealNetwork) -> None:
    """Foreign: at ann's node, a stream that waits for ben is not yet ben's node's own either."""
    ksid = _open(network)
    foreign = post(network, BOB, GET, {"Key_stream_ID": ksid})
    unknown = post(network, BOB, GET, {"Key_stream_ID": str(uuid4())})
    closed = [post(network, BOB, CLOSE, {"Key_stream_ID": k}) for k in (ksid, str(uuid4()))]

    assert foreign == unknown
    assert foreign.members["status"] == Status.PEER_NOT_CONNECTED
    assert closed[1].members["status"] == Status.PEER_NOT_CONNECTED


def test_a_closed_stream_stays_closed_and_its_ksid_in_use(network: RealNetwork) -> None:
    ksid = _open(network)
    _join(network, ksid)
    closed = post(network, ALICE, CLOSE, {"Key_stream_ID": ksid})
    order = {"source": ANN, "destination": BEN, "Key_stream_ID": ksid, "QoS": QOS}
    again = post(network, ALICE, OPEN, order)

    assert closed.members["status"] == Status.SUCCESS
    assert _get(network, ALICE, ksid)["status"] == Status.PEER_NOT_CONNECTED
    assert again.members["status"] == Status.KSID_IN_USE


def test_a_predefined_stream_without_its_peer_times_out(network: RealNetwork) -> None:
    order = {"source": ANN, "destination": BEN, "Key_stream_ID": str(uuid4()), "QoS": QOS}

    assert post(network, ALICE, OPEN, order).members["status"] == Status.TIMEOUT


def test_a_key_larger_than_all_there_is_is_answered_2_or_6_and_costs_nothing(
    network: RealNetwork,
) -> None:
    ksid = _open(network, Key_chunk_size=CHUNK_BYTES_MAX, Timeout=300)
    _join(network, ksid)
    late = _get(network, ALICE, ksid, index=40)
    far = _get(network, ALICE, ksid, index=STOCK_CHUNKS_MAX + 1)

    assert late["status"] in (Status.INSUFFICIENT_KEY, Status.TIMEOUT)
    assert far["status"] == Status.INSUFFICIENT_KEY
    assert not late.keys() & {"Key_buffer"}
    assert [post(network, n, CLOSE, {"Key_stream_ID": ksid}).status for n in (ALICE, BOB)] == [
        200,
        200,
    ]


def test_an_index_that_was_read_is_not_given_again(network: RealNetwork) -> None:
    ksid = _open(network)
    _join(network, ksid)

    assert _get(network, ALICE, ksid, index=0)["status"] == Status.SUCCESS
    assert _get(network, ALICE, ksid, index=0)["status"] == Status.INSUFFICIENT_KEY
    assert _get(network, BOB, ksid, index=0)["status"] == Status.SUCCESS


def test_a_metadata_buffer_too_small_costs_no_key(network: RealNetwork) -> None:
    ksid = _open(network)
    _join(network, ksid)
    small = _get(network, ALICE, ksid, index=0, Metadata={"Metadata_size": 1})
    needed = small["Metadata"]
    assert isinstance(needed, dict)
    whole = _get(network, ALICE, ksid, index=0, Metadata={"Metadata_size": needed["Metadata_size"]})
    other = _get(network, BOB, ksid, index=0)

    assert small["status"] == Status.METADATA_SIZE_INSUFFICIENT
    assert "Key_buffer" not in small
    assert whole["Key_buffer"] == other["Key_buffer"]


def test_a_rate_that_no_link_has_is_answered_with_one_that_is_admitted(
    network: RealNetwork,
) -> None:
    order = {"source": ANN, "destination": BEN, "QoS": {**QOS, "Min_bps": 2**32 - 1}}
    refused = post(network, ALICE, OPEN, order)
    again = post(network, ALICE, OPEN, {**order, "QoS": refused.members["QoS"]})

    assert refused.members["status"] == Status.QOS_NOT_MET
    assert again.members["status"] == Status.PEER_NOT_CONNECTED_YET, (refused, again)


KSID = str(uuid4())
WRONG_BODIES: dict[str, bytes] = {
    "not JSON": b"{",
    "not an object": b"[]",
    "empty": b"",
    "not UTF-8": b'{"Key_stream_ID": "\xff"}',
    "NaN": b'{"Key_stream_ID": "%s", "index": NaN}' % KSID.encode(),
    "too deep": b'{"Key_stream_ID": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    "a name twice": b'{"index": 1, "index": 2}',
    "a wrong type": json.dumps({"Key_stream_ID": KSID, "index": "1"}).encode(),
    "a negative index": json.dumps({"Key_stream_ID": KSID, "index": -1}).encode(),
    "an index too large": json.dumps({"Key_stream_ID": KSID, "index": 2**32}).encode(),
    "a number too long": b'{"index": ' + b"9" * 5000 + b"}",
    "an unknown member": json.dumps({"Key_stream_ID": KSID, "indx": 1}).encode(),
    "no KSID": b"{}",
    "not a UUID": b'{"Key_stream_ID": "x"}',
}


@pytest.mark.parametrize("what", WRONG_BODIES)
def test_what_is_no_request_is_answered_400(network: RealNetwork, what: str) -> None:
    answer = post(network, ALICE, GET, WRONG_BODIES[what])

    assert answer.status == 400
    assert answer.members["field"]


def test_a_body_that_is_too_large_is_answered_413(network: RealNetwork) -> None:
    body = b'{"Key_stream_ID": "' + b"x" * 2**20 + b'"}'

    assert post(network, ALICE, GET, body).status == 413


def test_without_the_peer_node_or_its_device_there_is_no_connection(network: RealNetwork) -> None:
    """Status 4 at once, not after a Timeout, and 1 again once the neighbour is back."""
    network.kill(BOB)
    network.until("bob is missed", lambda: not network.ready(ALICE))
    order = {"source": ANN, "destination": BEN, "QoS": QOS}
    alone = post(network, ALICE, OPEN, order)
    network.start(BOB)
    network.until_ready()

    assert alone.members["status"] == Status.NO_QKD_CONNECTION
    assert "link" in alone.members["message"]
    assert _join(network, _open(network)) == Status.SUCCESS
