"""Keys on their way to the application that waits for them.

Rules: what is delivered is recorded as delivered already (I11), so bytes that cannot be read, and
those of a caller that hung up, are lost at this end. Keys of one answer lie in one buffer; every
other copy is wiped.

Theory of operation. Keys at hand are answered at once. Others are read by a task of their own, in
the order of their answers: neither the next commit nor a link's pad waits for them. One answer is
one call of the store. What a delivery in line is still to read is not wiped meanwhile: the pump
asks ``read_before`` each commit.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import trio

from kms.domain import limits
from kms.domain.effects import DeliverKey, DeliverKeys, Stretch, WipeMaterial, Write
from kms.domain.errors import StoreFault
from kms.domain.keyrequests import KeysReply, Outcome
from kms.domain.names import LinkId, MaterialId
from kms.domain.requests import KeyReply, Reply
from kms.domain.secret import Secret
from kms.domain.status import Status
from kms.ports.storage import Storage
from kms.shell.disktime import disk_time

OnAlarm = Callable[[str, LinkId | None, str], None]


def key_of(reply: Reply) -> Secret | None:
    """The key material in an answer."""
    if isinstance(reply, KeyReply):
        return reply.key
    return reply.keys if isinstance(reply, KeysReply) else None


class Delivery:
    """From the store to whoever waits."""

    def __init__(
        self,
        storage: Storage,
        alarmed: OnAlarm,
        *,
        waits: Callable[[int], bool],
        answer: Callable[[int, Reply], None],
    ) -> None:
        """``waits``: whether somebody does for this request."""
        self._storage, self._alarmed = storage, alarmed
        self._waits, self._answer = waits, answer
        # Bounded by the callers that wait: each has one answer.
        self._to_read, self._line = trio.open_memory_channel[DeliverKey | DeliverKeys](math.inf)
        self._unread: Counter[MaterialId] = Counter()
        """what is in line, by the materials that it is read from"""
        self._progress = trio.Event()

    def deliver(self, asked: DeliverKey | DeliverKeys) -> None:
        """Answered if all bytes are at hand, dropped if the caller hung up, else in line."""
        if not self._waits(asked.request_id):
            return
        if isinstance(asked, DeliverKey):
            key = self._storage.at_hand(asked.material, asked.offset, asked.length)
        else:
            key = self._all_at_hand(asked.stretches)
        if key is not None:
            self._answer(asked.request_id, _delivered(asked, key))
            return
        self._unread.update(_materials(asked))
        self._to_read.send_nowait(asked)

    async def read_before(self, writes: Iterable[Write]) -> None:
        """No delivery is still to read what ``writes`` wipe; or ``UNREAD_WAIT_MS`` are over, and
        what was not read is lost (I6)."""
        if not self._unread:
            return
        wiped = {each.material for each in writes if isinstance(each, WipeMaterial)}
        with trio.move_on_after(limits.UNREAD_WAIT_MS / 1000):
            while not self._unread.keys().isdisjoint(wiped):
                await self._progress.wait()

    async def run(self) -> None:
        """What is in line is read, until cancelled. Raises ``StoreFault`` when the disk hangs."""
        async for asked in self._line:
            with disk_time():
                await self._read(asked)
            for material in _materials(asked):
                self._unread[material] -= 1
                if not self._unread[material]:
                    del self._unread[material]
            progress, self._progress = self._progress, trio.Event()
            progress.set()

    async def _read(self, asked: DeliverKey | DeliverKeys) -> None:
        """The bytes are read and delivered, or the application hears that they are lost."""
        if not self._waits(asked.request_id):
            return
        try:
            if isinstance(asked, DeliverKey):
                key = await self._storage.read(asked.material, asked.offset, asked.length)
            else:
                key = await self._storage.read_all(asked.stretches)
        except StoreFault as fault:
            self._alarmed("chunk-unreadable", None, fault.reason)
            self._answer(asked.request_id, _lost(asked))
        else:
            self._answer(asked.request_id, _delivered(asked, key))

    def _all_at_hand(self, stretches: Sequence[Stretch]) -> Secret | None:
        parts: list[Secret] = []
        for each in stretches:
            part = self._storage.at_hand(each.material, each.offset, each.length)
            if part is None:
                for found in parts:
                    found.wipe()
                return None
            parts.append(part)
        return parts[0] if len(parts) == 1 else Secret.joined(parts)


def _materials(asked: DeliverKey | DeliverKeys) -> list[MaterialId]:
    if isinstance(asked, DeliverKey):
        return [asked.material]
    return [each.material for each in asked.stretches]


def _delivered(asked: DeliverKey | DeliverKeys, key: Secret) -> Reply:
    if isinstance(asked, DeliverKeys):
        return KeysReply(outcome=Outcome.DELIVERED, key_ids=asked.key_ids, keys=key)
    return KeyReply(
        status=Status.SUCCESS,
        message="",
        index=asked.index,
        key=key,
        metadata=asked.metadata,
        metadata_size=len(asked.metadata),
    )


def _lost(asked: DeliverKey | DeliverKeys) -> Reply:
    if isinstance(asked, DeliverKeys):
        message = "keys cannot be read at this end and are lost: the master SAE asks for new ones"
        return KeysReply(outcome=Outcome.UNAVAILABLE, message=message)
    message = "this chunk cannot be read at this end; go on at the next index"
    return KeyReply(status=Status.INSUFFICIENT_KEY, message=message, index=asked.index)
