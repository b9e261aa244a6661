"""The caller is the one application that the certificate names, by the sources configured."""

import random

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from kms.adapters.edge import PEER_DER
from kms.adapters.identity import (
    Entry,
    Identities,
    NameMapping,
    Source,
    caller_of,
    sae_of,
)
from kms.adapters.tls import fingerprint
from kms.domain.names import SAEId
from kms.ports.northbound import Forbidden
from tests.edge.authority import Authority

AUTHORITY = Authority()
URI_ONLY = Identities()


def der_of(*names: x509.GeneralName, common: tuple[str, ...] = ("sae:never.used",)) -> bytes:
    """``common``: its common names."""
    certificate, _ = AUTHORITY.issue(names, common=common)
    return certificate.public_bytes(Encoding.DER)


def dns(text: str) -> x509.GeneralName:
    return x509.DNSName(text)


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
        ((uri("sae:alice.a"), uri("kms:node")), "does not name an application but a node"),
        ((uri("kms:node"),), "does not name an application but a node"),
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
    before = caller_of(state, revoked.__contains__, URI_ONLY)
    revoked.add(fingerprint(der))

    assert before == "sae:alice.a"
    with pytest.raises(Forbidden, match="revoked"):
        caller_of(state, revoked.__contains__, URI_ONLY)


@pytest.mark.parametrize("state", [{}, {PEER_DER: None}, {PEER_DER: "sae:alice.a"}])
def test_a_connection_without_a_certificate_has_no_caller(state: dict[str, object]) -> None:
    with pytest.raises(Forbidden, match="no client certificate"):
        caller_of(state, lambda _: False, URI_ONLY)


# ---- certificates of other authorities ---------------------------------------------------------


def mapping(*words: str, entries: tuple[Entry, ...] = ()) -> NameMapping:
    return NameMapping(sources=tuple(Source(word) for word in words), entries=entries)


CONSUMER = SAEId("sae:consumer.a")
LISTED = (
    Entry(Source.CN, "Consumer 1", CONSUMER),
    Entry(Source.DNS, "One.Example.Org", CONSUMER),
    Entry(Source.URI, "spiffe://site/consumer", CONSUMER),
)


@pytest.mark.parametrize(
    ("words", "names", "common", "sae"),
    [
        (("uri", "dns", "cn"), (uri("sae:alice.a"),), ("Alice 7",), "sae:alice.a"),
        (("uri", "cn"), (), ("consumer-1",), "consumer-1"),
        (("uri", "dns"), (dns("One.Example.org"),), ("whatever",), "one.example.org"),
        (("dns", "cn"), (dns("one.example.org"),), ("one.example.org",), "one.example.org"),
        (("uri", "cn"), (uri("sae:alice.a"),), ("sae:alice.a",), "sae:alice.a"),
        (("cn",), (uri("spiffe://site/x"), dns("x.org")), ("consumer_1",), "consumer_1"),
        (("cn",), (), ("a@b.org",), "a@b.org"),
    ],
)
def test_a_name_is_taken_from_the_first_source_that_has_one(
    words: tuple[str, ...], names: tuple[x509.GeneralName, ...], common: tuple[str, ...], sae: str
) -> None:
    assert sae_of(der_of(*names, common=common), mapping(*words)) == sae


@pytest.mark.parametrize(
    ("names", "common"),
    [
        ((), ("Consumer 1",)),
        ((dns("ONE.example.org"),), ("Consumer 1",)),
        ((dns("one.example.org"),), ("somebody",)),
        ((uri("spiffe://site/consumer"),), ("Consumer 1",)),
        ((uri("sae:consumer.a"), dns("one.example.org")), ("Consumer 1",)),
    ],
)
def test_listed_names_are_the_application_they_are_listed_for(
    names: tuple[x509.GeneralName, ...], common: tuple[str, ...]
) -> None:
    assert sae_of(der_of(*names, common=common), mapping("uri", "dns", "cn", entries=LISTED)) == (
        CONSUMER
    )


@pytest.mark.parametrize(
    ("words", "names", "common", "reason"),
    [
        (("uri", "cn"), (), ("sae:alice.a",), "'sae:alice.a' is not a application"),
        (("uri", "cn"), (uri("sae:bob.b"),), ("sae:alice.a",), "names two applications"),
        (("uri", "cn"), (uri("sae:bob.b"),), ("alice",), "names two applications"),
        (("uri", "dns"), (uri("sae:bob.b"), dns("a.org")), (), "names two applications"),
        (("dns", "cn"), (dns("a.org"),), ("b.org",), "names two applications"),
        (("cn", "uri"), (uri("sae:bob.b"),), ("alice",), "names two applications"),
        (("cn",), (), ("alice", "bob"), "has 2 common names"),
        (("cn",), (), ("alice", "alice"), "has 2 common names"),
        (("dns",), (dns("a.org"), dns("b.org")), ("x",), "has 2 DNS names"),
        (("dns",), (dns("*.a.org"),), ("x",), "is not a application"),
        (("uri", "dns"), (), ("x",), "has 0 URI names and DNS names"),
        (("uri", "cn"), (uri("https://a.org"),), ("alice",), "does not name an application"),
        (("uri", "cn"), (uri("kms:node"),), ("alice",), "but a node"),
        (("cn",), (uri("KMS:node"),), ("alice",), "but a node"),
        (("cn",), (), ("alice\0.evil",), "is not a application"),
        (("cn",), (), ("al\u0456ce",), "is not a application"),
        (("cn",), (), ("alice ",), "is not a application"),
        (("cn",), (), ("-alice",), "is not a application"),
        (("cn",), (), ("%61lice",), "is not a application"),
        (("cn",), (), (), "has 0 common names"),
    ],
)
def test_what_could_be_taken_for_somebody_else_is_nobodys(
    words: tuple[str, ...],
    names: tuple[x509.GeneralName, ...],
    common: tuple[str, ...],
    reason: str,
) -> None:
    with pytest.raises(Forbidden, match=reason):
        sae_of(der_of(*names, common=common), mapping(*words))


@pytest.mark.parametrize(
    ("names", "common"),
    [
        ((), ("consumer 1",)),
        ((), ("Consumer 1\0",)),
        ((), ("consumer.a",)),
        ((dns("two.example.org"),), ("Consumer 1",)),
        ((uri("spiffe://site/CONSUMER"),), ("Consumer 1",)),
        ((uri("sae:else.a"),), ("Consumer 1",)),
    ],
)
def test_where_names_are_listed_no_other_is_taken(
    names: tuple[x509.GeneralName, ...], common: tuple[str, ...]
) -> None:
    with pytest.raises(Forbidden):
        sae_of(der_of(*names, common=common), mapping("uri", "dns", "cn", entries=LISTED))


def test_an_escape_is_not_decoded() -> None:
    names = [sae_of(der_of(uri(text))) for text in ("sae:%61lice.a", "sae:alice.a")]

    assert names == ["sae:%61lice.a", "sae:alice.a"]


def test_no_source_stands_in_for_an_alternative_name_that_does_not_read() -> None:
    """The SAN's ``example`` is made a byte that IA5String cannot hold."""
    der = der_of(dns("one.example.org"), common=("alice",)).replace(b"example", b"ex\xe4mple")

    with pytest.raises(Forbidden, match="do not read"):
        sae_of(der, mapping("uri", "cn"))


def test_a_strangers_letters_reach_a_message_as_ascii() -> None:
    der = der_of(common=("al\u0456ce\x1b[2J",))
    with pytest.raises(Forbidden) as listed:
        sae_of(der, mapping("cn", entries=LISTED))
    with pytest.raises(Forbidden) as bare:
        sae_of(der, mapping("cn"))

    assert listed.value.reason.isascii()
    assert listed.value.reason.isprintable()
    assert bare.value.reason.isprintable()


def test_another_mapping_judges_the_next_request() -> None:
    identities, state = Identities(), {PEER_DER: der_of(common=("consumer-1",))}
    with pytest.raises(Forbidden):
        caller_of(state, lambda _: False, identities)
    identities.mapping = mapping("uri", "cn")

    assert caller_of(state, lambda _: False, identities) == "consumer-1"


def test_any_bytes_are_a_certificate_of_somebody_or_nobodys() -> None:
    """Bytes of a sound certificate are changed by chance; no signature is checked here."""
    choice = random.Random(20261122)
    sound = der_of(uri("sae:alice.a"), dns("one.example.org"), common=("Consumer 1",))
    mappings = (mapping("uri"), mapping("cn", "uri"), mapping("uri", "dns", "cn", entries=LISTED))
    named, refusals = 0, set[str]()
    for _ in range(500):
        der = bytearray(sound)
        der[choice.randrange(len(der))] = choice.randrange(256)
        for each in mappings:
            try:
                named += len(sae_of(bytes(der), each)) <= 64
            except Forbidden as refusal:
                refusals.add(refusal.reason)

    assert named > 0
    assert [reason for reason in refusals if not reason.isprintable()] == []
