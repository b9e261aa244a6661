"""The parts below ``streams``, where the whole seldom takes them: sessions that are gone, streams
that are gone, and news that crossed."""

from collections.abc import Callable

import attrs
import msgspec
import pytest

from kms.domain import limits
from kms.domain.effects import Forget, Save
from kms.domain.errors import PeerFault
from kms.domain.events import NetworkChanged
from kms.domain.moment import Moment
from kms.domain.names import KSID, NodeId
from kms.domain.outbox import Outbox
from kms.domain.qos import cost_bps
from kms.domain.records import StreamRecord
from kms.domain.requests import GetKey
from kms.domain.retention import Retention
from kms.domain.status import QoS, Status
from kms.domain.stream import Stream, Waiting
from kms.domain.streams import Streams
from kms.domain.supply import ENTRIES_FREE
from kms.domain.wire import Announce, Mark, Marked, Message
from tests.domain.streams_play import (
    ANN,
    BEN,
    DIRECTORY,
    KNOWN,
    LINK,
    POLICY,
    A,
    B,
    End,
    Pair,
    key_of,
)


def tell(pair: Pair, node: NodeId, message: Message) -> None:
    """The neighbour of ``node`` says this."""
    pair.batch(node, lambda streams, out: streams.on_message(LINK, message, None, out))  # type: ignore[arg-type]


def stream_at(end: End, ksid: KSID = KNOWN) -> Stream:
    return end.streams._register.streams[ksid]


def out_of(pair: Pair) -> Outbox:
    return Outbox(pair.now)


def mark(next_index: int, *, joined: bool = True, closed: bool = False) -> Mark:
    return Mark(
        ksid=KNOWN.bytes, next_index=next_index, joined=joined, closed=closed, wanted=0, branch=0
    )


def test_before_the_first_event_nothing_is_promised_served_or_due() -> None:
    streams = Streams(A, [], {})

    assert ((0, None, None), None) == (streams.service(LINK), streams.deadline_ms())


# ---- the network --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("home", "reason"),
    [
        (NodeId("carol"), "the peer application has moved to another node"),
        (A, "the peer application has moved to this node"),
        (None, "the directory no longer has its applications at these nodes"),
        (B, ""),
    ],
)
def test_i3_a_stream_is_closed_when_its_peer_application_moves(
    home: NodeId | None, reason: str
) -> None:
    pair = Pair().established()
    directory = {name: at for name, at in DIRECTORY.items() if name != BEN}
    if home is not None:
        directory[BEN] = home
    event = NetworkChanged(neighbours=frozenset({B}), directory=directory, policy=POLICY)
    pair.batch(A, lambda streams, out: streams.network(event, out))
    record = pair.a.stream()

    assert bool(reason) is record.local_closed
    assert record.reason == reason


def test_i3_a_stream_is_closed_when_its_own_application_moves() -> None:
    pair = Pair().established()
    event = NetworkChanged(neighbours=frozenset({B}), directory=DIRECTORY | {ANN: B}, policy=POLICY)
    pair.batch(A, lambda streams, out: streams.network(event, out))

    assert pair.a.stream().local_closed


# ---- what the neighbour says --------------------------------------------------------------


def test_a_stream_that_nobody_designates_is_designated_by_the_leader() -> None:
    """Both ends lost track of who designates: an old store at the one that did."""
    pair = Pair()
    pair.open(B, BEN, KNOWN)
    pair.settle()
    pair.open(A, ANN, KNOWN)
    pair.settle()
    before = pair.a.stream()
    qos = list(attrs.astuple(before.qos)[:7])
    message = Announce(
        ksid=KNOWN.bytes,
        local=BEN,
        remote=ANN,
        designates=False,
        qos=qos,
        mimetype="",
        next_index=before.next_index,
        joined=True,
        branch=before.branch,
    )
    tell(pair, A, message)

    assert (before.designates, pair.a.stream().designates) == (False, True)
    assert pair.a.stream().acked_index == before.next_index


def test_a_withdrawal_of_what_this_side_closed_ends_the_stream() -> None:
    pair = Pair().established()
    pair.cut()
    pair.close(A)
    pair.link()
    register = pair.a.streams._register
    stream = register.streams[KNOWN]
    stream.confirmed = stream.continuous = True
    tell(pair, A, mark(0, joined=False, closed=True))

    assert KNOWN not in register.streams
    assert KNOWN in register.tombstones


def test_a_withdrawal_of_a_stream_with_keys_closes_it_for_good() -> None:
    pair = Pair().established()
    pair.read(A)
    tell(pair, A, mark(0, joined=False, closed=True))
    record = pair.a.stream()

    assert (record.remote_closed, record.local_closed) == (True, False)


def test_i9_a_mark_that_crossed_nothing_is_the_neighbours_fault() -> None:
    pair = Pair().established()
    before = pair.a.stream()
    with pytest.raises(PeerFault, match="a mark at"):
        tell(pair, A, mark(before.next_index + 1))

    assert before == pair.a.stream()


def test_i2_a_mark_of_chunks_that_another_process_made_is_the_neighbours_fault() -> None:
    pair = Pair().established()
    for _ in range(4):
        pair.read(A)
    pair.batch(A)
    before = pair.a.stream()
    right = mark(before.next_index)
    assert before.acked_index < before.next_index
    with pytest.raises(PeerFault, match="were not made here"):
        tell(pair, A, msgspec.structs.replace(right, branch=before.branch + 1))

    assert before == pair.a.stream()
    tell(pair, A, msgspec.structs.replace(right, branch=before.branch))
    assert before.next_index == pair.a.stream().acked_index


def test_an_opening_that_the_neighbours_store_has_forgotten_is_rolled_back() -> None:
    """Nobody joined at this end, so nothing was delivered here."""
    pair = Pair()
    before = pair.a.disk.copy()
    pair.open(A, ANN, KNOWN)
    pair.settle()
    there = KNOWN in pair.b.streams._register.streams
    pair.crash(A, before)
    pair.link()
    pair.settle()

    assert there
    assert [] == pair.b.disk.streams()
    assert (0, 0) == (pair.a.streams.count, pair.b.streams.count)


def test_a_side_that_nobody_opened_cannot_be_closed() -> None:
    pair = Pair()
    pair.open(A, ANN, KNOWN)
    pair.settle()
    number = pair.close(B)

    assert Status.PEER_NOT_CONNECTED is pair.status(B, number)
    assert not pair.b.stream().local_closed


def test_a_request_that_is_answered_may_be_hung_up() -> None:
    pair = Pair().established()
    number = pair.get(A)
    before = dict(pair.a.disk.records)
    pair.hang_up(A, number)

    assert before == pair.a.disk.records


# ---- speech -------------------------------------------------------------------------------


SPEAKS: dict[str, Callable[[End], object]] = {
    "say": lambda end: end.streams._speech.say(stream_at(end)),
    "say now": lambda end: end.streams._speech.say_now(stream_at(end)),
    "announce": lambda end: end.streams._speech.announce(stream_at(end)),
    "announce later": lambda end: end.streams._speech.announce_later(stream_at(end)),
    "say closed": lambda end: end.streams._speech.say_closed(end.stream()),
    "judge": lambda end: end.streams._speech.judge(LINK, KNOWN, 0, "", True),
}


@pytest.mark.parametrize("what", SPEAKS)
def test_without_a_session_nothing_is_said(what: str) -> None:
    pair = Pair().established()
    pair.cut()
    pair.a.channel.sent.clear()
    SPEAKS[what](pair.a)

    assert pair.a.channel.sent == []
    assert not pair.a.streams._speech.waits()


def test_a_session_whose_link_is_not_up_waits() -> None:
    pair = Pair().established()
    pair.a.channel.sent.clear()
    pair.a.channel.up = False
    speech = pair.a.streams._speech
    speech.say(stream_at(pair.a))
    speech.flush(out_of(pair))
    waits = speech.waits()
    pair.a.channel.up = True

    assert (waits, pair.a.channel.sent) == (False, [])
    assert speech.waits()


def test_a_stream_that_went_before_its_turn_is_not_said() -> None:
    pair = Pair().established()
    speech, sent = pair.a.streams._speech, pair.a.channel.sent
    speech.linked(LINK)
    session = speech.sessions[LINK]
    session.to_say.clear()
    session.to_say[key_of(9)] = None
    session.to_announce[key_of(8)] = None
    session.to_say[None] = None
    sent.clear()
    speech.flush(out_of(pair))

    assert sent == [Marked()]
    assert not speech.waits()


# ---- the register -------------------------------------------------------------------------


def unsaved(pair: Pair) -> Stream:
    """A stream that the register has and the store has not."""
    from kms.domain.keyruns import KeyRuns

    record = attrs.evolve(pair.a.stream(), ksid=key_of(5))
    stream = Stream(record, KeyRuns(record.ksid), pair.now)
    pair.a.streams._register.add(stream)
    return stream


def test_a_stream_that_was_never_saved_is_dropped_without_a_trace() -> None:
    pair = Pair().established()
    register, out = pair.a.streams._register, out_of(pair)
    register.drop(unsaved(pair), out)
    register.flush(out)

    assert out.effects == []


def test_a_stream_that_is_gone_is_not_saved_again() -> None:
    pair = Pair().established()
    register, out = pair.a.streams._register, out_of(pair)
    stream = unsaved(pair)
    register.drop(stream, out_of(pair))
    register.touch(stream)
    register.flush(out)

    assert not [each for each in out.effects if isinstance(each, Save)]


def test_a_request_of_a_stream_that_is_gone_waits_no_longer() -> None:
    pair = Pair().established()
    register = pair.a.streams._register
    stream = unsaved(pair)
    request = GetKey(ksid=stream.ksid, index=None, metadata_size=0)
    waiting = Waiting(
        request_id=77, caller=ANN, ksid=stream.ksid, request=request, deadline_ms=1, spare_ms=0
    )
    register.wait(stream, waiting)
    stream.gets.clear()
    register.drop(stream, out_of(pair))
    register.unwait(waiting)
    register.unwait(waiting)

    assert (register.waiting, register.waiting_of[ANN]) == ({}, 0)


def later(now: Moment, past_ms: int) -> Moment:
    return Moment(mono_ms=now.mono_ms + past_ms, wall_ms=now.wall_ms + past_ms)


def buried(pair: Pair, number: int) -> None:
    ksid = key_of(number)
    record = attrs.evolve(pair.a.stream(), ksid=ksid)
    from kms.domain.keyruns import KeyRuns

    stream = Stream(attrs.evolve(record, next_index=0), KeyRuns(ksid), pair.now)
    register = pair.a.streams._register
    register.add(stream)
    register.bury(stream, out_of(pair))


def test_tombstones_past_their_time_go_a_bounded_number_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "DUE_PER_TICK_MAX", 2)
    pair = Pair().established()
    for number in (5, 6, 7):
        buried(pair, number)
    register = pair.a.streams._register
    early = Outbox(later(pair.now, limits.TOMBSTONE_MS - 1))
    late = Outbox(later(pair.now, limits.TOMBSTONE_MS))
    register.forget_tombstones(early)
    kept = list(register.tombstones)
    register.forget_tombstones(late)

    assert kept == [key_of(5), key_of(6), key_of(7)]
    assert list(register.tombstones) == [key_of(7)]
    forgotten = [each.record for each in late.effects if isinstance(each, Forget)]
    assert [key_of(5), key_of(6)] == [r.ksid for r in forgotten if isinstance(r, StreamRecord)]


def test_a_stream_that_was_forgotten_and_is_brought_again_uses_no_materials_name_twice() -> None:
    """Goal: an end that has forgotten a closed stream, and is told of it by an old store, makes
    chunks under names of their own (slow-link seed 137). The disk refuses a name that was there."""
    pair = Pair()
    for end in pair.ends.values():
        end.streams._register.tombstones.retention = Retention(tombstone_ms=1)
    pair.a.channel.window = 0
    pair.established(QoS(ttl=24 * 60 * 60))
    old = pair.b.disk.copy()
    pair.a.channel.window = 8 * limits.MIB
    pair.pass_ms(1)
    pair.read(A)
    first = set(pair.a.disk.names)
    pair.close(A)
    pair.settle()
    pair.close(B)
    pair.pass_ms(limits.CLOCK_DOUBTED_MS)
    pair.pass_ms(1_000)
    forgotten = pair.a.disk.streams()
    pair.crash(B, old)
    pair.link()
    pair.settle()
    pair.open(A, ANN, KNOWN)
    pair.settle()
    second = pair.a.disk.names - first

    assert [] == forgotten
    assert [f"chunks/{KNOWN}/0"] * 2 == [name.rpartition("-")[0] for name in (*first, *second)]


# ---- supply -------------------------------------------------------------------------------


def test_a_stream_in_line_stands_there_once_and_its_old_place_is_passed_over() -> None:
    pair = Pair().established(QoS(key_chunk_size=32, min_bps=512))
    pair.a.channel.window = 0
    supply, stream = pair.a.streams._supply, stream_at(pair.a)
    stream.pace.made(2)
    for _ in range(4):
        pair.get(A)
    first = stream.pace.queued
    pair.now = Moment(mono_ms=pair.now.mono_ms + 1_000, wall_ms=pair.now.wall_ms + 1_000)
    supply.paced(stream, pair.now.mono_ms)
    pair.a.channel.window = 1024

    assert stream.pace.queued > first > 0
    assert len(supply._queues[LINK]) >= 2
    supply.fill(out_of(pair))
    assert stream.pace.queued == 0
    assert LINK not in supply._queues


def test_a_queue_that_is_never_served_holds_each_stream_a_few_times_at_the_most() -> None:
    """Whoever rises in rank leaves an old entry behind: they do not pile up on a dry link."""
    pair = Pair().established(QoS(key_chunk_size=32, min_bps=25_600))
    supply, stream = pair.a.streams._supply, stream_at(pair.a)
    pair.a.channel.window = 0
    for _ in range(1_000):
        supply._stand_in_line(stream, pair.now.mono_ms)

    assert len(supply._queues[LINK]) <= ENTRIES_FREE + 1


def test_excess_leaves_a_link_the_last_seconds_of_what_is_promised() -> None:
    pair = Pair().established(QoS(key_chunk_size=32, min_bps=80_000))
    opening = pair.open(A, ANN, qos=QoS(key_chunk_size=1024, priority=9))
    pair.settle()
    other = pair.a.answers[opening].ksid  # type: ignore[union-attr]
    pair.open(B, BEN, other)
    pair.settle()
    kept = cost_bps(stream_at(pair.a).record.qos) * limits.PROMISE_KEEP_S // 8
    pair.a.channel.stock = kept + 2_500
    for _ in range(60):
        pair.get(A, ksid=other)
    excess = pair.a.channel.stock
    for _ in range(2_000):
        pair.get(A)
    pair.pass_ms(5_000)

    assert kept <= excess < kept + 1024
    assert pair.a.channel.stock < kept


def test_a_large_promised_chunk_waits_for_the_stock_to_grow_and_excess_waits_for_it() -> None:
    pair = Pair().established(QoS(key_chunk_size=65_536, min_bps=1_000))
    opening = pair.open(A, ANN, qos=QoS(key_chunk_size=1024, priority=9))
    pair.settle()
    small = pair.a.answers[opening].ksid  # type: ignore[union-attr]
    pair.open(B, BEN, small)
    pair.settle()
    for end in pair.ends.values():
        end.channel.rate = 1_000.0
    large = stream_at(pair.a)
    pair.a.channel.stock = 0
    before = large.record.next_index
    for _ in range(large.runs.ready):
        pair.get(A)
    pair.get(A)
    pair.pass_ms(600_000)
    for _ in range(40):
        pair.get(A)
        for _ in range(10):
            pair.get(A, ksid=small)
        pair.a.channel.stock += 4_096
        pair.pass_ms(1_000)

    assert large.record.next_index > before


def test_a_large_chunk_of_the_first_class_is_not_starved_by_small_ones_of_the_last() -> None:
    """The link makes a large chunk in half a second; small chunks are always waited for."""
    pair = Pair().established(QoS(key_chunk_size=65_536, priority=9))
    opening = pair.open(A, ANN, qos=QoS(key_chunk_size=1024))
    pair.settle()
    small = pair.a.answers[opening].ksid  # type: ignore[union-attr]
    pair.open(B, BEN, small)
    pair.settle()
    large = stream_at(pair.a)
    for _ in range(large.runs.ready + 1):
        pair.get(A)
    before = large.record.next_index
    pair.a.channel.stock = 0
    for _ in range(30):
        pair.get(A)
        for _ in range(10):
            pair.get(A, ksid=small)
        pair.a.channel.stock += 4_096
        pair.pass_ms(100)

    assert large.record.next_index > before


def test_statistics_name_an_established_stream() -> None:
    pair = Pair().established()

    assert ["established"] == [each.state for each in pair.a.streams.statistics()]
    assert pair.a.streams.statistics(0) == ()
