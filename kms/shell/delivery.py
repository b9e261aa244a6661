"""Keys on their way to the application that waits for them.

Rules: what is delivered is recorded as delivered already (I11), so bytes that cannot be read, and
those of a caller that hung up, are lost at this end. Keys of one answer lie in one buffer; every
other copy is wiped.
"""

from collections.abc import Callable

from kms.domain.effects import DeliverKey, DeliverKeys, Stretch
from kms.domain.errors import StoreFault
from kms.domain.keyrequests import KeysReply, Outcome
from kms.domain.names import LinkId
from kms.domain.requests import KeyReply, Reply
from kms.domain.secret import Secret
from kms.domain.status import Status
from kms.ports.storage import Storage

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

    def now(self, asked: DeliverKey | DeliverKeys) -> bool:
        """Whether it is done with: all bytes were at hand, or the caller hung up."""
        if not self._waits(asked.request_id):
            return True
        if isinstance(asked, DeliverKey):
            key = self._storage.at_hand(asked.material, asked.offset, asked.length)
        else:
            key = self._all_at_hand(asked.stretches)
        if key is not None:
            self._answer(asked.request_id, _delivered(asked, key))
        return key is not None

    async def read(self, asked: DeliverKey | DeliverKeys) -> None:
        """The bytes are read and delivered, or the application hears that they are lost."""
        if not self._waits(asked.request_id):
            return
        try:
            if isinstance(asked, DeliverKey):
                key = await self._storage.read(asked.material, asked.offset, asked.length)
            else:
                key = await self._read_all(asked.stretches)
        except StoreFault as fault:
            self._alarmed("chunk-unreadable", None, fault.reason)
            self._answer(asked.request_id, _lost(asked))
        else:
            self._answer(asked.request_id, _delivered(asked, key))

    def _all_at_hand(self, stretches: tuple[Stretch, ...]) -> Secret | None:
        whole = _Whole(stretches)
        for each in stretches:
            key = self._storage.at_hand(each.material, each.offset, each.length)
            if key is None:
                whole.wipe()
                return None
            whole.add(key)
        return whole.secret

    async def _read_all(self, stretches: tuple[Stretch, ...]) -> Secret:
        whole = _Whole(stretches)
        try:
            for each in stretches:
                whole.add(await self._storage.read(each.material, each.offset, each.length))
        except BaseException:
            whole.wipe()
            raise
        return whole.secret


class _Whole:
    """One buffer that fills with the keys of an answer."""

    def __init__(self, stretches: tuple[Stretch, ...]) -> None:
        self._bits = bytearray(sum(each.length for each in stretches))
        self._filled = 0
        self.secret = Secret.adopt(self._bits)

    def add(self, key: Secret) -> None:
        """The key is behind those before it, and nowhere else."""
        end = self._filled + len(key)
        memoryview(self._bits)[self._filled : end] = key.expose()
        self._filled = end
        key.wipe()

    def wipe(self) -> None:
        self.secret.wipe()


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
