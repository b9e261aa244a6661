"""What the node believes of certificates: its own, whose it takes, whom they name.

Rules: a reload is prepared whole before anything of it is in force; a file that cannot be used is
named, and what was in force stays (``CurrentTLS``). One pair of files serves all listeners and all
neighbours.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from kms.adapters.identity import Entry, Identities, NameMapping, Source
from kms.adapters.neighbour import peer_node
from kms.adapters.tls import HTTP_1_1, Checks, Credentials, CurrentTLS
from kms.config import Config, TLSFiles
from kms.domain.errors import LocalFault
from kms.domain.names import NodeId
from kms.identity_section import IdentitySection


class Trust:
    """The TLS contexts of both sides, and how names in certificates are read."""

    def __init__(self, config: Config) -> None:
        """Raises ``LocalFault`` that names the file."""
        files = credentials(config.tls)
        self.applications = CurrentTLS(files, alpn=HTTP_1_1)
        self.peers = CurrentTLS(files, checks=Checks.URI)
        self.identities = Identities(name_mapping(config.identity))

    def prepare(self, config: Config, *, now_ms: int) -> Callable[[], bool]:
        """What puts the files of this configuration into force, for new connections, and says
        whether they are others than before. Raises ``LocalFault`` that names the file, also where
        nobody would believe the certificate now; nothing changed then."""
        files = credentials(config.tls)
        _believable(files.certificate, config.node.name, now_ms)
        ready = [self.applications.prepare(files), self.peers.prepare(files)]

        def into_force() -> bool:
            self.identities.mapping = name_mapping(config.identity)
            others = [use() for use in ready]
            return any(others)

        return into_force


def _believable(file: Path, node: NodeId, now_ms: int) -> None:
    """The node's own certificate names it and is in force. Raises ``LocalFault``."""
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    try:
        certificate = x509.load_pem_x509_certificate(file.read_bytes())
        named = peer_node(certificate.public_bytes(Encoding.DER))
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except (OSError, ValueError) as error:
        raise LocalFault(
            f"{file}: {getattr(error, 'strerror', None) or 'not a certificate'}",
            hint="give the node's certificate, PEM, first in its file",
        ) from None
    if named != node:
        raise LocalFault(
            f"{file}: the certificate is of {named or 'no node'}, not of {node}",
            hint=f"neighbours know this node by the URI SAN kms:{node}: are two files swapped?",
        )
    if not begin <= now < end:
        raise LocalFault(
            f"{file}: in force from {begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC only",
            hint="give one that is in force; then: kms reload",
        )


def credentials(files: TLSFiles) -> Credentials:
    """The configuration's PEM files, as the TLS adapters want them."""
    return Credentials(certificate=files.certificate, key=files.key, ca=files.ca)


def name_mapping(section: IdentitySection) -> NameMapping:
    """``[identity]``, as the interfaces want it."""
    return NameMapping(
        sources=tuple(Source(word) for word in section.sources),
        entries=tuple(
            Entry(source, value, entry.sae)
            for entry in section.name
            for source in Source
            if (value := getattr(entry, source.value)) is not None
        ),
    )
