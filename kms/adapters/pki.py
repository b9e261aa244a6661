"""A certificate authority for development: identities that a demo, a test or a trial can run on.

Rules: one authority per directory. Its key is never overwritten, and every file is readable by
its owner alone. Names follow from the identity, so that configuration can be written before the
certificates exist: ``ca.pem`` and ``ca.key``; ``kms:alice`` is ``kms-alice.pem`` and
``kms-alice.key``. Lives are short, because the node has no revocation lists (policy names
fingerprints instead).

Theory of operation: ECDSA P-256. The URI SAN is the identity; host names are there only for
clients that check them. An application's certificate cannot pose as a server, whatever its host
names. Issuing again renews: the key stays and the certificate is replaced in one step; delete the
key file first to change the key. A network in service has a real authority; ``docs/client.md``
says what its certificates need.
"""

import ipaddress
import os
import re
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kms.adapters.tls import Credentials
from kms.domain.errors import BadName, LocalFault
from kms.domain.names import node_id, sae_id

# Long enough for a project's trial, short enough that nobody comes to depend on it.
CA_DAYS: Final = 90
# A week: renewal is part of every trial.
CERTIFICATE_DAYS: Final = 7
# Clocks of two sites may differ by this much and a fresh certificate still holds.
CLOCK_SKEW: Final = timedelta(minutes=5)

_NODE_SCHEME: Final = "kms:"
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


def create_ca(directory: Path, *, days: float = CA_DAYS, now: datetime | None = None) -> Path:
    """The directory holds a new authority; the path of its certificate.

    Raises ``LocalFault`` if there is one already, which stays as it is, or if nothing can be
    written there.
    """
    certificate_file, key_file = directory / "ca.pem", directory / "ca.key"
    begin = now or datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kms development authority")])
    certificate = (
        _builder(name, name, key.public_key(), begin, begin + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if certificate_file.exists():
            raise FileExistsError(certificate_file)
        _write_new(key_file, _pem(key))
        _write_new(certificate_file, certificate.public_bytes(Encoding.PEM))
    except FileExistsError as error:
        raise LocalFault(
            f"{directory}: there is an authority already",
            hint="use it, or choose another directory; its key is never overwritten",
        ) from error
    except OSError as error:
        raise _unwritable(directory, error) from error
    return certificate_file


def issue(
    directory: Path,
    uri: str,
    hosts: Sequence[str] = (),
    *,
    days: float = CERTIFICATE_DAYS,
    now: datetime | None = None,
) -> Credentials:
    """The directory holds a certificate of its authority for ``uri``, with a key beside it.

    ``hosts``: DNS names and IP addresses by which a node is dialled. It ends no later than the
    authority does. An earlier certificate of ``uri`` is replaced at once and whole, under the
    same key. Raises ``BadName`` for an identity that does not parse, else ``LocalFault``.
    """
    is_node = uri.startswith(_NODE_SCHEME)
    if is_node:
        node_id(uri.removeprefix(_NODE_SCHEME))
    elif ":" in uri:
        sae_id(uri)
    else:
        raise BadName("URI", uri, "kms:NODE or a URI of at most 64 characters, such as sae:app")
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri)]
    names += [_host(host) for host in hosts]
    ca_file, (certificate_file, key_file) = directory / "ca.pem", files_of(directory, uri)
    ca, ca_key = _certificate(ca_file), _key(directory / "ca.key")
    begin = now or datetime.now(UTC)
    end = min(begin + timedelta(days=days), ca.not_valid_after_utc)
    if end <= begin:
        raise LocalFault(
            f"{ca_file}: the authority has expired",
            hint="create a new one in another directory and issue all certificates again",
        )
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if is_node:
        purposes.append(ExtendedKeyUsageOID.SERVER_AUTH)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, uri)])
    authority_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    try:
        if not key_file.exists():
            _write_new(key_file, _pem(ec.generate_private_key(ec.SECP256R1())))
        certificate = (
            _builder(subject, ca.subject, _key(key_file).public_key(), begin, end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(authority_key, critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        _replace(certificate_file, certificate.public_bytes(Encoding.PEM))
    except OSError as error:
        raise _unwritable(directory, error) from error
    return Credentials(certificate=certificate_file, key=key_file, ca=ca_file)


def files_of(directory: Path, uri: str) -> tuple[Path, Path]:
    """Certificate and key file of an identity: no two identities share one."""
    scheme, _, rest = uri.partition(":")
    # The first '-' parts scheme from rest, so there is none in the scheme; 'ca' has none at all.
    stem = quote(scheme, safe="").replace("-", "%2D") + "-" + quote(rest, safe="")
    return directory / f"{stem}.pem", directory / f"{stem}.key"


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    begin: datetime,
    end: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin - CLOCK_SKEW)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        pass
    if not _HOST.fullmatch(text):
        raise LocalFault(f"{text!r} is not a host", hint="give a DNS name or an IP address")
    return x509.DNSName(text)


def _certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise _no_authority(path, error) from error


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:  # TypeError: encrypted
        raise _no_authority(path, error) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise LocalFault(f"{path}: not an elliptic-curve key", hint="this tool makes P-256 only")
    return key


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write_new(path: Path, content: bytes) -> None:
    """The file holds ``content``, durably; FileExistsError if there is one, which stays."""
    temporary = _written(path, content)
    try:
        # A link, unlike a rename, never replaces: there is no moment at which a key can be lost.
        os.link(temporary, path)
    finally:
        temporary.unlink()
    _sync(path.parent)


def _replace(path: Path, content: bytes) -> None:
    """The file holds ``content``, durably; at every moment the old or the new, never a part."""
    _written(path, content).replace(path)
    _sync(path.parent)


def _written(path: Path, content: bytes) -> Path:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return temporary


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritable(directory: Path, error: OSError) -> LocalFault:
    return LocalFault(
        f"{directory}: {error.strerror or type(error).__name__}",
        hint="give a directory that this user may write to",
    )


def _no_authority(path: Path, error: Exception) -> LocalFault:
    reason = error.strerror if isinstance(error, OSError) else "does not read"
    return LocalFault(f"{path}: {reason}", hint="create the authority first, with kms pki")
