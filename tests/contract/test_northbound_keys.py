"""What every counter must do with keys that have IDs (ports/northbound.py), fake or real node.

As ``test_northbound``: the counter at each end, and applications that policy knows. The interface
of ETSI GS QKD 014 has the fake behind it, on both of its ways.
"""

from collections.abc import AsyncIterator
from contextlib import suppress
from uuid import UUID

import pytest

from kms.domain.keyrequests import DecKeys, EncKeys, KeysReply, Outcome, PairStatus
from kms.ports.northbound import Forbidden
from tests.contract.counters import KEY_COUNTERS
from tests.contract.test_northbound import ALICE, BOB, NOBODY, POLICY, STRANGER, Pair

UNKNOWN = UUID("550e8400-e29b-41d4-a716-446655440000").bytes
NOT_FOUND = "one or more keys specified are not found on KME"


@pytest.fixture(params=list(KEY_COUNTERS))
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    async with KEY_COUNTERS[request.param](POLICY) as made:
        yield Pair(here=made, there=made)


async def test_the_slave_gets_by_their_ids_the_keys_that_the_master_got(pair: Pair) -> None:
    made = await pair.here.enc_keys(ALICE, EncKeys(slave=BOB, number=3, key_bytes=32))
    fetched = await pair.there.dec_keys(BOB, DecKeys(master=ALICE, key_ids=made.key_ids))

    assert (Outcome.DELIVERED, Outcome.DELIVERED) == (made.outcome, fetched.outcome)
    assert len(_keys(made, 32)) == len(set(_keys(made, 32))) == 3
    assert made.key_ids == fetched.key_ids
    assert _keys(made, 32) == _keys(fetched, 32)


@pytest.mark.parametrize("key_bytes", [8, 31, 4096])
async def test_keys_are_as_long_as_was_asked(pair: Pair, key_bytes: int) -> None:
    made = await pair.here.enc_keys(ALICE, EncKeys(slave=BOB, number=2, key_bytes=key_bytes))

    assert [key_bytes] * 2 == [len(key) for key in _keys(made, key_bytes)]


async def test_every_key_has_an_id_of_its_own_for_ever(pair: Pair) -> None:
    named: list[bytes] = []
    for key_bytes in (16, 32, 32):
        made = await pair.here.enc_keys(ALICE, EncKeys(slave=BOB, number=2, key_bytes=key_bytes))
        named += _ids(made)

    assert len(set(named)) == 6


async def test_keys_come_in_the_order_in_which_they_are_named_in_any_parts(pair: Pair) -> None:
    made = await pair.here.enc_keys(ALICE, EncKeys(slave=BOB, number=4, key_bytes=16))
    one, two, three, four = _ids(made)
    first = await pair.there.dec_keys(BOB, DecKeys(master=ALICE, key_ids=four + two))
    rest = await pair.there.dec_keys(BOB, DecKeys(master=ALICE, key_ids=one + three))

    keys = _keys(made, 16)
    assert [keys[3], keys[1]] == _keys(first, 16)
    assert [keys[0], keys[2]] == _keys(rest, 16)


async def test_a_key_is_delivered_once_to_the_slave(pair: Pair) -> None:
    made = await pair.here.enc_keys(ALICE, EncKeys(slave=BOB, number=1, key_bytes=32))
    asked = DecKeys(master=ALICE, key_ids=made.key_ids)
    first = await pair.there.dec_keys(BOB, asked)
    second = await pair.there.dec_keys(BOB, asked)

    assert first.outcome is Outcome.DELIVERED
    assert (Outcome.BAD_REQUEST, NOT_FOUND, None) == (second.outcome, second.message, second.keys)


async def test_one_unknown_id_delivers_none_and_loses_none(pair: Pair) -> None:
    made = await pair.here.enc_keys(ALICE, EncKeys(slave=BOB, number=2, key_bytes=32))
    one, two = _ids(made)
    asked = DecKeys(master=ALICE, key_ids=one + UNKNOWN + two)
    refused = await pair.there.dec_keys(BOB, asked)
    fetched = await pair.there.dec_keys(BOB, DecKeys(master=ALICE, key_ids=made.key_ids))

    assert (Outcome.BAD_REQUEST, NOT_FOUND) == (refused.outcome, refused.message)
    assert fetched.outcome is Outcome.DELIVERED


async def test_keys_of_another_master_are_not_found(pair: Pair) -> None:
    made = await pair.here.enc_keys(ALICE, EncKeys(slave=BOB, number=1, key_bytes=32))
    refused = await pair.there.dec_keys(BOB, DecKeys(master=STRANGER, key_ids=made.key_ids))

    assert (Outcome.BAD_REQUEST, NOT_FOUND) == (refused.outcome, refused.message)


async def test_the_master_is_no_slave_of_its_own_keys(pair: Pair) -> None:
    made = await pair.here.enc_keys(ALICE, EncKeys(slave=BOB, number=1, key_bytes=32))
    with suppress(Forbidden):  # NOT_ENTITLED, over an interface that has one word for both
        refused = await pair.here.dec_keys(ALICE, DecKeys(master=BOB, key_ids=made.key_ids))

        assert refused.outcome in (Outcome.NOT_ENTITLED, Outcome.BAD_REQUEST)
        assert refused.keys is None
    fetched = await pair.there.dec_keys(BOB, DecKeys(master=ALICE, key_ids=made.key_ids))

    assert fetched.outcome is Outcome.DELIVERED


async def test_the_status_names_the_slaves_node_and_a_size(pair: Pair) -> None:
    reply = await pair.here.pair_status(ALICE, PairStatus(slave=BOB))

    assert reply.outcome is Outcome.DELIVERED
    assert reply.slave_node
    assert reply.key_bytes == 32
    assert 0 <= reply.stored_keys <= reply.stored_keys_max


async def test_whom_policy_does_not_name_is_forbidden(pair: Pair) -> None:
    with pytest.raises(Forbidden):
        await pair.here.enc_keys(NOBODY, EncKeys(slave=BOB, number=1, key_bytes=32))
    with pytest.raises(Forbidden):
        await pair.here.pair_status(NOBODY, PairStatus(slave=BOB))


def _ids(reply: KeysReply) -> list[bytes]:
    return [reply.key_ids[at : at + 16] for at in range(0, len(reply.key_ids), 16)]


def _keys(reply: KeysReply, key_bytes: int) -> list[bytes]:
    assert reply.keys is not None
    whole = bytes(reply.keys.expose())
    return [whole[at : at + key_bytes] for at in range(0, len(whole), key_bytes)]
