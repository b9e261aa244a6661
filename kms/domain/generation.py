"""Whether this store is the newest one there ever was: what only a witness outside can say (I1).

Rules. The store's *generation* rises by one in every batch that writes what a copy made before must
not be used without: a grant, a link's epoch, secret, doubt or alarm, a stream's next index, an
operator's order about keys, a start. ``_MATTERS`` is the whole list. The witness has each
generation before anything of its batch leaves; so a witness that has seen more than the records say
proves that the records are a copy put back, however old the neighbour's are.

Theory of operation. A copy of the present generation is as good as a crash: what it lacks
(deliveries, closes, blocks) never makes two uses of one bit or two keys of one index. An older copy
is not believed: the node stands. What it lacks nobody may know, so an operator says how it goes on.

A witness that knows less than the records is what a crash leaves between the two: it is told again.
"""

from collections.abc import Callable, Iterable
from enum import Enum
from operator import attrgetter
from typing import Any

import attrs

from kms.domain.attestation import Attestation
from kms.domain.effects import Attest, Save
from kms.domain.names import NodeId
from kms.domain.outbox import Outbox
from kms.domain.records import (
    HoldRecord,
    LinkRecord,
    NodeRecord,
    PadRecord,
    Record,
    StreamRecord,
)

_MATTERS: dict[type[Record], Callable[[Any], object]] = {
    PadRecord: lambda pad: pad.granted,
    LinkRecord: lambda link: (link.state, link.epoch, link.secrets, link.alarm, link.restored),
    StreamRecord: lambda stream: stream.next_index,
    HoldRecord: lambda hold: (hold.leader, hold.follower, hold.compromised),
}


_KEYS = {kind: attrgetter(*kind.KEY) for kind in _MATTERS}


class Ground(Enum):
    """Why a store is not believed."""

    OLD = "old"
    """the witness has seen a later generation of this very store"""
    FOREIGN = "foreign"
    """the witness has seen another store of this node"""
    UNKNOWN = "unknown"
    """the store is not new, and there is no witness that could be read"""


@attrs.frozen(kw_only=True)
class Standing:
    """What the node found at its start, and why it stands until an operator has spoken."""

    ground: Ground
    generation: int
    """of the store"""
    written_ms: int
    """wall, when the store had it"""
    witnessed: Attestation | None
    trouble: str = ""
    """why the witness said nothing"""

    @property
    def reason(self) -> str:
        """One sentence for status, alarm and refusals."""
        if self.witnessed is None:
            return f"this store is not new and its witness says nothing: {self.trouble or 'empty'}"
        seen = self.witnessed
        if self.ground is Ground.FOREIGN:
            return f"the witness knows another store of this node, generation {seen.generation}"
        return (
            f"this store is an old copy: generation {self.generation}, "
            f"and the witness has seen {seen.generation}"
        )


class Generation:
    """The store's generation, boot and name, and what a rise is measured against."""

    def __init__(self, node: NodeId, records: Iterable[Record]) -> None:
        self._node = node
        self._watched = False
        self._known: dict[tuple[object, ...], object] = {}
        self.boot = self.number = self.written_ms = 0
        self.store = ""
        for record in records:
            if isinstance(record, NodeRecord):
                self.boot, self.number = record.boot, record.generation
                self.store, self.written_ms = record.store, record.written_ms
            elif type(record) in _MATTERS:
                self._known[_key(record)] = _MATTERS[type(record)](record)

    def judge(self, *, attestation: Attestation | None, trouble: str) -> Standing | None:
        """Why the node must stand; None if the store is the newest, or the first."""
        if attestation is None:
            # Without a name of its own the store is new, or older than witnesses are.
            ground = Ground.UNKNOWN if self.store else None
        elif attestation.store != self.store:
            ground = Ground.FOREIGN
        else:
            ground = Ground.OLD if attestation.generation > self.number else None
        if ground is None:
            return None
        return Standing(
            ground=ground,
            generation=self.number,
            written_ms=self.written_ms,
            witnessed=attestation,
            trouble=trouble,
        )

    def watch(self, fresh: str) -> None:
        """From now on rises are told to a witness. ``fresh`` names a store without a name."""
        self._watched = True
        self.store = self.store or fresh

    def pass_over(self, attestation: Attestation | None) -> None:
        """The next generation is above this one: the store is the newest again."""
        if attestation is not None:
            self.number = max(self.number, attestation.generation)

    def begin(self, out: Outbox) -> None:
        """One more start, in the batch's writes."""
        self.boot += 1
        self._save(out)

    def close(self, out: Outbox) -> None:
        """End of a batch: if what it writes matters, so does the next generation, and the witness
        hears of it before anything leaves."""
        if not self._watched or not out.effects:
            return
        # Each is looked at, not the first alone: all of them are what the next batch is held to.
        rises = [self._rises(each.record) for each in out.effects if type(each) is Save]
        if any(rises):
            self.number += 1
            self.written_ms = out.now.wall_ms
            self._save(out)
            out.effects.insert(0, Attest(self._attestation()))

    def _rises(self, record: Record) -> bool:
        if isinstance(record, NodeRecord):
            return True
        matters = _MATTERS.get(type(record))
        if matters is None:
            return False
        key, value = _key(record), matters(record)
        before, self._known[key] = self._known.get(key), value
        return bool(before != value and (before is not None or value))

    def _save(self, out: Outbox) -> None:
        out.save(
            NodeRecord(
                node=self._node,
                boot=self.boot,
                generation=self.number,
                store=self.store,
                written_ms=self.written_ms,
            )
        )

    def _attestation(self) -> Attestation:
        return Attestation(
            node=self._node,
            store=self.store,
            generation=self.number,
            wall_ms=self.written_ms,
        )


def _key(record: Record) -> tuple[object, ...]:
    return (type(record), _KEYS[type(record)](record))
