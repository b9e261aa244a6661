"""enc_keys and dec_keys by many connections (ETSI GS QKD 014), of 256-bit keys.

The keys of enc_keys are made while they are asked for: no more than a pair's stock can be made
ahead. Those of dec_keys were given to their master, at the other node, before.
"""

import itertools
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import attrs
import msgspec

from kms.adapters.edge import Answer
from kms.adapters.etsi014_http import answering
from kms.adapters.etsi014_http.routes import PREFIX
from kms.bench.asking import CONNECTIONS, Asking, spelled
from kms.bench.network import Network
from kms.bench.plan import Plan
from kms.domain.keyrequests import KeysReply, Outcome
from kms.domain.limits import KEY_BYTES_DEFAULT, KEYS_PER_REQUEST_MAX
from kms.domain.secret import Secret

_OTHER = "sae:the-other-one"
# One key a request, for some seconds.
_ONES_MAX = 65_536
# What they say: a node is warm, and its pacer knows the demand.
_WARM_UP = 64


def _container(number: int) -> Answer:
    ids = b"".join(uuid4().bytes for _ in range(number))
    keys = Secret(os.urandom(number * KEY_BYTES_DEFAULT))
    return answering.keys(KeysReply(outcome=Outcome.DELIVERED, key_ids=ids, keys=keys))


@attrs.frozen
class EncKeys:
    """So many fresh keys. Implements ``asking.Case``."""

    number: int
    marker = b'{"keys":[{"key_ID":"'

    @property
    def what(self) -> str:
        return f"enc_keys of {self.number:,}, {8 * KEY_BYTES_DEFAULT} bit, made meanwhile"

    @property
    def line(self) -> str:
        return self._line(_OTHER)

    @property
    def key_bytes(self) -> int:
        return self.number * KEY_BYTES_DEFAULT

    def answers_max(self, plan: Plan) -> int:
        return min(_ONES_MAX, 2 * plan.requested_bytes // self.key_bytes)

    def pad_bytes(self, plan: Plan) -> int:
        return (self.answers_max(plan) + _WARM_UP) * self.key_bytes

    def answer(self) -> Answer:
        return _container(self.number)

    def request(self) -> bytes:
        return spelled(self.line)

    @asynccontextmanager
    async def ready(self, net: Network, plan: Plan) -> AsyncIterator[Asking]:
        slave = net.site.applications[1].sae_id
        async with net.key_client(0) as ann:
            for _ in range(_WARM_UP):
                (await ann.enc_keys(slave, number=self.number)).wipe()
        again = itertools.repeat(spelled(self._line(slave)))
        yield Asking(net.site.nodes[0].etsi014_url, [again] * CONNECTIONS, self.answers_max(plan))

    def _line(self, slave: str) -> str:
        size = 8 * KEY_BYTES_DEFAULT
        return f"GET {PREFIX}/{slave}/enc_keys?number={self.number}&size={size}"


@attrs.frozen
class DecKeys:
    """One key of those that the other application got. Implements ``asking.Case``."""

    what = f"dec_keys of 1, {8 * KEY_BYTES_DEFAULT} bit"
    key_bytes = KEY_BYTES_DEFAULT
    marker = EncKeys.marker

    @property
    def line(self) -> str:
        return self._line(_OTHER)

    def answers_max(self, plan: Plan) -> int:
        most = min(_ONES_MAX, plan.requested_bytes // KEY_BYTES_DEFAULT)
        return most // KEYS_PER_REQUEST_MAX * KEYS_PER_REQUEST_MAX

    def pad_bytes(self, plan: Plan) -> int:
        return self.answers_max(plan) * KEY_BYTES_DEFAULT

    def answer(self) -> Answer:
        return _container(1)

    def request(self) -> bytes:
        return self._request(_OTHER, uuid4())

    @asynccontextmanager
    async def ready(self, net: Network, plan: Plan) -> AsyncIterator[Asking]:
        slave, master = (each.sae_id for each in net.site.applications)
        ids: list[UUID] = []
        async with net.key_client(1) as ben:
            while len(ids) < self.answers_max(plan):
                with await ben.enc_keys(slave, number=KEYS_PER_REQUEST_MAX) as keys:
                    ids += keys.key_ids
        # One line of requests, whoever is first takes the next: each key is there once.
        asked: Iterator[bytes] = (self._request(master, each) for each in ids)
        yield Asking(net.site.nodes[0].etsi014_url, [asked] * CONNECTIONS, len(ids))

    def _line(self, master: str) -> str:
        return f"POST {PREFIX}/{master}/dec_keys"

    def _request(self, master: str, key_id: UUID) -> bytes:
        body = msgspec.json.encode({"key_IDs": [{"key_ID": str(key_id)}]})
        return spelled(self._line(master), "Content-Type: application/json", body=body)


CASES = (EncKeys(1), DecKeys(), EncKeys(KEYS_PER_REQUEST_MAX))
