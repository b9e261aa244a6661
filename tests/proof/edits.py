"""Every single edit of a journal of 200 records is found by what ``kms audit verify`` calls (I11).

Theory of operation. A real ``FileJournal`` writes 200 records and the file is edited once, in every
way there is; the copy of the head that a neighbour or operator keeps (``kms audit verify --head``)
is known. The editor comes in three strengths:

    journal          writes the journal only; the noted head beside it tells
    journal, killed  the same, but the node was killed: the noted head is as old as its last start
    both files       writes the journal and ``<file>.head``

The chain has no secret: whoever can write can chain anew from his edit to the end, or cut the end
off. Such an edit shows only against a head that he cannot write. The part counts those apart
(``found only by a head kept elsewhere``), so that nobody reads more into the chain than is in it.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import attrs
import trio

from kms.adapters.journal_chain import (
    NotedHead,
    decode,
    encode,
    head_path,
    spell_head,
    verify_file,
)
from kms.adapters.journal_file import FileJournal
from kms.domain.audit import GENESIS, AuditEntry, AuditRecord, chained
from kms.domain.errors import JournalFault
from kms.ports.journal import JournalHead
from tests.proof.report import PartReport, Tell

RECORDS: Final = 200
# Each way of editing, and each editor, is tried at least once in so many edits: they take turns.
EDITS_PER_KIND: Final = 15
JOURNAL, KILLED, BOTH = STRENGTHS = ("journal", "journal, killed", "both files")
_TELL_EVERY: Final = 2_000


@attrs.frozen
class Edit:
    """One alteration of the file."""

    line: int
    """counts from 1"""
    lines: list[bytes]
    """the journal as it is now"""
    rewritten: bool = False
    """chained anew to the end, or cut: a whole chain, only another one"""


def entry(number: int) -> AuditEntry:
    """A typical record."""
    return AuditEntry(
        wall_ms=1_700_000_000_000 + number,
        event="key-delivered",
        actor="sae:ann",
        subject="6b1f3a52-0f1c-4c7e-9a8b-2d4e6f8a0b1c",
        detail={"index": number, "share": 0.5, "again": False, "none": None},
    )


def run(amount: float, seed: int, tell: Tell) -> PartReport:
    """``amount`` edits were made, and each was looked for."""
    began = time.monotonic()
    chance = random.Random(f"edits {seed}")
    faults: Counter[str] = Counter(dict.fromkeys((*KINDS, *STRENGTHS), 0))
    violations: list[str] = []
    made = checks = only_elsewhere = 0
    with TemporaryDirectory() as place:
        path = Path(place) / "audit.jsonl"
        for case in cases(path, chance):
            if made >= amount:
                break
            edit, strength = case.edit, case.strength
            path.write_bytes(b"".join(edit.lines))
            case.place_head(path)
            here = _fault(path, [])
            found = here or _fault(path, [case.elsewhere])
            made, checks = made + 1, checks + 1
            faults[case.kind] += 1
            faults[strength] += 1
            only_elsewhere += not here
            what = f"{case.kind} of line {edit.line}, {strength}"
            again = f"make it again: tests.proof.edits seed {seed}, edit {made}"
            if not found:
                violations.append(f"I11 not found even with a head kept elsewhere: {what}; {again}")
            if not here and not edit.rewritten:
                violations.append(f"I11 the chain itself does not show it: {what}; {again}")
            if not here and strength == JOURNAL:
                violations.append(f"I11 the noted head does not show it: {what}; {again}")
            if made % _TELL_EVERY == 0:
                tell(f"edits: {made} made, {len(violations)} not found")
    return PartReport(
        part="edits",
        invariants=("I11",),
        seed=seed,
        made={"journal edits": made},
        checks=checks,
        faults=dict(faults),
        faults_min=int(amount // EDITS_PER_KIND),
        measured={"found only by a head kept elsewhere": only_elsewhere},
        violations=tuple(violations),
        seconds=time.monotonic() - began,
    )


@attrs.frozen
class Case:
    """An edit, by whom, and what is known elsewhere."""

    kind: str
    edit: Edit
    strength: str
    noted: NotedHead | None
    """what the head file says after the edit"""
    elsewhere: JournalHead

    def place_head(self, path: Path) -> None:
        beside = head_path(path)
        if self.noted is None:
            beside.unlink(missing_ok=True)
        else:
            beside.write_bytes(spell_head(self.noted))


def cases(path: Path, chance: random.Random) -> Iterator[Case]:
    """Edits without end: each way in turn, each at every line before a line comes again."""
    lines, noted = trio.run(_written, path)
    # Last record of an earlier run of the node: what a killed node's head file still says.
    early = decode(lines[RECORDS // 4 - 1])
    at = sum(map(len, lines[: RECORDS // 4 - 1]))
    old = NotedHead(head=JournalHead(number=early.number, hash=early.hash), start_bytes=at)
    ways = {kind: _turns(way, lines, chance) for kind, way in WAYS.items()}
    while True:
        for kind, turns in ways.items():
            edit = next(turns)
            yield Case(kind, edit, JOURNAL, noted, noted.head)
            yield Case(kind, edit, KILLED, old, noted.head)
            yield Case(kind, edit, BOTH, _follows(edit.lines), noted.head)


def _turns(way: "Way", lines: list[bytes], chance: random.Random) -> Iterator[Edit]:
    while True:
        for index in chance.sample(range(RECORDS), RECORDS):
            edit = way(lines, index, chance)
            assert edit.lines != lines, "an edit alters something"
            yield edit


async def _written(path: Path) -> tuple[list[bytes], NotedHead]:
    journal = await FileJournal.open(path)
    for number in range(0, RECORDS, 5):
        await journal.append([entry(each) for each in range(number, number + 5)])
    head = journal.head()
    await journal.aclose()
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == RECORDS, "one line a record"
    return lines, NotedHead(head=head, start_bytes=sum(map(len, lines[:-1])))


def _follows(lines: list[bytes]) -> NotedHead | None:
    """The head file that suits the edited journal best; none where its end is no record."""
    try:
        last = decode(lines[-1]) if lines else None
    except ValueError:
        return None
    if last is None:
        return NotedHead(head=JournalHead(number=0, hash=GENESIS), start_bytes=0)
    head = JournalHead(number=last.number, hash=last.hash)
    return NotedHead(head=head, start_bytes=sum(map(len, lines[:-1])))


def _fault(path: Path, heads: list[JournalHead]) -> str:
    """What the verifier finds. A torn end alone is no fault: every crash may leave one."""
    try:
        return verify_file(path, heads=heads).fault
    except JournalFault as fault:
        return fault.reason


# ---- ways to edit -------------------------------------------------------------------------------


def _changed_byte(lines: list[bytes], index: int, chance: random.Random) -> Edit:
    line = bytearray(lines[index])
    line[chance.randrange(len(line))] ^= chance.randrange(1, 256)
    return Edit(index + 1, [*lines[:index], bytes(line), *lines[index + 1 :]])


def _added_byte(lines: list[bytes], index: int, chance: random.Random) -> Edit:
    line, at = lines[index], chance.randrange(len(lines[index]))
    longer = line[:at] + bytes([chance.randrange(256)]) + line[at:]
    return Edit(index + 1, [*lines[:index], longer, *lines[index + 1 :]])


def _lost_byte(lines: list[bytes], index: int, chance: random.Random) -> Edit:
    line, at = lines[index], chance.randrange(len(lines[index]))
    shorter = line[:at] + line[at + 1 :]
    return Edit(index + 1, [*lines[:index], shorter, *lines[index + 1 :]])


def _removed(lines: list[bytes], index: int, chance: random.Random) -> Edit:
    last = index == len(lines) - 1
    return Edit(index + 1, lines[:index] + lines[index + 1 :], rewritten=last)


def _swapped(lines: list[bytes], index: int, chance: random.Random) -> Edit:
    other = chance.choice([each for each in range(len(lines)) if each != index])
    edited = list(lines)
    edited[index], edited[other] = edited[other], edited[index]
    return Edit(index + 1, edited)


def _doubled(lines: list[bytes], index: int, chance: random.Random) -> Edit:
    at = chance.randrange(len(lines) + 1)
    return Edit(index + 1, [*lines[:at], lines[index], *lines[at:]])


def _cut(lines: list[bytes], index: int, chance: random.Random) -> Edit:
    return Edit(index + 1, lines[:index], rewritten=True)


def _torn(lines: list[bytes], index: int, chance: random.Random) -> Edit:
    kept = lines[index][: chance.randrange(1, len(lines[index]))]
    return Edit(index + 1, [*lines[:index], kept], rewritten=True)


def _forged(lines: list[bytes], index: int, chance: random.Random) -> Edit:
    """The record says something else and its own hash is right; the next does not follow."""
    record = _other(decode(lines[index]), chance)
    last = index == len(lines) - 1
    edited = [*lines[:index], encode(record), *lines[index + 1 :]]
    return Edit(index + 1, edited, rewritten=last)


def _chained_anew(lines: list[bytes], index: int, chance: random.Random) -> Edit:
    """The record says something else, and all behind it are chained anew."""
    records = [_other(decode(lines[index]), chance)]
    for line in lines[index + 1 :]:
        records.append(chained(records[-1].number + 1, records[-1].hash, decode(line).entry))
    edited = [*lines[:index], *map(encode, records)]
    return Edit(index + 1, edited, rewritten=True)


def _removed_and_chained_anew(lines: list[bytes], index: int, chance: random.Random) -> Edit:
    number, previous = index, decode(lines[index]).previous
    edited = lines[:index]
    for line in lines[index + 1 :]:
        record = chained(number + 1, previous, decode(line).entry)
        number, previous = record.number, record.hash
        edited = [*edited, encode(record)]
    return Edit(index + 1, edited, rewritten=True)


def _other(record: AuditRecord, chance: random.Random) -> AuditRecord:
    number = chance.randrange(2**40)
    altered: AuditEntry = chance.choice(
        (
            attrs.evolve(record.entry, wall_ms=number),
            attrs.evolve(record.entry, event=f"event-{number}"),
            attrs.evolve(record.entry, actor=f"sae:{number}"),
            attrs.evolve(record.entry, subject=f"subject {number}"),
            attrs.evolve(record.entry, detail={"index": number}),
        )
    )
    return chained(record.number, record.previous, altered)


Way = Callable[[list[bytes], int, random.Random], Edit]
WAYS: Final[dict[str, Way]] = {
    "changed byte": _changed_byte,
    "added byte": _added_byte,
    "lost byte": _lost_byte,
    "removed line": _removed,
    "swapped lines": _swapped,
    "doubled line": _doubled,
    "cut off at a line": _cut,
    "cut off within a line": _torn,
    "forged record": _forged,
    "chained anew": _chained_anew,
    "removed and chained anew": _removed_and_chained_anew,
}
KINDS: Final = tuple(WAYS)
