"""Health, metrics and the admin socket, over real sockets behind the edge."""

import json
import socket
from functools import partial
from http.client import HTTPConnection
from pathlib import Path

import pytest
import structlog
import trio
from prometheus_client.parser import text_string_to_metric_families

from kms import link_secret
from kms.adapters.edge import listen_tcp, listen_unix, serve
from kms.adapters.memory.entropy import SeededEntropy
from kms.adapters.operations import ADMIN_BOUNDS, admin_app, operations_app, status_json
from kms.adapters.operations.admin_client import AdminClient
from kms.domain import limits
from kms.domain.errors import LocalFault
from kms.domain.names import NodeId
from kms.domain.statistics import NodeState
from tests.cli.fake_node import STATUS, FakeNode

LOG = structlog.testing.CapturingLogger()


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


@pytest.fixture
async def port(node: FakeNode, nursery: trio.Nursery) -> int:
    """Where the node's operations interface listens."""
    listeners = await listen_tcp("127.0.0.1", 0)
    app = operations_app(node)
    await nursery.start(partial(serve, app, listeners=listeners, tls=None, log=LOG))
    number: int = listeners[0].socket.getsockname()[1]
    return number


@pytest.fixture
async def admin(node: FakeNode, nursery: trio.Nursery, tmp_path: Path) -> AdminClient:
    path = tmp_path / "admin.sock"
    listeners = [listen_unix(path)]
    await nursery.start(
        partial(serve, admin_app(node), listeners=listeners, tls=None, log=LOG, bounds=ADMIN_BOUNDS)
    )
    return AdminClient(path)


async def get(port: int, target: str, method: str = "GET") -> tuple[int, str, str]:
    """Status, content type and body."""

    def ask() -> tuple[int, str, str]:
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request(method, target)
            response = connection.getresponse()
            kind = response.headers.get("Content-Type", "")
            return response.status, kind, response.read().decode()
        finally:
            connection.close()

    return await trio.to_thread.run_sync(ask)


async def post(client: AdminClient, target: str, body: bytes = b"") -> dict[str, object]:
    return await trio.to_thread.run_sync(client.post, target, body)


async def refusal(client: AdminClient, target: str, body: bytes = b"") -> LocalFault:
    with pytest.raises(LocalFault) as refused:
        await post(client, target, body)
    return refused.value


# ---- health ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (NodeState.READY, 200),
        (NodeState.DEGRADED, 200),
        (NodeState.SEALED, 503),
        (NodeState.STANDING, 503),
        (NodeState.STOPPING, 503),
    ],
)
async def test_health_says_whether_applications_are_served(
    node: FakeNode, port: int, state: NodeState, code: int
) -> None:
    node.show(state, "A~B is down")

    status, kind, body = await get(port, "/health")

    assert (status, kind) == (code, "application/json")
    assert json.loads(body) == {"state": state.value, "why": ["A~B is down"]}


@pytest.mark.parametrize(
    ("method", "target", "code"),
    [("GET", "/", 404), ("POST", "/health", 405), ("GET", "/status", 404), ("POST", "/stop", 404)],
)
async def test_nothing_else_is_there_and_nothing_can_be_commanded(
    node: FakeNode, port: int, method: str, target: str, code: int
) -> None:
    status, _, body = await get(port, target, method)

    assert status == code
    assert set(json.loads(body)) == {"message", "hint"}
    assert node.told == []


# ---- metrics --------------------------------------------------------------------------------


async def test_metrics_hold_every_figure_under_its_labels(port: int) -> None:
    status, _, body = await get(port, "/metrics")
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
    }

    assert status == 200
    assert samples["kms_info", "0", "A"] == 1
    assert samples["kms_state", "ready"] == 1
    assert samples["kms_state", "sealed"] == 0
    assert samples["kms_link_rate_in_bps", "A~B"] == 10_100.0
    assert samples["kms_pad_level_bytes", "A~B", "outgoing"] == 10_240_000
    assert samples["kms_pad_granted_bytes", "A~B", "incoming"] == 512
    assert samples["kms_link_own_pad_bytes_total", "A~B"] == 700
    assert samples["kms_alarms", "A~B", "qber"] == 1
    assert samples["kms_device_faults_total", "A~B", "qkd-1", "silent"] == 3
    assert samples["kms_store_slots_live",] == 4
    assert samples["kms_keys_delivered_total",] == 32
    assert samples["kms_get_key_seconds_bucket", "0.002"] == 99
    assert samples["kms_get_key_seconds_bucket", "+Inf"] == 100
    assert samples["kms_get_key_seconds_count",] == 100


async def test_the_parameters_of_y_3807_are_metrics_of_each_link(port: int) -> None:
    _, _, body = await get(port, "/metrics")
    samples = {
        sample.name.removeprefix("kms_"): sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
        if sample.labels.get("link") == "A~B" and sample.labels.get("le") in (None, "+Inf")
    }

    assert samples["link_promised_bps"] == 9_152
    assert samples["service_throughput_bps"] == 12_800
    assert (samples["service_keys_total"], samples["service_bytes_total"]) == (32, 1_024)
    assert samples["service_delay_seconds_bucket"] == 100
    assert samples["service_delay_variation_ms"] == 1.25
    assert (samples["service_errors_total"], samples["service_error_ratio"]) == (1, 0.025)
    assert (samples["service_losses_total"], samples["service_loss_ratio"]) == (7, 0.175)
    assert samples["service_availability_ratio"] == 0.99
    assert samples["service_outages_total"] == 2
    assert samples["service_outage_longest_ms"] == 4_000


async def test_metrics_name_no_stream_and_no_application(port: int) -> None:
    """Their number is not bounded by the configuration, and who talks to whom is not for all."""
    _, _, body = await get(port, "/metrics")

    assert "kms_streams_open 2.0" in body
    assert "sae:" not in body
    assert str(STATUS.streams[0].ksid) not in body


# ---- admin ----------------------------------------------------------------------------------


async def test_the_admin_socket_is_its_owners_alone(admin: AdminClient, tmp_path: Path) -> None:
    assert (tmp_path / "admin.sock").stat().st_mode & 0o777 == 0o600


async def test_status_comes_back_as_it_was_shown(admin: AdminClient) -> None:
    data = await trio.to_thread.run_sync(admin.get, "/status")

    assert status_json.decode(data) == STATUS
    assert json.loads(data)["links"][0]["outgoing"]["level_bytes"] == 10_240_000


async def test_unseal_hands_the_passphrase_over_byte_for_byte(
    node: FakeNode, admin: AdminClient
) -> None:
    answer = await post(admin, "/unseal", b"correct horse")

    assert answer == {"state": "ready"}
    assert node.told == [("unseal", b"correct horse")]


async def test_a_wrong_passphrase_is_a_fault_with_its_hint(admin: AdminClient) -> None:
    refused = await refusal(admin, "/unseal", b"wrong")

    assert (refused.reason, refused.hint) == ("wrong passphrase", "try another")


@pytest.mark.parametrize("body", [b"", b"x" * (limits.PASSPHRASE_BYTES_MAX + 1)])
async def test_a_passphrase_out_of_bounds_never_reaches_the_node(
    node: FakeNode, admin: AdminClient, body: bytes
) -> None:
    await refusal(admin, "/unseal", body)

    assert node.told == []


async def test_commands_reach_the_node_and_their_results_come_back(
    node: FakeNode, admin: AdminClient
) -> None:
    secret = link_secret.make(NodeId("B"), NodeId("A"), SeededEntropy(1))
    data = link_secret.encode(secret)
    adding = b'{"peer":"B","address":"127.0.0.1:1","secret":%b}' % data

    answers = [
        await post(admin, "/rekey"),
        await post(admin, "/link/add", b'{"peer":"C"}'),
        await post(admin, "/link/add", adding),
        await post(admin, "/link/restart", data),
        await post(admin, "/reload"),
        await post(admin, "/stop"),
    ]

    assert answers == [
        {"epoch": 4},
        {"peer": "C", "bootstrapped": False},
        {"peer": "B", "bootstrapped": True},
        {"link": "A~B", "secret_id": secret.secret_id},
        {"changed": ["2 applications more"]},
        {"state": "stopping"},
    ]
    assert node.told == [
        "rekey",
        ("add", "C", None, None),
        ("add", "B", "127.0.0.1:1", secret.secret_id),
        ("restart", ("A", "B"), secret.secret_id, limits.SECRET_BYTES),
        "reload",
        "stop",
    ]


SECRET = link_secret.encode(link_secret.make(NodeId("B"), NodeId("C"), SeededEntropy(2)))


@pytest.mark.parametrize(
    ("target", "body", "says"),
    [
        ("/link/add", b"", "no such command"),
        ("/link/add", b"[" * 100_000, "no such command"),
        ("/link/add", b'{"peer":1}', "no such command"),
        ("/link/add", b'{"peer":"B","more":1}', "no such command"),
        ("/link/add", b'{"peer":"A"}', "'A' is not a link"),
        ("/link/add", b'{"peer":"B C"}', "not a node"),
        ("/link/add", b'{"peer":"B","address":"nowhere"}', "not an address"),
        ("/link/add", b'{"peer":"B","secret":{"bits":"AAAA"}}', "no link secret"),
        ("/link/restart", b"{}", "no link secret"),
        ("/link/restart", SECRET, "is for the link B~C, and this node is A"),
        ("/link/add", b'{"peer":"B","secret":%b}' % SECRET, "this node is A"),
        ("/link/restart", b"\xff" * 1000, "no link secret"),
        ("/link/restart", b"x" * (limits.ADMIN_BODY_BYTES_MAX + 1), "Too Large"),
        ("/nowhere", b"", "Not Found"),
    ],
)
async def test_a_command_that_does_not_read_changes_nothing(
    node: FakeNode, admin: AdminClient, target: str, body: bytes, says: str
) -> None:
    refused = await refusal(admin, target, body)

    assert says in refused.reason
    assert node.told == []


async def test_a_secret_for_another_link_of_this_node_is_refused(
    node: FakeNode, admin: AdminClient
) -> None:
    data = link_secret.encode(link_secret.make(NodeId("A"), NodeId("C"), SeededEntropy(2)))

    refused = await refusal(admin, "/link/add", b'{"peer":"B","secret":%b}' % data)

    assert refused.reason == "the secret is for A~C, not for a link to B"
    assert node.told == []


async def test_a_fault_of_the_node_reaches_the_operator(node: FakeNode, admin: AdminClient) -> None:
    node.refuses = True

    for target in ("/rekey", "/reload", "/stop"):
        refused = await refusal(admin, target)
        assert (refused.reason, refused.hint) == ("the node is stopping", "start it again")


async def test_a_node_that_is_not_there_is_told_from_one_that_refuses(tmp_path: Path) -> None:
    dead = tmp_path / "dead.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(dead))

    for path in (tmp_path / "none.sock", dead):
        refused = await refusal(AdminClient(path), "/rekey")
        assert refused.reason == f"no node answers at {path}"


async def test_a_node_that_breaks_off_is_a_fault_not_a_traceback(tmp_path: Path) -> None:
    path = tmp_path / "odd.sock"
    listener = listen_unix(path)

    async def odd(stream: trio.SocketStream) -> None:
        await stream.send_all(b"\0\0 no HTTP\r\n\r\n")
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, odd, [listener])
        refused = await refusal(AdminClient(path), "/rekey")
        nursery.cancel_scope.cancel()

    assert refused.reason.startswith("the node broke off")


def test_a_status_that_does_not_read_names_the_versions() -> None:
    with pytest.raises(LocalFault, match="does not read"):
        status_json.decode(b'{"node": 1}')
