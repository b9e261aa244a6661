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


def test_a_key_whose_ttl_is_over_is_not_found_and_is_destroyed() -> None:
    pair = Pair()
    found = got(pair, 2)
    pair.pass_ms(limits.KEYS_TTL_S * 1000, tick=False)

    assert (Outcome.BAD_REQUEST, FOUND_NOT) == refused(dec(pair, found.key_ids))
    assert {KeyState.DESTROYED} == {run.state for run in pair.b.runs(paired(pair, B)[0].ksid)}


def test_a_slave_that_leaves_out_too_many_keys_is_asked_to_fetch_the_oldest_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "RUNS_PER_STREAM_MAX", 10)
    pair = Pair()
    ids = ids_of(got(pair, 40))
    answers = [dec(pair, ids[each]).outcome for each in range(1, 20, 2)]
    many = dec(pair, b"".join(ids[20::2]))
    runs = len(pair.b.runs(paired(pair, B)[0].ksid))

    assert Outcome.DELIVERED is answers[0]
    assert (Outcome.UNAVAILABLE, "too many keys were left out: fetch the oldest ones first") == (
        refused(many)
    )
    assert runs <= limits.RUNS_PER_STREAM_MAX + 2
    assert Outcome.DELIVERED is dec(pair, ids[0]).outcome


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
