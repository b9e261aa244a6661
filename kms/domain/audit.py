"""The audit chain: each record carries the hash of the one before (I11).

Theory of operation: the core says *what* is to be recorded (``AuditEntry``); the journal port
numbers it and chains it with ``chained``. An edit, a removal, an insertion or a swap breaks the
chain at that record; cutting the end off shows against the head kept elsewhere.
"""

import hashlib
import json
from collections.abc import Iterable

import attrs

from kms.domain.errors import JournalFault

GENESIS = "0" * 64
"""Previous hash of the first record."""

# Made once: json.dumps with options makes an encoder for each call.
_CANONICAL = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
)


@attrs.frozen(kw_only=True)
class AuditEntry:
    """What happened, to what, by whom. Never key bits."""

    wall_ms: int
    event: str
    """a stable word, such as key-delivered"""
    actor: str
    """an application, node, device or operator"""
    subject: str
    """a KSID, link, block"""
    detail: dict[str, str | int | float | bool | None] = attrs.Factory(dict)


@attrs.frozen(kw_only=True)
class AuditRecord:
    """One line of the journal."""

    number: int
    """counts from 1"""
    previous: str
    """hash of record number - 1, hexadecimal SHA-256"""
    entry: AuditEntry
    hash: str
    """SHA-256 over number, previous and entry in canonical JSON, hexadecimal"""


def digest(number: int, previous: str, entry: AuditEntry) -> str:
    """The hash of a record with these contents."""
    canonical = _CANONICAL.encode([number, previous, attrs.asdict(entry, recurse=False)])
    return hashlib.sha256(canonical.encode()).hexdigest()


def chained(number: int, previous: str, entry: AuditEntry) -> AuditRecord:
    """The record that follows hash ``previous`` as ``number``."""
    hash_ = digest(number, previous, entry)
    return AuditRecord(number=number, previous=previous, entry=entry, hash=hash_)


def verify(records: Iterable[AuditRecord]) -> tuple[int, str]:
    """Number and hash of the last record, when the chain is whole from the first on.

    Raises ``JournalFault`` that names the first record that does not follow.
    """
    number, previous = 0, GENESIS
    for record in records:
        number += 1
        expected = chained(number, previous, record.entry)
        if record != expected:
            raise JournalFault(
                f"audit record {number} does not follow the one before",
                hint="the journal was altered: keep the file, compare with the peers' heads",
            )
        previous = record.hash
    return number, previous
