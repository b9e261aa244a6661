"""The documents that are served are true: requests made from them find nothing else.

schemathesis reads a document as a client's programmer would, over mutual TLS from the edge, and
makes requests that it allows and requests that it forbids. Every answer has to be one of the
document: its status, media type, headers and body; what is forbidden is refused, what is allowed is
not, and nothing is a fault of ours. Behind the interface are two nodes with a link and key.

``INTERFACES`` has an entry for each document, and for each way that it is served.
"""

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from kms.adapters.etsi014_http import desk, reading
from tests.api import etsi004, etsi014, etsi014_checks
from tests.api.interface import APP, Interface, Served
from tests.edge.authority import Authority

INTERFACES = {
    "ETSI 004": etsi004.ETSI_004,
    "ETSI 014, fast way": etsi014.FAST_WAY,
    "ETSI 014, slow way": etsi014.SLOW_WAY,
}


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", INTERFACES)
async def test_no_request_made_from_a_served_document_gets_an_answer_that_is_not_in_it(
    name: str, tmp_path: Path
) -> None:
    interface, authority = INTERFACES[name], Authority()
    async with interface.serving(authority) as served:
        report = await _tried(interface, served, authority, tmp_path)

    assert report["failures"] == []
    assert report["errors"] == []
    assert report["complete"]
    assert report["test_cases"]["generated"] >= interface.cases_at_least
    assert interface.answered - served.seen == Counter()
    assert served.faults == []
    edge = served.edge
    assert edge.logged("edge_contained") + edge.logged("edge_application_failed") == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "planted", "code"),
    [
        ("KEYS_PER_REQUEST_MAX", 512, "ST901"),
        ("_key_bytes", lambda size: 32, "ST201"),
    ],
    ids=["allowed is refused", "forbidden is taken"],
)
async def test_an_interface_that_is_not_as_its_document_says_is_found_out(
    name: str,
    planted: object,
    code: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Planted in the reader: fewer keys than the document allows, and any size."""
    few, authority = attrs.evolve(etsi014.FAST_WAY, examples=1), Authority()
    monkeypatch.setattr(reading, name, planted)
    monkeypatch.setattr(desk, "_enc_keys_again", desk._enc_keys)
    async with few.serving(authority) as served:
        report = await _tried(few, served, authority, tmp_path)

    assert code in {each["code"] for each in report["failures"]}


async def _tried(
    interface: Interface, served: Served, authority: Authority, directory: Path
) -> Any:
    """What schemathesis found, as a client with a certificate of ours."""
    certificate, authorities = directory / "client.pem", directory / "ca.pem"
    issued, key = authority.issue([x509.UniformResourceIdentifier(APP)])
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    certificate.write_bytes(secret + issued.public_bytes(Encoding.PEM))
    authorities.write_text(authority.ca_pem)
    settings, told = directory / "settings.toml", directory / "report.json"
    settings.write_text(f"{interface.settings.read_text()}\n{served.dictionaries}")
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(settings)),
        *("run", f"https://127.0.0.1:{served.edge.port}{interface.path}"),
        *("--tls-verify", str(authorities), "--request-cert", str(certificate)),
        *("--max-examples", str(interface.examples)),
        *("--report", "json", "--report-json-path", str(told)),
    ]
    done = await trio.run_process(
        command,
        check=False,
        capture_stdout=True,
        capture_stderr=True,
        cwd=directory,
        env={**os.environ, "SCHEMATHESIS_HOOKS": etsi014_checks.__file__},
    )
    # Shown if the test fails: how to ask again for what was wrong.
    print(done.stdout.decode(), done.stderr.decode())
    print(*served.seen.items(), sep="\n")
    assert told.exists(), "schemathesis did not run"
    return json.loads(told.read_text())
