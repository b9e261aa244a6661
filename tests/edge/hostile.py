"""Hostile openings: the listed ones (``openings.toml``), and any number bent out of their pieces.

``try_listed`` and ``try_bent`` are what tests and the proof share: one opening against a running
server, and what was wrong with the answer.
"""

import random
import tomllib
from pathlib import Path
from typing import Any, Final

import trio

from tests.edge.support import PROBE, Running, Stream, reply, until_closed

_FILE = Path(__file__).with_name("openings.toml")
OPENINGS: Final[list[dict[str, Any]]] = tomllib.loads(_FILE.read_text())["opening"]
PIECES: Final = [
    piece.encode("latin-1") for one in OPENINGS for piece in one["send"] if len(piece) > 1
]
_BENT_BYTES_MAX: Final = 8192
# The server's deadlines in tests are at most half of this; a busy machine takes its time.
_ENDS_S: Final = 10.0


async def try_listed(edge: Running, opening: dict[str, Any]) -> list[str]:
    """The opening was made; what of its answer or its end was not as listed."""
    wrong = []
    async with edge.connect() as stream, trio.open_nursery() as nursery:
        nursery.start_soon(_send, stream, opening)
        got = status(await reply(stream, seconds=_ENDS_S))
        ended = opening.get("then", "closed")
        if ended == "closed" and not await until_closed(stream, seconds=_ENDS_S):
            wrong.append("its connection goes on")
        nursery.cancel_scope.cancel()
        if opening["expect"] not in ("any", got):
            wrong.append(f"answered {got}, not {opening['expect']}")
        if ended == "open" and opening.get("times", 1) == 1:
            await stream.send_all(PROBE)
            after = status(await reply(stream))
            if after != "200":
                wrong.append(f"its connection then answers {after}")
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


def bent(choice: random.Random) -> bytes:
    """One to three pieces, with up to four bytes changed, cut out or doubled."""
    data = bytearray(b"".join(choice.choices(PIECES, k=choice.randint(1, 3)))[:_BENT_BYTES_MAX])
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
