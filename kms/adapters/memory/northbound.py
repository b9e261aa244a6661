"""A fake counter: streams in memory, key from a seed, both ends in one process.

It keeps the contract of ``Northbound`` (tests/contract/test_northbound.py) and the choices that
the project made where ETSI GS QKD 004 is silent, so that adapters can be tested against it. It is
no simulation: nothing is paced, nothing expires.
"""

import hashlib
from uuid import UUID

import attrs
import trio

from kms.adapters.memory.keys import MemoryKeys
from kms.domain.errors import KMSError
from kms.domain.keyrequests import DecKeys, EncKeys, KeysReply, PairStatus, PairStatusReply
from kms.domain.metadata import describe
from kms.domain.names import KSID, SAEId
from kms.domain.policy import Policy, Rule
from kms.domain.qos import judge
from kms.domain.requests import Close, CloseReply, GetKey, KeyReply, OpenConnect, OpenReply
from kms.domain.secret import Secret
from kms.domain.status import QoS, Status
from kms.ports.northbound import Forbidden

_ANYBODY = Policy(rules=(Rule(one="*", other="*"),))


@attrs.define
class _Stream:
    apps: frozenset[SAEId]
    qos: QoS
    opened: set[SAEId] = attrs.Factory(set)
    closed: set[SAEId] = attrs.Factory(set)
    taken: dict[SAEId, set[int]] = attrs.Factory(dict)
    both: trio.Event = attrs.Factory(trio.Event)


class MemoryNorthbound:
    """One counter for the applications of both ends."""

    def __init__(
        self,
        *,
        seed: str = "counter",
        policy: Policy = _ANYBODY,
        capacity_bps: int = 1_000_000,
        chunks: int = 2**32,
        keys_max: int = 100_000,
    ) -> None:
        self.policy = policy
        self.fault: KMSError | None = None
        """raised by every function, if set"""
        self.delivered: list[tuple[SAEId, KSID, int]] = []
        self._seed = seed
        self._capacity_bps = capacity_bps
        self._chunks = chunks
        self._streams: dict[KSID, _Stream] = {}
        self._keys = MemoryKeys(seed, keys_max=keys_max)

    async def open_connect(self, caller: SAEId, request: OpenConnect) -> OpenReply:
        """See ``Northbound``."""
        await self._checkpoint()
        apps = frozenset((request.source, request.destination))
        if caller not in apps or not self.policy.may_share(request.source, request.destination):
            raise Forbidden("policy allows no such stream", hint="ask the operator for a rule")
        verdict = judge(request.qos, self._capacity_bps)
        # Where a node leaves the choice open, the vectors have a number to show.
        qos = attrs.evolve(verdict.qos, max_bps=verdict.qos.max_bps or self._capacity_bps)
        if verdict.refused and request.ksid not in self._streams:
            return OpenReply(status=Status.QOS_NOT_MET, message=verdict.refused, qos=qos)
        if request.ksid is None:
            return self._new(caller, apps, qos)
        stream = self._streams.get(request.ksid)
        if stream is not None and (caller not in stream.apps or stream.closed):
            return OpenReply(status=Status.KSID_IN_USE, message="the stream is not yours", qos=qos)
        if stream is None:
            stream = self._streams[request.ksid] = _Stream(apps, qos)
        self._join(stream, caller)
        with trio.move_on_after(stream.qos.timeout / 1000):
            await stream.both.wait()
            return OpenReply(
                status=Status.SUCCESS, message="open", qos=stream.qos, ksid=request.ksid
            )
        stream.opened.discard(caller)
        if not stream.opened:
            self._streams.pop(request.ksid, None)
        return OpenReply(
            status=Status.TIMEOUT, message="the peer did not come", qos=qos, ksid=request.ksid
        )

    async def get_key(self, caller: SAEId, request: GetKey) -> KeyReply:
        """See ``Northbound``."""
        await self._checkpoint()
        stream = self._streams.get(request.ksid)
        if stream is None or caller not in stream.apps or not stream.both.is_set():
            return KeyReply(status=Status.PEER_NOT_CONNECTED, message="the stream is not open")
        if caller in stream.closed:
            return KeyReply(status=Status.PEER_NOT_CONNECTED, message="the stream is not open")
        most = request.chunk_bytes_max
        if most is not None and stream.qos.key_chunk_size > most:
            return KeyReply(status=Status.NO_QKD_CONNECTION, message="the chunks are too large")
        taken = stream.taken.setdefault(caller, set())
        index = request.index if request.index is not None else max(taken, default=-1) + 1
        if index in taken or len(taken) >= self._chunks:
            return KeyReply(
                status=Status.INSUFFICIENT_KEY, message="no key at this index", index=index
            )
        metadata = b""
        if stream.qos.metadata_mimetype and request.metadata_size != 0:
            metadata = describe(0, hops=0)
            if request.metadata_size is not None and len(metadata) > request.metadata_size:
                return KeyReply(
                    status=Status.METADATA_SIZE_INSUFFICIENT,
                    message="the metadata buffer is too small",
                    index=index,
                    metadata_size=len(metadata),
                )
        taken.add(index)
        self.delivered.append((caller, request.ksid, index))
        return KeyReply(
            status=Status.SUCCESS,
            message="delivered",
            index=index,
            key=self._chunk(request.ksid, index, stream.qos.key_chunk_size),
            metadata=metadata,
            metadata_size=len(metadata),
        )

    async def close(self, caller: SAEId, request: Close) -> CloseReply:
        """See ``Northbound``."""
        await self._checkpoint()
        stream = self._streams.get(request.ksid)
        if stream is None or caller not in stream.apps:
            return CloseReply(status=Status.PEER_NOT_CONNECTED, message="the stream is not open")
        stream.closed.add(caller)
        return CloseReply(status=Status.SUCCESS, message="closed")

    async def enc_keys(self, caller: SAEId, request: EncKeys) -> KeysReply:
        """See ``Northbound``."""
        await self._checkpoint()
        for slave in (request.slave, *request.additional_slaves):
            self._allowed(caller, slave)
        return self._keys.enc_keys(caller, request)

    async def dec_keys(self, caller: SAEId, request: DecKeys) -> KeysReply:
        """See ``Northbound``."""
        await self._checkpoint()
        self._allowed(caller, request.master)
        return self._keys.dec_keys(caller, request)

    async def pair_status(self, caller: SAEId, request: PairStatus) -> PairStatusReply:
        """See ``Northbound``."""
        await self._checkpoint()
        self._allowed(caller, request.slave)
        return self._keys.pair_status(caller, request)

    def is_revoked(self, fingerprint: str) -> bool:
        """See ``Northbound``."""
        return fingerprint in self.policy.revoked

    async def _checkpoint(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.fault is not None:
            raise self.fault

    def _allowed(self, caller: SAEId, other: SAEId) -> None:
        if not self.policy.may_share(caller, other):
            raise Forbidden("policy allows no such keys", hint="ask the operator for a rule")

    def _new(self, caller: SAEId, apps: frozenset[SAEId], qos: QoS) -> OpenReply:
        digest = hashlib.sha256(f"{self._seed} {len(self._streams)}".encode()).digest()
        ksid = KSID(UUID(bytes=digest[:16], version=4))
        self._streams[ksid] = stream = _Stream(apps, qos)
        self._join(stream, caller)
        return OpenReply(
            status=Status.PEER_NOT_CONNECTED_YET, message="waiting for the peer", qos=qos, ksid=ksid
        )

    def _join(self, stream: _Stream, caller: SAEId) -> None:
        stream.opened.add(caller)
        if stream.opened == stream.apps:
            stream.both.set()

    def _chunk(self, ksid: KSID, index: int, size_bytes: int) -> Secret:
        stretched = hashlib.shake_128(f"{self._seed} {ksid} {index}".encode())
        return Secret(stretched.digest(size_bytes))
