"""A store that was put back with everything readable in it gives no key a second time, once its
neighbour has told it that it is old: else an application would use one key as two."""

import pytest

from kms.domain.names import NodeId
from kms.domain.status import QoS
from tests.domain.multicast_play import AB, CAROL, CAT, NOT_FOUND, Party, outcome
from tests.domain.multicast_play import BEN as SLAVE
from tests.domain.test_node import fetch, opened, ready
from tests.world import ALICE, ANN, BEN, BOB


@pytest.mark.parametrize(("name", "chunk_bytes"), [(ALICE, 32), (ALICE, 4096), (BOB, 4096)])
def test_what_was_delivered_since_the_copy_was_made_is_not_delivered_again(
    name: NodeId, chunk_bytes: int
) -> None:
    """Alice makes the chunks: hers is old if bob holds more of them. Bob's is old if alice has used
    more pad than he remembers to have granted."""
    world = ready(60)
    ksid = opened(world, QoS(key_chunk_size=chunk_bytes))
    fetch(world, ksid, 4)
    copy = world.sites[name].disk.copy()
    before = fetch(world, ksid, 100)
    world.crash(name, copy)
    world.settle()
    world.allow({ANN: ALICE, BEN: BOB})
    world.connect()
    after = fetch(world, ksid, 40)
    here = 0 if name == ALICE else 1

    assert set() == after[here].keys() & before[here].keys()
    assert after[0].keys() & after[1].keys()


def test_a_slave_of_several_fetches_no_key_twice_out_of_an_old_copy() -> None:
    party = Party()
    several = party.got(SLAVE, CAT, count=2)
    copy = party.sites[BOB].disk.copy()
    fetched = outcome(party.dec(SLAVE, several.key_ids))
    for _ in range(12):
        party.got(SLAVE, CAT, count=400)
        party.refill(BOB)
        party.refill(CAROL)
    party.crash(BOB, copy)
    party.settle()
    party.allow()
    party.connect(ALICE, BOB)

    assert "delivered" == fetched[0].value
    assert not party.sites[BOB].node.streams._register.bundles.over(AB)
    assert NOT_FOUND == outcome(party.dec(SLAVE, several.key_ids))[1]
