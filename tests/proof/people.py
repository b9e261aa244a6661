"""Who comes to the two nodes of the identity cases, and what he shows (I3)."""

import ssl
from datetime import timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from kms.adapters.tls import fingerprint
from kms.domain.names import SAEId
from tests.edge.authority import HOUR, Authority
from tests.world import ALICE, BOB

ANN, CAT, EVE = SAEId("sae:ann"), SAEId("sae:cat"), SAEId("sae:eve")
BEN, DAN = SAEId("sae:ben"), SAEId("sae:dan")
FAY = SAEId("sae:fay")
DIRECTORY: Final = {ANN: ALICE, CAT: ALICE, EVE: ALICE, BEN: BOB, DAN: BOB}
RULES: Final = ((ANN, BEN), (CAT, DAN))
"""the pairs that may share keys; each has one stream"""
PAIRS: Final = tuple(frozenset(pair) for pair in RULES)
NAMES: Final = (ANN, BEN, CAT, DAN, EVE, FAY)


@attrs.frozen(kw_only=True)
class Certificate:
    """What somebody shows, and whom a node may take him for."""

    kind: str
    context: ssl.SSLContext
    print: str = ""
    """its fingerprint"""
    name: SAEId | None = None
    """the application that it proves"""
    refused: str = ""
    """``FORBIDDEN`` or ``NO_ANSWER``, whatever is asked"""


NO_ANSWER: Final = "no answer"
"""the handshake fails"""
FORBIDDEN: Final = "forbidden"
"""in the words of the interface: HTTP 403 or 401, status 4"""


def certificates(directory: Path, ours: Authority) -> tuple[Certificate, ...]:
    """Everybody who may come."""
    foreign = Authority()

    def make(
        kind: str,
        *names: x509.GeneralName,
        name: SAEId | None = None,
        refused: str = "",
        issuer: Authority = ours,
        life: tuple[timedelta, timedelta] = (-HOUR, 24 * HOUR),
    ) -> Certificate:
        certificate, key = issuer.issue(names, *life)
        path = directory / f"{len(list(directory.iterdir()))}.pem"
        path.write_bytes(pem(certificate, key))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=ours.ca_pem)
        context.load_cert_chain(path)
        print_ = fingerprint(certificate.public_bytes(Encoding.DER))
        return Certificate(kind=kind, context=context, print=print_, name=name, refused=refused)

    ann, cat = uri(ANN), uri(CAT)
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nobody.load_verify_locations(cadata=ours.ca_pem)
    return (
        *(make(f"of {name}", uri(name), name=name) for name in NAMES),
        make("of sae:ann, a second one", ann, name=ANN),
        make("of sae:ann and a host name", ann, x509.DNSName("ann.example"), name=ANN),
        make("revoked", ann, refused=FORBIDDEN),
        make("two names", ann, cat, refused=FORBIDDEN),
        make("no name", refused=FORBIDDEN),
        make("a host name only", x509.DNSName("sae.ann"), refused=FORBIDDEN),
        make("a mail address", x509.RFC822Name("ann@example.org"), refused=FORBIDDEN),
        make("an address", x509.IPAddress(IPv4Address("127.0.0.1")), refused=FORBIDDEN),
        make("a node's", uri("kms:alice"), refused=FORBIDDEN),
        make("another scheme", uri("https://ann"), refused=FORBIDDEN),
        make("upper case", uri("SAE:ann"), refused=FORBIDDEN),
        make("an empty name", uri("sae:"), refused=FORBIDDEN),
        make("a name and more", uri("sae:ann sae:cat"), refused=FORBIDDEN),
        make("expired", ann, refused=NO_ANSWER, life=(-2 * HOUR, -HOUR)),
        make("not yet valid", ann, refused=NO_ANSWER, life=(HOUR, 2 * HOUR)),
        make("another authority's", ann, refused=NO_ANSWER, issuer=foreign),
        Certificate(kind="none", context=nobody, refused=NO_ANSWER),
    )


def uri(text: str) -> x509.UniformResourceIdentifier:
    return x509.UniformResourceIdentifier(text)


def pem(certificate: x509.Certificate, key: Any) -> bytes:
    secret: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return secret + certificate.public_bytes(Encoding.PEM)
