"""One run of neighbouring chunks, and a part of one."""

import attrs

from kms.domain.lifecycle import KeyState
from kms.domain.moment import Moment
from kms.domain.names import MaterialId
from kms.domain.records import KeyRunRecord


@attrs.define(kw_only=True)
class Run:
    """One run. ``expires_mono_ms`` is the same instant as ``expires_ms`` by the other clock."""

    first: int
    count: int
    state: KeyState
    material: MaterialId | None
    material_first: int
    created_ms: int
    expires_ms: int | None
    expires_mono_ms: int | None = None
    since_ms: int
    reason: str
    stamp: int = 0
    """when it was delivered, in steps of the process; 0 long ago"""

    @property
    def end(self) -> int:
        return self.first + self.count

    def expired(self, now: Moment) -> bool:
        """The earlier of the two clocks counts."""
        return (self.expires_ms is not None and self.expires_ms <= now.wall_ms) or (
            self.expires_mono_ms is not None and self.expires_mono_ms <= now.mono_ms
        )


@attrs.frozen(kw_only=True)
class Span:
    """Chunks ``first`` to ``first + count`` that lie in one material."""

    first: int
    count: int
    material: MaterialId
    material_first: int


def run_of(record: KeyRunRecord) -> Run:
    """The run as it was saved."""
    return Run(
        first=record.first,
        count=record.count,
        state=record.state,
        material=record.material,
        material_first=record.material_first,
        created_ms=record.created_ms,
        expires_ms=record.expires_ms,
        since_ms=record.since_ms,
        reason=record.reason,
    )


def span_of(run: Run, first: int, end: int) -> Span:
    """These chunks of a run that is not destroyed."""
    assert run.material is not None, "chunks that are not destroyed lie somewhere"
    return Span(
        first=first, count=end - first, material=run.material, material_first=run.material_first
    )
