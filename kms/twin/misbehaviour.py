"""How an answer is spoilt, as two tables: in its meaning, or in its bytes."""

import struct
from collections.abc import Callable
from enum import Enum
from typing import Final

import attrs

from kms.adapters.etsi004_binary import HEADER_BYTES, GetKeyResponse
from kms.domain.secret import Secret


class Then(Enum):
    """What the device does after the bytes."""

    GO_ON = "go on"
    HANG_UP = "hang up"
    HANG = "hang"
    """nothing, with the connection open"""


def _short(answer: GetKeyResponse) -> GetKeyResponse:
    return attrs.evolve(answer, key=answer.key.part(0, len(answer.key) - 1))


def _zeros(answer: GetKeyResponse) -> GetKeyResponse:
    return attrs.evolve(answer, key=Secret(bytes(len(answer.key))))


def _bad_metadata(answer: GetKeyResponse) -> GetKeyResponse:
    return attrs.evolve(answer, metadata=b'{"age": NaN, "qber": ')


SPOILT_MEANINGS: Final[dict[str, Callable[[GetKeyResponse], GetKeyResponse]]] = {
    "wrong_length": _short,
    "zeros": _zeros,
    "bad_metadata": _bad_metadata,
}


def _with_status(frame: bytes) -> bytes:
    return frame[:HEADER_BYTES] + struct.pack("!I", 99) + frame[HEADER_BYTES + 4 :]


SPOILT_BYTES: Final[dict[str, tuple[Callable[[bytes], bytes], Then]]] = {
    "garbage": (lambda frame: b"\xff\x00garbage" * 8, Then.GO_ON),
    "oversized": (lambda frame: frame[:4] + b"\xff\xff\xff\xff", Then.GO_ON),
    "silent": (lambda frame: b"", Then.HANG),
    "half_frame": (lambda frame: frame[: len(frame) // 2], Then.HANG_UP),
    "wrong_version": (lambda frame: b"\x03" + frame[1:], Then.GO_ON),
    "wrong_service": (lambda frame: frame[:3] + b"\x09" + frame[4:], Then.GO_ON),
    "bad_status": (_with_status, Then.GO_ON),
}
