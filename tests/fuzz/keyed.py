"""The besieged node with keys with IDs: some wait for an application here, one it has fetched, one
is another's, one is given up for lost, and there is a stock for its own requests.

Inputs name these keys by ``@0`` to ``@9``: IDs change whenever the played world does.
"""

import re
from collections.abc import Iterator
from functools import cache
from uuid import UUID

import attrs

from kms.domain.events import KeysOrdered
from kms.domain.keyids import ID_BYTES
from kms.domain.keyrequests import DecKeys, EncKeys, KeysReply, Outcome
from kms.domain.names import NodeId, SAEId
from kms.domain.orders import Act, KeyOrder
from tests.siege import CAROL, CAT, besieged
from tests.world import ALICE, ANN, BEN, BOB, World

ABE = SAEId("sae:abe")
"""lives where ann does"""
_NAME = re.compile(rb"@([0-9])")


@attrs.frozen
class Keyed:
    """The world, and the keys that an input may name."""

    world: World
    named: list[bytes]
    """IDs: five of a pair, two of a bundle, one fetched before, one of abe's, one compromised"""
    bits: dict[bytes, bytes] = attrs.field(repr=False)
    """what the master has, by ID"""

    def spelt(self, data: bytes) -> bytes:
        """``@3`` is the fourth of these keys."""
        return _NAME.sub(lambda found: str(UUID(bytes=self.named[int(found[1])])).encode(), data)


@cache
def keyed() -> Keyed:
    """Played once; it does not change any more."""
    world = besieged()
    world.allow({ANN: ALICE, ABE: ALICE, BEN: BOB, CAT: CAROL})
    for number in range(40, 44):
        world.block(number)
        world.settle()
    bits: dict[bytes, bytes] = {}
    pair, bundle, other = (
        list(_made(world, BOB, BEN, wish, bits))
        for wish in (
            EncKeys(slave=ANN, number=7, key_bytes=32),
            EncKeys(slave=ANN, number=2, key_bytes=32, additional_slaves=(ABE,)),
            EncKeys(slave=ABE, number=1, key_bytes=32),
        )
    )
    list(_made(world, ALICE, ANN, EncKeys(slave=BEN, number=1, key_bytes=32), bits))
    fetched = world.answer(ALICE, ANN, DecKeys(master=BEN, key_ids=pair[5]))
    assert isinstance(fetched, KeysReply)
    assert fetched.outcome is Outcome.DELIVERED
    lost = UUID(bytes=pair[6])
    order = KeyOrder(act=Act.COMPROMISE, key_id=lost, operator="eve", reason="seen elsewhere")
    world.sites[ALICE].inbox.append(KeysOrdered(request_id=-1, order=order))
    world.settle()
    return Keyed(world, [*pair[:5], *bundle, pair[5], *other, pair[6]], bits)


def _made(
    world: World, node: NodeId, master: SAEId, wish: EncKeys, bits: dict[bytes, bytes]
) -> Iterator[bytes]:
    """IDs of keys that the master got."""
    number = world.ask(node, master, wish)
    for _ in range(20):
        world.settle()
        if number in world.sites[node].answers:
            break
        world.pass_time(100)
    reply = world.sites[node].answers[number]
    assert isinstance(reply, KeysReply)
    assert reply.keys is not None, reply.message
    whole = bytes(reply.keys.expose())
    for at in range(wish.number):
        name = reply.key_ids[at * ID_BYTES : (at + 1) * ID_BYTES]
        bits[name] = whole[at * wish.key_bytes : (at + 1) * wish.key_bytes]
        yield name
