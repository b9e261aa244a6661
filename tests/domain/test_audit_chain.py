"""The chain of the journal: a record is covered by every one behind it (I11)."""

from collections.abc import Callable

import attrs
import pytest

from kms.domain.audit import GENESIS, AuditEntry, AuditRecord, chained, verify
from kms.domain.errors import JournalFault


def chain(length: int) -> list[AuditRecord]:
    made: list[AuditRecord] = []
    for number in range(1, length + 1):
        entry = AuditEntry(
            wall_ms=number, event="key-delivered", actor="sae:ann", subject=f"stream {number}"
        )
        made.append(chained(number, made[-1].hash if made else GENESIS, entry))
    return made


def test_a_whole_chain_verifies_to_its_number_and_head() -> None:
    records = chain(3)

    assert verify(records) == (3, records[-1].hash)
    assert verify([]) == (0, GENESIS)


EDITS: dict[str, Callable[[list[AuditRecord]], object]] = {
    "an entry changed": lambda kept: kept.__setitem__(
        1, attrs.evolve(kept[1], entry=attrs.evolve(kept[1].entry, actor="sae:eve"))
    ),
    "an entry and its hash changed": lambda kept: kept.__setitem__(
        1, chained(2, kept[0].hash, attrs.evolve(kept[1].entry, actor="sae:eve"))
    ),
    "a record removed": lambda kept: kept.pop(1),
    "two records exchanged": lambda kept: kept.insert(1, kept.pop(2)),
    "a record told twice": lambda kept: kept.insert(1, kept[1]),
    "the first removed": lambda kept: kept.pop(0),
}


@pytest.mark.parametrize("edit", EDITS)
def test_i11_an_edited_chain_is_refused_with_the_first_record_that_does_not_follow(
    edit: str,
) -> None:
    records = chain(4)
    EDITS[edit](records)

    with pytest.raises(JournalFault, match=r"audit record \d does not follow the one before"):
        verify(records)
