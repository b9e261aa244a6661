"""Openings that nobody thought of: pieces of the known ones, cut, joined and bent, by a seed."""

import random

import attrs
import pytest
import trio

from tests.edge.support import SHORT, Running, running, small_app, until_closed
from tests.edge.test_openings import OPENINGS

SEED = 20261122
COUNT = 500
_AT_ONCE = 25


@pytest.mark.slow
async def test_generated_openings_end_at_most_their_own_connections() -> None:
    bounds = attrs.evolve(
        SHORT,
        header_s=0.1,
        receive_s=0.1,
        idle_s=0.1,
        linger_s=0.05,
        connections_per_address_max=COUNT,
        connections_max=COUNT,
    )
    choice = random.Random(SEED)
    pieces = [
        piece.encode("latin-1") for one in OPENINGS for piece in one["send"] if len(piece) > 1
    ]
    openings = [_bent(choice, pieces) for _ in range(COUNT)]
    async with running(small_app(), authority=None, bounds=bounds) as edge:
        slots = trio.CapacityLimiter(_AT_ONCE)
        async with trio.open_nursery() as nursery:
            for opening in openings:
                nursery.start_soon(_open, edge, slots, opening)

        assert edge.logged("edge_contained") == [], f"seed {SEED}"
        assert edge.server.statistics().contained == 0
        assert edge.server.statistics().accepted > COUNT // 2
        assert await edge.answers()


def _bent(choice: random.Random, pieces: list[bytes]) -> bytes:
    """One to three pieces, with up to four bytes changed, cut out or doubled."""
    data = bytearray(b"".join(choice.choices(pieces, k=choice.randint(1, 3)))[:8192])
    for _ in range(choice.randint(0, 4)):
        at = choice.randrange(len(data)) if data else 0
        match choice.randrange(3):
            case 0:
                data[at : at + 1] = bytes([choice.randrange(256)])
            case 1:
                del data[at : at + choice.randint(1, 20)]
            case _:
                data[at:at] = data[at : at + choice.randint(1, 20)]
    return bytes(data)


async def _open(edge: Running, slots: trio.CapacityLimiter, opening: bytes) -> None:
    async with slots, edge.connect() as stream:
        try:
            await stream.send_all(opening)
            if _hangs_up(opening):
                return
            assert await until_closed(stream, seconds=5)
        except trio.BrokenResourceError:
            pass


def _hangs_up(opening: bytes) -> bool:
    """One in four hangs up at once, the same ones in each run."""
    return sum(opening) % 4 == 0
