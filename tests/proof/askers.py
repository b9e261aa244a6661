"""Applications that ask for keys with IDs in a life on files (``onfiles``): two at each end.

A master asks for keys for one slave at the other end, or for several, at either; slaves fetch some
of what masters got, in any order, and leave the rest to its time. What a slave gets is what the
master has (I2).
"""

import random
from typing import Final

from kms.domain.keyids import ID_BYTES
from kms.domain.keyrequests import DecKeys, EncKeys, KeysReply
from kms.domain.names import NodeId, SAEId
from tests.proof.onfiles import ENDS, MORE, Traffic

_SIZES: Final = (16, 32, 32, 64, 256)
_NUMBER_MAX: Final = 12
# What was given long ago is not fetched: it expires.
_KNOWN_MAX: Final = 40


class Askers:
    """Masters and slaves at both ends, and what they know."""

    def __init__(self, traffic: Traffic, chance: random.Random) -> None:
        self.traffic, self.chance = traffic, chance
        self.compared = 0
        self._asked: list[tuple[NodeId, SAEId, EncKeys, int]] = []
        self._given: list[tuple[SAEId, NodeId, SAEId, bytes, bytes]] = []
        """master, slave with its node, ID and bits"""

    def act(self) -> None:
        """Somebody asks; who has got keys tells the slaves; somebody fetches."""
        self.ask()
        self.traffic.world.pass_time(300, 100)
        self.hear()
        for _ in range(self.chance.randrange(4)):
            self.fetch()

    def ask(self) -> None:
        name, other = self.chance.sample(tuple(ENDS), 2)
        master, beside = self.chance.sample((ENDS[name], MORE[name]), 2)
        slave, second = self.chance.sample((ENDS[other], MORE[other]), 2)
        wish = EncKeys(
            slave=slave,
            number=self.chance.randint(1, _NUMBER_MAX),
            key_bytes=self.chance.choice(_SIZES),
            additional_slaves=self.chance.choice(((), (second,), (beside,), (beside, second))),
        )
        number = self.traffic.world.ask(name, master, wish)
        self._asked.append((name, master, wish, number))

    def hear(self) -> None:
        """Answers are read; who was not answered, since a node died, is not any more."""
        for name, master, wish, number in self._asked:
            reply = self.traffic.world.sites[name].answers.get(number)
            if isinstance(reply, KeysReply) and reply.keys is not None:
                bits, ids = bytes(reply.keys.expose()), reply.key_ids
                for slave in (wish.slave, *wish.additional_slaves):
                    for at in range(wish.number):
                        key = bits[at * wish.key_bytes : (at + 1) * wish.key_bytes]
                        one = ids[at * ID_BYTES : (at + 1) * ID_BYTES]
                        self._given.append((master, _home(slave), slave, one, key))
        self._asked.clear()
        del self._given[:-_KNOWN_MAX]

    def fetch(self) -> None:
        """Some keys that one slave knows of."""
        if not self._given:
            return
        master, home, slave, _, chosen = self.chance.choice(self._given)
        known = [
            each
            for each in self._given
            if each[:3] == (master, home, slave) and len(each[4]) == len(chosen)
        ]
        wanted = self.chance.sample(known, self.chance.randint(1, len(known)))
        ids = b"".join(each[3] for each in wanted)
        reply = self.traffic.world.answer(home, slave, DecKeys(master=master, key_ids=ids))
        if isinstance(reply, KeysReply) and reply.keys is not None:
            assert bytes(reply.keys.expose()) == b"".join(each[4] for each in wanted), (
                "I2 a slave has another key than its master"
            )
            self.compared += len(wanted)
        self._given = [each for each in self._given if each not in wanted]


def _home(sae: SAEId) -> NodeId:
    return next(name for name in ENDS if sae in (ENDS[name], MORE[name]))
