"""The caller is the one URI SAN of the certificate."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from kms.adapters.edge import PEER_DER
from kms.adapters.identity import caller_of, sae_of
from kms.adapters.tls import fingerprint
from kms.ports.northbound import Forbidden
from tests.edge.authority import Authority

AUTHORITY = Authority()


def der_of(*names: x509.GeneralName) -> bytes:
    certificate, _ = AUTHORITY.issue(names)
    return certificate.public_bytes(Encoding.DER)


def uri(text: str) -> x509.GeneralName:
    return x509.UniformResourceIdentifier(text)


def test_the_caller_is_the_one_uri_san_never_the_common_name() -> None:
    der = der_of(uri("sae:alice.a"))

    # The authority puts sae:never.used in every common name.
    assert sae_of(der) == "sae:alice.a"


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ((), "has 0 URI names"),
        ((x509.DNSName("alice.a"),), "has 0 URI names"),
        ((uri("sae:alice.a"), uri("sae:bob.b")), "has 2 URI names"),
        ((uri("sae:alice.a"), uri("kms:node")), "has 2 URI names"),
        ((uri("kms:node"),), "does not name an application"),
        ((uri("SAE:alice.a"),), "does not name an application"),
        ((uri("https://alice.a/sae:"),), "does not name an application"),
        ((uri("sae:" + "a" * 61),), "is not a application"),
        ((uri("sae:alice a"),), "is not a application"),
        ((uri("sae:"),), "is not a application"),
    ],
    ids=lambda value: str(value)[:24] if isinstance(value, str) else "",
)
def test_any_other_certificate_is_forbidden_and_told_why(
    names: tuple[x509.GeneralName, ...], reason: str
) -> None:
    with pytest.raises(Forbidden, match=reason):
        sae_of(der_of(*names))


def test_a_certificate_that_does_not_parse_is_forbidden() -> None:
    with pytest.raises(Forbidden):
        sae_of(b"no certificate")


def test_revocation_is_asked_at_every_request() -> None:
    der = der_of(uri("sae:alice.a"))
    revoked: set[str] = set()
    state = {PEER_DER: der}
    before = caller_of(state, revoked.__contains__)
    revoked.add(fingerprint(der))

    assert before == "sae:alice.a"
    with pytest.raises(Forbidden, match="revoked"):
        caller_of(state, revoked.__contains__)


@pytest.mark.parametrize("state", [{}, {PEER_DER: None}, {PEER_DER: "sae:alice.a"}])
def test_a_connection_without_a_certificate_has_no_caller(state: dict[str, object]) -> None:
    with pytest.raises(Forbidden, match="no client certificate"):
        caller_of(state, lambda _: False)
