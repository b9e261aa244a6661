"""What the node believes of certificates: its own, whose it takes, whom they name.

Rules: a reload is prepared whole before anything of it is in force; a file that cannot be used is
named, and what was in force stays (``CurrentTLS``). One pair of files serves all listeners and all
neighbours.
"""

from collections.abc import Callable

from kms.adapters.identity import Entry, Identities, NameMapping, Source
from kms.adapters.tls import HTTP_1_1, Checks, Credentials, CurrentTLS
from kms.config import Config, TLSFiles
from kms.identity_section import IdentitySection


class Trust:
    """The TLS contexts of both sides, and how names in certificates are read."""

    def __init__(self, config: Config) -> None:
        """Raises ``LocalFault`` that names the file."""
        files = credentials(config.tls)
        self.applications = CurrentTLS(files, alpn=HTTP_1_1)
        self.peers = CurrentTLS(files, checks=Checks.URI)
        self.identities = Identities(name_mapping(config.identity))

    def prepare(self, config: Config) -> Callable[[], bool]:
        """What puts the files of this configuration into force, for new connections, and says
        whether they are others than before. Raises ``LocalFault`` that names the file; nothing
        changed then."""
        files = credentials(config.tls)
        ready = [self.applications.prepare(files), self.peers.prepare(files)]

        def into_force() -> bool:
            self.identities.mapping = name_mapping(config.identity)
            others = [use() for use in ready]
            return any(others)

        return into_force


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
