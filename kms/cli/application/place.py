"""Where the node is, who asks, and for whom: the options that all commands of ``kms app`` share.

Theory of operation: ``--demo DIR --as NAME`` fills in all of it from the demonstration's
``demo.json``, for the interface that the command wants; a single option still overrides. Without
it, ``--url`` and three files are needed, and the application's name is its certificate's.
"""

import ssl
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

import attrs
import msgspec
from cyclopts import Parameter
from msgspec import Struct

from kms.adapters.tls import Credentials, uri_sans
from kms.client.etsi014 import PATH
from kms.domain import limits
from kms.domain.errors import LocalFault

Interface = Literal["004", "004-tls", "014"]
# A demonstration of two nodes is described in 2 KiB.
_DEMO_BYTES_MAX: Final = 1 * limits.MIB
_CERTIFICATE_BYTES_MAX: Final = 64 * limits.KIB
WAIT_S: Final = 15.0
# Whoever waits longer has a script that asks again.
_WAIT_S_MAX: Final = 86_400.0


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class Place:
    """Of the command line; ``at`` makes sense of it."""

    url: Annotated[
        str | None, Parameter(help="the node's https://HOST:PORT or tls://HOST:PORT")
    ] = None
    interface: Annotated[
        Interface | None,
        Parameter(help="004: streams over HTTP, 004-tls: in frames; 014: keys with IDs"),
    ] = None
    node: Annotated[
        str | None, Parameter(help="the server must prove kms:NODE; else its host name counts")
    ] = None
    certificate: Annotated[Path | None, Parameter(help="ours, PEM")] = None
    key: Annotated[Path | None, Parameter(help="its private key")] = None
    ca: Annotated[Path | None, Parameter(help="the authority that the node is under")] = None
    source: Annotated[str | None, Parameter(help="our name, if not the certificate's")] = None
    peer: Annotated[str | None, Parameter(help="the other application's name, sae:...")] = None
    demo: Annotated[
        Path | None, Parameter(help="directory of kms demo --keep: takes all from there")
    ] = None
    as_: Annotated[
        str | None, Parameter(name="--as", help="which application of the demonstration")
    ] = None
    wait: Annotated[float, Parameter(help="seconds to wait for a key")] = WAIT_S


NOWHERE: Final = Place()
"""no option given"""


@attrs.frozen(kw_only=True)
class At:
    """One application before one interface of its node."""

    url: str
    interface: Interface
    node: str | None
    credentials: Credentials
    source: str
    peer: str | None
    """the other application, if it was named"""
    wait_s: float

    @property
    def other(self) -> str:
        """Raises ``LocalFault`` if it was not named."""
        if self.peer is None:
            raise LocalFault(
                "it is not said with whom the key is shared", hint="give --peer sae:NAME"
            )
        return self.peer


def at(place: Place, *, wants: Interface) -> At:
    """What the options come to. ``wants``: the interface where nothing else says which. Raises
    ``LocalFault``."""
    if not 0 <= place.wait <= _WAIT_S_MAX:
        raise LocalFault(f"--wait {place.wait} is no time", hint="give seconds, 0 or more")
    if place.demo is None and place.as_ is not None:
        raise LocalFault("--as is a name of a demonstration", hint="give --demo DIR too")
    return _at_demo(place, wants) if place.demo is not None else _at_node(place, wants)


# ---- a node ---------------------------------------------------------------------------------


def _at_node(place: Place, wants: Interface) -> At:
    if place.url is None:
        raise LocalFault("no node is named", hint="give --url URL, or --demo DIR --as NAME")
    files = (place.certificate, place.key, place.ca)
    certificate, key, ca = files
    if certificate is None or key is None or ca is None:
        raise LocalFault(
            "a node serves only who proves who it is",
            hint="give --certificate FILE --key FILE --ca FILE",
        )
    return At(
        url=place.url,
        interface=_spoken(place.url, place.interface, wants),
        node=place.node,
        credentials=Credentials(certificate=certificate, key=key, ca=ca),
        source=place.source or _name(certificate),
        peer=place.peer,
        wait_s=place.wait,
    )


def _spoken(url: str, asked: Interface | None, wants: Interface) -> Interface:
    """By ``--interface``, by the URL, or by what the command is for."""
    parts = urlsplit(url)
    if parts.scheme == "tls":
        said: Interface | None = "004-tls"
    elif parts.path.rstrip("/").endswith(PATH):
        said = "014"
    else:
        said = None
    if said and asked and said != asked:
        raise LocalFault(
            f"{url!r:.200} is an address of interface {said}, not {asked}",
            hint="give another --url, or leave --interface out",
        )
    found = said or asked or wants
    if found == "004-tls" and parts.scheme != "tls":
        raise LocalFault(
            f"{url!r:.200} is not tls://HOST:PORT", hint="give the node's [etsi004_tls] address"
        )
    return found


def _name(certificate: Path) -> str:
    """The one URI of the certificate. Raises ``LocalFault``."""
    hint = "give --certificate of an application, or its name with --source"
    text = _contents(certificate, _CERTIFICATE_BYTES_MAX, "give a readable --certificate")
    begin, end = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
    start, stop = text.find(begin), text.find(end)
    try:
        if start < 0 or stop < start:
            raise ValueError
        der = ssl.PEM_cert_to_DER_cert(text[start : stop + len(end)].decode("ascii"))
    except ValueError:
        raise LocalFault(f"{certificate} is not a certificate in PEM", hint=hint) from None
    names = uri_sans(der)
    if len(names) != 1:
        raise LocalFault(f"{certificate} names {len(names)} applications, not one", hint=hint)
    return names[0]


# ---- a demonstration ------------------------------------------------------------------------


class _Node(Struct):
    name: str
    etsi004_url: str | None = None
    etsi004_tls: str | None = None
    etsi014_url: str | None = None


class _Application(Struct):
    sae_id: str
    node: str
    cert: str
    key: str


class _Demo(Struct):
    ca: str
    nodes: list[_Node]
    applications: list[_Application]


def _at_demo(place: Place, wants: Interface) -> At:
    assert place.demo is not None, "asked for it"
    path = place.demo / "demo.json" if place.demo.suffix != ".json" else place.demo
    text = _contents(path, _DEMO_BYTES_MAX, "start one: kms demo --keep --dir DIR")
    try:
        demo = msgspec.json.decode(text, type=_Demo)
    except (msgspec.DecodeError, RecursionError) as error:
        raise LocalFault(f"{path} does not read: {error}", hint="give kms demo's --dir") from None
    me = _one_of(demo, place.as_, path)
    node = next((each for each in demo.nodes if each.name == me.node), None)
    if node is None:
        raise LocalFault(f"{path} has no node {me.node!r:.80}", hint="start kms demo anew")
    interface = place.interface or wants
    url = place.url or _address(node, interface)
    others = [each.sae_id for each in demo.applications if each.sae_id != me.sae_id]
    return At(
        url=url,
        interface=_spoken(url, place.interface, interface),
        node=place.node or node.name,
        credentials=Credentials(
            certificate=place.certificate or Path(me.cert),
            key=place.key or Path(me.key),
            ca=place.ca or Path(demo.ca),
        ),
        source=place.source or me.sae_id,
        peer=place.peer or (others[0] if len(others) == 1 else None),
        wait_s=place.wait,
    )


def _one_of(demo: _Demo, name: str | None, path: Path) -> _Application:
    """The application of this SAE ID, or the only one at the node of this name."""
    known = ", ".join(sorted({each.node for each in demo.applications}))[:200]
    if name is None:
        raise LocalFault("it is not said who asks", hint=f"give --as NAME, one of: {known}")
    found = [each for each in demo.applications if name in (each.sae_id, each.node)]
    if len(found) != 1:
        raise LocalFault(
            f"{path} has {len(found) or 'no'} applications of the name {name!r:.80}",
            hint=f"give --as one of: {known}; or an application's sae_id",
        )
    return found[0]


def _address(node: _Node, interface: Interface) -> str:
    addresses: dict[Interface, str | None] = {
        "004": node.etsi004_url,
        "004-tls": f"tls://{node.etsi004_tls}" if node.etsi004_tls else None,
        "014": node.etsi014_url,
    }
    url = addresses[interface]
    if url is None:
        has = ", ".join(each for each, address in addresses.items() if address)
        raise LocalFault(
            f"the demonstration's node {node.name!r:.80} does not serve interface {interface}",
            hint=f"give --interface, one of: {has}",
        )
    return url


def _contents(path: Path, bytes_max: int, hint: str) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(bytes_max)
    except OSError as error:
        raise LocalFault(f"{path}: {error.strerror}", hint=hint) from None
