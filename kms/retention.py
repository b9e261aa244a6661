"""``[audit]`` and ``[retention]`` of node.toml: where the journal lies, how long what is over is
kept.

Rules: the defaults keep what safety, and a person who looks into an incident, may need; nothing can
be set below what the protocol between two nodes goes by.
"""

from collections.abc import Iterator
from pathlib import Path

import attrs

from kms.domain import limits
from kms.domain.appendlog import HISTORY
from kms.domain.retention import Retention
from kms.toml_file import Fault, place

_DAY_MS = 24 * 60 * 60 * 1000


@attrs.frozen(kw_only=True)
class AuditSection:
    """``[audit]``; without a file it is ``audit.jsonl`` in the state directory."""

    file: Path | None = None


@attrs.frozen(kw_only=True)
class RetentionSection:
    """``[retention]``"""

    tombstone_days: int = limits.TOMBSTONE_MS // _DAY_MS
    """a closed stream's Key_stream_ID is refused for this long"""
    spent_blocks: int = HISTORY
    """records of used blocks, of each link: place, device, error ratio; no bits"""
    audit_segment_mib: int = 64
    """the journal goes on in a new file when it has grown to this"""
    audit_days: int = 0
    """full files whose last record is older are deleted; 0: none ever is"""

    @property
    def of_streams(self) -> Retention:
        return Retention(tombstone_ms=self.tombstone_days * _DAY_MS)

    @property
    def audit_segment_bytes(self) -> int:
        return self.audit_segment_mib * limits.MIB

    @property
    def audit_ms(self) -> int | None:
        """None: for ever."""
        return self.audit_days * _DAY_MS or None


JOURNAL = AuditSection()
KEEP_SAFELY = RetentionSection()

# A stream that one end closed unheard lives at the other for its TTL: until then its name is taken.
_TOMBSTONE_DAYS_MIN = limits.TTL_MAX_S * 1000 // _DAY_MS
_BOUNDS = (
    ("tombstone_days", _TOMBSTONE_DAYS_MIN, 3650),
    ("spent_blocks", HISTORY, 1_000_000),
    ("audit_segment_mib", 1, 4096),
    ("audit_days", 0, 36_500),
)


def retention_faults(section: RetentionSection) -> Iterator[Fault]:
    """What is out of bounds."""
    for name, low, high in _BOUNDS:
        value = getattr(section, name)
        if not low <= value <= high:
            yield Fault(place("retention", None, name), f"{value} is not between {low} and {high}")
    if 0 < section.audit_days < _AUDIT_DAYS_MIN:
        reason = f"{section.audit_days} is less than {_AUDIT_DAYS_MIN}; 0 keeps all of it"
        yield Fault(place("retention", None, "audit_days"), reason)


# Who looks into an incident has at least a month.
_AUDIT_DAYS_MIN = 30
