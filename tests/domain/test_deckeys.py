"""Get key with key IDs of ETSI GS QKD 014: what a slave fetches, and all that it cannot."""

from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kms.domain import limits
from kms.domain.effects import Refuse
from kms.domain.keyids import key_ids
from kms.domain.keyrequests import DecKeys, KeysReply, Outcome
from kms.domain.lifecycle import KeyState
from kms.domain.names import KSID, SAEId
from kms.domain.policy import Policy, Rule
from kms.domain.wire import Lapsed
from tests.domain.keys_play import FOUND_NOT, dec, got, ids_of, paired
from tests.domain.streams_play import ANN, BEN, DIRECTORY, LINK, A, B, Pair

BEA = SAEId("sae:bea.bob")
NOT_MADE_FOR = "one of the keys was not made for this application"


def with_bea() -> Pair:
    """Another application lives at Bob's node."""
    pair = Pair()
    pair.tell_network({**DIRECTORY, BEA: B})
    return pair


def refused(found: KeysReply) -> tuple[Outcome, str]:
    assert (found.keys, found.key_ids) == (None, b"")
    return found.outcome, found.message


def bits(found: KeysReply) -> bytes:
    assert found.keys is not None, found.message
    return bytes(found.keys.expose())


def test_keys_come_in_the_order_in_which_they_are_named() -> None:
    pair = Pair()
    found = got(pair, 8)
    ids, keys = ids_of(found), bits(found)
    order = [5, 0, 1, 2, 7, 3]
    answer = dec(pair, b"".join(ids[each] for each in order))

    assert [ids[each] for each in order] == ids_of(answer)
    assert b"".join(keys[each * 32 : each * 32 + 32] for each in order) == bits(answer)


def test_what_is_fetched_leaves_in_as_few_stretches_as_it_was_named_in() -> None:
    pair = Pair()
    found = got(pair, 8)
    ids = ids_of(found)
    dec(pair, b"".join([*ids[4:8], *ids[0:4]]))
    effect = list(pair.b.handed.values())[-1]
    entries = [each.detail["index"] for each in pair.b.audit if each.event == "key-delivered"]

    assert [(4, 4), (0, 4)] == [(each.index, each.count) for each in effect.stretches]
    assert [0, 4] == entries


def test_a_key_is_fetched_once_and_a_request_that_names_it_again_consumes_nothing() -> None:
    pair = Pair()
    ids = ids_of(got(pair, 4))
    dec(pair, ids[1])

    assert (Outcome.BAD_REQUEST, FOUND_NOT) == refused(dec(pair, b"".join(ids)))
    assert Outcome.DELIVERED is dec(pair, ids[0] + ids[2] + ids[3]).outcome


@pytest.mark.parametrize(
    "foreign",
    [
        UUID(int=0).bytes,
        UUID("6b1f3a52-0f1c-4c7e-9a8b-2d4e6f8a0b1c").bytes,
        b"\xff" * 16,
    ],
)
def test_one_unknown_key_refuses_all_and_nothing_is_consumed(foreign: bytes) -> None:
    pair = Pair()
    found = got(pair, 3)

    assert (Outcome.BAD_REQUEST, FOUND_NOT) == refused(dec(pair, found.key_ids + foreign))
    assert (Outcome.BAD_REQUEST, FOUND_NOT) == refused(dec(pair, foreign + found.key_ids))
    assert bits(found) == bits(dec(pair, found.key_ids))


def test_a_key_that_is_not_made_yet_is_not_found_up_to_the_last_index() -> None:
    pair = Pair()
    got(pair)
    ksid = paired(pair)[0].ksid
    for index in (paired(pair, B)[0].next_index, 2**32 - 1):
        assert (Outcome.BAD_REQUEST, FOUND_NOT) == refused(dec(pair, key_ids(ksid, index, 1)))


def test_a_key_of_others_is_not_given_and_the_answer_says_whose_it_is_not() -> None:
    """I3: neither to another application of that node, nor to the master itself."""
    pair = with_bea()
    found, other = got(pair, 2), got(pair, 1, slave=BEA)
    mixed = found.key_ids + other.key_ids
    answers = [
        dec(pair, found.key_ids, slave=BEA),
        dec(pair, mixed),
        dec(pair, other.key_ids + bytes(16)),
        dec(pair, found.key_ids, node=A, slave=ANN, master=BEN),
    ]

    for answer in answers:
        assert (Outcome.NOT_ENTITLED, NOT_MADE_FOR) == refused(answer)
    for end, callers in ((pair.b, [BEA, BEN, BEN]), (pair.a, [ANN])):
        assert [(caller, "dec_keys", NOT_MADE_FOR) for caller in callers] == [
            (each.actor, each.subject, each.detail["reason"])
            for each in end.audit
            if each.event == "refused"
        ]
    assert bits(found) == bits(dec(pair, found.key_ids))
    assert bits(other) == bits(dec(pair, other.key_ids, slave=BEA))


def test_a_key_that_another_master_is_said_to_have_made_is_not_found() -> None:
    pair = Pair()
    found = got(pair)

    assert (Outcome.BAD_REQUEST, FOUND_NOT) == refused(
        dec(pair, found.key_ids, master=SAEId("sae:eve.alice"))
    )
    assert bits(found) == bits(dec(pair, found.key_ids))


def test_a_caller_that_does_not_live_here_is_refused() -> None:
    pair = Pair()
    found = got(pair)
    number = pair.ask(A, BEN, DecKeys(master=ANN, key_ids=found.key_ids))
    answer = pair.a.answers[number]

    assert Refuse(request_id=number, message="the caller does not live at this node") == answer
    assert [(BEN, "dec_keys")] == [
        (each.actor, each.subject) for each in pair.a.audit if each.event == "refused"
    ]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (b"", "a request names 1 to 1024 keys"),
        (bytes(15), "a request names 1 to 1024 keys"),
        (bytes(17), "a request names 1 to 1024 keys"),
        (bytes(16 * 1025), "a request names 1 to 1024 keys"),
        (bytes(32), FOUND_NOT),
    ],
)
def test_what_names_no_set_of_keys_is_a_bad_request(ids: bytes, message: str) -> None:
    assert (Outcome.BAD_REQUEST, message) == refused(dec(Pair(), ids))


@pytest.mark.parametrize("order", [(0, 0), (1, 2, 3, 0, 2), (0, 1, 2, 3, 3), (3, 3, 2)])
def test_a_key_that_is_named_twice_is_a_bad_request_and_nothing_is_consumed(
    order: tuple[int, ...],
) -> None:
    pair = Pair()
    found = got(pair, 4)
    ids = ids_of(found)

    assert (Outcome.BAD_REQUEST, "a key is named twice") == refused(
        dec(pair, b"".join(ids[each] for each in order))
    )
    assert bits(found) == bits(dec(pair, found.key_ids))


def test_keys_of_several_streams_come_in_one_answer_if_they_have_one_size() -> None:
    pair = Pair()
    pair.tell_network(DIRECTORY, Policy(rules=(Rule(one="sae:*", other="sae:*"),)))
    small, large = got(pair, 2, 16), got(pair, 2, 32)
    first = paired(pair)[0].ksid
    pair.batch(A, lambda streams, out: streams._ending.close(_stream(pair, first), "test", out))
    pair.settle()
    other = got(pair, 2, 16)

    assert first.bytes[:12] != other.key_ids[:12]
    assert (
        Outcome.BAD_REQUEST,
        "the keys have several sizes: ask for those of one size at a time",
    ) == refused(dec(pair, small.key_ids + large.key_ids))

    one, two = ids_of(small), ids_of(other)
    answer = dec(pair, one[0] + two[0] + one[1] + two[1])

    assert bits(small)[:16] + bits(other)[:16] + bits(small)[16:] + bits(other)[16:] == bits(answer)


def _stream(pair: Pair, ksid: KSID):  # type: ignore[no-untyped-def]
    return pair.a.streams._register.streams[ksid]


def test_under_an_alarm_nothing_is_given_and_afterwards_everything_is() -> None:
    """I13"""
    pair = Pair()
    found = got(pair, 2)
    pair.b.channel.alarmed = "qber"

    assert (Outcome.UNAVAILABLE, "no key is served: qber") == refused(dec(pair, found.key_ids))

    pair.b.channel.alarmed = ""

    assert bits(found) == bits(dec(pair, found.key_ids))


def test_keys_of_a_link_in_doubt_are_gone() -> None:
    pair = Pair()
    found = got(pair, 2)
    pair.compromise(B, "doubted")

    assert (Outcome.BAD_REQUEST, FOUND_NOT) == refused(dec(pair, found.key_ids))


def test_a_key_that_this_end_has_lost_is_an_error_and_one_that_is_fetched_again_is_none() -> None:
    """Y.3807's error ratio, which the operator sees of the stream and of the link."""
    pair = Pair()
    found = got(pair, 2)
    one, other = ids_of(found)
    dec(pair, one)
    dec(pair, one)
    pair.compromise(B, "doubted")
    dec(pair, other)
    (stream,) = pair.b.streams.statistics()
    _, link, _ = pair.b.streams.service(LINK)

    assert stream.service is not None
    assert link is not None
    assert (1, 1) == (stream.service.errors_total, link.errors_total)


def test_a_key_whose_ttl_is_over_is_not_found_and_is_destroyed() -> None:
    pair = Pair()
    found = got(pair, 2)
    pair.pass_ms(limits.KEYS_TTL_S * 1000, tick=False)

    assert (Outcome.BAD_REQUEST, FOUND_NOT) == refused(dec(pair, found.key_ids))
    assert {KeyState.DESTROYED} == {run.state for run in pair.b.runs(paired(pair, B)[0].ksid)}


def test_a_slave_that_leaves_keys_out_loses_the_oldest_of_them_and_never_waits_for_newer_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "LEFT_OUT_PER_PAIR_MAX", 4)
    pair = Pair()
    ids = ids_of(got(pair, 40))
    answers = [dec(pair, ids[each]).outcome for each in range(1, 40, 2)]
    left = [each for each in range(0, 40, 2) if dec(pair, ids[each]).outcome is Outcome.DELIVERED]
    destroyed = [
        (each.detail["first"], each.detail["count"], each.detail["reason"])
        for each in pair.b.audit
        if each.event == "keys-destroyed"
    ]

    assert {Outcome.DELIVERED} == set(answers)
    assert [32, 34, 36, 38] == left
    assert destroyed == [
        (first, 1, "left out too long ago, while newer ones were fetched")
        for first in range(0, 32, 2)
    ]


def test_keys_that_are_gone_because_they_were_left_out_the_master_is_not_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Slave and master are the same pair: it may fetch what it was not told of."""
    monkeypatch.setattr(limits, "LEFT_OUT_PER_PAIR_MAX", 1)
    pair = Pair()
    first = got(pair, 2)
    ksid = paired(pair)[0].ksid
    ready = pair.b.runs(ksid).ready
    answers = [dec(pair, key_ids(ksid, each, 1)).outcome for each in range(3, 8, 2)]
    pair.settle()
    later = got(pair, 1)

    assert ready >= 8
    assert {Outcome.DELIVERED} == set(answers)
    assert key_ids(ksid, 0, 2) == first.key_ids
    assert [Lapsed(ksid.bytes, 6)] == [
        each for each in pair.b.channel.sent if isinstance(each, Lapsed) and each.below
    ][-1:]
    assert key_ids(ksid, 6, 1) == later.key_ids


def test_what_a_request_names_is_not_left_out_and_nothing_is_that_no_newer_one_left_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "LEFT_OUT_PER_PAIR_MAX", 4)
    pair = Pair()
    ids = ids_of(got(pair, 40))
    odd = dec(pair, b"".join(ids[1:9:2]))
    even = dec(pair, b"".join(ids[0:9:2]))
    rest = dec(pair, b"".join(ids[9:]))

    assert [Outcome.DELIVERED] * 3 == [each.outcome for each in (odd, even, rest)]


def test_a_request_may_name_here_and_there_as_many_keys_as_any_other() -> None:
    """And so may the next one, at once."""
    pair = Pair()
    most = limits.KEYS_PER_REQUEST_MAX
    ids = [each for _ in range(4) for each in ids_of(got(pair, most))]
    answers = [dec(pair, b"".join(ids[first : first + 2 * most : 2])) for first in (1, 2 * most)]
    pair.pass_ms(limits.DESTROY_WITHIN_MS)
    answers.append(dec(pair, b"".join(ids[2 * most + 1 :: 2])))

    assert [Outcome.DELIVERED] * 3 == [each.outcome for each in answers]


def test_a_slave_in_a_hurry_waits_until_what_it_fetched_here_and_there_is_wiped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three seconds: nothing that it leaves out keeps it from newer keys for longer."""
    monkeypatch.setattr(limits, "LEFT_OUT_PER_PAIR_MAX", 4)
    monkeypatch.setattr(limits, "RUNS_PER_STREAM_MAX", 10)
    monkeypatch.setattr(limits, "RUNS_PER_PAIR_MAX", 20)
    pair = Pair()
    ids = ids_of(got(pair, 100))[1::2]
    refusals = []
    for each in ids:
        answer = dec(pair, each)
        if answer.outcome is not Outcome.DELIVERED:
            refusals.append(refused(answer))
            pair.pass_ms(3_000)
            answer = dec(pair, each)

        assert Outcome.DELIVERED is answer.outcome
    runs = len(pair.b.runs(paired(pair, B)[0].ksid))
    message = "too many keys are fetched here and there: try again in 3 s"

    assert {(Outcome.UNAVAILABLE, message)} == set(refusals)
    assert runs <= limits.RUNS_PER_PAIR_MAX + 2


def test_keys_are_fetched_while_the_link_is_down() -> None:
    pair = Pair()
    found = got(pair, 3)
    pair.cut()

    assert bits(found) == bits(dec(pair, found.key_ids))


def test_what_was_fetched_is_wiped_within_the_minute() -> None:
    """I6"""
    pair = Pair()
    found = got(pair, 3)
    dec(pair, found.key_ids)
    pair.pass_ms(limits.DESTROY_WITHIN_MS)
    ksid = paired(pair, B)[0].ksid
    left = [
        bytes(material[:96])
        for name, material in pair.b.disk.material.items()
        if name.startswith(f"chunks/{ksid}/0")
    ]

    assert [bytes(96)] == left
    assert LINK == paired(pair, B)[0].link


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_whatever_is_asked_in_whatever_order_each_key_comes_once_and_is_the_masters(
    data: st.DataObject,
) -> None:
    """I2; the ledger of ``Pair`` compares every key that leaves."""
    pair = Pair()
    known: list[bytes] = []
    fetched: set[bytes] = set()
    for _ in range(6):
        if data.draw(st.booleans()) or not known:
            known += ids_of(got(pair, data.draw(st.integers(1, 12)), 16))
            continue
        asked = data.draw(st.lists(st.sampled_from(known), min_size=1, max_size=12))
        answer = dec(pair, b"".join(asked))
        right = len(set(asked)) == len(asked) and fetched.isdisjoint(asked)

        assert (Outcome.DELIVERED if right else Outcome.BAD_REQUEST) is answer.outcome
        if right:
            fetched.update(asked)
            assert asked == ids_of(answer)
    assert {(A, each) for each in known} | {(B, each) for each in fetched} == pair.fetched
