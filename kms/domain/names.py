"""Identities, parsed once where they enter, then carried as types.

A parser returns the identity or raises ``BadName``: there is no half-checked name in the system.
"""

import re
from typing import NewType
from uuid import UUID

from kms.domain.errors import BadName

NodeId = NewType("NodeId", str)
"""One running ``kms`` (Y.3800: the KM of a QKD node; ETSI GS QKD 014: KME)."""

LinkId = NewType("LinkId", str)
"""Two neighbour nodes, ``smaller~larger``: the same name at both ends."""

SAEId = NewType("SAEId", str)
"""The customer, known by its certificate: a URI, or a bare name; at most 64 characters."""

DeviceId = NewType("DeviceId", str)
"""One local QKD device, by the name that the node's configuration gives it."""

BlockId = NewType("BlockId", UUID)
"""Bits from a device pair, the same id at both ends."""

KSID = NewType("KSID", UUID)
"""Key_stream_ID, UUID version 4 (ETSI GS QKD 004 V2.1.1 table 2). Not secret."""

WHOLE_LINK = KSID(UUID(int=0))
"""Stands where a KSID would, for all streams of a link: no stream can have it."""

HERE = LinkId("")
"""Stands where a link would, for keys that went over none: no link can have it."""

MaterialId = NewType("MaterialId", str)
"""A name under which the storage port keeps sealed bits. Never reused."""

SecretId = NewType("SecretId", str)
"""A secret carried to both ends of a link by hand; each is used once."""

_NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_SAE = re.compile(r"[a-z][a-z0-9+.-]*:[A-Za-z0-9._~:/?#@!$&'()*+,;=%\[\]-]+")
# A bare name has no colon: it can never be taken for a URI, nor a URI for it.
_BARE_SAE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~@-]*")
SAE_PATTERN = f"^(?:{_SAE.pattern}|{_BARE_SAE.pattern})$"
"""what ``sae_id`` reads, as OpenAPI documents say it"""
# ETSI GS QKD 020: all characters fit for a URI, and so many at most.
SAE_LENGTH_MAX = 64
_SECRET = re.compile(r"[0-9a-f]{32}")
# Two spellings, and no other: ``UUID`` itself takes braces, signs, blanks, underscores and the
# digits of every script.
_KSID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}|[0-9a-fA-F]{32}")


def node_id(text: object) -> NodeId:
    """The node's name: 1 to 32 letters, digits, ``-`` and ``_``, not beginning with a sign."""
    if not isinstance(text, str) or not _NODE.fullmatch(text):
        raise BadName("node", text, "1 to 32 of A-Z a-z 0-9 - _, beginning with a letter or digit")
    return NodeId(text)


def sae_id(text: object) -> SAEId:
    """The application's URI (GS QKD 004 table 1), or a bare name, such as ``consumer-1``.

    GS QKD 004 wants URIs and may accept other forms; GS QKD 014 allows any string, and programs
    written for other key managers use bare names there. Either form is within what GS QKD 020
    lets travel between networks.
    """
    if not isinstance(text, str) or len(text) > SAE_LENGTH_MAX or not _SAE.fullmatch(text):
        return bare_sae_id(text)
    return SAEId(text)


def bare_sae_id(text: object) -> SAEId:
    """The application's name where it is no URI: letters, digits and ``. _ ~ @ -``."""
    if not isinstance(text, str) or len(text) > SAE_LENGTH_MAX or not _BARE_SAE.fullmatch(text):
        wanted = "a URI such as sae:app.site, or a name of A-Z a-z 0-9 . _ ~ @ -, of at most 64"
        raise BadName("application", text, f"{wanted} characters")
    return SAEId(text)


def ksid(text: object) -> KSID:
    """The stream's UUID version 4, in the canonical or the 32-digit spelling."""
    if not isinstance(text, str) or not _KSID.fullmatch(text):
        raise BadName("Key_stream_ID", text, "a UUID version 4")
    value = UUID(text)
    if value.version != 4:
        raise BadName("Key_stream_ID", text, "a UUID version 4")
    return KSID(value)


def block_id(text: object) -> BlockId:
    """The block's UUID, any version."""
    try:
        if not isinstance(text, str) or len(text) > 36:
            raise ValueError
        return BlockId(UUID(text))
    except ValueError:
        raise BadName("block", text, "a UUID") from None


def secret_id(text: object) -> SecretId:
    """The name of a hand-carried secret: 32 lower-case hexadecimal digits."""
    if not isinstance(text, str) or not _SECRET.fullmatch(text):
        raise BadName("link secret", text, "32 lower-case hexadecimal digits")
    return SecretId(text)


def link_id(one: NodeId, other: NodeId) -> LinkId:
    """The link between two different nodes, the same whichever end asks."""
    if one == other:
        raise BadName("link", one, "two different nodes")
    return LinkId("~".join(sorted((one, other))))


def leader_of(link: LinkId) -> NodeId:
    """The end that appends blocks and breaks ties: the smaller node name."""
    return NodeId(link.split("~")[0])


def peer_of(link: LinkId, node: NodeId) -> NodeId:
    """The other end of the link."""
    one, other = link.split("~")
    return NodeId(other if one == node else one)
