"""Get key of ETSI GS QKD 014: whole keys with IDs to a master, and what may keep them from it."""

import pytest

from kms.domain import limits
from kms.domain.effects import Refuse, Save, StoreMaterial
from kms.domain.keyids import key_ids, prefix_of
from kms.domain.keyrequests import KeysReply, Outcome, PairStatusReply
from kms.domain.names import KSID, SAEId
from kms.domain.policy import Policy
from kms.domain.records import KeyRunRecord
from kms.domain.status import QoS, Status
from tests.domain.keys_play import dec, enc, got, ids_of, paired, reply, status
from tests.domain.streams_play import (
    ANN,
    BEN,
    DIRECTORY,
    EVE,
    LINK,
    POLICY,
    STRANGER,
    A,
    B,
    Pair,
    key_of,
)

FRESH = key_of(77)


def refusal(pair: Pair, number: int) -> tuple[Outcome, str]:
    found = reply(pair, number)
    assert isinstance(found, KeysReply)
    assert (found.keys, found.key_ids) == (None, b"")
    return found.outcome, found.message


# ---- what a master gets -----------------------------------------------------------------------


def test_the_first_request_opens_a_stream_that_both_ends_have_joined_and_both_get_its_keys() -> (
    None
):
    pair = Pair()
    number = enc(pair, 3, fresh=FRESH)

    assert reply(pair, number) is None

    pair.settle()
    found = reply(pair, number)
    assert isinstance(found, KeysReply)
    again = dec(pair, found.key_ids)

    assert key_ids(FRESH, 0, 3) == found.key_ids == again.key_ids
    assert found.keys is not None
    assert len(found.keys) == 96
    assert found.keys == again.keys
    for node in (A, B):
        (record,) = paired(pair, node)
        assert (record.local_joined, record.remote_joined) == (True, True)
        assert (record.ksid, record.designates) == (FRESH, node == A)
        assert record.qos == QoS(
            key_chunk_size=32, timeout=limits.KEYS_TIMEOUT_MS, ttl=limits.KEYS_TTL_S
        )


def test_the_second_request_is_answered_at_once_and_its_keys_are_other_ones() -> None:
    pair = Pair()
    first = got(pair)
    number = enc(pair, 2)
    second = reply(pair, number)

    assert isinstance(second, KeysReply)
    assert second.outcome is Outcome.DELIVERED
    assert 3 == len({*ids_of(first), *ids_of(second)})
    assert 3 == len(set(pair.by_id.values()))
    assert 1 == len(paired(pair))


def test_keys_are_not_given_away_before_the_slaves_node_has_said_that_it_holds_them() -> None:
    """I5"""
    pair = Pair()
    number = enc(pair)
    pair.hear(B, 10)
    pair.hear(A, 10)

    behind = enc(pair, 2)

    assert 2 * limits.STOCK_CHUNKS_MIN == paired(pair)[0].next_index
    assert (None, None) == (reply(pair, number), reply(pair, behind))

    pair.hear(B, 10)

    assert (None, None) == (reply(pair, number), reply(pair, behind))

    pair.hear(A, 10)

    assert isinstance(reply(pair, number), KeysReply)
    assert isinstance(reply(pair, behind), KeysReply)


def test_keys_are_recorded_journalled_by_the_stretch_and_answered_in_one_batch() -> None:
    pair = Pair()
    got(pair)
    number = enc(pair, 2)
    saved = [
        effect.record
        for effect in pair.a.effects
        if isinstance(effect, Save) and isinstance(effect.record, KeyRunRecord)
    ]
    entry = [each for each in pair.a.audit if each.event == "key-delivered"][-1]

    assert isinstance(reply(pair, number), KeysReply)
    assert 0 < len(saved) < 4
    assert (ANN, str(paired(pair)[0].ksid)) == (entry.actor, entry.subject)
    assert {"index": 1, "count": 2, "peer": BEN, "link": LINK} == entry.detail


def test_many_keys_that_lie_in_several_materials_leave_as_so_many_stretches_in_order() -> None:
    pair = Pair()
    got(pair)
    number = enc(pair, 40)
    pair.settle()
    found = reply(pair, number)
    effect = pair.a.handed[number]

    assert isinstance(found, KeysReply)
    assert list(range(1, 41)) == [
        index for each in effect.stretches for index in range(each.index, each.index + each.count)
    ]
    assert 1 < len({each.material for each in effect.stretches})
    assert found.keys == dec(pair, found.key_ids).keys


def test_each_size_of_key_has_a_stream_of_its_own_and_so_has_each_direction() -> None:
    pair = Pair()
    got(pair, 1, 32)
    got(pair, 1, 16)
    got(pair, 1, 16)
    back = got(pair, 1, 16, node=B, master=BEN, slave=ANN)

    assert [16, 32, 16] == [each.qos.key_chunk_size for each in _by_size(pair)]
    assert back.keys == dec(pair, back.key_ids, node=A, slave=ANN, master=BEN).keys


def _by_size(pair: Pair) -> list[object]:
    mine = [each for each in paired(pair) if each.designates]
    theirs = [each for each in paired(pair) if not each.designates]
    return [*sorted(mine, key=lambda each: each.qos.key_chunk_size), *theirs]  # type: ignore[list-item]


def test_a_request_waits_for_the_keys_it_lacks_and_those_behind_it_do_not_overtake_it() -> None:
    pair = Pair()
    got(pair)
    pair.a.channel.window = 0
    big, small = enc(pair, 50), enc(pair, 1)

    assert (None, None) == (reply(pair, big), reply(pair, small))

    pair.a.channel.window = 8 * limits.MIB
    pair.batch(A)
    pair.settle()

    assert [ids_of(found)[0] for found in (reply(pair, big), reply(pair, small))] == [  # type: ignore[arg-type]
        key_ids(paired(pair)[0].ksid, 1, 1),
        key_ids(paired(pair)[0].ksid, 51, 1),
    ]


def test_as_many_keys_as_one_request_may_ask_for_are_made_for_it() -> None:
    pair = Pair()
    found = got(pair, limits.KEYS_PER_REQUEST_MAX, 8)

    assert found.keys is not None
    assert limits.KEYS_PER_REQUEST_MAX * 8 == len(found.keys)
    assert found.keys == dec(pair, found.key_ids).keys


# ---- what keeps keys from it --------------------------------------------------------------------


def test_without_key_in_time_the_answer_is_unavailable_and_nothing_is_consumed() -> None:
    pair = Pair()
    got(pair)
    pair.a.channel.stock = 0
    number = enc(pair, 8)
    pair.pass_ms(limits.KEYS_TIMEOUT_MS - 1)

    assert reply(pair, number) is None

    pair.pass_ms(1)

    assert (Outcome.UNAVAILABLE, "try again: the link has no key left") == refusal(pair, number)
    assert isinstance(reply(pair, enc(pair, 7)), KeysReply)
    assert reply(pair, enc(pair)) is None


def test_a_slaves_node_that_does_not_answer_costs_the_timeout_and_serves_later() -> None:
    pair = Pair()
    number = enc(pair)
    pair.pass_ms(limits.KEYS_TIMEOUT_MS, tick=False)
    pair.batch(A, lambda streams, out: streams.tick(out))

    assert (Outcome.UNAVAILABLE, "try again: no key within the agreed Timeout") == refusal(
        pair, number
    )

    pair.settle()

    assert got(pair).keys is not None
    assert 1 == len(paired(pair))


def test_what_lies_ready_is_served_while_the_link_is_down_and_for_more_a_request_waits() -> None:
    pair = Pair()
    got(pair)
    pair.cut()
    number, more = enc(pair, 7), enc(pair)

    assert isinstance(reply(pair, number), KeysReply)

    pair.pass_ms(limits.KEYS_TIMEOUT_MS)
    message = "try again: no key within the agreed Timeout: the link is down"

    assert (Outcome.UNAVAILABLE, message) == refusal(pair, more)


def test_a_link_that_comes_back_in_time_serves_who_waited() -> None:
    pair = Pair()
    got(pair)
    pair.cut()
    number = enc(pair, 20)
    pair.link()
    pair.settle()

    assert isinstance(reply(pair, number), KeysReply)


def test_a_first_request_without_a_link_is_refused_and_leaves_nothing_behind() -> None:
    pair = Pair(linked=False)
    number = enc(pair)

    assert (Outcome.UNAVAILABLE, "no link to the peer application's node is up") == refusal(
        pair, number
    )
    assert [] == paired(pair)


def test_under_an_alarm_keys_are_refused_whether_they_lie_ready_or_not() -> None:
    """I13"""
    pair = Pair()
    pair.a.channel.alarmed = "qber"
    first = enc(pair)
    pair.a.channel.alarmed = ""
    got(pair)
    waits = enc(pair, 30)
    pair.a.channel.alarmed = "qber"
    second = enc(pair)
    pair.settle()

    for number in (first, waits, second):
        assert (Outcome.UNAVAILABLE, "no key is served: qber") == refusal(pair, number)

    pair.a.channel.alarmed = ""

    assert got(pair, 4).keys is not None


def test_without_randomness_only_a_request_that_needs_a_name_is_refused() -> None:
    pair = Pair()
    _nameless(pair)
    number = enc(pair)

    assert (
        Outcome.UNAVAILABLE,
        "the node has no randomness to name a new stream with",
    ) == refusal(pair, number)

    pair.nameless = False
    got(pair)
    _nameless(pair)

    assert isinstance(reply(pair, enc(pair)), KeysReply)


def _nameless(pair: Pair) -> None:
    pair.nameless = True


def test_a_name_whose_key_ids_begin_like_anothers_is_not_used() -> None:
    """Not even the name of a stream that is a tombstone, or of one of ETSI GS QKD 004."""
    pair = Pair().established(ksid=key_of(5))
    enc(pair, fresh=FRESH)
    pair.settle()
    like = KSID(type(FRESH)(bytes=prefix_of(FRESH) + b"\1\2\3\4"))
    numbers = [enc(pair, 1, 16, fresh=like), enc(pair, 1, 16, fresh=key_of(5))]
    for node in (A, B):
        pair.close(node, key_of(5))
    pair.settle()
    numbers.append(enc(pair, 1, 16, fresh=key_of(5)))

    for number in numbers:
        assert (Outcome.UNAVAILABLE, "the name of the new stream is taken: try again") == refusal(
            pair, number
        )


def test_a_pair_has_a_limited_number_of_sizes() -> None:
    pair = Pair()
    for size in range(1, limits.PAIR_SIZES_MAX + 1):
        got(pair, 1, 8 * size)
    number = enc(pair, 1, 99)

    assert (
        Outcome.UNAVAILABLE,
        f"the pair has keys of {limits.PAIR_SIZES_MAX} other sizes: use one of them",
    ) == refusal(pair, number)
    assert got(pair, 1, 8).keys is not None


def test_a_limited_number_of_requests_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REQUESTS_PER_STREAM_MAX", 2)
    pair = Pair()
    numbers = [enc(pair) for _ in range(3)]

    assert (Outcome.UNAVAILABLE, "try again: 2 requests wait on this stream") == refusal(
        pair, numbers[2]
    )

    pair.settle()

    assert [Outcome.DELIVERED] * 2 == [reply(pair, each).outcome for each in numbers[:2]]  # type: ignore[union-attr]


def test_a_caller_that_hangs_up_costs_no_key() -> None:
    pair = Pair()
    gone, stays = enc(pair, 2), enc(pair, 1)
    pair.hang_up(A, gone)
    pair.settle()

    assert reply(pair, gone) is None
    assert [key_ids(paired(pair)[0].ksid, 0, 1)] == ids_of(reply(pair, stays))  # type: ignore[arg-type]


@pytest.mark.parametrize("leaves", ["it times out", "it hangs up"])
def test_when_a_request_leaves_those_behind_it_get_the_keys_that_lie_ready(leaves: str) -> None:
    """I12: no news of the stream comes, for the link makes no more key."""
    pair = Pair()
    got(pair)
    pair.a.channel.window = pair.a.channel.stock = 0
    big = enc(pair, 1000)
    pair.pass_ms(limits.KEYS_TIMEOUT_MS // 2)
    small, smaller = enc(pair, 2), enc(pair, 1)

    assert (None, None) == (reply(pair, small), reply(pair, smaller))

    if leaves == "it hangs up":
        pair.hang_up(A, big)
    else:
        pair.pass_ms(limits.KEYS_TIMEOUT_MS // 2)
    answers = [reply(pair, small), reply(pair, smaller)]

    assert [Outcome.DELIVERED] * 2 == [answer.outcome for answer in answers]  # type: ignore[union-attr]
    assert key_ids(paired(pair)[0].ksid, 1, 3) == b"".join(each.key_ids for each in answers)  # type: ignore[union-attr]


def test_two_requests_whose_time_is_over_at_once_have_one_answer_each() -> None:
    pair = Pair()
    got(pair)
    pair.a.channel.window = pair.a.channel.stock = 0
    big, small = enc(pair, 1000), enc(pair, 1)
    pair.pass_ms(limits.KEYS_TIMEOUT_MS)
    outcomes = [reply(pair, big).outcome, reply(pair, small).outcome]  # type: ignore[union-attr]

    assert [Outcome.UNAVAILABLE, Outcome.DELIVERED] == outcomes


@pytest.mark.parametrize(
    ("number", "key_bytes", "message"),
    [
        (0, 32, "a request is for 1 to 1024 keys"),
        (-1, 32, "a request is for 1 to 1024 keys"),
        (1025, 32, "a request is for 1 to 1024 keys"),
        (1, 0, "a key has 8 to 4096 octets"),
        (1, 7, "a key has 8 to 4096 octets"),
        (1, -8, "a key has 8 to 4096 octets"),
        (1, 4097, "a key has 8 to 4096 octets"),
    ],
)
def test_what_can_never_be_met_is_a_bad_request(number: int, key_bytes: int, message: str) -> None:
    pair = Pair()

    assert (Outcome.BAD_REQUEST, message) == refusal(pair, enc(pair, number, key_bytes))
    assert [] == paired(pair)


def test_a_slave_that_is_nobody_or_the_caller_or_lives_here_is_a_bad_request() -> None:
    pair = Pair()
    asked = [
        (SAEId("sae:nobody.x"), "it is not known where the slave SAE lives: check its ID"),
        (ANN, "the slave SAE is the caller itself"),
        (EVE, "both applications live at this node: it shares keys between nodes only"),
    ]
    for slave, message in asked:
        assert (Outcome.BAD_REQUEST, message) == refusal(pair, enc(pair, slave=slave))


def test_policy_and_directory_refuse_a_caller_before_anything_is_looked_up() -> None:
    """I3, and each refusal is journalled (I11)."""
    pair = Pair()
    away, barred = enc(pair, master=BEN, slave=ANN), enc(pair, master=STRANGER)
    answers = [reply(pair, each) for each in (away, barred)]
    entries = [each for each in pair.a.audit if each.event == "refused"]

    assert [
        Refuse(request_id=away, message="the caller does not live at this node"),
        Refuse(request_id=barred, message="policy does not let these applications share keys"),
    ] == answers
    assert [(BEN, "enc_keys"), (STRANGER, "enc_keys")] == [
        (each.actor, each.subject) for each in entries
    ]


# ---- beside ETSI GS QKD 004 ---------------------------------------------------------------------


def test_a_stream_of_keys_with_ids_is_no_stream_to_the_functions_of_004() -> None:
    pair = Pair()
    enc(pair, fresh=FRESH)
    pair.settle()
    get, close = pair.get(A, ksid=FRESH), pair.close(A, FRESH)
    opened = pair.open(A, ANN, FRESH)
    theirs = pair.get(B, ksid=FRESH)

    assert pair.status(A, get) is Status.PEER_NOT_CONNECTED
    assert pair.status(A, close) is Status.PEER_NOT_CONNECTED
    assert pair.status(A, opened) is Status.KSID_IN_USE
    assert pair.status(B, theirs) is Status.PEER_NOT_CONNECTED
    assert got(pair).keys is not None


def test_a_chunk_of_004_is_no_key_with_an_id() -> None:
    pair = Pair().established(ksid=FRESH)

    assert dec(pair, key_ids(FRESH, 0, 1)).outcome is Outcome.BAD_REQUEST


# ---- how much there is --------------------------------------------------------------------------


def test_the_status_of_a_pair_counts_what_lies_ready_and_what_the_pad_would_give() -> None:
    pair = Pair()
    before = status(pair)
    got(pair)
    after = status(pair)

    assert isinstance(before, PairStatusReply)
    assert isinstance(after, PairStatusReply)
    assert ("bob", limits.KEY_BYTES_DEFAULT) == (before.slave_node, before.key_bytes)
    assert 64 * limits.MIB // 32 == before.stored_keys
    assert before.stored_keys - 1 == after.stored_keys
    assert 64 * limits.MIB // 32 + limits.STOCK_CHUNKS_MAX == after.stored_keys_max


def test_the_status_while_the_link_is_down_or_alarmed_counts_what_would_be_delivered() -> None:
    pair = Pair()
    got(pair)
    pair.a.channel.alarmed = "qber"
    alarmed = status(pair)
    pair.a.channel.alarmed = ""
    pair.cut()
    down = status(pair)

    assert isinstance(alarmed, PairStatusReply)
    assert isinstance(down, PairStatusReply)
    assert (0, 7) == (alarmed.stored_keys, down.stored_keys)


def test_the_status_of_an_unknown_slave_and_of_one_that_policy_bars_is_refused() -> None:
    pair = Pair()
    unknown, barred = status(pair, slave=SAEId("sae:x.y")), status(pair, master=STRANGER)

    assert (
        PairStatusReply(
            outcome=Outcome.BAD_REQUEST,
            message="it is not known where the slave SAE lives: check its ID",
        )
        == unknown
    )
    assert isinstance(barred, Refuse)


def test_a_slave_at_a_node_that_is_no_neighbour_has_no_keys_and_can_never_have_any() -> None:
    pair = Pair()
    there = SAEId("sae:carl.carol")
    pair.tell_network({**DIRECTORY, there: "carol"}, POLICY)  # type: ignore[dict-item]
    found = status(pair, slave=there)

    assert isinstance(found, PairStatusReply)
    assert ("carol", 0) == (found.slave_node, found.stored_keys)
    words = "sae:carl.carol lives at carol, which is no neighbour: no key is relayed yet"
    assert (Outcome.BAD_REQUEST, words) == refusal(pair, enc(pair, slave=there))


# ---- time, policy and the last index ------------------------------------------------------------


def test_keys_whose_ttl_is_over_are_not_delivered_and_new_ones_are_made() -> None:
    pair = Pair()
    old = got(pair)
    pair.pass_ms(limits.KEYS_TTL_S * 500 - 1000)
    got(pair)
    pair.pass_ms(2_000, tick=False)
    found = got(pair)

    assert 3 == len({*ids_of(old), *pair.by_id})
    assert found.keys == dec(pair, found.key_ids).keys


def test_a_pair_that_asks_for_nothing_ends_at_both_nodes_and_begins_anew_when_asked() -> None:
    pair = Pair()
    first = got(pair)
    for _ in range(3):
        pair.pass_ms(limits.KEYS_TTL_S * 1000)

    assert ([], []) == (paired(pair, A), paired(pair, B))
    assert dec(pair, first.key_ids).outcome is Outcome.BAD_REQUEST

    again = got(pair)

    assert ids_of(first)[0][:12] != ids_of(again)[0][:12]
    assert again.keys == dec(pair, again.key_ids).keys


def test_a_master_that_works_keeps_its_pair_while_the_slave_sleeps() -> None:
    pair = Pair()
    ksid = ids_of(got(pair))[0]
    for _ in range(40):
        pair.pass_ms(limits.KEYS_TTL_S * 200)
        last = got(pair)

    assert ksid[:12] == last.key_ids[:12]
    assert last.keys == dec(pair, last.key_ids).keys


def test_a_slave_may_fetch_as_long_as_its_key_lives_though_the_master_has_gone() -> None:
    pair = Pair()
    found = got(pair)
    pair.pass_ms(limits.KEYS_TTL_S * 1000 - 1)

    assert found.keys == dec(pair, found.key_ids).keys


def test_policy_that_changes_ends_the_pair_and_who_waits_is_told() -> None:
    pair = Pair()
    found = got(pair)
    waits = enc(pair, 100)
    pair.tell_network(DIRECTORY, Policy())
    pair.settle()
    message = "try again: the stream is closed: policy no longer allows it"

    assert (Outcome.UNAVAILABLE, message) == refusal(pair, waits)
    assert dec(pair, found.key_ids).outcome is Outcome.BAD_REQUEST
    assert isinstance(reply(pair, enc(pair)), Refuse)

    pair.pass_ms(limits.DESTROY_WITHIN_MS)

    assert ([], []) == (paired(pair, A), paired(pair, B))


def test_a_stream_that_has_used_its_last_index_is_followed_by_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "INDEX_MAX", 5)
    pair = Pair()
    keys = [got(pair) for _ in range(10)]

    assert 10 == len({ids_of(each)[0] for each in keys})
    assert 2 == len({each.key_ids[:12] for each in keys})
    for each in keys:
        assert each.keys == dec(pair, each.key_ids).keys


def test_what_the_disk_holds_of_a_pair_is_no_row_for_each_key() -> None:
    pair = Pair()
    for _ in range(20):
        got(pair, 10)
    pair.pass_ms(limits.DESTROY_WITHIN_MS)
    rows = [each for each in pair.a.disk.records.values() if isinstance(each, KeyRunRecord)]
    stored = [each for each in pair.a.effects if isinstance(each, StoreMaterial)]

    assert len(rows) < 20
    assert [] == stored
