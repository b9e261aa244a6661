"""What an application sends to ask for keys with IDs (ETSI GS QKD 014): its URL, query and JSON,
through the reader, the desk and the node to the answer.

Ann asks the besieged node for keys, or for keys that others made for her (``keyed``). Whatever she
sends she gets one answer that the standard knows; what is refused changes nothing; what she gets is
what the master has, and she gets it once.
"""

if __name__ == "__main__":
    from tests.fuzz.engine import main

    main("keys")

import json
from base64 import b64decode
from collections.abc import Coroutine
from functools import cache
from typing import Any, Final
from uuid import UUID

import attrs

from kms.adapters.edge import Answer
from kms.adapters.etsi014_http.answering import JSON
from kms.adapters.etsi014_http.desk import Desk
from kms.adapters.etsi014_http.routes import PREFIX, Route, route
from kms.domain import effects, limits
from kms.domain.events import Asked, Tick
from kms.domain.keyids import ID_BYTES
from kms.domain.keyrequests import (
    DecKeys,
    EncKeys,
    KeysReply,
    Outcome,
    PairStatus,
    PairStatusReply,
)
from kms.domain.names import SAEId
from kms.domain.requests import bytes_wanted
from kms.domain.secret import Secret
from kms.ports.northbound import Forbidden
from tests.fuzz.application import FRESH
from tests.fuzz.copies import Besieged
from tests.fuzz.frames import certificate
from tests.fuzz.keyed import keyed
from tests.statehash import state_hash
from tests.world import ALICE

WAYS: Final = (
    ("POST", b"enc_keys"),
    ("POST", b"dec_keys"),
    ("GET", b"enc_keys"),
    ("GET", b"dec_keys"),
    ("GET", b"status"),
    ("GET", b""),
)
"""a verb and the end of the path; with none the whole target is the input's"""
TYPES: Final = (JSON, "application/json; charset=utf-8", "text/json", "")
_PREFIX: Final = PREFIX.encode()


def one_input(data: bytes) -> None:
    """See ``asked``."""
    asked(data)


def asked(data: bytes) -> tuple[bytes, int] | None:
    """Which method was asked, and the status of its answer; None if no connection brings this.

    The first octet chooses the way and the Content-Type; the rest of the first line is the SAE ID
    in the URL, with a query if there is one; what follows is the body.
    """
    if not data:
        return None
    verb, method = WAYS[data[0] % len(WAYS)]
    line, _, body = keyed().spelt(data[1:]).partition(b"\n")
    segment, mark, query = line.partition(b"?")
    target = b"%s/%s/%s%s%s" % (_PREFIX, segment, method, mark, query) if method else line
    if not all(0x21 <= each <= 0x7E for each in target):
        return None  # h11 lets it through nowhere
    found = route(verb, target)
    counter = KeyedCounter()
    if isinstance(found, Route):
        desk = Desk(counter, ALICE, Faultless())  # type: ignore[arg-type]
        kind = TYPES[data[0] // len(WAYS) % len(TYPES)]
        answer = _run(desk.answer(found, kind, certificate(), body))
        method = found.method.value
    else:
        answer = found
    _check(answer, counter)
    return method, answer.status


def _check(answer: Answer, counter: "KeyedCounter") -> None:
    """It is one of the standard's, and says what the node said."""
    assert answer.status in (200, 400, 401, 404, 503), answer.status
    if answer.status == 401:
        assert answer.body == b"", "401 has no body"
        return
    told = json.loads(answer.body)
    if answer.status != 200:
        assert counter.given is None, "what was given is answered"
        assert 0 < len(told["message"]) < 1000, "a stranger's words are cut short"
    elif counter.given is not None:
        found = [(UUID(one["key_ID"]).bytes, b64decode(one["key"])) for one in told["keys"]]
        assert found == counter.given, "each key under its ID"


class Faultless:
    """The log of a desk that has nothing to say: it speaks of faults of ours alone."""

    def error(self, event: str, **fields: object) -> None:
        raise AssertionError(f"{event}: {fields}")


class KeyedCounter:
    """A counter before a node of its own; time passes at once."""

    def __init__(self) -> None:
        self.given: list[tuple[bytes, bytes]] | None = None
        """keys and their IDs, in the order of the answer"""

    async def enc_keys(self, caller: SAEId, request: EncKeys) -> KeysReply:
        reply, _ = self._ask(caller, request)
        assert isinstance(reply, KeysReply)
        if reply.keys is not None:
            assert self.given is not None
            assert len({name for name, _ in self.given}) == request.number, "as many as asked for"
            assert {len(bits) for _, bits in self.given} == {request.key_bytes}
        return reply

    async def dec_keys(self, caller: SAEId, request: DecKeys) -> KeysReply:
        reply, siege = self._ask(caller, request)
        assert isinstance(reply, KeysReply)
        if reply.keys is not None:
            assert reply.key_ids == request.key_ids, "in the order asked for"
            assert self.given is not None
            for name, bits in self.given:
                assert keyed().bits[name] == bits, "I2 the same key at both ends"
            again = siege.takes(Asked(request_id=2, caller=caller, request=request))
            assert not any(isinstance(each, effects.DeliverKeys) for each in again), "I2 once"
        return reply

    async def pair_status(self, caller: SAEId, request: PairStatus) -> PairStatusReply:
        reply, siege = self._ask(caller, request)
        assert isinstance(reply, PairStatusReply)
        assert _at_first() == state_hash(siege.node), "a status changes nothing"
        return reply

    def is_revoked(self, fingerprint: str) -> bool:
        return False

    def _ask(self, caller: SAEId, request: EncKeys | DecKeys | PairStatus) -> tuple[Any, Besieged]:
        """The one answer, and the node; refused, it is as it was."""
        siege = Besieged(ALICE, keyed().world)
        wanted = bytes_wanted(request)
        drawn = Secret(bytes(wanted)) if wanted else None
        event = Asked(request_id=1, caller=caller, request=request, fresh=FRESH, drawn=drawn)
        answers = _answers(siege.takes(event))
        if not answers:
            # The neighbour says nothing.
            siege.moment = attrs.evolve(
                siege.moment, mono_ms=siege.moment.mono_ms + limits.KEYS_TIMEOUT_MS
            )
            (answer,) = _answers(siege.takes(Tick()))
            assert isinstance(answer, effects.Answer), "who waits is answered in time"
            return answer.reply, siege
        (answer,) = answers
        if isinstance(answer, effects.DeliverKeys):
            return self._delivered(siege, answer), siege
        assert _at_first() == state_hash(siege.node), "I9 a refused request changes nothing"
        if isinstance(answer, effects.Refuse):
            raise Forbidden(answer.message, hint="")
        return answer.reply, siege

    def _delivered(self, siege: Besieged, answer: effects.DeliverKeys) -> KeysReply:
        whole = b""
        for stretch in answer.stretches:
            bits = siege.disk.read(stretch.material, stretch.offset, stretch.length)
            assert bits is not None, "what is given is readable"
            whole += bytes(bits.expose())
        names = range(0, len(answer.key_ids), ID_BYTES)
        size = len(whole) // len(names)
        self.given = [
            (answer.key_ids[at : at + ID_BYTES], whole[n * size : (n + 1) * size])
            for n, at in enumerate(names)
        ]
        keys = Secret(whole)
        return KeysReply(outcome=Outcome.DELIVERED, key_ids=answer.key_ids, keys=keys)


def _answers(found: list[effects.Effect]) -> list[effects.Effect]:
    kinds = (effects.Answer, effects.Refuse, effects.DeliverKeys)
    return [each for each in found if isinstance(each, kinds) and each.request_id == 1]


@cache
def _at_first() -> str:
    return state_hash(Besieged(ALICE, keyed().world).node)


def _run(answering: Coroutine[Any, Any, Answer]) -> Answer:
    """It awaits nothing that would not be there at once."""
    try:
        answering.send(None)
    except StopIteration as done:
        answer: Answer = done.value
        return answer
    raise AssertionError("it waits")
