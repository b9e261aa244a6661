"""GET_KEY: what is delivered, what waits, what is refused, and what is left of a key."""

import json

import pytest

from kms.domain import limits
from kms.domain.effects import DeliverKey, Save, WipeMaterial
from kms.domain.events import Asked
from kms.domain.keyruns import KeyRuns
from kms.domain.lifecycle import KeyState
from kms.domain.metadata import METADATA_BYTES_MAX
from kms.domain.outbox import Outbox
from kms.domain.records import KeyRunRecord
from kms.domain.requests import GetKey, KeyReply
from kms.domain.status import QoS, Status
from tests.domain.streams_play import ANN, BEN, EVE, KNOWN, A, B, Pair, key_of

JSON = QoS(metadata_mimetype="application/json")


def states(runs: KeyRuns) -> list[tuple[int, int, KeyState]]:
    return [(run.first, run.count, run.state) for run in runs]


def test_both_ends_read_the_same_keys_in_order() -> None:
    pair = Pair().established()
    ends = [[pair.read(node) for _ in range(4)] for node in (A, B)]

    assert ends == [[0, 1, 2, 3]] * 2
    assert len(pair.ledger) == 4


def test_a_chunk_is_not_delivered_before_the_other_end_has_said_that_it_holds_it() -> None:
    """I5: Alice's end has made the chunks, Bob's acknowledgement is still on its way."""
    pair = Pair()
    pair.open(A, ANN, KNOWN)
    pair.settle()
    pair.open(B, "sae:ben.bob", KNOWN)  # type: ignore[arg-type]
    pair.hear(A, 10)
    number = pair.get(A, 0)

    assert pair.a.stream().next_index == limits.STOCK_CHUNKS_MIN
    assert pair.status(A, number) is None

    pair.hear(B, 10)

    assert pair.status(A, number) is None

    pair.hear(A, 10)

    assert pair.status(A, number) is Status.SUCCESS


def test_a_delivery_is_recorded_journalled_and_answered_in_one_batch() -> None:
    pair = Pair().established()
    number = pair.get(A)
    saved = [
        effect.record
        for effect in pair.a.effects
        if isinstance(effect, Save) and isinstance(effect.record, KeyRunRecord)
    ]

    assert pair.a.keys[number].index == 0
    assert [(r.first, r.count, r.state) for r in saved] == [
        (0, 1, KeyState.ACTIVE),
        (1, 3, KeyState.PRE_ACTIVATION),
    ]
    entry = next(e for e in pair.a.audit if e.event == "key-delivered")
    assert (entry.actor, entry.subject) == (ANN, str(KNOWN))
    assert (entry.detail["index"], entry.detail["peer"]) == (0, "sae:ben.bob")


def test_deliveries_of_one_batch_write_each_record_once() -> None:
    pair = Pair().established()
    out = Outbox(pair.now)
    for number in range(3):
        get = Asked(request_id=900 + number, caller=ANN, request=GetKey(ksid=KNOWN))
        pair.a.streams.asked(get, out)
    pair.a.streams.replenish(out)
    saved = [each.record for each in out.effects if isinstance(each, Save)]

    assert [0, 1, 2] == [each.index for each in out.effects if isinstance(each, DeliverKey)]
    made = (4, 3, KeyState.PRE_ACTIVATION)  # in the same batch, to replace them
    assert [(0, 3, KeyState.ACTIVE), (3, 1, KeyState.PRE_ACTIVATION), made] == [
        (each.first, each.count, each.state) for each in saved if isinstance(each, KeyRunRecord)
    ]
    assert len(saved) == len({(type(each), getattr(each, "first", None)) for each in saved})


def test_an_unknown_ksid_and_somebody_elses_are_answered_alike() -> None:
    pair = Pair().established()
    numbers = [pair.get(A, 0, ksid=key_of(5)), pair.get(A, 0, caller=EVE)]
    answers = [pair.a.answers[n] for n in numbers]

    assert answers[0] == answers[1]
    assert [pair.status(A, n) for n in numbers] == [Status.PEER_NOT_CONNECTED] * 2


def test_a_chunk_that_the_callers_interface_cannot_carry_is_refused_and_not_lost() -> None:
    pair = Pair().established()
    size = limits.CHUNK_BYTES_DEFAULT
    refused = pair.get(A, 0, chunk_bytes_max=size - 1)
    foreign = pair.get(A, 0, caller=EVE, chunk_bytes_max=size - 1)
    fits = pair.get(A, 0, chunk_bytes_max=size)

    assert pair.status(A, refused) is Status.NO_QKD_CONNECTION
    assert pair.status(A, foreign) is Status.PEER_NOT_CONNECTED
    assert pair.status(A, fits) is Status.SUCCESS
    assert pair.a.keys[fits].index == 0


def test_before_the_peer_has_joined_the_answer_is_3() -> None:
    pair = Pair()
    opening = pair.open(A, ANN)
    pair.settle()
    ksid = pair.a.answers[opening].ksid  # type: ignore[union-attr]
    early, never = pair.get(A, ksid=ksid), pair.get(B, ksid=ksid)
    at_once = pair.status(A, early)
    pair.pass_ms(limits.JOIN_UNDER_WAY_MS)

    assert (None, Status.PEER_NOT_CONNECTED) == (at_once, pair.status(A, early))
    assert pair.status(B, never) is Status.PEER_NOT_CONNECTED


def test_a_key_asked_for_while_news_of_the_peer_is_under_way_is_delivered() -> None:
    """The peer application has its answer, and tells ours before its node has told our node."""
    pair = Pair()
    opening = pair.open(A, ANN)
    pair.settle()
    ksid = pair.a.answers[opening].ksid  # type: ignore[union-attr]
    joined = pair.open(B, BEN, ksid)
    early = pair.get(A, ksid=ksid)
    before = (pair.status(B, joined), pair.status(A, early))
    pair.settle()

    assert (Status.SUCCESS, None) == before
    assert pair.status(A, early) is Status.SUCCESS


def test_a_request_that_came_before_the_peer_has_its_whole_timeout() -> None:
    pair = Pair()
    for end in pair.ends.values():
        end.channel.window = 0
    opening = pair.open(A, ANN)
    pair.settle()
    ksid = pair.a.answers[opening].ksid  # type: ignore[union-attr]
    early = pair.get(A, ksid=ksid)
    pair.open(B, BEN, ksid)
    pair.settle()
    pair.pass_ms(limits.JOIN_UNDER_WAY_MS)
    waits = pair.status(A, early)
    pair.pass_ms(limits.TIMEOUT_DEFAULT_MS - limits.JOIN_UNDER_WAY_MS - 1)
    still = pair.status(A, early)
    pair.pass_ms(1)

    assert [None, None, Status.TIMEOUT] == [waits, still, pair.status(A, early)]


def test_an_index_is_delivered_once_at_each_side() -> None:
    pair = Pair().established()
    pair.read(A, 2)
    again = pair.get(A, 2)

    assert pair.status(A, again) is Status.INSUFFICIENT_KEY
    assert pair.message(A, again) == "index 2 was delivered already"
    assert pair.read(B, 2) == 2
    assert pair.read(A) == 0


def test_an_index_too_far_ahead_is_refused_at_once() -> None:
    pair = Pair().established()
    numbers = [pair.get(A, 4 + limits.STOCK_CHUNKS_MAX), pair.get(A, 2**32)]

    assert [pair.status(A, n) for n in numbers] == [Status.INSUFFICIENT_KEY] * 2
    assert "too far ahead" in pair.message(A, numbers[0])


@pytest.mark.parametrize("node", [A, B])
def test_a_key_ahead_of_the_stock_is_waited_for_and_made(node: str) -> None:
    pair = Pair().established()
    number = pair.get(node, 500)  # type: ignore[arg-type]
    pair.settle()

    assert pair.status(node, number) is Status.SUCCESS  # type: ignore[arg-type]


@pytest.mark.parametrize("node", [A, B])
def test_one_application_reads_on_while_the_other_rests(node: str) -> None:
    pair = Pair().established()
    for expected in range(200):
        number = pair.get(node)  # type: ignore[arg-type]
        pair.settle()

        assert pair.ends[node].keys[number].index == expected  # type: ignore[index]


def test_requests_are_served_in_the_order_in_which_they_came() -> None:
    pair = Pair().established()
    pair.a.channel.window = 0
    for _ in range(4):
        pair.read(A)
    numbers = [pair.get(A) for _ in range(5)]
    pair.a.channel.window = limits.MIB
    pair.tick()

    assert [pair.a.keys[n].index for n in numbers] == [4, 5, 6, 7, 8]


def test_a_caller_that_hangs_up_costs_no_key() -> None:
    pair = Pair().established()
    pair.a.channel.window = 0
    for _ in range(4):
        pair.read(A)
    gone = pair.get(A)
    pair.hang_up(A, gone)
    stays = pair.get(A)
    pair.a.channel.window = limits.MIB
    pair.tick()

    assert gone not in pair.a.keys
    assert pair.a.keys[stays].index == 4


def test_at_the_deadline_2_says_that_key_was_lacking_and_6_that_time_was() -> None:
    pair = Pair().established()
    pair.a.channel.window = 0
    lacking_time = pair.get(A, 10)
    pair.pass_ms(limits.TIMEOUT_DEFAULT_MS)
    pair.a.channel.stock = 31
    lacking_key = pair.get(A, 10)
    pair.pass_ms(limits.TIMEOUT_DEFAULT_MS - 1)

    assert pair.status(A, lacking_time) is Status.TIMEOUT
    assert pair.status(A, lacking_key) is None

    pair.pass_ms(1)

    assert pair.status(A, lacking_key) is Status.INSUFFICIENT_KEY
    assert pair.message(A, lacking_key) == "the link has no key left"


def test_the_agreed_timeout_holds() -> None:
    pair = Pair().established(QoS(timeout=700))
    pair.cut()
    number = pair.get(A, 10)

    assert pair.a.streams.deadline_ms() == pair.now.mono_ms + 700

    pair.pass_ms(700)

    assert pair.status(A, number) is Status.TIMEOUT
    assert "link is down" in pair.message(A, number)


def test_what_both_ends_hold_is_served_while_the_link_is_down() -> None:
    pair = Pair().established()
    pair.cut()

    assert [pair.read(A), pair.read(B)] == [0, 0]


def test_under_alarm_nothing_is_made_or_delivered_and_the_reason_is_given() -> None:
    """I13."""
    pair = Pair().established()
    pair.a.channel.alarmed = "QBER 0.2"
    number, later = pair.get(A), pair.get(A, 100)
    pair.pass_ms(limits.TIMEOUT_DEFAULT_MS)

    assert [pair.status(A, n) for n in (number, later)] == [Status.INSUFFICIENT_KEY] * 2
    assert pair.message(A, number) == "no key is served: QBER 0.2"
    assert pair.a.stream().next_index == 4


def test_requests_that_an_alarm_held_up_are_served_when_it_is_over() -> None:
    pair = Pair().established()
    pair.a.channel.alarmed = "QBER 0.2"
    number = pair.get(A)
    pair.a.channel.alarmed = ""
    pair.tick()

    assert pair.status(A, number) is Status.SUCCESS


def test_an_alarm_compromises_and_wipes_what_was_not_delivered_at_both_ends() -> None:
    pair = Pair().established()
    pair.read(A, 0)
    for node in (A, B):
        pair.compromise(node, "QBER 0.2")

    assert [states(end.runs()) for end in pair.ends.values()] == [
        [(0, 1, KeyState.ACTIVE), (1, 3, KeyState.DESTROYED)],
        [(0, 4, KeyState.DESTROYED)],
    ]
    assert [e.event for e in pair.a.audit if e.event == "keys-compromised"]
    (chunks,) = pair.b.disk.material.values()
    assert not any(chunks)
    assert pair.message(A, pair.get(A, 1)) == "index 1 is destroyed: compromised: QBER 0.2"
    waiting = pair.get(A)
    pair.settle()
    assert pair.a.keys[waiting].index == 4


def test_metadata_says_age_and_hops() -> None:
    pair = Pair().established(JSON)
    pair.pass_ms(1500)
    number = pair.get(A)

    assert json.loads(pair.a.keys[number].metadata) == {
        "age": 1500,
        "hops": 0,
        "link_type": "PHYS",
    }


def test_no_metadata_where_none_was_agreed_or_none_is_wanted() -> None:
    silent, talking = Pair().established(), Pair().established(JSON)

    assert silent.a.keys[silent.get(A, metadata_size=100)].metadata == b""
    assert talking.a.keys[talking.get(A, metadata_size=0)].metadata == b""


def test_a_metadata_buffer_too_small_loses_nothing_and_says_what_is_needed() -> None:
    pair = Pair().established(JSON)
    number = pair.get(A, metadata_size=5)
    answer = pair.a.answers[number]

    assert isinstance(answer, KeyReply)
    assert answer.status is Status.METADATA_SIZE_INSUFFICIENT
    assert pair.a.keys[pair.get(A, metadata_size=answer.metadata_size)].index == 0


def test_the_size_asked_for_is_enough_for_any_age() -> None:
    largest = b'{"age":4294967295,"hops":4294967295,"link_type":"PHYS"}'
    assert len(largest) == METADATA_BYTES_MAX


def test_a_limited_number_of_requests_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair().established()
    pair.a.channel.window = 0
    monkeypatch.setattr(limits, "REQUESTS_PER_STREAM_MAX", 2)
    numbers = [pair.get(A, 50 + i) for i in range(3)]
    monkeypatch.setattr(limits, "REQUESTS_PER_STREAM_MAX", 64)
    monkeypatch.setattr(limits, "REQUESTS_PER_APPLICATION_MAX", 2)
    of_application = pair.get(A, 60)
    monkeypatch.setattr(limits, "REQUESTS_WAITING_MAX", 2)
    of_node = pair.get(A, 61)

    assert [pair.status(A, n) for n in numbers] == [None, None, Status.INSUFFICIENT_KEY]
    assert "on this stream" in pair.message(A, numbers[2])
    assert "of this application" in pair.message(A, of_application)
    assert "this node" in pair.message(A, of_node)


def test_delivered_bytes_stay_until_they_were_read_and_are_gone_in_time() -> None:
    """I6: with half of a unit delivered, by the deadline; the other keys survive."""
    pair = Pair().established()
    number = pair.get(A)
    delivered = pair.a.keys[number]
    pair.pass_ms(limits.WIPE_AFTER_MS // 2)

    assert any(pair.a.disk.material[delivered.material][:32])

    pair.pass_ms(limits.WIPE_AFTER_MS)

    assert states(pair.a.runs())[0] == (0, 1, KeyState.ACTIVE)

    pair.pass_ms(limits.DESTROY_WITHIN_MS - 5_000)

    assert not any(pair.a.disk.material[delivered.material][:32])
    assert states(pair.a.runs())[0] == (0, 1, KeyState.DESTROYED)
    assert pair.read(A) == 1


def test_a_unit_that_was_read_whole_is_wiped_soon() -> None:
    pair = Pair().established()
    for _ in range(4):
        pair.read(A)
    name = pair.a.keys[pair.get(A, 4) - 1].material
    pair.pass_ms(limits.WIPE_AFTER_MS + limits.WIPE_STEP_MS)

    assert not any(pair.a.disk.material[name])


def test_a_delivery_never_shares_a_batch_with_the_wiping_of_its_bytes() -> None:
    pair = Pair().established()
    seen = 0
    for step in range(400):
        pair.pass_ms(37)
        number = pair.get(A)
        pair.settle()
        key = pair.a.keys.get(number)
        if key is None:
            continue
        seen += 1
        for effect in pair.a.effects:
            if isinstance(effect, WipeMaterial) and effect.material == key.material:
                gone = range(effect.offset, effect.offset + effect.length)

                assert key.offset not in gone, step

    assert seen == 400


def test_what_a_crash_left_undestroyed_is_destroyed_at_the_next_start() -> None:
    pair = Pair().established()
    key = pair.a.keys[pair.get(A)]
    pair.crash(A)
    pair.tick()

    assert not any(pair.a.disk.material[key.material][:32])
    assert states(pair.a.runs())[0] == (0, 1, KeyState.DESTROYED)


def test_after_thousands_of_keys_a_handful_of_records_remain() -> None:
    pair = Pair().established(QoS(key_chunk_size=1024))
    pair.a.channel.window = pair.a.channel.stock
    for count in range(3_000):
        if count % 300 == 0:
            pair.pass_ms(1_000)
        number = pair.get(A)
        if number not in pair.a.keys:
            pair.settle()
        assert isinstance(pair.a.keys[number], DeliverKey)
    pair.pass_ms(limits.DESTROY_WITHIN_MS)

    assert [run.state for run in pair.a.runs()] == [
        KeyState.DESTROYED,
        *[KeyState.PRE_ACTIVATION] * (len(pair.a.runs()) - 1),
    ]
    assert len(pair.a.runs()) < 10


def test_keys_that_nobody_reads_go_when_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "UNREAD_BYTES_MAX", 10 * 32)
    pair = Pair().established()
    for _ in range(30):
        pair.get(A)
        pair.settle()

    assert pair.b.runs().ready == 10
    assert pair.status(B, pair.get(B, 0)) is Status.INSUFFICIENT_KEY
    assert pair.read(B) > 0


def test_an_application_that_leaves_too_many_holes_is_asked_to_read_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pair = Pair().established()
    pair.get(A, 100)
    pair.settle()
    monkeypatch.setattr(limits, "RUNS_PER_STREAM_MAX", 8)
    for index in range(10, 30, 2):
        last = pair.get(A, index)

    assert "read in order" in pair.message(A, last)
    assert pair.read(A) == 0


def test_the_last_index_is_delivered_and_the_next_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "INDEX_MAX", 9)
    pair = Pair().established()
    indices = []
    for _ in range(10):
        number = pair.get(A)
        pair.settle()
        indices.append(pair.a.keys[number].index)
    after = pair.get(A)

    assert indices == list(range(10))
    assert pair.message(A, after) == "the stream has used its last index"
