"""Real nodes over the binary interface: the same streams and keys as over HTTP."""

import socket
import ssl

import pytest

from kms.adapters.tls import client_context
from kms.client import NoConnection, QoS, QoSNotMet, SyncClient
from kms.domain.status import QoS as Asked
from tests.adapters.foreign_004 import Asked as ForeignQoS
from tests.adapters.foreign_004 import ReferenceLike
from tests.processes.network import ALICE, BOB, RealNetwork
from tests.processes.test_statuses import ANN, BEN

JSON = "application/json"


def frames(network: RealNetwork, name: str) -> SyncClient:
    """The client of this node's application, over frames."""
    url = f"tls://{network.node(name).etsi004_tls}"
    return SyncClient(url, network.credentials(name), node=name)


def test_one_end_reads_frames_and_the_other_http_and_the_keys_are_the_same(
    network: RealNetwork,
) -> None:
    with frames(network, ALICE) as ann, network.sync_client(BOB) as ben:
        qos = QoS(key_chunk_size=48, metadata_mimetype=JSON)
        one = ann.open(source=ANN, destination=BEN, qos=qos)
        other = ben.join(one.ksid, source=ANN, destination=BEN)
        ours = [one.get() for _ in range(10)]
        theirs = [other.get(key.index) for key in ours]

        assert [bytes(key) for key in ours] == [bytes(key) for key in theirs]
        assert len({bytes(key) for key in ours}) == 10
        assert {"age", "hops", "link_type"} == set(ours[0].details())
        one.close()
        other.close()


def test_what_frames_cannot_carry_is_counter_proposed_and_read_over_http(
    network: RealNetwork,
) -> None:
    large = Asked(key_chunk_size=65_536)
    with (
        frames(network, ALICE) as ann,
        network.sync_client(ALICE) as ann_http,
        network.sync_client(BOB) as ben,
    ):
        with pytest.raises(QoSNotMet) as raised:
            ann.open(source=ANN, destination=BEN, qos=large)
        fits = ann.open(source=ANN, destination=BEN, qos=raised.value.qos)
        over_http = ann_http.open(source=ANN, destination=BEN, qos=large)
        peer = ben.join(over_http.ksid, source=ANN, destination=BEN)
        same = ann.join(over_http.ksid, source=ANN, destination=BEN)
        with pytest.raises(NoConnection):
            same.get(0)

        assert bytes(over_http.get(0)) == bytes(peer.get(0))
        assert fits.qos.key_chunk_size < 65_536
        for stream in (fits, over_http, peer):
            stream.close()


def test_a_program_of_the_reference_librarys_kind_is_served_by_real_nodes(
    network: RealNetwork,
) -> None:
    def program(name: str) -> ReferenceLike:
        context = client_context(network.credentials(name))
        return ReferenceLike(network.node(name).etsi004_tls_port, context)

    ann, ben = program(ALICE), program(BOB)
    opened = ann.open_connect(ANN, BEN, ForeignQoS(key_chunk_size=4096), JSON)
    joined = ben.open_connect(ANN, BEN, ForeignQoS(), JSON, opened.ksid)
    for index in range(3):
        one = ann.get_key(opened.ksid, index, bytes(1024))
        other = ben.get_key(opened.ksid, index, b"")

        assert (0, 4096) == (one.status, len(one.key))
        assert one.key == other.key
    assert (1, 0) == (opened.status, joined.status)
    # The bytes needed are announced, and are there.
    assert ann.get_key(opened.ksid, 3, b"room").status == 8
    assert [ann.close(opened.ksid), ben.close(opened.ksid)] == [0, 0]


def test_without_a_certificate_nothing_is_answered(network: RealNetwork) -> None:
    context = ssl.create_default_context(cafile=str(network.site.ca))
    port = network.node(ALICE).etsi004_tls_port
    with socket.create_connection(("127.0.0.1", port), 10) as plain:
        try:
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as tls:
                tls.sendall(bytes.fromhex("0201010800000010") + bytes(16))
                answered = tls.recv(8)
        except (ssl.SSLError, ConnectionError):
            answered = b""

    assert answered == b""
