"""``[identity]`` of node.toml: where client certificates name applications.

Rules: only what a certificate can have is taken, and nothing that would pass for a name of our own:
a ``sae:`` URI is its application, a ``kms:`` URI a node. ``adapters/identity.py`` says how names
are read.
"""

from collections.abc import Iterator
from typing import Literal

import attrs

from kms.domain.names import SAEId
from kms.toml_file import Fault


@attrs.frozen(kw_only=True)
class NameEntry:
    """``[[identity.name]]``: one name of foreign certificates, and which application it is."""

    sae: SAEId
    uri: str | None = None
    dns: str | None = None
    cn: str | None = None


@attrs.frozen(kw_only=True)
class IdentitySection:
    """``[identity]``: how client certificates name applications."""

    sources: tuple[Literal["uri", "dns", "cn"], ...] = ("uri",)
    """the first of which a certificate has a name decides"""
    name: tuple[NameEntry, ...] = ()


URI_ONLY = IdentitySection()


def identity_faults(identity: IdentitySection) -> Iterator[Fault]:
    """What is wrong between its fields."""
    sources = identity.sources
    if not sources or len(set(sources)) != len(sources):
        yield Fault("[identity] sources", "give uri, dns, cn, each at most once, at least one")
    seen: dict[tuple[str, str], int] = {}
    for number, entry in enumerate(identity.name, 1):
        at = f"[identity] name.{number}"
        given = [each for each in ("uri", "dns", "cn") if getattr(entry, each) is not None]
        if len(given) != 1:
            yield Fault(at, "give exactly one of uri, dns, cn beside sae")
            continue
        kind, value = given[0], str(getattr(entry, given[0]))
        if kind not in sources:
            yield Fault(f"{at}.{kind}", f"{kind} is not in [identity] sources")
        if not value or "\0" in value:
            yield Fault(
                f"{at}.{kind}", "empty, or with a NUL in it: no certificate is asked for that"
            )
        if kind == "uri" and value.lower().startswith(("sae:", "kms:")):
            yield Fault(
                f"{at}.{kind}", f"{value!r:.80} is an application's or a node's name itself"
            )
        key = (kind, value.lower() if kind == "dns" else value)
        if seen.setdefault(key, number) != number:
            yield Fault(f"{at}.{kind}", f"{value!r:.80} is already name.{seen[key]}")
