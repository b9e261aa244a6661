"""What a designating end believes of what the other says it holds: only its own branch (I2)."""

import pytest

from kms.domain.effects import Audit
from kms.domain.keyruns import WAITING
from kms.domain.outbox import Outbox
from kms.domain.stream import Stream
from tests.domain.streams_play import KNOWN, Pair
from tests.domain.test_streams_agree import with_a_designation_under_way
from tests.domain.test_streams_parts import stream_at

ACKED = 4
OWN, OTHER = 0, 1
"""branch: the stream's own, or another process's"""


class Bench:
    """Alice has made chunks up to ``made``, of which Bob has acknowledged four."""

    def __init__(self) -> None:
        self.pair: Pair = with_a_designation_under_way()
        self.stream: Stream = stream_at(self.pair.a)
        self.made = self.stream.record.next_index
        self.out = Outbox(self.pair.now)
        self.comparison = self.pair.a.streams._agreement._comparison
        assert (self.stream.record.acked_index, self.made > 6) == (ACKED, True)

    def branch(self, whose: int) -> int:
        return self.stream.record.branch + whose

    def at(self, index: str) -> int:
        """``"6"``, or from the end on: ``"made-1"``."""
        return self.made + int(index[4:] or 0) if index.startswith("made") else int(index)

    def waiting(self) -> set[int]:
        """Chunks that can still be delivered here."""
        spans = self.stream.runs.spans(WAITING)
        return {index for span in spans for index in range(span.first, span.first + span.count)}

    def audited(self) -> list[tuple[str, str, str, object, object, object]]:
        found = [each.entry for each in self.out.effects if isinstance(each, Audit)]
        return [
            (each.event, each.actor, each.subject, *map(each.detail.get, ("first", "count")),
             each.detail.get("reason"))
            for each in found
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("whose", "held", "next_index", "waiting"),
    [
        (OWN, "made", "made", ("4", "made")),  # The acknowledgement was lost.
        (OWN, "6", "6", ("4", "6")),  # What it did not get is made anew.
        (OWN, "5", "5", ("4", "5")),
        (OWN, "4", "4", ("4", "4")),
        (OWN, "2", "4", ("4", "4")),  # Its store is old: below what it acknowledged nobody goes.
        # This store is old: three are lost to it, and what lies here may have been delivered.
        (OWN, "made+3", "made+3", ("4", "4")),
        (OTHER, "made", "made", ("4", "4")),  # As many, and not the same ones.
        (OTHER, "5", "5", ("4", "4")),
        (OTHER, "4", "4", ("4", "4")),
        (OTHER, "made+1", "made+1", ("4", "4")),
    ],
)
def test_i2_two_ends_come_to_the_same_next_index_and_deliver_only_what_is_of_one_branch(
    whose: int, held: str, next_index: str, waiting: tuple[str, str]
) -> None:
    bench = Bench()
    bench.comparison.catch_up(bench.stream, bench.at(held), bench.branch(whose), bench.out)

    expected = bench.at(next_index)
    assert (expected, expected) == (bench.stream.record.next_index, bench.stream.record.acked_index)
    first, end = (bench.at(each) for each in waiting)
    assert set(range(first, end)) == bench.waiting()
    assert bench.stream.runs.end == expected


@pytest.mark.parametrize(
    ("whose", "held", "kept"),
    [
        (OWN, "made", "made"),
        (OWN, "made-1", "made-1"),
        (OWN, "6", "6"),
        (OWN, "2", "4"),
        (OTHER, "made", "4"),
        (OTHER, "6", "4"),
        (OTHER, "2", "4"),
    ],
)
def test_i2_after_a_restart_nothing_is_made_again_and_only_the_own_branch_is_kept(
    whose: int, held: str, kept: str
) -> None:
    bench = Bench()
    bench.comparison.give_up(bench.stream, bench.at(held), bench.branch(whose), bench.out)

    assert bench.made == bench.stream.record.next_index
    assert set(range(ACKED, bench.at(kept))) == bench.waiting()
    lost = bench.at(kept) < bench.made
    assert (bench.made if lost else ACKED) == bench.stream.record.acked_index
    assert bench.stream.record.falls == 0
    reasons = {reason for *_, reason in bench.audited()}
    assert reasons == ({"lost when an end restarted"} if lost else set())


@pytest.mark.parametrize("lost", [-2, 0, 1, 3])
def test_chunks_that_only_the_other_end_holds_are_lost_here_and_journalled(lost: int) -> None:
    bench = Bench()
    bench.comparison.lose_to(bench.stream, bench.made + lost, bench.out)

    assert bench.made + max(0, lost) == bench.stream.record.next_index
    reason = "lost: this store is older than the peer's"
    entry = ("keys-lost", "node", str(KNOWN), bench.made, lost, reason)
    assert bench.audited() == ([entry] if lost > 0 else [])
    bench.pair.a.streams._register.flush(bench.out)
    assert bool(bench.stream.runs.at(bench.made)) == (lost > 0)


@pytest.mark.parametrize("first", [4, 5])
def test_i2_chunks_that_are_taken_back_are_counted_so_that_their_branch_ends(first: int) -> None:
    bench = Bench()
    bench.comparison.take_back(bench.stream, first, bench.out)

    assert (first, 1) == (bench.stream.record.next_index, bench.stream.record.falls)
    assert {reason for *_, reason in bench.audited()} == {"never reached the other end"}


def test_nothing_is_taken_back_from_where_the_stream_ends() -> None:
    bench = Bench()
    bench.comparison.take_back(bench.stream, bench.made, bench.out)

    assert (bench.made, 0) == (bench.stream.record.next_index, bench.stream.record.falls)
    assert bench.out.effects == []
