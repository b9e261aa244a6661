"""ETSI GS QKD 004 by hand: any bytes as a body, any certificate, over the standard library."""

import http.client
import json
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from kms.demo.site import NodeFiles
from tests.processes.network import PATIENCE_S, RealNetwork

OPEN, GET, CLOSE = "open_connect", "get_key", "close"


@attrs.frozen
class Answer:
    status: int
    members: Mapping[str, Any]


def context(
    network: RealNetwork, certificate: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=network.site.ca)
    if certificate is not None:
        made.load_cert_chain(certificate, key)
    return made


def own_context(network: RealNetwork, name: str) -> ssl.SSLContext:
    """With the certificate of the application at this node."""
    app = network.application(name)
    return context(network, app.certificate, app.key)


def post(
    network: RealNetwork,
    node: str | NodeFiles,
    function: str,
    body: object,
    tls: ssl.SSLContext | None = None,
) -> Answer:
    """One request on a connection of its own. ``body``: bytes as they are, or an object as JSON."""
    files = network.node(node) if isinstance(node, str) else node
    tls = tls or own_context(network, files.name)
    connection = http.client.HTTPSConnection(
        "127.0.0.1", files.etsi004_port, context=tls, timeout=PATIENCE_S
    )
    try:
        connection.request(
            "POST",
            f"/etsi004/v2.1.1/{function}",
            body if isinstance(body, bytes) else json.dumps(body),
            {"Content-Type": "application/json"},
        )
        answer = connection.getresponse()
        said = answer.read()
        return Answer(answer.status, json.loads(said) if said else {})
    finally:
        connection.close()


def began(network: RealNetwork, name: str, function: str, body: object) -> ssl.SSLSocket:
    """A request that was sent and whose answer nobody has read."""
    sent = json.dumps(body).encode()
    transport = socket.create_connection(("127.0.0.1", network.node(name).etsi004_port), PATIENCE_S)
    tls = own_context(network, name).wrap_socket(transport, server_hostname="127.0.0.1")
    tls.sendall(
        f"POST /etsi004/v2.1.1/{function} HTTP/1.1\r\nHost: node\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(sent)}\r\n\r\n".encode()
        + sent
    )
    return tls
