"""The development authority: what it issues, and what it refuses to spoil."""

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from kms.adapters.pki import create_ca, files_of, issue
from kms.adapters.tls import client_context, server_context, uri_sans
from kms.domain.errors import BadName, LocalFault


def read(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def purposes(path: Path) -> list[x509.ObjectIdentifier]:
    return list(read(path).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    create_ca(tmp_path / "pki")
    return tmp_path / "pki"


def test_a_certificate_carries_its_identity_and_its_hosts(directory: Path) -> None:
    credentials = issue(directory, "kms:alice", ["localhost", "127.0.0.1", "::1"])

    der = credentials.certificate.read_bytes()
    certificate = x509.load_pem_x509_certificate(der)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value

    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["kms:alice"]


def test_what_is_issued_makes_both_contexts(directory: Path) -> None:
    credentials = issue(directory, "kms:alice")

    server_context(credentials)
    client_context(credentials)


def test_an_application_cannot_pose_as_a_server(directory: Path) -> None:
    application = issue(directory, "sae:app.clinic-a", ["localhost"])
    node = issue(directory, "kms:alice", ["localhost"])

    both = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    assert purposes(application.certificate) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert purposes(node.certificate) == both


def test_file_names_follow_from_the_identity(tmp_path: Path) -> None:
    expected = (tmp_path / "kms-alice.pem", tmp_path / "kms-alice.key")

    assert files_of(tmp_path, "kms:alice") == expected


def test_no_two_identities_share_a_file_and_none_takes_the_authoritys(tmp_path: Path) -> None:
    awkward = [
        "a-b:c",
        "a:b-c",
        "a:b:c",
        "a:b/c",
        "a:b%2Fc",
        "ca:key",
        "ca:",
        "a:x.key",
        "a:x",
        "a:..",
    ]
    files = {file for uri in awkward for file in files_of(tmp_path, uri)}

    assert len(files) == 2 * len(awkward)
    assert not files & {tmp_path / "ca.pem", tmp_path / "ca.key"}
    assert {file.parent for file in files} == {tmp_path}


def test_every_file_is_for_its_owner_alone(directory: Path) -> None:
    issue(directory, "kms:alice")

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
    assert modes == dict.fromkeys(["ca.pem", "ca.key", "kms-alice.pem", "kms-alice.key"], 0o600)


def test_an_authoritys_key_is_never_overwritten(directory: Path) -> None:
    key = (directory / "ca.key").read_bytes()

    with pytest.raises(LocalFault, match="authority already"):
        create_ca(directory)
    (directory / "ca.pem").unlink()
    with pytest.raises(LocalFault, match="authority already"):
        create_ca(directory)

    assert (directory / "ca.key").read_bytes() == key
    assert not (directory / "ca.pem").exists()


def test_renewal_keeps_the_key_and_replaces_the_certificate(directory: Path) -> None:
    first = issue(directory, "kms:alice")
    key, old = first.key.read_bytes(), read(first.certificate)

    again = issue(directory, "kms:alice")

    assert again == first
    assert again.key.read_bytes() == key
    assert read(again.certificate).serial_number != old.serial_number


def test_a_certificate_does_not_outlive_its_authority(directory: Path) -> None:
    credentials = issue(directory, "kms:alice", days=10_000)

    end = read(directory / "ca.pem").not_valid_after_utc
    assert read(credentials.certificate).not_valid_after_utc == end


def test_an_expired_authority_issues_nothing(tmp_path: Path) -> None:
    create_ca(tmp_path, days=1, now=datetime.now(UTC) - timedelta(days=2))

    with pytest.raises(LocalFault, match="expired"):
        issue(tmp_path, "kms:alice")
    assert not (tmp_path / "kms-alice.key").exists()


def test_a_missing_authority_is_named(tmp_path: Path) -> None:
    with pytest.raises(LocalFault, match=r"ca\.pem"):
        issue(tmp_path, "kms:alice")


def test_a_damaged_authority_is_named_and_its_text_is_not_shown(directory: Path) -> None:
    (directory / "ca.key").write_bytes(b"hunter2")

    with pytest.raises(LocalFault, match=r"ca\.key") as raised:
        issue(directory, "kms:alice")
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    "uri", ["alice", "kms:", "kms:a b", "kms:../x", "sae:\n", "", "sae:" + "x" * 64]
)
def test_a_name_that_does_not_parse_gets_no_certificate(directory: Path, uri: str) -> None:
    with pytest.raises(BadName):
        issue(directory, uri)


@pytest.mark.parametrize("host", ["", "a b", "*.clinic-a", "-a", "a\n", "é.example", "a" * 300])
def test_a_host_that_does_not_parse_gets_no_certificate(directory: Path, host: str) -> None:
    with pytest.raises(LocalFault, match="not a host"):
        issue(directory, "kms:alice", [host])
    assert not (directory / "kms-alice.key").exists()


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")

    with pytest.raises(LocalFault, match="file"):
        create_ca(file / "pki")


def test_the_identity_of_an_issued_certificate_reads_back(directory: Path) -> None:
    certificate = read(issue(directory, "sae:app.clinic-a").certificate)

    der = certificate.public_bytes(Encoding.DER)
    assert uri_sans(der) == ("sae:app.clinic-a",)
