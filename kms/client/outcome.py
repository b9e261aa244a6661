"""What the three functions come to, whichever interface they were asked through.

Rules: what a node answers is checked before it is believed: that an index is the one asked for and
a key as long as was agreed. A wrong key is worse than none.
"""

from typing import Any, Final, NoReturn
from uuid import UUID

import attrs

from kms.client.errors import (
    AnswerLost,
    BadAnswer,
    ClientError,
    KSIDInUse,
    NoConnection,
    NotEnoughKey,
    PeerNotConnected,
    QoSNotMet,
    TimedOut,
)
from kms.client.exchange import MARGIN_S, Call
from kms.client.key import Key
from kms.domain.limits import TIMEOUT_MAX_MS
from kms.domain.status import QoS, Status

_OUTCOMES: Final[dict[int, type[ClientError]]] = {
    Status.PEER_NOT_CONNECTED_YET: PeerNotConnected,
    Status.INSUFFICIENT_KEY: NotEnoughKey,
    Status.PEER_NOT_CONNECTED: PeerNotConnected,
    Status.NO_QKD_CONNECTION: NoConnection,
    Status.KSID_IN_USE: KSIDInUse,
    Status.TIMEOUT: TimedOut,
}


@attrs.frozen(kw_only=True)
class Opened:
    """What OPEN_CONNECT came to."""

    ksid: UUID
    qos: QoS
    """as it holds, which may be less than was asked for"""
    peer_connected: bool
    """the peer application has opened the stream too (status 0); else not yet (status 1)"""


def opened(
    status: int, message: str, held: QoS, told: UUID | None, *, asked: UUID | None
) -> Opened:
    """Of an answer to OPEN_CONNECT. Raises what its status means."""
    if status == Status.QOS_NOT_MET:
        raise QoSNotMet(message, held)
    if status not in (Status.SUCCESS, Status.PEER_NOT_CONNECTED_YET):
        fail(status, message)
    if told is None or asked not in (None, told):
        raise BadAnswer("the answer names another Key_stream_ID, or none")
    return Opened(ksid=told, qos=held, peer_connected=status == Status.SUCCESS)


def checked(key: Key, *, index: int | None, qos: QoS) -> Key:
    """The key that was asked for. Raises ``BadAnswer`` for any other, wiped."""
    if index not in (None, key.index):
        _drop(key, f"asked for index {index}, got {key.index}")
    if not len(key) or qos.key_chunk_size not in (0, len(key)):
        _drop(key, f"a key of {len(key)} bytes, agreed were {qos.key_chunk_size}")
    return key


def fail(status: int, message: str) -> NoReturn:
    """Raises what a status other than success means."""
    raise _OUTCOMES.get(status, BadAnswer)(message or f"status {status}")


def patience_s(timeout_ms: int) -> float:
    """How long an answer may take: the stream's Timeout, 0 for unknown, and the way."""
    return min(timeout_ms or TIMEOUT_MAX_MS, TIMEOUT_MAX_MS) / 1000 + MARGIN_S


def no_answer(call: Call[Any, object]) -> AnswerLost:
    """What to raise when patience ends."""
    return AnswerLost(f"{call.function}: no answer within {call.patience_s:g} s")


def _drop(key: Key, reason: str) -> NoReturn:
    key.wipe()
    raise BadAnswer(reason)
