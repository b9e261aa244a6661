"""What an operator may order about keys, and what came of it: suspend, resume, compromise.

The words are those of NIST SP 800-57 Part 1 section 7 (docs/lifecycle.md): what is suspended may
come back, what is compromised never does. An order speaks of a whole link, a whole stream, a range
of its indices, or one key by its ID.
"""

from enum import Enum
from uuid import UUID

import attrs

from kms.domain import limits
from kms.domain.errors import LocalFault
from kms.domain.names import KSID, LinkId


class Act(Enum):
    """What is to be done."""

    SUSPEND = "suspend"
    RESUME = "resume"
    COMPROMISE = "compromise"


@attrs.frozen(kw_only=True)
class KeyOrder:
    """An operator's order. Exactly one of ``link``, ``ksid`` and ``key_id`` is given; ``first``
    and ``count`` with ``ksid`` only. Raises ``LocalFault`` when it contradicts itself."""

    act: Act
    link: LinkId | None = None
    ksid: KSID | None = None
    key_id: UUID | None = None
    """of ETSI GS QKD 014: one chunk of a stream, or one key for several slaves"""
    first: int = 0
    count: int | None = None
    """None: all of the stream, or link, and what is yet to come of it"""
    operator: str
    """who says so: for the audit at both ends"""
    reason: str

    def __attrs_post_init__(self) -> None:
        if [self.link, self.ksid, self.key_id].count(None) != 2:
            raise _wrong("an order names one link, one stream or one key ID")
        if self.count is not None or self.first:
            self._check_range()
        for what, text, most in (
            ("operator", self.operator, limits.OPERATOR_CHARACTERS_MAX),
            ("reason", self.reason, limits.REASON_CHARACTERS_MAX),
        ):
            if not 1 <= len(text) <= most or not text.isprintable() or not text.strip():
                raise _wrong(f"the {what} must be 1 to {most} printable characters")

    def _check_range(self) -> None:
        if self.ksid is None:
            raise _wrong("indices belong to a stream: name its Key_stream_ID")
        if self.count is None or self.count < 1 or self.first < 0:
            raise _wrong("a range of indices has a first one from 0 on, and a last one not below")
        if self.first + self.count > limits.INDEX_MAX + 1:
            raise _wrong(f"an index is at most {limits.INDEX_MAX}")


@attrs.frozen(kw_only=True)
class OrderDone:
    """What came of an order: durable at this end, and on its way to the neighbour. With ``refused``
    nothing has changed."""

    refused: str = ""
    hint: str = ""
    link: LinkId | None = None
    ksid: KSID | None = None
    """the stream it was about; None: the whole link, or ``bundle``"""
    bundle: KSID | None = None
    """the keys for several slaves of which it was about one: by no link alone"""
    first: int = 0
    count: int | None = None
    """chunks that it was about; None: all, and those to come"""
    changed: bool = False
    """False: all of it had been ordered before"""
    waiting: int = 0
    """undelivered chunks at this end that it was about: suspended, released or destroyed"""
    delivered: int = 0
    """chunks that an application of this end has already: nobody can take them back"""


def _wrong(what: str) -> LocalFault:
    return LocalFault(what, hint="kms key suspend --help shows what an order is made of")
