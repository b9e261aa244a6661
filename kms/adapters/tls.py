"""TLS as every socket of the node uses it: one certificate authority, both ends proven.

Rules: TLS 1.3 only. Certificates at both ends, under our own authority; the system's store is
never asked. No session tickets: a resumed session skips the certificate, so an expired or revoked
one would go on being served. Identity is the URI SAN and nothing else (``sae:...``,
``kms:<node>``); the common name and what a message says about its sender carry no weight.

Theory of operation: a context is built from three files and never changed. To change
certificates ``CurrentTLS.reload`` builds new contexts, because a live one can gain trusted
authorities but never lose one. Servers therefore ask ``CurrentTLS`` at each connection. Secrecy
of keys never rests on this layer (I4); who is served does (I3).
"""

import hashlib
import ssl
from collections.abc import Callable
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Final, NoReturn

import attrs
from cryptography import x509

from kms.domain.errors import LocalFault

# Reading a certificate costs more than anything else of a small request, and its bytes never
# change: as many are kept read as clients may be connected.
_CERTIFICATES_KEPT: Final = 1024

HTTP_1_1 = ("http/1.1",)
"""ALPN of the HTTP interfaces."""


@attrs.frozen(kw_only=True)
class Credentials:
    """Where one identity lives on disk, all PEM."""

    certificate: Path
    """the certificate, then the intermediate authorities if there are any"""
    key: Path
    """its private key, not encrypted"""
    ca: Path
    """the authorities that are trusted, and no others"""


class Checks(Enum):
    """How a client knows that it reached the right server."""

    HOST_NAME = "host name"
    """the TLS layer compares the DNS or IP SAN with the name dialled"""
    URI = "uri"
    """the caller compares ``uri_sans`` after the handshake, before it sends anything"""


def server_context(credentials: Credentials, *, alpn: tuple[str, ...] = ()) -> ssl.SSLContext:
    """A context that accepts only clients with a certificate of our authority.

    Raises ``LocalFault`` that names the file.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context, credentials, alpn)
    context.num_tickets = 0
    return context


def client_context(
    credentials: Credentials,
    *,
    alpn: tuple[str, ...] = (),
    checks: Checks = Checks.HOST_NAME,
) -> ssl.SSLContext:
    """A context that shows our certificate and accepts only servers of our authority.

    With ``Checks.URI`` the caller still has to look who it reached. Raises ``LocalFault`` that
    names the file.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = checks is Checks.HOST_NAME
    _harden(context, credentials, alpn)
    return context


@lru_cache(maxsize=_CERTIFICATES_KEPT)
def uri_sans(der: bytes) -> tuple[str, ...]:
    """The URI identities of a certificate, in its order; none if it does not read."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (
        ValueError,
        x509.ExtensionNotFound,
        x509.DuplicateExtension,
        x509.InvalidVersion,
        x509.UnsupportedGeneralNameType,
    ):
        return ()
    return tuple(names.get_values_for_type(x509.UniformResourceIdentifier))


@lru_cache(maxsize=_CERTIFICATES_KEPT)
def fingerprint(der: bytes) -> str:
    """SHA-256 of the certificate, lower-case hexadecimal: what ``Policy.revoked`` lists."""
    return hashlib.sha256(der).hexdigest()


class CurrentTLS:
    """The contexts in force now. Ask at each connection, keep none."""

    def __init__(
        self,
        credentials: Credentials,
        *,
        alpn: tuple[str, ...] = (),
        checks: Checks = Checks.HOST_NAME,
    ) -> None:
        """Raises ``LocalFault`` that names the file."""
        self._alpn = alpn
        self._checks = checks
        self._credentials = credentials
        self._built = self._build(credentials)

    @property
    def credentials(self) -> Credentials:
        return self._credentials

    def server_context(self) -> ssl.SSLContext:
        return self._built.server

    def client_context(self) -> ssl.SSLContext:
        return self._built.client

    def reload(self, credentials: Credentials | None = None) -> None:
        """New connections use what the files hold now; standing connections go on.

        Raises ``LocalFault`` that names the file; what was in force then stays in force.
        """
        self.prepare(credentials or self._credentials)()

    def prepare(self, credentials: Credentials) -> Callable[[], bool]:
        """What puts the contexts of these files into force, and says whether they are others than
        before. Files that hold what they held change nothing: connections that serve ask whether
        their context is still the one in force. Raises ``LocalFault`` that names the file."""
        built = self._build(credentials)

        def into_force() -> bool:
            self._credentials = credentials
            if built.content == self._built.content:
                return False
            self._built = built
            return True

        return into_force

    def _build(self, credentials: Credentials) -> "_Built":
        # Before they are read: files that change meanwhile are taken for changed at the next time.
        content = _content_of(credentials)
        return _Built(
            content=content,
            server=server_context(credentials, alpn=self._alpn),
            client=client_context(credentials, alpn=self._alpn, checks=self._checks),
        )


@attrs.frozen(kw_only=True)
class _Built:
    """Contexts, and what the files held that they are made of."""

    content: bytes
    """a hash: the private key is not kept here"""
    server: ssl.SSLContext
    client: ssl.SSLContext


def _content_of(credentials: Credentials) -> bytes:
    digest = hashlib.sha256()
    for path in (credentials.ca, credentials.certificate, credentials.key):
        _must_read(path)
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.digest()


def _harden(context: ssl.SSLContext, credentials: Credentials, alpn: tuple[str, ...]) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    if alpn:
        context.set_alpn_protocols(list(alpn))
    for path in (credentials.ca, credentials.certificate, credentials.key):
        _must_read(path)
    try:
        context.load_verify_locations(cafile=credentials.ca)
    except ssl.SSLError as error:
        raise _unusable(credentials.ca, error, "give the authority's certificate, PEM") from error
    try:
        context.load_cert_chain(credentials.certificate, credentials.key, _refuse_passphrase)
    except ssl.SSLError as error:
        raise _unusable(
            credentials.certificate,
            error,
            f"give a PEM certificate and, in {credentials.key}, the key that belongs to it",
        ) from error
    except _Encrypted:
        raise LocalFault(
            f"{credentials.key}: the private key is encrypted",
            hint="give the key unencrypted, readable by the node alone (mode 0600)",
        ) from None


class _Encrypted(Exception):
    """The key file wants a passphrase."""


def _refuse_passphrase() -> NoReturn:
    # Without this OpenSSL asks on the terminal, and the node hangs there.
    raise _Encrypted


def _must_read(path: Path) -> None:
    # The ssl module raises errors without the file's name.
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise LocalFault(
            f"{path}: {error.strerror or type(error).__name__}",
            hint="the file must exist and be readable by the user that runs the node",
        ) from error


def _unusable(path: Path, error: ssl.SSLError, hint: str) -> LocalFault:
    return LocalFault(f"{path}: {error.reason or 'not usable'}", hint=hint)
