"""Operators' orders about keys with IDs: held back from a slave that knows the ID, passed over."""

from uuid import UUID

import pytest

from kms.domain import limits
from kms.domain.close import UNKNOWN
from kms.domain.keyrequests import KeysReply, Outcome, PairStatusReply
from kms.domain.lifecycle import KeyState
from kms.domain.names import KSID, NodeId
from kms.domain.orders import Act
from kms.domain.policy import Policy
from kms.domain.status import Status
from tests.domain.keys_play import FOUND_NOT, dec, enc, got, ids_of, paired, reply, status
from tests.domain.streams_play import KNOWN, LINK, A, B, Pair

SUSPEND, RESUME, COMPROMISE = Act.SUSPEND, Act.RESUME, Act.COMPROMISE
NO_MORE = (Outcome.BAD_REQUEST, FOUND_NOT)
PAIR_HELD = "no key is served: the pair's keys are suspended by an operator"
LINK_HELD = f"no key is served: the link {LINK} is suspended by an operator"


def ksid_of(pair: Pair) -> KSID:
    (record,) = paired(pair)
    return record.ksid


def named(key_id: bytes) -> UUID:
    return UUID(bytes=key_id)


def said(found: object) -> tuple[Outcome, str]:
    assert isinstance(found, KeysReply), found
    return found.outcome, found.message


def bits(found: KeysReply) -> bytes:
    assert found.keys is not None, found.message
    return bytes(found.keys.expose())


# ---- one key ------------------------------------------------------------------------------------


@pytest.mark.parametrize("node", [A, B])
def test_a_key_suspended_by_its_id_after_the_master_got_it_is_not_given_to_the_slave(
    node: NodeId,
) -> None:
    pair = Pair()
    found = got(pair, 3)
    ids = ids_of(found)
    done = pair.order(node, SUSPEND, key_id=named(ids[1]))

    assert ("", True, ksid_of(pair), 1, 1) == (
        done.refused,
        done.changed,
        done.ksid,
        done.first,
        done.count,
    )
    assert NO_MORE == said(dec(pair, ids[1]))
    assert NO_MORE == said(dec(pair, found.key_ids))
    assert bits(found)[:32] == bits(dec(pair, ids[0])), "a refused request consumes nothing"
    pair.order(node, RESUME, key_id=named(ids[1]))

    assert bits(found)[32:] == bits(dec(pair, ids[1] + ids[2]))


@pytest.mark.parametrize("node", [A, B])
def test_a_key_compromised_by_its_id_is_gone_for_good(node: NodeId) -> None:
    pair = Pair()
    found = got(pair, 2)
    first, second = ids_of(found)
    done = pair.order(node, COMPROMISE, key_id=named(first))

    assert (done.first, done.count) == (0, 1)
    assert (done.waiting, done.delivered) == ((0, 1) if node == A else (1, 0))
    assert NO_MORE == said(dec(pair, first))
    assert "never comes back" in pair.order(node, RESUME, key_id=named(first)).hint
    assert bits(found)[32:] == bits(dec(pair, second))


def test_what_is_suspended_stays_so_when_the_slaves_node_is_another_process() -> None:
    pair = Pair()
    found = got(pair)
    pair.cut()
    done = pair.order(A, SUSPEND, key_id=named(found.key_ids))

    assert (done.changed, done.refused) == (True, "")
    pair.link()
    pair.settle()
    pair.crash(B)
    pair.link()
    pair.settle()

    assert NO_MORE == said(dec(pair, found.key_ids))


def test_what_the_slave_has_cannot_be_held_back() -> None:
    pair = Pair()
    found = got(pair)
    bits(dec(pair, found.key_ids))
    done = pair.order(B, SUSPEND, key_id=named(found.key_ids))

    assert "waits here" in done.refused


def test_an_id_that_names_no_key_here_is_refused() -> None:
    pair = Pair().established()
    found = got(pair)
    ksid = ksid_of(pair)
    far = ksid.int ^ limits.INDEX_MAX
    for wrong in (UUID(int=far), UUID(int=KNOWN.int), UUID(int=5)):
        done = pair.order(A, SUSPEND, key_id=wrong)

        assert f"there is no key here with the ID {wrong}" == done.refused
    pair.order(A, COMPROMISE, ksid=ksid)
    pair.pass_ms(limits.DESTROY_WITHIN_MS)
    buried = pair.order(A, SUSPEND, key_id=named(found.key_ids))

    assert "no key here" in buried.refused


# ---- keys that nobody has yet -------------------------------------------------------------------


@pytest.mark.parametrize("node", [A, B])
@pytest.mark.parametrize("act", [SUSPEND, COMPROMISE])
def test_a_master_gets_none_of_the_keys_that_are_held_back(node: NodeId, act: Act) -> None:
    pair = Pair()
    got(pair)
    ksid = ksid_of(pair)
    pair.order(node, act, 1, 2, ksid=ksid)
    found = got(pair, 2)

    assert [UUID(int=ksid.int ^ each).bytes for each in (3, 4)] == ids_of(found)
    assert bits(found) == bits(dec(pair, found.key_ids))
    if act is SUSPEND:
        pair.order(node, RESUME, 1, 2, ksid=ksid)
        back = got(pair, 2)

        assert [UUID(int=ksid.int ^ each).bytes for each in (1, 2)] == ids_of(back)
        assert bits(back) == bits(dec(pair, back.key_ids))


def test_what_is_gone_behind_suspended_keys_does_not_end_those() -> None:
    """The slave's end says below which index it holds nothing: what is suspended it holds."""
    pair = Pair()
    got(pair, 2)
    ksid = ksid_of(pair)
    pair.order(B, SUSPEND, 2, 1, ksid=ksid)
    bits(dec(pair, UUID(int=ksid.int).bytes + UUID(int=ksid.int ^ 1).bytes))
    pair.order(B, COMPROMISE, 3, 1, ksid=ksid)

    for end in (pair.a, pair.b):
        run = end.runs(ksid).at(2)
        assert run is not None
        assert KeyState.SUSPENDED is run.state
    pair.order(A, RESUME, 2, 1, ksid=ksid)
    back = got(pair)

    assert UUID(int=ksid.int ^ 2).bytes == back.key_ids
    assert bits(back) == bits(dec(pair, back.key_ids))


def test_suspended_keys_that_the_slaves_end_has_lost_do_not_come_back_for_the_master() -> None:
    pair = Pair()
    got(pair, 2)
    ksid = ksid_of(pair)
    pair.order(A, SUSPEND, 2, 1, ksid=ksid)
    pair.compromise(B, "an alarm")
    pair.settle()
    pair.order(A, RESUME, ksid=ksid)
    run = pair.a.runs(ksid).at(2)
    found = got(pair)

    assert run is not None
    assert KeyState.DESTROYED is run.state
    assert bits(found) == bits(dec(pair, found.key_ids))


def test_suspended_keys_that_an_old_store_has_forgotten_do_not_come_back_for_the_master() -> None:
    pair = Pair()
    got(pair)
    ksid = ksid_of(pair)
    old = pair.b.disk.copy()
    made = pair.a.runs(ksid).end
    got(pair, made - 1)
    for _ in range(3):
        pair.pass_ms(1_000)
    last = pair.a.runs(ksid).end - 1
    assert last >= made, "there are keys that the copy does not know"
    pair.order(A, SUSPEND, last, 1, ksid=ksid)
    pair.crash(B, old)
    pair.link()
    pair.settle()
    run = pair.a.runs(ksid).at(last)

    assert run is not None
    assert KeyState.DESTROYED is run.state
    pair.order(A, RESUME, ksid=ksid)
    found = got(pair)
    assert bits(found) == bits(dec(pair, found.key_ids))


# ---- whole pairs and links ----------------------------------------------------------------------


@pytest.mark.parametrize("node", [A, B])
def test_a_suspended_pair_gives_no_key_to_either_and_goes_on_when_it_is_resumed(
    node: NodeId,
) -> None:
    pair = Pair()
    found = got(pair)
    ksid = ksid_of(pair)
    pair.order(node, SUSPEND, ksid=ksid)
    number = enc(pair)

    assert (Outcome.UNAVAILABLE, PAIR_HELD) == said(reply(pair, number))
    assert NO_MORE == said(dec(pair, found.key_ids))
    pair.order(node, RESUME, ksid=ksid)

    assert bits(found) == bits(dec(pair, found.key_ids))
    assert ksid_of(pair) == ksid
    assert bits(got(pair))


def test_a_master_that_waits_is_told_when_the_pair_is_suspended() -> None:
    pair = Pair()
    got(pair)
    pair.a.channel.stock = 0
    number = enc(pair, 400)

    assert reply(pair, number) is None
    pair.order(B, SUSPEND, ksid=ksid_of(pair))

    assert (Outcome.UNAVAILABLE, PAIR_HELD) == said(reply(pair, number))


@pytest.mark.parametrize("node", [A, B])
def test_a_suspended_link_gives_no_keys_and_opens_no_pair(node: NodeId) -> None:
    pair = Pair()
    found = got(pair)
    pair.order(node, SUSPEND, link=LINK)
    stored = status(pair)

    assert isinstance(stored, PairStatusReply)
    assert 0 == stored.stored_keys
    for number in (enc(pair), enc(pair, key_bytes=48)):
        assert (Outcome.UNAVAILABLE, LINK_HELD) == said(reply(pair, number))
    assert (Outcome.UNAVAILABLE, LINK_HELD) == said(dec(pair, found.key_ids))
    pair.order(node, RESUME, link=LINK)

    assert bits(found) == bits(dec(pair, found.key_ids))
    assert bits(got(pair, key_bytes=48))


def test_suspended_keys_outlive_the_end_of_the_pair_at_the_masters_node() -> None:
    pair = Pair()
    found = got(pair)
    ksid = ksid_of(pair)
    pair.order(B, SUSPEND, ksid=ksid)
    pair.tell(A, Policy())
    pair.settle()
    pair.order(B, RESUME, ksid=ksid)

    assert bits(found) == bits(dec(pair, found.key_ids))


@pytest.mark.parametrize("node", [A, B])
def test_a_compromised_pair_is_followed_by_another_and_its_ids_name_nothing(node: NodeId) -> None:
    pair = Pair()
    found = got(pair)
    old = ksid_of(pair)
    pair.order(node, COMPROMISE, ksid=old)

    assert NO_MORE == said(dec(pair, found.key_ids))
    number = pair.get(A, 0, ksid=old)
    assert (Status.PEER_NOT_CONNECTED, UNKNOWN) == (
        pair.status(A, number),
        pair.message(A, number),
    ), "to GET_KEY a pair is no stream, before and after"
    again = got(pair)

    assert bits(again) == bits(dec(pair, again.key_ids))
    pair.pass_ms(limits.DESTROY_WITHIN_MS)
    assert ksid_of(pair) != old
    assert NO_MORE == said(dec(pair, found.key_ids))
