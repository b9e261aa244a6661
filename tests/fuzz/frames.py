"""What an application sends over the binary interface: the reader that tells dialects apart, the
node that is asked, and the frame that is answered.

However the bytes are cut into pieces they read the same; what was read is written again as it was,
but for what lies behind the NUL of a mimetype field; and every request gets one answer of the
caller's version and dialect that fits one TLS record.
"""

if __name__ == "__main__":
    from tests.fuzz.engine import main

    main("frames")

from collections.abc import Coroutine
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import UniformResourceIdentifier

from kms.adapters.etsi004_binary import (
    HEADER_BYTES,
    REQUEST_PAYLOAD_BYTES_MAX,
    REQUESTS,
    RESPONSES,
    VERSION,
    VERSION_B,
    Dialect,
    ErrorReply,
    GetKeyRequest,
    GetKeyResponse,
    Message,
    MessageFault,
    OpenConnectRequest,
    OpenConnectResponse,
    Reader,
    Service,
    Version,
    encode,
)
from kms.adapters.etsi004_binary import Request as Frame
from kms.adapters.etsi004_tls.answering import FRAME_BYTES_MAX, Answering
from kms.domain.effects import Answer, DeliverKey, Refuse
from kms.domain.events import Asked
from kms.domain.names import SAEId
from kms.domain.requests import (
    Close,
    CloseReply,
    GetKey,
    KeyReply,
    OpenConnect,
    OpenReply,
    Reply,
    Request,
)
from kms.domain.secret import Secret
from kms.domain.status import Status
from kms.ports.northbound import Forbidden, Overloaded
from tests.edge.authority import Authority
from tests.fuzz.application import FRESH
from tests.fuzz.copies import Besieged
from tests.world import ANN

VERSIONS = frozenset({VERSION, VERSION_B})
# One input asks so many requests of the node: more would only be slower.
REQUESTS_MAX = 4
ANSWERS: dict[type[Frame], Service] = {
    OpenConnectRequest: Service.OPEN_CONNECT_RESPONSE,
    GetKeyRequest: Service.GET_KEY_RESPONSE,
}


def one_input(data: bytes) -> None:
    """The bytes of one connection."""
    whole = _read(data, len(data) or 1)
    for piece in (1, 7):
        assert whole == _read(data, piece), "the pieces make no difference"
    counter = BesiegedCounter()
    for version, request in whole[:REQUESTS_MAX]:
        if not isinstance(request, str):
            _answered(counter, version, request)


def _reader() -> Reader:
    return Reader(payload_bytes_max=REQUEST_PAYLOAD_BYTES_MAX, services=REQUESTS, versions=VERSIONS)


def _read(data: bytes, piece: int) -> list[tuple[Version, Frame | str]]:
    """The requests, each with its version, and the name of the fault that ended them."""
    reader = _reader()
    found: list[tuple[Version, Frame | str]] = []
    begin = 0
    try:
        for at in range(0, len(data), piece):
            for message in reader.feed(data[at : at + piece]):
                assert isinstance(message, Frame)
                again = bytes(encode(message, version=reader.version))
                sent = _cleared(data[begin : begin + len(again)], message)
                assert sent == again, "what was read is written"
                begin += len(again)
                found.append((reader.version, message))
            assert len(reader.space()) <= REQUEST_PAYLOAD_BYTES_MAX, "memory is bounded"
        reader.end()
    except MessageFault as fault:
        found.append((VERSION, fault.name))
    return found


def _cleared(sent: bytes, request: Frame) -> bytes:
    """As it would be with its mimetype field cleared, if it has one."""
    if not isinstance(request, OpenConnectRequest) or request.dialect is Dialect.A:
        return sent
    begin, end = len(sent) - 16 - 256, len(sent) - 16
    return sent[:begin] + sent[begin:end].split(b"\0")[0].ljust(256, b"\0") + sent[end:]


def _answered(counter: "BesiegedCounter", version: Version, request: Frame) -> None:
    answer = _run(Answering(counter).answer(certificate(), request))
    frame = encode(answer, version=version)
    assert HEADER_BYTES < len(frame) <= FRAME_BYTES_MAX, "one TLS record, never empty"
    expected = ANSWERS.get(type(request), Service.CLOSE_RESPONSE)
    reader = Reader(
        payload_bytes_max=FRAME_BYTES_MAX, services=RESPONSES, versions=frozenset({version})
    )
    (read,) = reader.feed(frame)
    assert not isinstance(read, ErrorReply)
    assert frame[3] == expected
    assert read == answer, "the answer reads as it was meant"
    if isinstance(request, OpenConnectRequest):
        assert isinstance(answer, OpenConnectResponse)
        # A mimetype of 255 characters is laid out alike.
        assert request.dialect is answer.dialect
    if isinstance(answer, GetKeyResponse):
        assert (answer.status is Status.SUCCESS) == bool(len(answer.key)), "a key or a reason"


@cache
def certificate() -> bytes:
    """Ann's."""
    issued, _ = Authority().issue([UniformResourceIdentifier(ANN)])
    return issued.public_bytes(Encoding.DER)


def _run(answering: Coroutine[Any, Any, Message]) -> Message:
    """It awaits nothing that would not be there at once."""
    try:
        answering.send(None)
    except StopIteration as done:
        answer: Message = done.value
        return answer
    raise AssertionError("it waits")


class BesiegedCounter:
    """A counter before the besieged node; one that would wait is answered that it is overloaded."""

    def __init__(self) -> None:
        self._siege = Besieged()
        self._requests = 0

    async def open_connect(self, caller: SAEId, request: OpenConnect) -> OpenReply:
        reply = self._ask(caller, request)
        assert isinstance(reply, OpenReply)
        return reply

    async def get_key(self, caller: SAEId, request: GetKey) -> KeyReply:
        reply = self._ask(caller, request)
        assert isinstance(reply, KeyReply)
        return reply

    async def close(self, caller: SAEId, request: Close) -> CloseReply:
        reply = self._ask(caller, request)
        assert isinstance(reply, CloseReply)
        return reply

    def is_revoked(self, fingerprint: str) -> bool:
        return False

    def _ask(self, caller: SAEId, request: Request) -> Reply:
        self._requests += 1
        event = Asked(request_id=self._requests, caller=caller, request=request, fresh=FRESH)
        for effect in self._siege.takes(event):
            match effect:
                case Answer(request_id=event.request_id):
                    return effect.reply
                case Refuse(request_id=event.request_id):
                    raise Forbidden(effect.message, hint="")
                case DeliverKey(request_id=event.request_id):
                    return KeyReply(
                        status=Status.SUCCESS,
                        message="",
                        index=effect.index,
                        key=Secret(bytes(effect.length)),
                        metadata=effect.metadata,
                        metadata_size=len(effect.metadata),
                    )
        raise Overloaded("it would wait", hint="")
