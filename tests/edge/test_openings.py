"""Every hostile opening, over mutual TLS and over plain TCP: only its own connection suffers."""

from typing import Any

import pytest

from tests.edge.authority import Authority
from tests.edge.hostile import OPENINGS, try_listed
from tests.edge.support import SmallHot, running, small_app

AUTHORITY = Authority()


@pytest.mark.parametrize("opening", OPENINGS, ids=[one["name"] for one in OPENINGS])
@pytest.mark.parametrize("transport", ["tls", "plain"])
@pytest.mark.parametrize("hot", [SmallHot(), None], ids=["fast", "slow"])
async def test_a_hostile_opening_ends_at_most_its_own_connection(
    opening: dict[str, Any], transport: str, hot: SmallHot | None
) -> None:
    """Whether the server has a fast way or not."""
    authority = AUTHORITY if transport == "tls" else None
    async with running(small_app(), authority=authority, hot=hot) as edge:
        assert await try_listed(edge, opening) == []
        assert await edge.answers()
        assert edge.server.statistics().contained == 0
        assert edge.logged("edge_contained") == []


def test_no_opening_is_listed_twice() -> None:
    names = [one["name"] for one in OPENINGS]

    assert sorted(set(names)) == sorted(names)
    assert len(names) >= 26
