"""Keys for several slaves, through the counters of two whole nodes."""

from collections.abc import AsyncIterator
from typing import Any, cast
from uuid import UUID

import pytest
import trio

from kms.adapters.operations.key_orders import answered
from kms.domain.keyrequests import DecKeys, EncKeys, KeysReply, Outcome, PairStatus
from kms.domain.names import SAEId
from kms.domain.orders import Act, KeyOrder
from kms.domain.policy import Policy, Rule
from kms.shell.operator import Operator
from tests.wired.nodes import Wired, network, wired
from tests.world import ALICE, ANN, BEN, BOB

ANA, BEA = SAEId("sae:ana"), SAEId("sae:bea")


@pytest.fixture
async def nodes() -> AsyncIterator[Wired]:
    policy = Policy(rules=(Rule(one=ANN, other="sae:*"),))
    async with wired(view=network(policy, {ANN: ALICE, ANA: ALICE, BEN: BOB, BEA: BOB})) as both:
        yield both


async def asked(nodes: Wired, *slaves: SAEId) -> KeysReply:
    """Keys that ann gets for these, or ben and bea, as soon as there is key enough."""
    first, *others = slaves or (BEN, BEA)
    wish = EncKeys(slave=first, additional_slaves=tuple(others), number=5, key_bytes=32)
    with trio.fail_after(30):
        while True:
            reply = await nodes.alice.counter.enc_keys(ANN, wish)
            if reply.outcome is Outcome.DELIVERED:
                return reply
            await trio.sleep(0.1)


async def test_a_master_and_two_slaves_get_the_same_keys_each_of_them_once(
    nodes: Wired, autojump_clock: object
) -> None:
    mine = await asked(nodes)
    first = await nodes.bob.counter.dec_keys(BEN, DecKeys(master=ANN, key_ids=mine.key_ids))
    second = await nodes.bob.counter.dec_keys(BEA, DecKeys(master=ANN, key_ids=mine.key_ids))
    again = await nodes.bob.counter.dec_keys(BEN, DecKeys(master=ANN, key_ids=mine.key_ids))

    assert mine.keys is not None
    assert 160 == len(mine.keys)
    assert mine.keys == first.keys == second.keys
    assert Outcome.BAD_REQUEST is again.outcome


async def test_a_slave_at_the_masters_own_node_is_served_beside_others_and_not_alone(
    nodes: Wired, autojump_clock: object
) -> None:
    """As docs/interfaces.md says where the standard is silent."""
    here = nodes.alice.counter
    alone = await here.enc_keys(ANN, EncKeys(slave=ANA, number=1, key_bytes=32))
    status = await here.pair_status(ANN, PairStatus(slave=ANA))
    beside = await asked(nodes, ANA, BEN)
    theirs = [
        await counter.dec_keys(slave, DecKeys(master=ANN, key_ids=beside.key_ids))
        for counter, slave in ((here, ANA), (nodes.bob.counter, BEN))
    ]

    assert [Outcome.BAD_REQUEST] * 2 == [alone.outcome, status.outcome]
    assert "shares keys between nodes only" in alone.message
    assert [beside.keys] * 2 == [each.keys for each in theirs]


async def test_a_random_source_that_fails_refuses_these_and_no_others(
    nodes: Wired, autojump_clock: object
) -> None:
    await asked(nodes)
    one = EncKeys(slave=BEN, number=1, key_bytes=32)
    with trio.fail_after(30):
        while (await nodes.alice.counter.enc_keys(ANN, one)).outcome is not Outcome.DELIVERED:
            await trio.sleep(0.1)
    nodes.alice.entropy.fail()
    wish = EncKeys(slave=BEN, additional_slaves=(BEA,), number=5, key_bytes=32)
    refused = await nodes.alice.counter.enc_keys(ANN, wish)
    served = await nodes.alice.counter.enc_keys(ANN, one)

    assert (Outcome.UNAVAILABLE, None) == (refused.outcome, refused.keys)
    assert "randomness" in refused.message
    assert Outcome.DELIVERED is served.outcome


async def test_an_operator_at_a_slaves_node_holds_one_back_for_all_and_hears_that_all_know(
    nodes: Wired, autojump_clock: object
) -> None:
    mine = await asked(nodes)
    pump, nobody = nodes.bob.running.pump, cast(Any, None)
    operator = Operator(
        BOB, hands=nobody, clock=nodes.bob.clock, settings=nobody, sealed_status=nobody
    )
    operator.opened(pump, nobody, nobody)
    key_id = UUID(bytes=mine.key_ids[:16])
    done, told = await operator.order_keys(
        KeyOrder(act=Act.SUSPEND, key_id=key_id, operator="olga", reason="a drill")
    )
    ask = DecKeys(master=ANN, key_ids=mine.key_ids[:16])
    refused = await nodes.bob.counter.dec_keys(BEA, ask)

    assert (True, True, 1) == (done.changed, told, done.waiting)
    assert Outcome.BAD_REQUEST is refused.outcome
    assert {"stream": None, "link": None, "key_id": str(key_id)}.items() <= answered(
        done, told=told
    ).items()
