"""Keys with IDs of a fake counter: made from a seed, each given once to its master and its slaves.

One object plays the nodes of both ends. Nothing waits and nothing expires; ``keys_max`` is the
stock, and a delivery to the master takes from it.
"""

import hashlib
from uuid import UUID

import attrs

from kms.domain.keyrequests import (
    DecKeys,
    EncKeys,
    KeysReply,
    Outcome,
    PairStatus,
    PairStatusReply,
)
from kms.domain.limits import KEY_BYTES_DEFAULT
from kms.domain.names import SAEId
from kms.domain.secret import Secret

NOT_FOUND = "one or more keys specified are not found on KME"
_ID_BYTES = 16


@attrs.define
class _Key:
    master: SAEId
    key_bytes: int
    named: frozenset[SAEId]
    left: set[SAEId]


class MemoryKeys:
    """The keys of all pairs."""

    def __init__(self, seed: str, *, keys_max: int) -> None:
        self._seed = seed
        self._keys_max = keys_max
        self._made = 0
        self._keys: dict[bytes, _Key] = {}

    def enc_keys(self, caller: SAEId, request: EncKeys) -> KeysReply:
        """See ``Northbound``."""
        if self._made + request.number > self._keys_max:
            return KeysReply(outcome=Outcome.UNAVAILABLE, message="not enough key: ask again later")
        slaves = frozenset((request.slave, *request.additional_slaves))
        names = []
        for _ in range(request.number):
            digest = hashlib.sha256(f"{self._seed} key {self._made}".encode()).digest()
            names.append(UUID(bytes=digest[:_ID_BYTES], version=4).bytes)
            self._made += 1
            self._keys[names[-1]] = _Key(caller, request.key_bytes, slaves, set(slaves))
        return self._delivered(names, request.key_bytes)

    def dec_keys(self, caller: SAEId, request: DecKeys) -> KeysReply:
        """See ``Northbound``."""
        block = request.key_ids
        names = [block[at : at + _ID_BYTES] for at in range(0, len(block), _ID_BYTES)]
        assert len(set(names)) == len(names), "all different"
        keys = [self._keys.get(name) for name in names]
        if any(key is not None and caller not in key.named for key in keys):
            return KeysReply(outcome=Outcome.NOT_ENTITLED, message="not made for you")
        found = [key for key in keys if key and key.master == request.master and caller in key.left]
        if len(found) < len(names) or len({key.key_bytes for key in found}) > 1:
            return KeysReply(outcome=Outcome.BAD_REQUEST, message=NOT_FOUND)
        for key in found:
            key.left.discard(caller)
        return self._delivered(names, found[0].key_bytes)

    def pair_status(self, caller: SAEId, request: PairStatus) -> PairStatusReply:
        """See ``Northbound``. A slave's node is what follows the last dot of its name."""
        return PairStatusReply(
            outcome=Outcome.DELIVERED,
            slave_node=request.slave.rpartition(".")[2],
            key_bytes=KEY_BYTES_DEFAULT,
            stored_keys=self._keys_max - self._made,
            stored_keys_max=self._keys_max,
        )

    def _delivered(self, names: list[bytes], key_bytes: int) -> KeysReply:
        stretched = (hashlib.shake_128(self._seed.encode() + name) for name in names)
        return KeysReply(
            outcome=Outcome.DELIVERED,
            key_ids=b"".join(names),
            keys=Secret(b"".join(one.digest(key_bytes) for one in stretched)),
        )
