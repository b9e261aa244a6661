"""Who is calling: the one URI SAN of the client certificate, and nothing else.

Rules. Never the common name, a header or a body (GS QKD 004 fixes no authentication; GS QKD 014
and 020 take the caller from the certificate). Exactly one URI SAN, scheme ``sae``: with two names
a certificate could be one application at OPEN_CONNECT and another at GET_KEY. Revocation is asked
at every request, so that removing a fingerprint from the policy acts at once, without CRLs.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache

from kms.adapters.edge import PEER_DER
from kms.adapters.tls import fingerprint, uri_sans
from kms.domain.errors import BadName
from kms.domain.names import SAEId, sae_id
from kms.ports.northbound import Forbidden

_SCHEME = "sae:"
# Those of the connections that there may be, and some that were there.
_CERTIFICATES_KEPT = 1024


def caller_of(state: Mapping[str, object], is_revoked: Callable[[str], bool]) -> SAEId:
    """The application behind this HTTP request. Raises ``Forbidden``, which says what is wrong
    with the certificate. ``state`` is the ASGI scope's, which the edge alone fills."""
    der = state.get(PEER_DER)
    return caller_with(der if isinstance(der, bytes) else None, is_revoked)


def caller_with(der: bytes | None, is_revoked: Callable[[str], bool]) -> SAEId:
    """The application that shows this certificate. Raises ``Forbidden``."""
    if der is None:
        raise Forbidden("the connection has no client certificate", hint="connect with mutual TLS")
    name = sae_of(der)
    if is_revoked(fingerprint(der)):
        raise Forbidden(
            "the client certificate is revoked", hint="ask the operator for a new certificate"
        )
    return name


@lru_cache(maxsize=_CERTIFICATES_KEPT)
def sae_of(der: bytes) -> SAEId:
    """The application that a certificate names. Raises ``Forbidden``."""
    names = uri_sans(der)
    if len(names) != 1:
        raise Forbidden(
            f"the client certificate has {len(names)} URI names",
            hint="issue it with exactly one URI SAN, such as sae:app.site",
        )
    if not names[0].startswith(_SCHEME):
        raise Forbidden(
            "the client certificate does not name an application",
            hint="issue it with a URI SAN of scheme sae, such as sae:app.site",
        )
    try:
        return sae_id(names[0])
    except BadName as error:
        raise Forbidden(error.reason, hint=error.hint) from error
