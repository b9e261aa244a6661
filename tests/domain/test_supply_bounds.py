"""A batch makes a bounded number of designations, and no link waits for another's (I8)."""

import attrs
import pytest

from kms.domain import limits
from kms.domain.names import KSID, LinkId, NodeId, link_id
from kms.domain.outbox import Outbox
from kms.domain.status import QoS
from kms.domain.wire import Designate
from tests.domain.streams_play import ANN, BEN, KNOWN, LINK, A, B, FakeChannel, Pair, key_of

CAT = NodeId("cat")
LINK2: LinkId = link_id(A, CAT)


def lacking(count: int) -> tuple[Pair, list[KSID]]:
    """So many streams that stand in line for key, of which the link gives none now."""
    pair = Pair()
    pair.a.channel.window = 0
    names = [key_of(number) for number in range(count)]
    for ksid in names:
        pair.open(A, ANN, ksid, qos=QoS(key_chunk_size=32))
        pair.settle()
        pair.open(B, BEN, ksid)
        pair.settle()
    pair.a.channel.window = limits.MIB
    return pair, names


def designated(channel: FakeChannel) -> int:
    return sum(isinstance(each, Designate) for each in channel.sent)


def test_a_batch_makes_so_many_designations_and_the_next_is_due_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "DESIGNATIONS_PER_BATCH_MAX", 3)
    pair, names = lacking(7)
    made = []
    for _ in range(3):
        pair.batch(A)
        made.append((designated(pair.a.channel), pair.a.streams.deadline_ms() == pair.now.mono_ms))

    assert [(3, True), (6, True), (7, False)] == made
    pair.settle()
    assert [4] * 7 == [pair.a.stream(ksid).next_index for ksid in names]


def test_a_link_behind_a_busy_one_has_its_turn_in_the_next_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "DESIGNATIONS_PER_BATCH_MAX", 2)
    pair, names = lacking(6)
    supply, register = pair.a.streams._supply, pair.a.streams._register
    other = FakeChannel(LINK2, CAT, "pad of the other link")
    other.up = True
    register.channels[LINK2] = other  # type: ignore[index]
    for ksid in names[4:]:
        stream = register.streams[ksid]
        stream.record = attrs.evolve(stream.record, link=LINK2)
        supply._leave_line(stream, pair.now.mono_ms)
    made = []
    for _ in range(3):
        supply.fill(Outbox(pair.now))
        made.append((designated(pair.a.channel), designated(other)))

    assert [(2, 0), (2, 2), (4, 2)] == made


def test_who_stands_in_line_no_more_is_owed_nothing() -> None:
    pair = Pair().established(QoS(key_chunk_size=32, min_bps=512))
    supply, register = pair.a.streams._supply, pair.a.streams._register
    gone = key_of(99)
    register.owed[LINK] = {gone: 0, KNOWN: 5}
    late_ms = supply.owed_ms(LINK, 1_000)

    assert (0, {}) == (late_ms, register.owed[LINK])


def test_somebody_who_invents_priorities_makes_classes_start_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "PRIORITIES_MAX", 2)
    pair = Pair()
    for priority in (1, 2, 3):
        ksid = key_of(priority)
        pair.open(A, ANN, ksid, qos=QoS(key_chunk_size=32, priority=priority))
        pair.settle()
        pair.open(B, BEN, ksid)
        pair.settle()
        pair.read(A, ksid=ksid)

    assert len(pair.a.streams._supply._floor[LINK]) <= 2


def test_who_is_promised_more_than_its_turn_gave_is_owed_since_it_first_lacked() -> None:
    pair = Pair().established(QoS(key_chunk_size=32, min_bps=25_600))
    supply, register = pair.a.streams._supply, pair.a.streams._register
    stream = register.streams[KNOWN]
    pair.a.channel.window = 0
    for _ in range(60):
        pair.get(A)
    pair.pass_ms(1_000)
    since = dict(register.owed[LINK])
    pair.pass_ms(50, tick=False)
    supply._leave_line(stream, pair.now.mono_ms)

    assert since
    assert since == register.owed[LINK]
