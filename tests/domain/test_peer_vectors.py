"""Frames, hashes and messages between nodes, against vectors and computed without our own code."""

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from kms.domain import appendlog, frame, wire
from kms.domain.appendlog import LogEntry
from kms.domain.direction import Direction
from kms.domain.names import BlockId, LinkId, SecretId, block_id
from kms.domain.otp import universal_hash
from kms.domain.secret import Secret

FOLDER = Path(__file__).parents[1] / "vectors" / "peer-frames"
VECTORS: dict[str, Any] = json.loads((FOLDER / "peer-frames.json").read_text())


def poly1305(key: bytes, message: bytes) -> bytes:
    """After the definition (Bernstein 2005): slow, and nobody's library."""
    r = int.from_bytes(key[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    total = 0
    for at in range(0, len(message), 16):
        total = (total + int.from_bytes(message[at : at + 16] + b"\1", "little")) * r
        total %= 2**130 - 5
    return ((total + int.from_bytes(key[16:], "little")) % 2**128).to_bytes(16, "little")


@pytest.mark.parametrize("case", VECTORS["frames"], ids=lambda case: case["name"])
def test_a_frame_is_what_the_definition_says(case: dict[str, Any]) -> None:
    pad, secret, public = (bytes.fromhex(case[key]) for key in ("pad", "secret", "public"))
    header = struct.pack(">BBIQII", 1, 2, case["epoch"], case["offset"], len(public), len(secret))
    hidden = bytes(one ^ two for one, two in zip(secret, pad[32:], strict=True))
    context = f"kms/1 {case['link']} {case['secret_id']} {case['direction']}\n".encode()
    tag = poly1305(pad[:32], context + header + public + hidden)

    assert case["frame"] == (header + public + hidden + tag).hex()


@pytest.mark.parametrize("case", VECTORS["frames"], ids=lambda case: case["name"])
def test_our_frames_are_the_vectors_and_open_again(case: dict[str, Any]) -> None:
    pad, secret, public = (bytes.fromhex(case[key]) for key in ("pad", "secret", "public"))
    context = frame.context(
        LinkId(case["link"]), SecretId(case["secret_id"]), Direction(case["direction"])
    )
    sealed = frame.seal(context, case["epoch"], case["offset"], Secret(pad), secret, public)
    header = frame.read_header(sealed)

    assert case["frame"] == sealed.hex()
    assert secret == bytes(frame.unseal(context, header, sealed, Secret(pad)))


def test_no_byte_of_a_frame_and_no_pad_of_another_link_or_direction_passes() -> None:
    case = VECTORS["frames"][0]
    pad, sealed = Secret(bytes.fromhex(case["pad"])), bytes.fromhex(case["frame"])
    context = frame.context(LinkId("alice~bob"), SecretId(case["secret_id"]), Direction.FROM_LEADER)
    header = frame.read_header(sealed)
    others = [
        frame.context(LinkId("alice~eve"), SecretId(case["secret_id"]), Direction.FROM_LEADER),
        frame.context(LinkId("alice~bob"), SecretId("0" * 32), Direction.FROM_LEADER),
        frame.context(LinkId("alice~bob"), SecretId(case["secret_id"]), Direction.TO_LEADER),
    ]
    for other in others:
        with pytest.raises(frame.Forged):
            frame.unseal(other, header, sealed, pad)
    for place in range(len(sealed)):
        altered = bytearray(sealed)
        altered[place] ^= 0x80
        with pytest.raises(frame.Forged):
            frame.unseal(context, header, altered, pad)


@pytest.mark.parametrize("case", VECTORS["universal_hashes"])
def test_universal_hashes(case: dict[str, str]) -> None:
    key, block, bits = (bytes.fromhex(case[name]) for name in ("key", "block_id", "bits"))

    assert case["hash"] == poly1305(key, block + struct.pack(">Q", len(bits)) + bits).hex()
    assert case["hash"] == universal_hash(Secret(key), block, bits).hex()


def test_the_append_log() -> None:
    log = VECTORS["append_log"]
    secret = SecretId(log["secret_id"])
    ours = appendlog.begin(secret)
    theirs = hashlib.sha256(b"append log " + secret.encode()).digest()

    assert log["empty"] == ours.hex() == theirs.hex()
    for each in log["entries"]:
        entry = LogEntry(
            seq=each["seq"],
            block_id=BlockId(block_id(each["block_id"])),
            direction=Direction.TO_LEADER if each["to_leader"] else Direction.FROM_LEADER,
            start=each["start"],
            length=each["length"],
        )
        packed = struct.pack(">Q", each["seq"]) + bytes.fromhex(each["block_id"])
        packed += struct.pack(">BQQ", each["to_leader"], each["start"], each["length"])
        ours, theirs = appendlog.after(ours, entry), hashlib.sha256(theirs + packed).digest()

        assert each["hash"] == ours.hex() == theirs.hex()


@pytest.mark.parametrize("name", VECTORS["messages"])
def test_messages_read_and_write_as_the_vectors(name: str) -> None:
    data = bytes.fromhex(VECTORS["messages"][name])
    if name in ("hello", "welcome", "refusal"):
        again = wire.encode_opening(wire.decode_opening(data))
    else:
        again = wire.encode_one(wire.decode(wire.joined([data]))[0])

    assert data == again
