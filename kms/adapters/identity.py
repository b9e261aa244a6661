"""Who is calling: the one application that the client certificate names.

Rules. Never a header or a body (GS QKD 004 fixes no authentication; GS QKD 014 and 020 take the
caller from the certificate, and do not say from where in it). A name is taken from the sources that
the node's configuration lists, and from the URI SAN alone unless it says otherwise. Every interface
asks here, so that one certificate is the same application at all of them. Revocation is asked at
every request, so that removing a fingerprint from the policy acts at once, without CRLs.

How a certificate that could be taken for two is refused:

- The first source of which it has a name decides, by exactly one name of that kind: with two it
  could be one application at OPEN_CONNECT and another at GET_KEY. If that one names nobody, later
  sources are not asked: an authority that is careful with one kind may be careless with another.
- A name in a later source that is another application's refuses the certificate.
- A URI is believed of a URI SAN only. Names of DNS and common name have no colon (``names``), so a
  common name ``sae:alice.a`` is nobody's.
- A certificate with a node's URI (``kms:...``) is no application's, whatever else it says.
- A certificate that does not read as a whole names nobody: no source stands in for a broken one.
- Names are compared as they are, letter by letter, DNS names in lower case. Nothing is decoded:
  ``sae:%61`` and ``sae:a`` are two applications.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from functools import lru_cache

import attrs
from cryptography import x509
from cryptography.x509.oid import NameOID

from kms.adapters.edge import PEER_DER
from kms.adapters.tls import fingerprint
from kms.domain.errors import BadName
from kms.domain.names import SAEId, bare_sae_id, sae_id
from kms.ports.northbound import Forbidden

_SCHEME = "sae:"
_NODE_SCHEME = "kms:"
# Those of the connections that there may be, and some that were there.
_CERTIFICATES_KEPT = 1024
# X.520 bounds a common name to 64 characters; a message shows no more of a stranger's.
_SHOWN_CHARACTERS = 64


class Source(Enum):
    """A kind of name in a certificate."""

    URI = "uri"
    DNS = "dns"
    CN = "cn"


_WORDS = {Source.URI: "URI names", Source.DNS: "DNS names", Source.CN: "common names"}


@attrs.frozen
class Entry:
    """One name of foreign certificates, and which application it is here."""

    source: Source
    value: str
    sae: SAEId


@attrs.frozen(kw_only=True, cache_hash=True)
class NameMapping:
    """How certificates name applications. A ``uri`` of scheme sae is itself, any other has an
    entry. ``dns`` and ``cn``: with entries those values and no others, without any the name as it
    is."""

    sources: tuple[Source, ...] = (Source.URI,)
    """in the order in which they are asked"""
    entries: tuple[Entry, ...] = ()
    _known: Mapping[Source, Mapping[str, SAEId]] = attrs.field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        known: dict[Source, dict[str, SAEId]] = {source: {} for source in Source}
        for entry in self.entries:
            known[entry.source][canonical(entry.source, entry.value)] = entry.sae
        object.__setattr__(self, "_known", known)

    def named(self, source: Source, value: str) -> SAEId:
        """The application of this name. Raises ``Forbidden``."""
        value, known = canonical(source, value), self._known[source]
        if value in known:
            return known[value]
        if source is Source.URI and not value.startswith(_SCHEME):
            raise Forbidden(
                "the client certificate does not name an application",
                hint="issue it with a URI SAN of scheme sae, such as sae:app.site",
            )
        if source is not Source.URI and known:
            raise Forbidden(
                f"{_shown(value)} of the client certificate is no application's name here",
                hint="the operator lists it in [[identity.name]] of the node's configuration",
            )
        try:
            return sae_id(value) if source is Source.URI else bare_sae_id(value)
        except BadName as error:
            raise Forbidden(error.reason, hint=error.hint) from error


URI_ONLY = NameMapping()


@attrs.define
class Identities:
    """The mapping in force; a reload replaces it, and the next request is judged by it."""

    mapping: NameMapping = URI_ONLY


def canonical(source: Source, value: str) -> str:
    """As names of this kind are compared."""
    return value.lower() if source is Source.DNS else value


def caller_of(
    state: Mapping[str, object], is_revoked: Callable[[str], bool], identities: Identities
) -> SAEId:
    """The application behind this HTTP request. Raises ``Forbidden``, which says what is wrong
    with the certificate. ``state`` is the ASGI scope's, which the edge alone fills."""
    der = state.get(PEER_DER)
    return caller_with(der if isinstance(der, bytes) else None, is_revoked, identities)


def caller_with(
    der: bytes | None, is_revoked: Callable[[str], bool], identities: Identities
) -> SAEId:
    """The application that shows this certificate. Raises ``Forbidden``."""
    if der is None:
        raise Forbidden("the connection has no client certificate", hint="connect with mutual TLS")
    name = sae_of(der, identities.mapping)
    if is_revoked(fingerprint(der)):
        raise Forbidden(
            "the client certificate is revoked", hint="ask the operator for a new certificate"
        )
    return name


@lru_cache(maxsize=_CERTIFICATES_KEPT)
def sae_of(der: bytes, mapping: NameMapping = URI_ONLY) -> SAEId:
    """The application that a certificate names. Raises ``Forbidden``."""
    names = _names(der, mapping.sources)
    found: SAEId | None = None
    for source in mapping.sources:
        if found is not None:
            _must_agree(found, source, names[source], mapping)
        elif len(names[source]) > 1:
            raise _not_one(len(names[source]), (source,))
        elif names[source]:
            found = mapping.named(source, names[source][0])
    if found is None:
        raise _not_one(0, mapping.sources)
    return found


def _must_agree(found: SAEId, source: Source, values: Iterable[str], mapping: NameMapping) -> None:
    """No name of a later source is another application's."""
    for value in values:
        try:
            other: str = mapping.named(source, value)
        except Forbidden:
            # It names nobody; but who writes a URI here means that application.
            other = value if value.startswith(_SCHEME) else found
        if other != found:
            raise Forbidden(
                f"the client certificate names two applications: {found} and {_shown(other)}",
                hint="issue it for one; or the operator lists fewer [identity] sources",
            )


def _names(der: bytes, sources: Iterable[Source]) -> dict[Source, tuple[str, ...]]:
    """The certificate's names of these kinds, in its order. Raises ``Forbidden``."""
    names: dict[Source, tuple[str, ...]] = dict.fromkeys(Source, ())
    try:
        certificate = x509.load_der_x509_certificate(der)
        if Source.CN in sources:
            common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
            names[Source.CN] = tuple(str(each.value) for each in common)
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names[Source.URI] = tuple(found.get_values_for_type(x509.UniformResourceIdentifier))
        names[Source.DNS] = tuple(found.get_values_for_type(x509.DNSName))
    except x509.ExtensionNotFound:
        pass
    except (
        ValueError,
        x509.DuplicateExtension,
        x509.InvalidVersion,
        x509.UnsupportedGeneralNameType,
    ) as error:
        raise Forbidden(
            "the names in the client certificate do not read",
            hint="issue it again, with names in ASCII",
        ) from error
    if any(uri.lower().startswith(_NODE_SCHEME) for uri in names[Source.URI]):
        raise Forbidden(
            "the client certificate does not name an application but a node",
            hint="applications and nodes have certificates of their own",
        )
    return names


def _not_one(count: int, sources: Iterable[Source]) -> Forbidden:
    words = " and ".join(_WORDS[source] for source in sources)
    return Forbidden(
        f"the client certificate has {count} {words}",
        hint="issue it with exactly one URI SAN, such as sae:app.site",
    )


def _shown(text: str) -> str:
    """A stranger's word, fit for a message: ASCII and short."""
    return ascii(text[:_SHOWN_CHARACTERS])
