"""GET_KEY by many connections (ETSI GS QKD 004 over HTTP), of chunks made before."""

import itertools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import msgspec

from kms.adapters.edge import Answer
from kms.adapters.etsi004_http import answering
from kms.adapters.etsi004_http.openapi import PREFIX
from kms.bench import creation
from kms.bench.asking import CONNECTIONS, Asking, spelled
from kms.bench.network import STREAMS, Network, streams
from kms.bench.plan import Plan
from kms.domain.limits import KIB
from kms.domain.requests import KeyReply
from kms.domain.secret import Secret
from kms.domain.status import Status

# Small chunks for some seconds.
_EACH_MAX = 16_384


@attrs.frozen
class GetKey:
    """The next chunk of a stream. Implements ``asking.Case``."""

    chunk_bytes: int
    media_type: str
    line = f"POST {PREFIX}/get_key"

    @property
    def what(self) -> str:
        return f"GET_KEY, {creation.size(self.chunk_bytes)}, {self.media_type}"

    @property
    def key_bytes(self) -> int:
        return self.chunk_bytes

    @property
    def marker(self) -> bytes:
        return b"kms-status: 0\r" if self.media_type == answering.OCTETS else b'"status":0,'

    def answers_max(self, plan: Plan) -> int:
        return STREAMS * self._each(plan)

    def pad_bytes(self, plan: Plan) -> int:
        return self.answers_max(plan) * self.chunk_bytes

    def answer(self) -> Answer:
        key = Secret(os.urandom(self.chunk_bytes))
        reply = KeyReply(status=Status.SUCCESS, message="", index=12_345, key=key)
        return answering.key(reply, self.media_type)

    def request(self, ksid: object = "0" * 36) -> bytes:
        headers = ("Content-Type: application/json", f"Accept: {self.media_type}")
        body = msgspec.json.encode({"Key_stream_ID": str(ksid)})
        return spelled(self.line, *headers, body=body)

    @asynccontextmanager
    async def ready(self, net: Network, plan: Plan) -> AsyncIterator[Asking]:
        async with (
            net.client(0, connections=plan.connections) as ann,
            net.client(1, connections=plan.connections) as ben,
            streams((ann, ben), net.site, self.chunk_bytes) as pairs,
        ):
            await creation.create(pairs, self._each(plan))
            asked = [self.request(pair.both[0].ksid) for pair in pairs]
            had = len(pairs) * creation.steps(self.chunk_bytes, self._each(plan))
            yield Asking(
                net.site.nodes[0].etsi004_url,
                [itertools.repeat(asked[number % len(asked)]) for number in range(CONNECTIONS)],
                self.answers_max(plan) - had,
            )

    def _each(self, plan: Plan) -> int:
        """Chunks made ahead for each stream."""
        return min(plan.requested_bytes // self.chunk_bytes, _EACH_MAX)


CASES = (
    GetKey(32, answering.JSON),
    GetKey(64 * KIB, answering.OCTETS),
    GetKey(64 * KIB, answering.JSON),
)
