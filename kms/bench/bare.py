"""The bare listener: ours, with its TLS, its bounds and its fast way, and nobody behind it.

What a node reaches of its rate says what everything behind the listener costs.
"""

import os
from multiprocessing.connection import Connection

import h11
import structlog
import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, Scope

from kms.adapters import edge
from kms.adapters.tls import HTTP_1_1, Credentials, CurrentTLS


class Constant:
    """The same answer to every request of one line. Implements ``edge.HotRoutes``."""

    def __init__(self, line: str, answer: edge.Answer) -> None:
        self.request_lines = (f"{line} HTTP/1.1\r\n".encode(),)
        self._answer = answer

    def handler(self, request: h11.Request) -> edge.Handler | None:
        """See ``edge.HotRoutes``."""
        return self._say

    async def _say(self, der: bytes | None, body: bytes) -> edge.Answer:
        return self._answer


async def _nothing(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """An application that has only a fast way."""
    raise NotImplementedError(scope["type"])


def listen(
    connection: Connection,
    credentials: Credentials,
    line: str,
    answer: edge.Answer,
    cores: set[int],
) -> None:
    """A process, on these cores: answers requests that begin with ``line`` until it is killed."""
    os.sched_setaffinity(0, cores)

    async def run() -> None:
        listeners = await edge.listen_tcp("127.0.0.1", 0)
        connection.send(listeners[0].socket.getsockname()[1])
        await edge.serve(
            _nothing,
            listeners=listeners,
            tls=CurrentTLS(credentials, alpn=HTTP_1_1),
            log=structlog.get_logger(),
            hot=Constant(line, answer),
        )

    trio.run(run)
