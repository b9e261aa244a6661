"""The streams inside that carry keys with IDs: restarts, old stores, neighbours that mean harm."""

import attrs
import pytest

from kms.domain import limits
from kms.domain.errors import PeerFault
from kms.domain.keyids import key_ids, prefix_of
from kms.domain.keyrequests import EncKeys, KeysReply, Outcome, PairStatus
from kms.domain.lifecycle import KeyState
from kms.domain.moment import Moment
from kms.domain.names import KSID, NodeId
from kms.domain.policy import Policy
from kms.domain.requests import OpenConnect, may_want_name, wants_name
from kms.domain.status import QoS, Status
from kms.domain.wire import Announce, AnnouncePair, Lapsed, Mark, Verdict
from tests.domain.keys_play import FOUND_NOT, dec, enc, got, paired, reply
from tests.domain.streams_play import (
    ANN,
    BEN,
    DIRECTORY,
    EVE,
    LINK,
    A,
    B,
    Pair,
    key_of,
)
from tests.domain.test_streams_agree import tell
from tests.world import ALICE, SETTINGS, World

FRESH = key_of(77)


def announced(kind: type[Announce] = AnnouncePair, **changes: object) -> Announce:
    """What Alice would say of a pair of Ann and Ben."""
    fields: dict[str, object] = {
        "ksid": FRESH.bytes,
        "local": ANN,
        "remote": BEN,
        "designates": True,
        "qos": [32, 0, 0, 0, 0, limits.KEYS_TIMEOUT_MS, limits.KEYS_TTL_S],
        "mimetype": "",
        "next_index": 0,
        "joined": True,
        "branch": 0,
    }
    return kind(**{**fields, **changes})  # type: ignore[arg-type]


def verdicts(pair: Pair) -> list[tuple[int, str, bool]]:
    """What Bob said."""
    return [
        (each.status, each.reason, each.joined)
        for each in pair.b.channel.sent
        if isinstance(each, Verdict)
    ]


# ---- restarts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("node", [A, B])
def test_a_restart_of_either_node_loses_no_key_that_the_master_got(node: NodeId) -> None:
    pair = Pair()
    found = got(pair, 3)
    pair.crash(node)
    pair.link()
    pair.settle()
    after = got(pair, 3)

    assert found.keys == dec(pair, found.key_ids).keys
    assert after.keys == dec(pair, after.key_ids).keys
    assert found.key_ids[:12] == after.key_ids[:12]


@pytest.mark.parametrize("steps", range(6))
def test_a_connection_lost_at_any_step_of_the_opening_costs_a_request_at_most(steps: int) -> None:
    pair = Pair()
    enc(pair)
    for step in range(steps):
        pair.hear((B, A)[step % 2])
    pair.cut()
    pair.link()
    pair.settle()
    found = got(pair, 2)

    assert 1 == len(paired(pair, A)) == len(paired(pair, B))
    assert found.keys == dec(pair, found.key_ids).keys


@pytest.mark.parametrize("node", [A, B])
@pytest.mark.parametrize("steps", range(6))
def test_a_crash_at_any_step_of_the_opening_costs_a_request_at_most(
    steps: int, node: NodeId
) -> None:
    pair = Pair()
    enc(pair)
    for step in range(steps):
        pair.hear((B, A)[step % 2])
    pair.crash(node)
    pair.link()
    pair.settle()
    found = got(pair, 2)

    assert 1 == len(paired(pair, A)) == len(paired(pair, B))
    assert found.keys == dec(pair, found.key_ids).keys


def test_keys_that_were_lost_with_a_restart_are_stepped_over() -> None:
    """A designation was under way: its indices name no keys."""
    pair = Pair()
    got(pair, 5)
    enc(pair, 6)
    pair.crash(B)
    pair.link()
    pair.settle()
    found = got(pair, 4)
    indices = [each.index for each in pair.a.handed[max(pair.a.handed)].stretches]

    assert 1 < len(indices)
    assert found.keys == dec(pair, found.key_ids).keys


def test_a_master_whose_store_is_older_than_the_pair_takes_it_on_again_from_its_slaves_node() -> (
    None
):
    """Keys that it had given away can still be fetched, and none is made twice (I2)."""
    pair = Pair()
    before = pair.a.disk.copy()
    found = got(pair, 2)
    pair.crash(A, before)
    pair.link()
    pair.settle()
    (record,) = paired(pair)
    after = got(pair, 4)

    assert (True, True, True) == (record.designates, record.local_joined, record.remote_joined)
    assert after.key_ids[:12] == found.key_ids[:12]
    assert found.keys == dec(pair, found.key_ids).keys
    assert after.keys == dec(pair, after.key_ids).keys


def test_a_slaves_node_whose_store_is_older_than_the_pair_hears_of_it_again() -> None:
    pair = Pair()
    before = pair.b.disk.copy()
    found = got(pair, 2)
    pair.crash(B, before)
    pair.link()
    pair.settle()
    after = got(pair, 4)

    assert (Outcome.BAD_REQUEST, FOUND_NOT) == (
        dec(pair, found.key_ids).outcome,
        dec(pair, found.key_ids).message,
    )
    assert after.keys == dec(pair, after.key_ids).keys


def test_a_pair_without_a_key_that_the_masters_node_has_forgotten_is_rolled_back() -> None:
    pair = Pair()
    before = pair.a.disk.copy()
    enc(pair)
    pair.hear(B)

    assert 1 == len(paired(pair, B))

    pair.crash(A, before)
    pair.link()
    pair.settle()

    assert ([], []) == (paired(pair, A), paired(pair, B))


def test_a_tombstone_keeps_its_key_ids_from_being_named_again_also_after_a_restart() -> None:
    pair = Pair()
    enc(pair, fresh=FRESH)
    pair.settle()
    for _ in range(3):
        pair.pass_ms(limits.KEYS_TTL_S * 1000)
    pair.crash(A)
    pair.link()
    pair.settle()
    number = enc(pair, fresh=KSID(type(FRESH)(bytes=prefix_of(FRESH) + b"\0\0\0\1")))
    found = reply(pair, number)

    assert isinstance(found, KeysReply)
    assert "the name of the new stream is taken: try again" == found.message

    pair.pass_ms(limits.TOMBSTONE_MS)
    like = KSID(type(FRESH)(bytes=prefix_of(FRESH) + b"\0\0\0\2"))
    enc(pair, fresh=like)
    pair.settle()

    assert [like] == [each.ksid for each in paired(pair)]


# ---- keys that lapse ----------------------------------------------------------------------------


@pytest.mark.parametrize("linked", [True, False])
def test_a_master_is_not_given_what_has_lapsed_at_its_slaves_node(linked: bool) -> None:
    """Bob's wall clock jumps by an hour: what waits there is over, with the link up or not."""
    pair = Pair()
    first = got(pair)
    if not linked:
        pair.cut()
    here = pair.now
    pair.now = Moment(mono_ms=here.mono_ms, wall_ms=here.wall_ms + limits.KEYS_TTL_S * 1000)
    pair.batch(B, lambda streams, out: streams.tick(out))
    pair.now = here
    if not linked:
        pair.link()
    pair.settle()
    found = got(pair, 3)

    assert (Outcome.BAD_REQUEST, FOUND_NOT) == (
        dec(pair, first.key_ids).outcome,
        dec(pair, first.key_ids).message,
    )
    assert 8 <= min(each.index for each in pair.a.handed[max(pair.a.handed)].stretches)
    assert found.keys == dec(pair, found.key_ids).keys


def test_a_doubt_at_the_slaves_node_takes_the_masters_keys_along() -> None:
    pair = Pair()
    got(pair)
    pair.compromise(B, "doubted")
    pair.settle()
    found = got(pair, 3)

    assert found.keys == dec(pair, found.key_ids).keys


def test_a_key_is_given_to_its_master_in_the_first_half_of_its_life_only() -> None:
    pair = Pair()
    early = got(pair)
    pair.pass_ms(limits.KEYS_TTL_S * 500 - 1)
    late = got(pair)
    pair.pass_ms(1)
    after = got(pair)
    first = [each.stretches[0].index for each in pair.a.handed.values()]

    assert [0, 1, 8] == first
    for found in (early, late, after):
        assert found.keys == dec(pair, found.key_ids).keys


def test_keys_that_lapse_for_all_are_said_once() -> None:
    pair = Pair()
    got(pair)
    before = len(pair.b.channel.sent)
    pair.pass_ms(limits.KEYS_TTL_S * 1000)
    pair.pass_ms(1000)
    said = [each for each in pair.b.channel.sent[before:] if isinstance(each, Lapsed)]

    assert [8] == [each.below for each in said]


def test_a_neighbour_says_what_lapsed_of_its_own_end_only() -> None:
    pair = Pair().established(ksid=key_of(2))
    tell(pair, announced())
    for ksid in (FRESH, key_of(2)):
        with pytest.raises(PeerFault):
            tell(pair, Lapsed(ksid.bytes, 3))
    tell(pair, Lapsed(key_of(9).bytes, 3))

    assert FRESH in [each.ksid for each in paired(pair, B)]


def test_what_is_said_to_have_lapsed_beyond_what_was_made_costs_what_was_made() -> None:
    pair = Pair()
    back = got(pair, 2, node=B, master=BEN, slave=ANN)
    (record,) = paired(pair, B)
    tell(pair, Lapsed(record.ksid.bytes, 5))
    some = [run.first for run in pair.b.runs(record.ksid) if run.state is KeyState.PRE_ACTIVATION]
    tell(pair, Lapsed(record.ksid.bytes, 2**32 - 1))
    none = [run.first for run in pair.b.runs(record.ksid) if run.state is KeyState.PRE_ACTIVATION]

    assert ([5], []) == (some, none)
    assert back.keys == dec(pair, back.key_ids, node=A, slave=ANN, master=BEN).keys


# ---- the other node judges too ------------------------------------------------------------------


def test_the_slaves_node_refuses_what_its_own_policy_and_directory_do_not_allow() -> None:
    pair = Pair()
    for directory, policy, why in (
        (DIRECTORY, Policy(), "policy does not let these applications share"),
        ({ANN: A}, None, "the applications do not live at these nodes"),
    ):
        _tell_bob(pair, directory, policy)
        number = enc(pair)
        pair.settle()
        found = reply(pair, number)

        assert isinstance(found, KeysReply)
        assert Outcome.UNAVAILABLE is found.outcome
        assert f"the peer's node refuses: {why}" in found.message
        assert ([], []) == (paired(pair, A), paired(pair, B))


def _tell_bob(pair: Pair, directory: object, policy: Policy | None) -> None:
    from kms.domain.events import NetworkChanged
    from tests.domain.streams_play import POLICY

    event = NetworkChanged(
        neighbours=frozenset((A, B)),
        directory=directory,  # type: ignore[arg-type]
        policy=policy if policy is not None else POLICY,
    )
    pair.batch(B, lambda streams, out: streams.network(event, out))


def test_a_neighbour_opens_a_limited_number_of_sizes_and_no_name_that_begins_like_anothers() -> (
    None
):
    pair = Pair()
    for size in range(1, limits.PAIR_SIZES_MAX + 1):
        qos = [8 * size, 0, 0, 0, 0, limits.KEYS_TIMEOUT_MS, limits.KEYS_TTL_S]
        tell(pair, announced(ksid=key_of(size).bytes, qos=qos))
    tell(pair, announced(qos=[9, *qos[1:]]))
    like = prefix_of(key_of(1)) + b"\0\0\0\7"
    qos = [8, 0, 0, 0, 0, limits.KEYS_TIMEOUT_MS, limits.KEYS_TTL_S]
    tell(pair, announced(ksid=like, qos=qos))

    assert [(0, "", True)] * limits.PAIR_SIZES_MAX == verdicts(pair)[: limits.PAIR_SIZES_MAX]
    assert [
        (Status.NO_QKD_CONNECTION, "the pair already has too many sizes of key", False),
        (
            Status.KSID_IN_USE,
            "another stream's key IDs begin like this Key_stream_ID",
            False,
        ),
    ] == verdicts(pair)[limits.PAIR_SIZES_MAX :]


_TIMES = [limits.KEYS_TIMEOUT_MS, limits.KEYS_TTL_S]


@pytest.mark.parametrize(
    "qos",
    [
        [limits.KEY_BYTES_MIN - 1, 0, 0, 0, 0, *_TIMES],
        [limits.KEY_BYTES_MAX + 1, 0, 0, 0, 0, *_TIMES],
        [32, 1, 0, 0, 0, *_TIMES],
        [32, 0, 1, 0, 0, *_TIMES],
        [32, 0, 0, 256, 0, *_TIMES],
        [32, 0, 0, 0, 1, *_TIMES],
        [32, 0, 0, 0, 0, limits.KEYS_TIMEOUT_MS + 1, limits.KEYS_TTL_S],
        [32, 0, 0, 0, 0, limits.KEYS_TIMEOUT_MS, limits.TTL_MAX_S],
    ],
)
@pytest.mark.parametrize("designates", [True, False])
def test_a_neighbour_cannot_make_a_pair_of_another_qos_than_all_have(
    qos: list[int], designates: bool
) -> None:
    pair = Pair()
    tell(pair, announced(qos=qos, designates=designates))
    tell(pair, announced(mimetype="application/json", designates=designates))

    assert [(Status.QOS_NOT_MET, "a QoS that no pair has", False)] * 2 == verdicts(pair)
    assert [] == paired(pair, B)

    tell(pair, announced(designates=designates))
    tell(pair, announced(qos=qos, designates=designates))

    assert [Status.SUCCESS, Status.KSID_IN_USE] == [each[0] for each in verdicts(pair)[2:]]
    assert [announced().qos] == [list(attrs.astuple(each.qos)[:7]) for each in paired(pair, B)]


def test_a_neighbour_cannot_bend_a_pair_into_another_size_role_or_kind() -> None:
    pair = Pair()
    tell(pair, announced())
    tell(pair, announced(ksid=key_of(1).bytes, designates=False, local=ANN))
    pair.established(ksid=key_of(2))
    pair.b.channel.sent.clear()
    small = [16, 0, 0, 0, 0, limits.KEYS_TIMEOUT_MS, limits.KEYS_TTL_S]
    for bent in (
        announced(qos=small),
        announced(designates=False),
        announced(local=EVE),
        announced(Announce),
        announced(ksid=key_of(1).bytes, designates=True),
        announced(ksid=key_of(2).bytes),
    ):
        tell(pair, bent)

    said = (Status.KSID_IN_USE, "the Key_stream_ID is in use or closed", False)

    assert [said] * 6 == verdicts(pair)


def test_a_neighbour_that_withdraws_a_pair_takes_no_key_with_it_that_was_made() -> None:
    pair = Pair()
    found = got(pair, 2)
    ksid = paired(pair)[0].ksid
    mark = Mark(ksid=ksid.bytes, next_index=8, joined=False, closed=True, wanted=0, branch=0)
    tell(pair, mark)

    assert found.keys == dec(pair, found.key_ids).keys

    tell(pair, announced())
    tell(pair, Mark(FRESH.bytes, 0, joined=False, closed=True, wanted=0, branch=0))

    assert FRESH not in [each.ksid for each in paired(pair, B)]


def test_a_neighbour_that_closes_its_side_ends_the_masters_and_leaves_the_slave_its_keys() -> None:
    pair = Pair()
    found = got(pair, 2)
    pair.batch(
        A,
        lambda streams, out: streams._ending.close(
            streams._register.streams[paired(pair)[0].ksid], "test", out
        ),
    )
    pair.settle()

    assert found.keys == dec(pair, found.key_ids).keys

    again = got(pair, 2)
    pair.batch(
        B,
        lambda streams, out: streams._ending.close(
            streams._register.streams[paired(pair, B)[-1].ksid], "test", out
        ),
    )
    number = enc(pair, 100)
    pair.settle()
    found = reply(pair, number)  # type: ignore[assignment]

    assert isinstance(found, KeysReply)
    assert Outcome.UNAVAILABLE is found.outcome
    assert again.key_ids[:12] != got(pair, 2).key_ids[:12]


def test_a_pair_announced_with_a_ksid_of_another_version_is_a_fault() -> None:
    pair = Pair()
    with pytest.raises(PeerFault):
        tell(pair, announced(ksid=bytes(16)))

    assert LINK == pair.b.channel.link
    assert Outcome.BAD_REQUEST is dec(pair, key_ids(KSID(type(FRESH)(int=0)), 0, 1)).outcome


def test_the_first_keys_of_a_pair_may_need_a_name_and_a_status_never() -> None:
    asks = [
        OpenConnect(source=ANN, destination=BEN, qos=QoS()),
        OpenConnect(source=ANN, destination=BEN, qos=QoS(), ksid=FRESH),
        EncKeys(slave=BEN, number=1, key_bytes=32),
        PairStatus(slave=BEN),
    ]

    assert [True, False, False, False] == [wants_name(each) for each in asks]
    assert [False, False, True, False] == [may_want_name(each) for each in asks]


def test_a_link_has_room_up_to_the_ceiling_of_its_pool_above_the_reserve() -> None:
    link = World().sites[ALICE].node.links[LINK]

    assert SETTINGS.pool_bytes_max - link.memory.writer.reserve() == link.level_max()
