"""CLOSE, TTL, tombstones: how streams and chunks end."""

import pytest

from kms.domain import limits
from kms.domain.lifecycle import KeyState
from kms.domain.moment import Moment
from kms.domain.names import NodeId
from kms.domain.records import KeyRunRecord, StreamRecord
from kms.domain.retention import Retention
from kms.domain.status import QoS, Status
from tests.domain.streams_play import ANN, BEN, EVE, KNOWN, A, B, Pair, key_of


def all_wiped(pair: Pair) -> bool:
    return not any(any(bits) for end in pair.ends.values() for bits in end.disk.material.values())


def test_the_other_side_reads_on_until_it_closes_too() -> None:
    pair = Pair().established()
    pair.read(A)
    pair.settle()
    closing = pair.close(A)
    pair.settle()

    assert pair.status(A, closing) is Status.SUCCESS
    assert pair.a.runs().ready == 0
    assert [pair.read(B) for _ in range(4)] == [0, 1, 2, 3]
    assert pair.status(B, pair.get(B)) is Status.INSUFFICIENT_KEY
    assert pair.status(B, pair.get(B, 9)) is Status.INSUFFICIENT_KEY

    pair.close(B)
    pair.settle()
    pair.pass_ms(limits.WIPE_AFTER_MS + limits.WIPE_STEP_MS)

    assert all_wiped(pair)
    assert [end.stream().closed_ms is not None for end in pair.ends.values()] == [True, True]
    assert [len(list(end.runs())) for end in pair.ends.values()] == [1, 1]


@pytest.mark.parametrize("node", [A, B])
def test_a_restart_of_either_node_leaves_the_other_side_its_keys(node: NodeId) -> None:
    """Ann closed and is gone; what she read Ben can still read."""
    pair = Pair().established()
    read = [pair.read(A) for _ in range(3)]
    pair.settle()
    pair.close(A)
    pair.settle()
    pair.crash(node)
    pair.link()
    pair.settle()

    assert read == [pair.read(B) for _ in range(3)]
    assert pair.status(A, pair.get(A)) is Status.PEER_NOT_CONNECTED
    assert pair.status(A, pair.open(A, ANN, KNOWN)) is Status.KSID_IN_USE


def test_the_ttl_of_a_side_that_reads_nothing_ends_after_the_other_has_closed() -> None:
    """Ben crashed, Ann closed: in the end nothing is left at either node but a tombstone."""
    pair = Pair().established(QoS(ttl=100))
    pair.read(A)
    pair.close(A)
    pair.settle()
    pair.pass_ms(100_000)
    pair.pass_ms(limits.WIPE_AFTER_MS + limits.WIPE_STEP_MS)

    assert all_wiped(pair)
    assert [end.stream().closed_ms is not None for end in pair.ends.values()] == [True, True]
    assert pair.status(B, pair.open(B, BEN, KNOWN)) is Status.KSID_IN_USE


def test_a_close_while_the_opening_waits_ends_the_opening_for_good() -> None:
    """Another connection of the same application says CLOSE: the KSID is used up at both nodes."""
    pair = Pair()
    opening = pair.open(A, ANN, KNOWN)
    pair.settle()
    closing = pair.close(A)
    pair.settle()
    late = pair.open(B, BEN, KNOWN)
    pair.settle()

    assert pair.status(A, closing) is Status.SUCCESS
    assert pair.status(A, opening) is Status.NO_QKD_CONNECTION
    assert pair.status(B, late) is Status.KSID_IN_USE
    assert pair.status(A, pair.open(A, ANN, KNOWN)) is Status.KSID_IN_USE


def test_a_closed_side_reads_nothing_and_closing_twice_is_closing_once() -> None:
    pair = Pair().established()
    numbers = [pair.close(A), pair.close(A)]

    assert [pair.status(A, n) for n in numbers] == [Status.SUCCESS] * 2
    assert pair.status(A, pair.get(A)) is Status.PEER_NOT_CONNECTED


def test_what_the_other_side_read_unheard_before_it_was_buried_is_read_here_as_well() -> None:
    pair = Pair().established(QoS(ttl=60))
    pair.read(A), pair.read(A)
    pair.hear(B, 10)
    unheard = pair.b.stream().next_index - 1
    pair.read(B, unheard)
    pair.cut()
    before = pair.a.stream().acked_index
    pair.close(B)
    pair.pass_ms(limits.WIPE_AFTER_MS + limits.WIPE_STEP_MS)
    here = pair.now
    # Bob's wall clock jumps: for him the TTL has ended.
    pair.now = Moment(mono_ms=here.mono_ms, wall_ms=here.wall_ms + 61_000)
    for _ in range(2):
        pair.batch(B, lambda streams, out: streams.tick(out))
    pair.now = here
    buried = pair.b.stream().closed_ms is not None
    pair.link()
    pair.settle()

    assert before <= unheard
    assert buried
    assert pair.read(A, unheard) == unheard


def test_requests_that_wait_are_answered_when_their_side_closes() -> None:
    pair = Pair().established()
    number = pair.get(A, 100)
    pair.close(A)

    assert pair.status(A, number) is Status.PEER_NOT_CONNECTED


def test_requests_that_wait_for_more_are_answered_when_the_other_side_closes() -> None:
    pair = Pair().established()
    pair.a.channel.window = 0
    number = pair.get(B, 100)
    pair.close(A)
    pair.settle()

    assert pair.status(B, number) is Status.INSUFFICIENT_KEY


def test_an_unknown_stream_and_somebody_elses_cannot_be_closed() -> None:
    pair = Pair().established()
    numbers = [pair.close(A, key_of(7)), pair.close(A, KNOWN, EVE)]

    assert pair.a.answers[numbers[0]] == pair.a.answers[numbers[1]]
    assert pair.status(A, numbers[1]) is Status.PEER_NOT_CONNECTED
    assert pair.read(A) == 0


def test_a_stream_that_the_peer_never_joined_is_closed_for_good() -> None:
    pair = Pair()
    opening = pair.open(A, ANN)
    pair.settle()
    ksid = pair.a.answers[opening].ksid  # type: ignore[union-attr]
    pair.close(A, ksid)
    pair.settle()

    assert [end.stream(ksid).closed_ms is not None for end in pair.ends.values()] == [True] * 2
    assert pair.status(B, pair.open(B, BEN, ksid)) is Status.KSID_IN_USE


def test_a_close_while_the_link_is_down_is_said_after_the_reconnection() -> None:
    pair = Pair().established()
    pair.cut()
    pair.close(A)
    pair.link()
    pair.settle()

    assert pair.b.stream().remote_closed
    assert pair.read(B) == 0


def test_both_close_while_the_link_is_down_and_both_learn_it() -> None:
    pair = Pair().established()
    pair.cut()
    pair.close(A)
    pair.close(B)
    pair.link()
    pair.settle()

    assert [end.stream().closed_ms is not None for end in pair.ends.values()] == [True] * 2


def test_a_tombstone_tells_the_peer_that_missed_the_last_word() -> None:
    pair = Pair().established()
    pair.close(A)
    pair.settle()
    pair.batch(B, lambda streams, out: None)
    pair.close(B)
    pair.a.inbox.clear()
    pair.cut()
    pair.link()
    pair.settle()

    assert [end.stream().closed_ms is not None for end in pair.ends.values()] == [True] * 2


def test_keys_that_are_not_read_within_the_ttl_are_destroyed() -> None:
    pair = Pair().established(QoS(ttl=100))
    pair.pass_ms(60_000)
    pair.read(A, 1)
    pair.pass_ms(39_999)

    assert pair.read(A, 0) == 0

    pair.pass_ms(1)
    number = pair.get(A, 2)

    assert pair.message(A, number) == (
        "index 2 is destroyed: its TTL ended before it was delivered"
    )


@pytest.mark.parametrize(("mono_ms", "wall_ms"), [(100_000, 0), (0, 100_000)])
def test_the_clock_that_gets_there_first_counts(mono_ms: int, wall_ms: int) -> None:
    pair = Pair().established(QoS(ttl=100))
    pair.pass_ms(50_000)
    pair.read(A)
    pair.pass_ms(mono_ms // 2, wall_ms=wall_ms // 2)

    assert pair.status(A, pair.get(A, 1)) is Status.INSUFFICIENT_KEY


def test_a_ttl_runs_on_over_a_restart() -> None:
    pair = Pair().established(QoS(ttl=100))
    pair.pass_ms(60_000)
    pair.read(A)
    pair.crash(A)
    pair.pass_ms(39_999)

    assert pair.status(A, pair.get(A, 1)) is Status.SUCCESS

    pair.pass_ms(1)

    assert pair.status(A, pair.get(A, 2)) is Status.INSUFFICIENT_KEY


def test_a_ttl_that_ended_is_not_served_even_before_the_tick() -> None:
    pair = Pair().established(QoS(ttl=100))
    pair.pass_ms(50_000)
    pair.read(A)
    pair.pass_ms(50_000, tick=False)

    assert pair.status(A, pair.get(A, 1)) is Status.INSUFFICIENT_KEY


def test_a_crashed_application_is_closed_after_its_ttl() -> None:
    pair = Pair().established(QoS(ttl=100))
    for _ in range(3):
        pair.pass_ms(40_000)
        pair.get(B)
        pair.settle()

    assert pair.a.stream().local_closed
    assert not pair.b.stream().local_closed
    assert pair.a.stream().reason == "the application did nothing for 100 s"


def test_a_side_that_closed_forgets_the_other_after_the_ttl() -> None:
    pair = Pair().established(QoS(ttl=100))
    pair.cut()
    pair.close(A)
    pair.pass_ms(100_000)

    assert pair.a.stream().closed_ms is not None


def test_a_tombstone_lasts_as_long_as_the_operator_says() -> None:
    pair = Pair().established()
    for end in (pair.a, pair.b):
        end.streams._register.tombstones.retention = Retention(tombstone_ms=2 * limits.TOMBSTONE_MS)
    pair.close(A)
    pair.settle()
    pair.close(B)
    pair.pass_ms(limits.TOMBSTONE_MS + 60_000)
    again = pair.open(A, ANN, KNOWN)

    assert pair.status(A, again) is Status.KSID_IN_USE
    pair.pass_ms(2 * limits.TOMBSTONE_MS)

    assert [end.disk.streams() for end in pair.ends.values()] == [[], []]


def test_a_tombstone_ends_and_leaves_no_record() -> None:
    pair = Pair().established()
    pair.read(A)
    pair.close(A)
    pair.settle()
    pair.close(B)
    pair.pass_ms(limits.WIPE_AFTER_MS + limits.WIPE_STEP_MS)
    pair.pass_ms(1_000)

    assert len(pair.a.disk.streams()) == 2

    pair.pass_ms(limits.TOMBSTONE_MS)

    assert [end.disk.streams() for end in pair.ends.values()] == [[], []]


def test_a_wall_clock_that_jumps_ahead_forgets_no_tombstone() -> None:
    """Goal: a name that both ends still might use is not new because a clock is wrong."""
    pair = Pair().established()
    pair.close(A)
    pair.settle()
    pair.close(B)
    pair.pass_ms(limits.CLOCK_DOUBTED_MS)
    pair.pass_ms(1_000, wall_ms=10 * limits.TOMBSTONE_MS)

    assert pair.status(A, pair.open(A, ANN, KNOWN)) is Status.KSID_IN_USE


def test_a_clock_that_is_wrong_when_the_process_starts_has_an_hour_to_be_set() -> None:
    pair = Pair().established()
    pair.close(A)
    pair.settle()
    pair.close(B)
    pair.settle()
    pair.pass_ms(0, wall_ms=limits.TOMBSTONE_MS, tick=False)
    pair.crash(A)
    pair.pass_ms(limits.CLOCK_DOUBTED_MS - 1_000)
    doubted = len(pair.a.disk.streams())
    pair.pass_ms(1_000)

    assert (2, 0) == (doubted, len(pair.a.disk.streams()))


def test_tombstones_survive_a_restart_and_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TOMBSTONES_MAX", 2)
    pair = Pair()
    for number in range(3):
        pair.established(ksid=key_of(number))
        pair.close(A, key_of(number))
        pair.settle()
        pair.close(B, key_of(number))
        pair.pass_ms(1)
    pair.crash(A)
    pair.link()
    pair.settle()

    left = [r.ksid for r in pair.a.disk.streams() if isinstance(r, StreamRecord)]
    assert left == [key_of(1), key_of(2)]
    assert pair.status(A, pair.open(A, ANN, key_of(2))) is Status.KSID_IN_USE


def test_a_closed_streams_keys_are_remembered_as_one_destroyed_run() -> None:
    pair = Pair().established()
    pair.read(A, 1)
    pair.close(A)
    pair.settle()
    pair.close(B)
    pair.pass_ms(limits.WIPE_AFTER_MS + limits.WIPE_STEP_MS)
    runs = [r for r in pair.a.disk.streams() if isinstance(r, KeyRunRecord)]

    assert [(r.first, r.count, r.state, r.material) for r in runs] == [
        (0, 4, KeyState.DESTROYED, None)
    ]


def test_statistics_name_the_state_of_each_stream() -> None:
    pair = Pair()
    seen = []
    pair.open(A, ANN, KNOWN)
    seen.append(pair.a.streams.statistics()[0].state)
    pair.settle()
    seen.append(pair.a.streams.statistics()[0].state)
    pair.open(B, BEN, KNOWN)
    pair.settle()
    seen.append(pair.a.streams.statistics()[0].state)
    pair.read(A)
    figures = pair.a.streams.statistics()[0]
    pair.close(A)
    seen.append(pair.a.streams.statistics()[0].state)

    assert seen == [
        "opening",
        "pending",
        "established",
        "closing",
    ]
    assert (figures.next_index, figures.ready, figures.delivered) == (4, 3, 1)
