"""TLS contexts, tried by real handshakes over loopback sockets in memory."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kms.adapters.pki import create_ca, issue
from kms.adapters.tls import (
    HTTP_1_1,
    Checks,
    Credentials,
    CurrentTLS,
    client_context,
    fingerprint,
    server_context,
    uri_sans,
)
from kms.domain.errors import LocalFault


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    create_ca(tmp_path / "pki")
    return tmp_path / "pki"


@pytest.fixture
def node(directory: Path) -> Credentials:
    return issue(directory, "kms:alice", ["localhost"])


@pytest.fixture
def application(directory: Path) -> Credentials:
    return issue(directory, "sae:app.a")


def shake(
    server: ssl.SSLContext, client: ssl.SSLContext, host: str | None = "localhost"
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Both ends of a handshake that came to its end; raises what either end raises."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        server.wrap_bio(to_server, to_client, server_side=True),
        client.wrap_bio(to_client, to_server, server_hostname=host),
    )
    done: set[int] = set()
    for _ in range(10):
        for number, end in reversed(list(enumerate(ends))):
            try:
                end.do_handshake()
                done.add(number)
            except ssl.SSLWantReadError:
                pass
    assert done == {0, 1}
    return ends


def test_both_ends_prove_who_they_are_in_tls_1_3(
    node: Credentials, application: Credentials
) -> None:
    server, client = shake(server_context(node), client_context(application))

    caller, reached = server.getpeercert(True), client.getpeercert(True)
    assert caller is not None
    assert reached is not None
    assert uri_sans(caller) == ("sae:app.a",)
    assert uri_sans(reached) == ("kms:alice",)
    assert server.version() == client.version() == "TLSv1.3"


def test_an_older_tls_is_refused(node: Credentials, application: Credentials) -> None:
    old = client_context(application)
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2

    with pytest.raises(ssl.SSLError):
        shake(server_context(node), old)


def test_a_client_without_a_certificate_is_refused(node: Credentials) -> None:
    nobody = ssl.create_default_context(cafile=node.ca)

    with pytest.raises(ssl.SSLError):
        shake(server_context(node), nobody)


def test_a_client_of_another_authority_is_refused(node: Credentials, tmp_path: Path) -> None:
    create_ca(tmp_path / "other")
    foreign = issue(tmp_path / "other", "sae:app.a")

    with pytest.raises(ssl.SSLError):
        shake(server_context(node), client_context(attrs_with_ca(foreign, node.ca)))


def attrs_with_ca(credentials: Credentials, ca: Path) -> Credentials:
    return Credentials(certificate=credentials.certificate, key=credentials.key, ca=ca)


def test_an_expired_client_is_refused(directory: Path, node: Credentials) -> None:
    expired = issue(directory, "sae:app.a", days=1, now=datetime.now(UTC) - timedelta(days=2))

    with pytest.raises(ssl.SSLError):
        shake(server_context(node), client_context(expired))


def test_a_server_under_another_name_is_refused(
    node: Credentials, application: Credentials
) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(server_context(node), client_context(application), "elsewhere")


def test_an_applications_certificate_does_not_serve(
    directory: Path, application: Credentials
) -> None:
    impostor = issue(directory, "sae:impostor", ["localhost"])

    with pytest.raises(ssl.SSLCertVerificationError):
        shake(server_context(impostor), client_context(application))


def test_with_uri_checks_the_name_dialled_does_not_matter(
    node: Credentials, application: Credentials
) -> None:
    _, client = shake(server_context(node), client_context(application, checks=Checks.URI), None)

    reached = client.getpeercert(True)
    assert reached is not None
    assert uri_sans(reached) == ("kms:alice",)


def test_no_session_can_be_resumed(node: Credentials, application: Credentials) -> None:
    context = server_context(node)
    server, client = shake(context, client_context(application))
    server.write(b"x")
    client.read(1)

    assert context.num_tickets == 0
    assert client.session is None or not client.session.has_ticket


def test_alpn_settles_on_http_1_1(node: Credentials, application: Credentials) -> None:
    server, client = shake(
        server_context(node, alpn=HTTP_1_1), client_context(application, alpn=HTTP_1_1)
    )

    assert server.selected_alpn_protocol() == client.selected_alpn_protocol() == "http/1.1"


def test_the_systems_authorities_are_not_trusted(node: Credentials) -> None:
    contexts = [server_context(node), client_context(node)]

    assert [len(context.get_ca_certs()) for context in contexts] == [1, 1]


@pytest.mark.parametrize("which", ["ca", "certificate", "key"])
def test_a_missing_file_is_named(node: Credentials, which: str) -> None:
    file: Path = getattr(node, which)
    file.unlink()

    with pytest.raises(LocalFault, match=file.name):
        server_context(node)


@pytest.mark.parametrize("which", ["ca", "certificate", "key"])
@pytest.mark.parametrize("content", [b"", b"hunter2", b"\x00" * 100])
def test_a_damaged_file_is_named_and_not_shown(
    node: Credentials, which: str, content: bytes
) -> None:
    file: Path = getattr(node, which)
    file.write_bytes(content)

    with pytest.raises(LocalFault) as raised:
        client_context(node)
    assert file.name in raised.value.reason + raised.value.hint
    assert "hunter2" not in raised.value.reason + raised.value.hint


def test_a_key_of_another_certificate_is_refused(
    node: Credentials, application: Credentials
) -> None:
    mixed = Credentials(certificate=node.certificate, key=application.key, ca=node.ca)

    with pytest.raises(LocalFault, match=r"kms-alice\.pem"):
        server_context(mixed)


def test_an_encrypted_key_is_refused_rather_than_asked_for(node: Credentials) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    node.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"passphrase"),
        )
    )

    with pytest.raises(LocalFault, match="encrypted"):
        server_context(node)


def test_reload_serves_the_new_certificate_to_new_connections(
    directory: Path, node: Credentials, application: Credentials
) -> None:
    current = CurrentTLS(node)
    _, before = shake(current.server_context(), client_context(application))
    issue(directory, "kms:alice", ["localhost"])

    current.reload()

    _, after = shake(current.server_context(), client_context(application))
    assert before.getpeercert(True) != after.getpeercert(True)


def test_reload_can_withdraw_an_authority(
    directory: Path, node: Credentials, application: Credentials, tmp_path: Path
) -> None:
    current = CurrentTLS(node)
    create_ca(tmp_path / "next")
    current.reload(issue(tmp_path / "next", "kms:alice", ["localhost"]))

    withdrawn = attrs_with_ca(application, tmp_path / "next" / "ca.pem")
    with pytest.raises(ssl.SSLError):
        shake(current.server_context(), client_context(withdrawn))


def test_a_failed_reload_leaves_the_old_in_force(
    node: Credentials, application: Credentials
) -> None:
    current = CurrentTLS(node)
    server, client = current.server_context(), current.client_context()
    node.key.write_bytes(b"damaged")

    with pytest.raises(LocalFault):
        current.reload()
    assert current.server_context() is server
    assert current.client_context() is client
    shake(server, client_context(application))


def der_with(*names: x509.GeneralName) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2026, 1, 2, tzinfo=UTC))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def test_only_uris_are_identities() -> None:
    der = der_with(
        x509.DNSName("kms:dns"),
        x509.UniformResourceIdentifier("sae:one"),
        x509.UniformResourceIdentifier("kms:two"),
    )

    assert uri_sans(der) == ("sae:one", "kms:two")


@pytest.mark.parametrize("der", [b"", b"\x30\x00", b"garbage" * 100, der_with()])
def test_what_is_no_certificate_or_names_nobody_has_no_identity(der: bytes) -> None:
    assert uri_sans(der) == ()


def test_a_uri_that_is_not_text_names_nobody() -> None:
    der = der_with(x509.UniformResourceIdentifier("sae:one"))

    assert uri_sans(der.replace(b"sae:one", b"sae:\xff\xfe\x00")) == ()


def test_a_fingerprint_is_what_other_tools_print(node: Credentials) -> None:
    certificate = x509.load_pem_x509_certificate(node.certificate.read_bytes())
    der = certificate.public_bytes(serialization.Encoding.DER)

    assert certificate.fingerprint(hashes.SHA256()).hex() == fingerprint(der)
