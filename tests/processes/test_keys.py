"""Real nodes over ETSI GS QKD 014: keys by their IDs, also when the slave's node is killed."""

import base64
import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kms.adapters.tls import client_context
from tests.processes.network import ALICE, BOB, RealNetwork
from tests.processes.test_statuses import ANN, BEN

# With key that comes at its own pace, a request may have to be made again.
TRIES_MAX = 30


class Application:
    """One application's connection to its node."""

    def __init__(self, connection: http.client.HTTPSConnection) -> None:
        self._connection = connection

    def enc_keys(self, slave: str, **body: object) -> dict[str, Any]:
        for _ in range(TRIES_MAX):
            status, told = self.post("enc_keys", slave, body)
            if status != 503:
                break
        assert status == 200, told
        return told

    def dec_keys(self, master: str, made: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        named = [{"key_ID": one["key_ID"]} for one in made["keys"]]
        return self.post("dec_keys", master, {"key_IDs": named})

    def status(self, slave: str) -> dict[str, Any]:
        self._connection.request("GET", f"/api/v1/keys/{slave}/status")
        told: dict[str, Any] = json.load(self._connection.getresponse())
        return told

    def post(self, method: str, other: str, body: object) -> tuple[int, dict[str, Any]]:
        headers = {"Content-Type": "application/json"}
        path = f"/api/v1/keys/{other}/{method}"
        self._connection.request("POST", path, json.dumps(body), headers)
        answer = self._connection.getresponse()
        raw = answer.read()
        return answer.status, json.loads(raw) if raw else {}


@contextmanager
def application(network: RealNetwork, name: str) -> Iterator[Application]:
    """The application at this node."""
    context = client_context(network.credentials(name), alpn=("http/1.1",))
    port = network.node(name).etsi014_port
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=60)
    try:
        yield Application(connection)
    finally:
        connection.close()


def test_the_slave_fetches_at_its_node_what_the_master_got_at_the_other(
    network: RealNetwork,
) -> None:
    with application(network, ALICE) as ann, application(network, BOB) as ben:
        made = ann.enc_keys(BEN, number=10, size=512)
        status, fetched = ben.dec_keys(ANN, made)
        again, _ = ben.dec_keys(ANN, made)
        pair = ann.status(BEN)

    assert (200, made) == (status, fetched)
    assert again == 400
    assert {64} == {len(base64.b64decode(one["key"])) for one in made["keys"]}
    assert ("kms:alice", "kms:bob") == (pair["source_KME_ID"], pair["target_KME_ID"])


def test_what_the_master_got_the_slave_can_fetch_after_its_node_was_killed(
    network: RealNetwork,
) -> None:
    with application(network, ALICE) as ann:
        made = ann.enc_keys(BEN, number=5)
    network.kill(BOB)
    network.start(BOB)
    network.until_ready()
    with application(network, BOB) as ben:
        status, fetched = ben.dec_keys(ANN, made)

    assert (200, made) == (status, fetched)
