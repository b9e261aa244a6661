"""The chunks of one stream are as its hold says: after each order, and each designation.

What becomes of a chunk (SP 800-57, docs/lifecycle.md):

    undelivered, suspended      suspended; when it is released it waits again
    undelivered, compromised    compromised and destroyed in this batch
    delivered, bytes still here compromised, and destroyed when the bytes are wiped
    delivered, bytes wiped      destroyed already: its reason says so from now on
"""

from kms.domain.holds import COMPROMISED, SUSPENDED
from kms.domain.keyruns import UNREAD, WAITING
from kms.domain.lifecycle import KeyEvent, KeyState
from kms.domain.outbox import Outbox
from kms.domain.ranges import minus
from kms.domain.register import Register
from kms.domain.run import Span
from kms.domain.stream import Stream

DELIVERED_BEFORE = f"delivered, then {COMPROMISED}"
_ACTIVE = frozenset({KeyState.ACTIVE})
_SUSPENDED = frozenset({KeyState.SUSPENDED})
LOST = frozenset({KeyState.COMPROMISED})
"""compromised, with bytes that are to be wiped"""


def enforce(register: Register, stream: Stream, out: Outbox) -> int:
    """How many undelivered chunks have changed their state."""
    hold = register.holds.of(stream.record.link, stream.ksid)
    if hold is None:
        return 0
    runs, moved = stream.runs, 0
    for first, end in hold.compromised:
        lost = runs.spans(UNREAD, first, end)
        moved += sum(span.count for span in lost)
        register.destroy(
            stream, lost, KeyEvent.COMPROMISE, KeyEvent.DESTROY, reason=COMPROMISED, out=out
        )
        for span in runs.spans(_ACTIVE, first, end):
            runs.move(span, KeyEvent.COMPROMISE, now=out.now, reason=DELIVERED_BEFORE)
        runs.remark(first, end, before="delivered", reason=DELIVERED_BEFORE)
    for first, end in hold.suspended:
        for span in runs.spans(WAITING, first, end):
            runs.move(span, KeyEvent.SUSPEND, now=out.now, reason=SUSPENDED)
            moved += span.count
            _audit("keys-suspended", stream, span, out)
    for run in runs.spans(_SUSPENDED):
        for first, end in minus(((run.first, run.first + run.count),), hold.suspended):
            for span in runs.spans(_SUSPENDED, first, end):
                runs.move(span, KeyEvent.RELEASE, now=out.now, reason="released by an operator")
                moved += span.count
                _audit("keys-released", stream, span, out)
    register.touch(stream)
    return moved


def _audit(event: str, stream: Stream, span: Span, out: Outbox) -> None:
    out.audit(event, actor="node", subject=str(stream.ksid), first=span.first, count=span.count)
