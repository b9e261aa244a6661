"""The loop: open the stream, ask, check, hand over; report, wait, begin again.

While the node makes a few blocks durable the next is asked for: one commit serves several blocks,
and neither the device nor the disk waits for the other. A fault is told after the blocks before it.
"""

from random import Random
from typing import Final, Never
from uuid import uuid5

import trio

from kms.adapters.device_report import DeviceReport
from kms.adapters.etsi004_binary import (
    GetKeyRequest,
    GetKeyResponse,
    OpenConnectRequest,
    OpenConnectResponse,
    get_key_response_bytes,
)
from kms.adapters.etsi004_binary.messages import METADATA_BYTES_MAX
from kms.adapters.qkd_socket.backoff import Backoff
from kms.adapters.qkd_socket.config import QKDSocketConfig
from kms.adapters.qkd_socket.cursor import Cursor
from kms.adapters.qkd_socket.faults import DUPLICATE, EMPTY, INCOMPLETE_GROUP, device_fault
from kms.adapters.qkd_socket.line import Connect, Line, dial
from kms.adapters.qkd_socket.metadata import METADATA_BYTES_OFFERED, read_metadata
from kms.adapters.qkd_socket.sanity import CHECKED_BYTES_MIN, Sanity
from kms.domain.errors import DeviceFault
from kms.domain.gather import Gathered, Gatherer, Piece
from kms.domain.names import BlockId, DeviceId
from kms.domain.status import QoS, Status
from kms.ports.device import DeviceBlock, DeviceStatistics, Intake

_REFUSALS = {
    Status.PEER_NOT_CONNECTED: "peer-not-connected",
    Status.NO_QKD_CONNECTION: "no-qkd-connection",
    Status.KSID_IN_USE: "ksid-in-use",
    Status.TIMEOUT: "device-timeout",
    Status.QOS_NOT_MET: "qos-not-met",
}
"""OPEN_CONNECT's failures (table 2)."""

_GET_KEY_REFUSALS = {
    Status.PEER_NOT_CONNECTED: "peer-not-connected",
    Status.NO_QKD_CONNECTION: "no-qkd-connection",
}
"""GET_KEY's failures that are no waiting. 3 may also mean that a restarted device does not know
the stream any more: the way out is the same, to open it again."""

_NOT_ABOUT_THE_KEY = frozenset({"refused", *_GET_KEY_REFUSALS.values()})
"""Faults that say nothing about the index asked."""

# Blocks that the node is making durable: what a crash loses at most, and what memory holds.
HANDED_OVER_MAX: Final = 4
# A device that repeats itself this often without a new key between is out of step with us.
DUPLICATES_MAX: Final = 8


class QKDSocketDevice:
    """A ``Device`` (ports/device.py) behind a socket."""

    def __init__(
        self, config: QKDSocketConfig, *, jitter: Random, connect: Connect | None = None
    ) -> None:
        """``jitter`` spreads the waits and guards nothing. ``connect``: another transport than
        the configured address, such as a stream in memory."""
        self._config = config
        self._line = Line(
            connect or dial(config),
            connections=config.connections,
            payload_bytes_max=get_key_response_bytes(config.key_chunk_size, METADATA_BYTES_MAX),
            timeout_s=config.answer_timeout_s,
        )
        self._backoff = Backoff(config.backoff_s_min, config.backoff_s_max, jitter)
        self._poll = Backoff(config.poll_s_min, config.poll_s_max, jitter)
        self._cursor = Cursor()
        self._gatherer = Gatherer(config.ksid, config.key_chunk_size)
        self._sanity = Sanity(salt=config.ksid.bytes)
        self._metadata_offered = METADATA_BYTES_OFFERED
        self._report = DeviceReport(config.device_id)
        self._duplicates = 0
        """in a row"""

    @property
    def device_id(self) -> DeviceId:
        return self._config.device_id

    def statistics(self) -> DeviceStatistics:
        self._report.faults[INCOMPLETE_GROUP] = self._gatherer.statistics().given_up
        return self._report.statistics()

    async def run(self, intake: Intake) -> Never:
        """Feeds the intake until cancelled; see ``ports/device.py``."""
        while True:
            try:
                await self._open()
                self._report.up(intake)
                raise await self._feed(intake)
            except DeviceFault as fault:
                self._report.down(intake, fault)
            finally:
                self._report.connected = False
                await self._line.aclose()
            await trio.sleep(self._backoff.next_s())

    async def _feed(self, intake: Intake) -> DeviceFault:
        """The fault that ended it; every block before it is with the node."""
        places = trio.Semaphore(HANDED_OVER_MAX)
        async with trio.open_nursery() as handing_over:
            while True:
                await places.acquire()
                await intake.room(self._gatherer.block_bytes)
                try:
                    block = await self._fetch()
                except DeviceFault as fault:
                    return fault
                if block is None:
                    places.release()
                else:
                    await handing_over.start(self._hand_over, intake, block, places)
        raise AssertionError("the loop ends by its return")

    async def _open(self) -> None:
        """The device has our stream open. Raises ``DeviceFault``."""
        config = self._config
        answer = await self._line.call(
            OpenConnectRequest(
                source=config.source,
                destination=config.destination,
                qos=QoS(
                    key_chunk_size=config.key_chunk_size,
                    timeout=max(1, int(config.answer_timeout_s * 1000 / 2)),
                    metadata_mimetype="application/json",
                ),
                ksid=config.ksid,
            )
        )
        assert isinstance(answer, OpenConnectResponse), "the line lets no other answer through"
        if answer.status not in (Status.SUCCESS, Status.PEER_NOT_CONNECTED_YET):
            name = _REFUSALS.get(answer.status, "bad-status")
            raise device_fault(name, f"OPEN_CONNECT answers status {answer.status.value}")
        if answer.ksid != config.ksid:
            raise device_fault("wrong-ksid", f"the device opened {answer.ksid}")
        if answer.qos.key_chunk_size != config.key_chunk_size:
            raise device_fault(
                "wrong-length",
                f"keys of {answer.qos.key_chunk_size} B, not {config.key_chunk_size} B",
            )

    async def _fetch(self) -> Gathered | None:
        """One GET_KEY, and what its status asks for; the block that it completes, if it does.
        Raises ``DeviceFault``."""
        try:
            piece = await self._ask()
        except DeviceFault as fault:
            if fault.name not in _NOT_ABOUT_THE_KEY:
                self._cursor.failed()
            raise
        if piece is None:
            # Never at the line's speed: a device could make us spin on empty answers.
            await trio.sleep(self._poll.next_s())
            return None
        self._poll.reset()
        self._backoff.reset()
        block = self._gatherer.add(piece)
        if block is not None and self._config.key_chunk_size < CHECKED_BYTES_MIN:
            try:
                self._sanity.check(block.bits)
            except DeviceFault:
                block.bits.wipe()
                raise
        return block

    async def _ask(self) -> Piece | None:
        """The key at the cursor, checked; None if there is none to take."""
        answer = await self._line.call(
            GetKeyRequest(
                ksid=self._config.ksid,
                index=self._cursor.index,
                metadata=bytes(self._metadata_offered),
            )
        )
        assert isinstance(answer, GetKeyResponse), "the line lets no other answer through"
        match answer.status:
            case Status.SUCCESS:
                return self._accept(answer)
            case Status.INSUFFICIENT_KEY | Status.TIMEOUT:
                self._cursor.named(answer.index)
                return None
            case Status.METADATA_SIZE_INSUFFICIENT:
                self._offer_more(len(answer.metadata))
                return None
        name = _GET_KEY_REFUSALS.get(answer.status, "bad-status")
        raise device_fault(name, f"GET_KEY answers status {answer.status.value}")

    def _accept(self, answer: GetKeyResponse) -> Piece | None:
        """The key as a piece, or None and wiped. Raises ``DeviceFault``, wiped too."""
        piece = None
        try:
            piece = self._piece(answer)
        finally:
            if piece is None:
                answer.key.wipe()
        return piece

    def _piece(self, answer: GetKeyResponse) -> Piece | None:
        if not len(answer.key):
            # Finite-key analysis may leave nothing of a block: a normal day for a device.
            self._report.faults[EMPTY] += 1
            self._cursor.answered(answer.index)
            return None
        if len(answer.key) != self._config.key_chunk_size:
            raise device_fault(
                "wrong-length",
                f"a key of {len(answer.key)} B, not {self._config.key_chunk_size} B",
            )
        metadata = read_metadata(answer.metadata)
        if not self._cursor.answered(answer.index):
            self._duplicate()
            return None
        self._duplicates = 0
        self._sanity.check(answer.key)
        return Piece(
            index=answer.index,
            block_id=BlockId(metadata.block_id or uuid5(self._config.ksid, str(answer.index))),
            bits=answer.key,
            origin=metadata.origin,
            qber=metadata.qber,
            age_ms=metadata.age,
        )

    def _duplicate(self) -> None:
        self._report.faults[DUPLICATE] += 1
        self._duplicates += 1
        if self._duplicates == DUPLICATES_MAX:
            self._duplicates = 0
            raise device_fault("wrong-index", f"{DUPLICATES_MAX} keys in a row came before")

    def _offer_more(self, needed: int) -> None:
        if not self._metadata_offered < needed <= METADATA_BYTES_MAX:
            raise device_fault(
                "bad-metadata", f"{self._metadata_offered} B offered, {needed} B wanted"
            )
        self._metadata_offered = needed

    async def _hand_over(
        self,
        intake: Intake,
        block: Gathered,
        places: trio.Semaphore,
        *,
        task_status: trio.TaskStatus[None],
    ) -> None:
        """The block is with the node, and its place is free. Started once the node has it, so
        that blocks come in the device's order, each before room for the next is asked."""
        size = len(block.bits)
        task_status.started()
        await intake.block(
            DeviceBlock(
                block_id=block.block_id,
                bits=block.bits,
                origin=block.origin,
                qber=block.qber,
                age_ms=block.age_ms,
            )
        )
        places.release()
        self._report.handed_over(size)
