"""What is asked of an interface whose document is tried: where it is, and what serves it."""

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final

import attrs
import structlog

from kms.domain.names import SAEId
from tests.edge.authority import Authority
from tests.edge.support import Running

APP: Final = SAEId("sae:app.site-a")
"""whose certificate is shown"""
PEER: Final = SAEId("sae:app.site-b")
EXAMPLE: Final = SAEId("sae:app.site")
"""what the documents have as an example, and so all requests that try the ends of one member"""
OTHER: Final = SAEId("sae:other.site-a")
"""lives where ``APP`` does"""

Seen = tuple[str, object]
"""what the node was asked, and how it answered"""


@attrs.frozen(kw_only=True)
class Served:
    """The interface before two nodes that have key, and what is noted there."""

    edge: Running
    seen: Counter[Seen]
    faults: list[dict[str, Any]]
    """what the interface logged: only faults of ours"""
    dictionaries: str = ""
    """TOML of schemathesis: values that are not known before the nodes run"""


@attrs.frozen(kw_only=True)
class Interface:
    """One document, over one way."""

    path: str
    settings: Path
    """of schemathesis"""
    serving: Callable[[Authority], AbstractAsyncContextManager[Served]]
    answered: Counter[Seen]
    """what the node has to answer, and how often at least: else nothing but refusals was tried"""
    cases_at_least: int
    examples: int
    """of each operation, beside those of the ends of every field"""


def log_into(faults: list[dict[str, Any]]) -> Any:
    """A log that keeps its events there."""

    def keep(_logger: object, _level: str, event: dict[str, Any]) -> Any:
        faults.append(dict(event))
        raise structlog.DropEvent

    return structlog.wrap_logger(None, processors=[keep])
