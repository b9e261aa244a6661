"""Every hostile opening, over mutual TLS and over plain TCP: only its own connection suffers."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.edge.authority import Authority
from tests.edge.support import Stream, reply, running, small_app, until_closed

_FILE = Path(__file__).with_name("openings.toml")
OPENINGS: list[dict[str, Any]] = tomllib.loads(_FILE.read_text())["opening"]
AUTHORITY = Authority()


@pytest.mark.parametrize("opening", OPENINGS, ids=[one["name"] for one in OPENINGS])
@pytest.mark.parametrize("transport", ["tls", "plain"])
async def test_a_hostile_opening_ends_at_most_its_own_connection(
    opening: dict[str, Any], transport: str
) -> None:
    authority = AUTHORITY if transport == "tls" else None
    async with running(small_app(), authority=authority) as edge:
        async with edge.connect() as stream, trio.open_nursery() as nursery:
            nursery.start_soon(_send, stream, opening)
            got = _status(await reply(stream))
            ended = opening.get("then", "closed")
            if ended == "closed":
                assert await until_closed(stream, seconds=1.5)
            nursery.cancel_scope.cancel()
            if opening["expect"] != "any":
                assert opening["expect"] == got
            if ended == "open" and opening.get("times", 1) == 1:
                await stream.send_all(b"GET /who HTTP/1.1\r\nHost: k\r\n\r\n")

                assert _status(await reply(stream)) == "200"

        assert await edge.answers()
        assert edge.server.statistics().contained == 0
        assert edge.logged("edge_contained") == []


def test_no_opening_is_listed_twice() -> None:
    names = [one["name"] for one in OPENINGS]

    assert sorted(set(names)) == sorted(names)
    assert len(names) >= 26


async def _send(stream: Stream, opening: dict[str, Any]) -> None:
    """All the pieces, or as many as the server takes."""
    pieces = [one.encode("latin-1") for one in opening["send"]]
    if "repeat_last" in opening:
        pieces[-1:] = [pieces[-1] * 100] * (opening["repeat_last"] // 100)
    try:
        for piece in pieces * opening.get("times", 1):
            await stream.send_all(piece)
            if "pause_s" in opening:
                await trio.sleep(opening["pause_s"])
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass


def _status(answer: bytes) -> str:
    return answer.split(b" ")[1].decode() if answer.startswith(b"HTTP/1.1 ") else "closed"
