"""Who is served: certificates wrong, missing, expired, foreign, unknown, revoked, renewed."""

import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kms.adapters import pki
from kms.adapters.tls import Credentials, fingerprint
from kms.config import load
from tests.processes.http import GET, OPEN, Answer, context, own_context, post
from tests.processes.network import ALICE, BOB, RealNetwork
from tests.processes.test_statuses import ANN, BEN, KSID

ORDER = {"source": ANN, "destination": BEN}


def _pki(network: RealNetwork) -> Path:
    return network.site.ca.parent


def _foreign(network: RealNetwork, directory: Path) -> Credentials:
    """Ann's name under another authority."""
    pki.create_ca(directory)
    return pki.issue(directory, ANN)


def _expired(network: RealNetwork, directory: Path) -> Credentials:
    """From our authority, and over since yesterday."""
    made = directory / "expired"
    made.mkdir()
    for name in ("ca.pem", "ca.key"):
        (made / name).write_bytes((_pki(network) / name).read_bytes())
        (made / name).chmod(0o600)
    return pki.issue(made, ANN, days=1, now=datetime.now(UTC) - timedelta(days=2))


def _refused(network: RealNetwork, tls: ssl.SSLContext) -> bool:
    """Whether the connection ends without an answer, as TLS 1.3 says no to a client."""
    try:
        post(network, ALICE, OPEN, ORDER, tls)
    except (ssl.SSLError, ConnectionError):
        return True
    return False


@pytest.mark.parametrize("make", [_foreign, _expired])
def test_a_certificate_that_does_not_verify_gets_no_answer(
    network: RealNetwork, tmp_path: Path, make: Callable[[RealNetwork, Path], Credentials]
) -> None:
    files = make(network, tmp_path)

    assert _refused(network, context(network, files.certificate, files.key))


def test_without_a_certificate_there_is_no_answer(network: RealNetwork) -> None:
    assert _refused(network, context(network))


def test_a_nodes_certificate_is_no_applications(network: RealNetwork) -> None:
    pem = _pki(network) / "kms-bob.pem"
    answer = post(
        network, ALICE, GET, {"Key_stream_ID": KSID}, context(network, pem, pem.with_suffix(".key"))
    )

    assert answer.status == 403


def test_an_application_that_policy_does_not_name_is_forbidden(network: RealNetwork) -> None:
    files = pki.issue(_pki(network), "sae:unknown")
    tls = context(network, files.certificate, files.key)
    order = {"source": "sae:unknown", "destination": BEN}

    assert post(network, ALICE, OPEN, order, tls).status == 403
    assert post(network, ALICE, OPEN, ORDER, tls).status == 403


def test_an_application_is_served_at_its_own_node_only(network: RealNetwork) -> None:
    assert post(network, BOB, OPEN, ORDER, own_context(network, ALICE)).status == 403


@pytest.fixture
def network_file(network: RealNetwork) -> Iterator[Path]:
    """The network file; as it was, and in force, afterwards."""
    path = network.site.directory / "network.toml"
    before = path.read_text()
    yield path
    path.write_text(before)
    for name in (ALICE, BOB):
        assert network.cli("reload", network.node(name).config).returncode == 0
    network.until("served again", lambda: post(network, ALICE, OPEN, ORDER).status == 200)


def _ask(network: RealNetwork) -> Answer:
    return post(network, ALICE, OPEN, ORDER)


def test_a_revoked_certificate_is_refused_without_a_restart(
    network: RealNetwork, network_file: Path
) -> None:
    before = _ask(network).status
    der = ssl.PEM_cert_to_DER_cert(network.application(ALICE).certificate.read_text())
    text = network_file.read_text()
    network_file.write_text(text + f'\n[policy]\nrevoked = ["{fingerprint(der)}"]\n')
    network.until("the revoked one is refused", lambda: _ask(network).status == 403)

    assert before == 200


def test_a_rule_that_is_taken_away_closes_the_streams_it_allowed(
    network: RealNetwork, network_file: Path
) -> None:
    opened = post(network, ALICE, OPEN, ORDER)
    ksid = opened.members["Key_stream_ID"]
    post(network, BOB, OPEN, {"source": BEN, "destination": ANN, "Key_stream_ID": ksid})
    before = post(network, ALICE, GET, {"Key_stream_ID": ksid})
    text = network_file.read_text()
    network_file.write_text(text.replace('other = "sae:app.bob"', 'other = "sae:else"'))
    network.until("the rule is gone", lambda: _ask(network).status == 403)
    after = post(network, ALICE, GET, {"Key_stream_ID": ksid})

    assert before.members["status"] == 0
    assert "Key_buffer" not in after.members


def test_where_and_how_fast_a_stream_may_be_opened_is_taken_from_the_file_at_once(
    network: RealNetwork, network_file: Path
) -> None:
    text = network_file.read_text()
    rule = 'other = "sae:app.bob"'
    greedy = {**ORDER, "QoS": {"Min_bps": 1001}}

    def put(more: str) -> None:
        network_file.write_text(text.replace(rule, rule + more))
        for name in (ALICE, BOB):
            assert network.cli("reload", network.node(name).config).returncode == 0

    assert rule in text, "the demonstration's own rule"
    put(", max_bps = 1000")
    network.until("the rate holds", lambda: _qos(network, greedy) == (7, 1000))
    put(", max_bps = 1000, per = 'rule', at = 'bob'")
    network.until("only Bob's may open", lambda: _ask(network).status == 403)
    put(", at = 'alice'")
    network.until("Alice's may open", lambda: _ask(network).status == 200)


def _qos(network: RealNetwork, order: dict[str, object]) -> tuple[int, int]:
    """Status and Min_bps of the answer."""
    members = post(network, ALICE, OPEN, order).members
    return members["status"], members["QoS"]["Min_bps"]


def test_a_broken_network_file_changes_nothing(network: RealNetwork, network_file: Path) -> None:
    network_file.write_text("nodes = [")
    done = network.cli("reload", network.node(ALICE).config)

    assert done.returncode == 1
    assert b"hint: " in done.stderr
    assert _ask(network).status == 200


def test_a_broken_certificate_is_named_and_changes_nothing(network: RealNetwork) -> None:
    """SIGHUP too: then the log says it."""
    certificate = load(network.node(ALICE).config).tls.certificate
    before, shown = certificate.read_bytes(), _served_until(network)
    try:
        certificate.write_bytes((_pki(network) / "kms-bob.pem").read_bytes())
        done = network.cli("reload", network.node(ALICE).config)
        network.signal(ALICE, signal.SIGHUP)
        network.until("it is logged", lambda: "reload-refused" in network.log(ALICE))
        served = _ask(network).status
    finally:
        certificate.write_bytes(before)

    assert done.returncode == 1
    assert b"of bob, not of alice" in done.stderr
    assert str(certificate) in network.log(ALICE)
    assert (served, _served_until(network)) == (200, shown)


def _served_until(network: RealNetwork) -> str:
    """The end of the certificate that the node shows."""
    tls = own_context(network, ALICE)
    with (
        socket.create_connection(("127.0.0.1", network.node(ALICE).etsi004_port), 10) as transport,
        tls.wrap_socket(transport, server_hostname="127.0.0.1") as shown,
    ):
        found = shown.getpeercert()
        assert found is not None
        return str(found["notAfter"])


def test_a_renewed_certificate_is_shown_after_sighup(network: RealNetwork) -> None:
    before = _served_until(network)
    pki.issue(_pki(network), "kms:alice", ["localhost", "127.0.0.1"], days=30)
    network.signal(ALICE, signal.SIGHUP)
    network.until("the new certificate is shown", lambda: _served_until(network) != before)

    assert _ask(network).status == 200
