"""What an application sends over HTTP: its JSON, and what the node makes of it if it reads."""

if __name__ == "__main__":
    from tests.fuzz.engine import main

    main("application")

from collections.abc import Callable
from functools import cache
from uuid import UUID

from kms.adapters.etsi004_http.reading import close, get_key, open_connect
from kms.adapters.etsi004_http.strict import Malformed, Members, read
from kms.domain.effects import Answer, DeliverKey, Refuse
from kms.domain.events import Asked
from kms.domain.names import KSID
from kms.domain.requests import Request
from tests.fuzz.copies import Besieged
from tests.statehash import state_hash
from tests.world import ANN

READINGS: tuple[Callable[[Members], Request], ...] = (open_connect, get_key, close)
FRESH = KSID(UUID("0b1ac001-0000-4000-8000-000000000001"))


def one_input(data: bytes) -> None:
    """The first octet chooses the function; the rest is the body."""
    if not data:
        return
    request = _request(READINGS[data[0] % len(READINGS)], data[1:])
    if isinstance(request, Malformed):
        assert request.field, "what is malformed is named"
        assert len(request.reason) < 1000, "a stranger's words are cut short"
    else:
        _asked(request)


def _request(reading: Callable[[Members], Request], body: bytes) -> Request | Malformed:
    try:
        return reading(read(body))
    except Malformed as malformed:
        return malformed


def _asked(request: Request) -> None:
    """Answered exactly once, or waiting with a deadline; other applications' state is as before."""
    siege = Besieged()
    ann = Asked(request_id=1, caller=ANN, request=request, fresh=FRESH)
    effects = siege.takes(ann)
    answers = [each for each in effects if isinstance(each, Answer | DeliverKey | Refuse)]
    waiting = siege.node.streams._register.waiting
    assert len(answers) + (1 in waiting) == 1, "one answer to a request"
    if any(isinstance(each, Refuse) for each in answers):
        assert _at_first() == state_hash(siege.node), "I9 a refused request changes nothing"


@cache
def _at_first() -> str:
    return state_hash(Besieged().node)
