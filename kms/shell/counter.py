"""The counter: what application interfaces ask of the node (FR-6)."""

import itertools
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import trio

from kms.domain import limits
from kms.domain.errors import LocalFault
from kms.domain.events import Asked, HungUp
from kms.domain.keyids import ID_BYTES
from kms.domain.keyrequests import DecKeys, EncKeys, KeysReply, PairStatus, PairStatusReply
from kms.domain.names import KSID, SAEId
from kms.domain.requests import (
    Close,
    CloseReply,
    GetKey,
    KeyReply,
    OpenConnect,
    OpenReply,
    Reply,
    Request,
    may_want_name,
    wants_name,
)
from kms.domain.secret import Secret
from kms.domain.statistics import Latencies
from kms.ports.entropy import Entropy
from kms.ports.northbound import Overloaded
from kms.shell.pump import Pump

_R = TypeVar("_R", bound=Reply)
# Requests that may want a name and come with the same randomness.
SPARE_USES = 64


class Counter:
    """Implements ``ports.northbound.Northbound`` over a running pump."""

    def __init__(self, pump: Pump, *, entropy: Entropy, is_revoked: Callable[[str], bool]) -> None:
        self._pump, self._entropy = pump, entropy
        self._is_revoked = is_revoked
        self._numbers = itertools.count(1)
        self._waiting = 0
        self._spare: KSID | None = None
        self._spare_uses = 0
        self.latencies = Latencies()
        self.delivered = 0
        self.delivered_bytes = 0

    async def open_connect(self, caller: SAEId, request: OpenConnect) -> OpenReply:
        return await self._ask(caller, request, OpenReply)

    async def get_key(self, caller: SAEId, request: GetKey) -> KeyReply:
        began = trio.current_time()
        reply = await self._ask(caller, request, KeyReply)
        self.latencies.observe(int((trio.current_time() - began) * 1000))
        if reply.key is not None:
            self.delivered += 1
            self.delivered_bytes += len(reply.key)
        return reply

    async def enc_keys(self, caller: SAEId, request: EncKeys) -> KeysReply:
        return await self._keys(caller, request)

    async def dec_keys(self, caller: SAEId, request: DecKeys) -> KeysReply:
        return await self._keys(caller, request)

    async def pair_status(self, caller: SAEId, request: PairStatus) -> PairStatusReply:
        return await self._ask(caller, request, PairStatusReply)

    async def close(self, caller: SAEId, request: Close) -> CloseReply:
        return await self._ask(caller, request, CloseReply)

    def is_revoked(self, fingerprint: str) -> bool:
        return self._is_revoked(fingerprint)

    async def _keys(self, caller: SAEId, request: EncKeys | DecKeys) -> KeysReply:
        began = trio.current_time()
        reply = await self._ask(caller, request, KeysReply)
        self.latencies.observe(int((trio.current_time() - began) * 1000))
        if reply.keys is not None:
            self.delivered += len(reply.key_ids) // ID_BYTES
            self.delivered_bytes += len(reply.keys)
        return reply

    def _name(self, request: Request) -> KSID | None:
        """A source of randomness that fails refuses new streams; those that stand are served."""
        if may_want_name(request):
            # Most such requests need none; the node says so if this one does. It mixes the
            # request's number into it, so that one draw is enough for many.
            if not self._spare_uses:
                self._spare = None
                with suppress(LocalFault):
                    self._spare = KSID(self._entropy.uuid4())
            self._spare_uses = (self._spare_uses + 1) % SPARE_USES if self._spare else 0
            return self._spare
        return KSID(self._entropy.uuid4()) if wants_name(request) else None

    def _draw(self, caller: SAEId, request: Request) -> Secret | None:
        """Likewise: only who wants keys made of randomness is refused then, by the node. A
        request that it would refuse anyway draws none: megabytes hold the event loop up (I10)."""
        wanted = self._pump.node.bytes_wanted(caller, request)
        if wanted:
            with suppress(LocalFault):
                return self._entropy.bits(wanted)
        return None

    async def _ask(self, caller: SAEId, request: Request, expected: type[_R]) -> _R:
        if self._waiting >= limits.REQUESTS_WAITING_MAX:
            raise Overloaded("too many requests wait", hint="try again in a second")
        fresh, drawn = self._name(request), self._draw(caller, request)
        request_id = next(self._numbers)
        waiter = self._pump.expect_answer(request_id)
        self._waiting += 1
        try:
            self._pump.put_now(
                Asked(
                    request_id=request_id,
                    caller=caller,
                    request=request,
                    fresh=fresh,
                    drawn=drawn,
                )
            )
            reply = await waiter.answered()
        except trio.Cancelled:
            self._pump.forget_answer(request_id)
            self._pump.put_soon(HungUp(request_id=request_id))
            raise
        except Overloaded:
            self._pump.forget_answer(request_id)
            raise
        finally:
            self._waiting -= 1
        assert isinstance(reply, expected), "the answer fits the question"
        return reply
