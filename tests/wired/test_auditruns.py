"""Deliveries of one batch on as few lines of the journal as say the same."""

import attrs
import pytest

from kms.domain.audit import AuditEntry
from kms.shell.auditruns import in_runs


def delivered(index: int, *, stream: str = "s", actor: str = "sae:ann", **more: str) -> AuditEntry:
    detail: dict[str, str | int | float | bool | None] = {"index": index, "count": 1}
    return AuditEntry(
        wall_ms=5, event="key-delivered", actor=actor, subject=stream, detail={**detail, **more}
    )


def said(entries: list[AuditEntry]) -> list[tuple[str, object, object]]:
    return [(each.subject, each.detail["index"], each.detail["count"]) for each in entries]


def test_neighbouring_deliveries_are_one_line() -> None:
    found = in_runs([delivered(index) for index in (7, 8, 9)])

    assert [("s", 7, 3)] == said(found)
    assert attrs.evolve(found[0], detail=delivered(7).detail) == delivered(7)


def test_streams_that_take_turns_have_a_line_each() -> None:
    entries = [delivered(index, stream=stream) for index in (1, 2) for stream in "ab"]

    assert [("a", 1, 2), ("b", 1, 2)] == said(in_runs(entries))


@pytest.mark.parametrize(
    "second",
    [
        delivered(9),
        delivered(7),
        delivered(6),
        delivered(8, actor="sae:eve"),
        delivered(8, peer="sae:ben"),
    ],
    ids=["a_gap", "again", "backwards", "another_application", "another_peer"],
)
def test_what_does_not_follow_has_a_line_of_its_own(second: AuditEntry) -> None:
    assert [delivered(7), second] == in_runs([delivered(7), second])


def test_another_event_of_the_stream_ends_a_run() -> None:
    closed = AuditEntry(wall_ms=5, event="stream-closed", actor="sae:ann", subject="s")

    assert [delivered(1), closed, delivered(2)] == in_runs([delivered(1), closed, delivered(2)])


def test_what_is_no_delivery_stays_as_it_is() -> None:
    made = [attrs.evolve(delivered(index), event="keys-designated") for index in (1, 2)]

    assert made == in_runs(made)
    assert in_runs([]) == []
