"""What many connections ask a node for: the requests, and what a good answer looks like."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import attrs

from kms.adapters.edge import Answer
from kms.bench.network import Network
from kms.bench.plan import Plan

# As many as one address may have, half of them with each of two certificates.
CONNECTIONS = 64


@attrs.frozen
class Asking:
    """A node that is ready to be asked."""

    url: str
    requests: Sequence[Iterator[bytes]]
    """of each connection; two may share one"""
    answers_max: int
    """what was made for them is used up then"""


class Case(Protocol):
    """One kind of request."""

    @property
    def what(self) -> str:
        """for a person"""
        ...

    @property
    def line(self) -> str:
        """verb and target: what the bare listener knows a request by"""
        ...

    @property
    def key_bytes(self) -> int:
        """of one answer"""
        ...

    @property
    def marker(self) -> bytes:
        """in every good answer"""
        ...

    def answers_max(self, plan: Plan) -> int:
        """of one round"""
        ...

    def pad_bytes(self, plan: Plan) -> int:
        """agreed key that one round uses up"""
        ...

    def answer(self) -> Answer:
        """one as the node gives it"""
        ...

    def request(self) -> bytes:
        """one as long as the node gets it"""
        ...

    def ready(self, net: Network, plan: Plan) -> AbstractAsyncContextManager[Asking]:
        """the first node holds what is asked for"""
        ...


def spelled(line: str, *headers: str, body: bytes = b"") -> bytes:
    """A request as a client that keeps its connection writes it."""
    lengths = [f"Content-Length: {len(body)}"] if body else []
    return (
        "\r\n".join([f"{line} HTTP/1.1", "Host: kms", *headers, *lengths, "\r\n"]).encode() + body
    )
