"""A neighbour that is not there: dialled again and again, and spoken of once."""

import random
import socket
from pathlib import Path

import structlog.testing
import trio

from kms.adapters.neighbour import Neighbour
from kms.adapters.peer_tls import TLSPeerLinks
from kms.domain.names import NodeId
from tests.peer_worlds import QUICK, Inbox, tls_world

ATTEMPTS = 5


class Waits(random.Random):
    """The jitter of the waits between attempts, and how many there were."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.many, self.enough = 0, trio.Event()

    def uniform(self, a: float, b: float) -> float:
        self.many += 1
        if self.many == ATTEMPTS:
            self.enough.set()
        return super().uniform(a, b)


def closed_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port


async def test_an_absent_neighbour_is_dialled_again_and_again_and_logged_once(
    tmp_path: Path,
) -> None:
    waits = Waits(1)
    async with tls_world(tmp_path) as world, trio.open_nursery() as nursery:
        a = TLSPeerLinks(
            node=NodeId("a"),
            tls=world.tls("kms:a"),
            jitter=waits,
            neighbours=[Neighbour(node=NodeId("b"), host="127.0.0.1", port=closed_port())],
            timing=QUICK,
        )
        with structlog.testing.capture_logs() as logs:
            nursery.start_soon(a.run, Inbox())
            await waits.enough.wait()
        nursery.cancel_scope.cancel()

    assert ["peer-unreachable"] == [each["event"] for each in logs]
