"""Where the parts of the node put their effects while one batch of events is handled."""

from kms.domain.audit import AuditEntry
from kms.domain.effects import Alarm, Audit, Effect, Forget, Note, Save
from kms.domain.moment import Moment
from kms.domain.names import LinkId
from kms.domain.records import Record


class Outbox:
    """Collects effects in order; ``now`` is the batch's moment."""

    def __init__(self, now: Moment) -> None:
        self.now = now
        self.effects: list[Effect] = []

    def add(self, effect: Effect) -> None:
        self.effects.append(effect)

    def save(self, record: Record) -> None:
        self.effects.append(Save(record))

    def forget(self, record: Record) -> None:
        self.effects.append(Forget(record))

    def audit(
        self, event: str, *, actor: str, subject: str, **detail: str | int | float | bool | None
    ) -> None:
        """The entry is journalled before anything of this batch leaves (I11)."""
        entry = AuditEntry(
            wall_ms=self.now.wall_ms, event=event, actor=actor, subject=subject, detail=detail
        )
        self.effects.append(Audit(entry))

    def alarm(self, kind: str, link: LinkId | None, detail: str) -> None:
        """Shown to the operator and journalled."""
        self.effects.append(Alarm(kind=kind, link=link, detail=detail))
        self.audit("alarm", actor="node", subject=str(link or ""), kind=kind, reason=detail)

    def note(self, name: str, **fields: str | int | float | bool | None) -> None:
        self.effects.append(Note(name=name, fields=fields))
