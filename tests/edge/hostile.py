"""Hostile openings of servers of HTTP: the listed ones (``openings.toml``, ``keys_openings.toml``),
and any number bent out of the pieces of these or others.

``try_listed`` and ``try_bent`` are what tests and the proof share: one opening against a running
server, and what was wrong with the answer.
"""

import random
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import trio

from tests.edge.support import Running, Stream, reply, until_closed

Openings = list[dict[str, Any]]


def _listed(name: str) -> Openings:
    listed: Openings = tomllib.loads(Path(__file__).with_name(name).read_text())["opening"]
    return listed


def _pieces(listed: Openings) -> list[bytes]:
    return [piece.encode("latin-1") for one in listed for piece in one["send"] if len(piece) > 1]


OPENINGS: Final = _listed("openings.toml")
PIECES: Final = _pieces(OPENINGS)
KEYS_OPENINGS: Final = _listed("keys_openings.toml")
_KEYS: Final = b"/api/v1/keys/sae%3Abob.b/"
KEYS_PIECES: Final = [
    *_pieces(KEYS_OPENINGS),
    *(
        piece.replace(b"/echo", _KEYS + b"enc_keys").replace(b"/who", _KEYS + b"status")
        for piece in PIECES
    ),
]
"""of both lists, with the URLs of keys with IDs"""
_BENT_BYTES_MAX: Final = 8192
# The server's deadlines in tests are at most half of this; a busy machine takes its time.
_ENDS_S: Final = 10.0


async def try_listed(edge: Running, opening: dict[str, Any]) -> list[str]:
    """The opening was made; what of its answer or its end was not as listed."""
    wrong = []
    ended = opening.get("then", "closed")
    async with edge.connect() as stream:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_send, stream, opening)
            got = status(await reply(stream, seconds=_ENDS_S))
            if ended == "closed" and not await until_closed(stream, seconds=_ENDS_S):
                wrong.append("its connection goes on")
            nursery.cancel_scope.cancel()
        if opening["expect"] not in ("any", got):
            wrong.append(f"answered {got}, not {opening['expect']}")
        # Outside the nursery, or it would be cancelled as well.
        if ended == "open" and opening.get("times", 1) == 1:
            served = False
            with suppress(trio.BrokenResourceError):
                served = await edge.probe(stream)
            if not served:
                wrong.append("its connection is not served any more")
    return [f"{opening['name']}: {each}" for each in wrong]


async def try_bent(edge: Running, opening: bytes) -> list[str]:
    """The opening was made, one in four hung up at once; what was wrong with its end."""
    async with edge.connect() as stream:
        try:
            await stream.send_all(opening)
            if not hangs_up(opening) and not await until_closed(stream, seconds=_ENDS_S):
                return [f"its connection goes on: {opening[:80]!r}"]
        except trio.BrokenResourceError:
            pass  # The server was faster.
    return []


def bent(choice: random.Random, pieces: Sequence[bytes] = PIECES) -> bytes:
    """One to three pieces, with up to four bytes changed, cut out or doubled."""
    data = bytearray(b"".join(choice.choices(pieces, k=choice.randint(1, 3)))[:_BENT_BYTES_MAX])
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


def hangs_up(opening: bytes) -> bool:
    """One in four hangs up at once, the same ones in each run."""
    return sum(opening) % 4 == 0


def status(answer: bytes) -> str:
    """Of an answer; ``closed`` without one."""
    return answer.split(b" ")[1].decode() if answer.startswith(b"HTTP/1.1 ") else "closed"


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
