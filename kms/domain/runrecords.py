"""What the store keeps of a run."""

from kms.domain.lifecycle import KeyState
from kms.domain.names import KSID
from kms.domain.records import KeyRunRecord
from kms.domain.run import Run


def written(ksid: KSID, run: Run) -> KeyRunRecord:
    """The run as it is saved."""
    return KeyRunRecord(
        ksid=ksid,
        first=run.first,
        count=run.count,
        state=run.state,
        material=run.material,
        material_first=run.material_first,
        created_ms=run.created_ms,
        expires_ms=run.expires_ms,
        since_ms=run.since_ms,
        reason=run.reason,
    )


def gone(ksid: KSID, first: int) -> KeyRunRecord:
    """What names a run that is to be forgotten."""
    return KeyRunRecord(
        ksid=ksid,
        first=first,
        count=0,
        state=KeyState.DESTROYED,
        material=None,
        material_first=first,
        created_ms=0,
        expires_ms=None,
        since_ms=0,
        reason="",
    )
