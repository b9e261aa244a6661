"""One client's connection: requests in, answers out, in order, until either side has had enough.

Rules. Any number of requests, one after the other; one that comes while another is answered waits.
A client that hangs up, or closes its half, ends the wait for its answer: what that does to a key is
the northbound port's affair. What is no request is answered by ERROR, and ends the connection. The
answer with a key is wiped when it has left.

Theory of operation. Two tasks. The reader owns the connection: it reads frames under one cancel
scope, whose deadline says what is awaited now (the rest of a frame, the next request, or nothing
while the node thinks), hands requests over, and when it returns everything else is cancelled. The
answerer answers, and ends the reading when this was the last answer.
"""

from math import inf
from typing import Final

import attrs
import trio

from kms.adapters.edge import Accepted, Bounds
from kms.adapters.edge.quiet import QuietLog
from kms.adapters.etsi004_binary import (
    REQUEST_PAYLOAD_BYTES_MAX,
    REQUESTS,
    VERSION,
    VERSION_B,
    ErrorReply,
    GetKeyResponse,
    Message,
    MessageFault,
    Reader,
    Request,
    Version,
    encode,
)
from kms.adapters.etsi004_tls.answering import FRAME_BYTES_MAX, Answering
from kms.domain.errors import KMSError
from kms.domain.secret import zero

_VERSIONS: Final = frozenset({VERSION, VERSION_B})
# How late it is seen that a client hung up whose next request waits.
_LOOK_S: Final = 0.05


@attrs.frozen
class _Said:
    """What the client said, and in which version it wants its answer."""

    what: Request | None
    """None: nothing that reads"""
    version: Version


class Conversation:
    """A ``Visitor`` of the reception."""

    def __init__(
        self, accepted: Accepted, answering: Answering, *, bounds: Bounds, log: QuietLog
    ) -> None:
        self._accepted = accepted
        self._answering = answering
        self._bounds = bounds
        self._log = log
        self._reader = Reader(
            payload_bytes_max=REQUEST_PAYLOAD_BYTES_MAX, services=REQUESTS, versions=_VERSIONS
        )
        self._reading = trio.CancelScope()
        self._in_frame = False
        self._open = 0
        """requests that were read and not answered yet"""
        self._answered = 0
        self._told_to_retire = False
        self._last_word = False

    @property
    def peer_der(self) -> bytes | None:
        return self._accepted.peer_der

    async def handshake(self) -> None:
        """See ``Visitor``."""
        await self._accepted.handshake()

    async def run(self) -> None:
        """See ``Visitor``."""
        hand_over, questions = trio.open_memory_channel[_Said](0)
        try:
            with hand_over, questions:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._answer_all, questions)
                    with self._reading:
                        await self._read_all(hand_over)
                    nursery.cancel_scope.cancel()
        finally:
            await self._accepted.close(last_word=self._last_word)

    def retire(self) -> None:
        """See ``Visitor``."""
        self._told_to_retire = True
        if self._idle:
            self._reading.cancel()

    @property
    def _idle(self) -> bool:
        return not (self._in_frame or self._open)

    # ---- the reader ---------------------------------------------------------------------

    async def _read_all(self, hand_over: trio.MemorySendChannel[_Said]) -> None:
        """Returns when the client is gone. Cancelled when it is too slow, or no more is wanted."""
        self._await_next()
        while True:
            try:
                request = await self._read()
                if request is None:
                    return
            except MessageFault as fault:
                self._log.event("etsi004_tls_malformed", fault=fault.name)
                request = None
            self._in_frame = False
            self._open += 1
            self._reading.deadline = inf
            if not await self._handed(hand_over, _Said(request, self._reader.version)):
                return
            if request is None:
                # No known frame border: what comes now means nothing. ERROR ends the reading.
                await trio.sleep_forever()

    async def _handed(self, hand_over: trio.MemorySendChannel[_Said], said: _Said) -> bool:
        """The request is the answerer's, who may have another one under way; False: the client hung
        up first, and waits for neither."""
        while True:
            with trio.move_on_after(_LOOK_S):
                await hand_over.send(said)
                return True
            if self._accepted.hung_up():
                return False

    async def _read(self) -> Request | None:
        """The next request; None at the end. Raises ``MessageFault``."""
        while True:
            space = self._reader.space()
            data = await self._accepted.receive(len(space))
            if not data:
                return None
            if not self._in_frame:
                self._in_frame = True
                # One deadline for the frame, so that dripping it does not help.
                self._reading.deadline = trio.current_time() + self._bounds.receive_s
            space[: len(data)] = data
            message: Message | None = self._reader.filled(len(data))
            if message is not None:
                assert isinstance(message, Request), "the reader lets only requests through"
                return message

    def _await_next(self) -> None:
        """A request may begin, for a while."""
        until = trio.current_time() + self._bounds.idle_s
        self._reading.deadline = min(until, self._accepted.retire_at)

    # ---- the answerer -------------------------------------------------------------------

    async def _answer_all(self, questions: trio.MemoryReceiveChannel[_Said]) -> None:
        async for said in questions:
            self._answered += 1
            last = self._retiring()
            going_on = await self._answer(said)
            self._open -= 1
            if last or not going_on or self._told_to_retire:
                self._last_word = True
                self._reading.cancel()
                return
            if self._idle:
                self._await_next()

    async def _answer(self, said: _Said) -> bool:
        """Whether the connection goes on."""
        answer: Message = ErrorReply()
        if said.what is not None:
            try:
                answer = await self._answering.answer(self.peer_der, said.what)
            except KMSError as error:
                # Our own fault: the client learns no more than that (HTTP says 500).
                self._log.fault("etsi004_tls_failed", error)
        frame = encode(answer, version=said.version)
        assert len(frame) <= FRAME_BYTES_MAX, "an answer is one TLS record"
        try:
            deadline = trio.current_time() + self._bounds.send_s
            whole = await self._accepted.send(frame, deadline=deadline)
        finally:
            zero(frame)
            if isinstance(answer, GetKeyResponse):
                answer.key.wipe()
        return whole and not isinstance(answer, ErrorReply)

    def _retiring(self) -> bool:
        """Whether this connection should take no further request."""
        return (
            self._accepted.outlived() or self._answered >= self._bounds.requests_per_connection_max
        )
