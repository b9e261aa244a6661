"""The bytes in docs/protocol.md are those that the code sends: another implementer can rely on
them."""

import re
from pathlib import Path
from typing import get_args
from uuid import UUID

from kms.domain import appendlog, frame, otp, wire
from kms.domain.appendlog import LogEntry
from kms.domain.direction import Direction
from kms.domain.names import KSID, BlockId, LinkId, SecretId
from kms.domain.secret import Secret

DOCUMENT = Path(__file__).parents[2] / "docs/protocol.md"
SECRET = SecretId("00112233445566778899aabbccddeeff")
BLOCK = BlockId(UUID("6b1f3a52-0f1c-4c7e-9a8b-2d4e6f8a0b1c"))


def documented() -> dict[str, bytes]:
    """The lines of section 9, by their names."""
    block = DOCUMENT.read_text("utf-8").split("## 9 ")[1].split("```")[1]
    rows = [re.fullmatch(r"(.+?) +([0-9a-f]{16,})", line) for line in block.strip().splitlines()]
    assert all(rows), "every line is a name and hexadecimal digits"
    return {row[1]: bytes.fromhex(row[2]) for row in rows if row}


def computed() -> dict[str, bytes]:
    context = frame.context(LinkId("alice~bob"), SECRET, Direction.FROM_LEADER)
    secret = wire.encode([wire.Grant(131072)])
    pad = Secret(bytes(range(frame.overhead(len(secret)))))
    entry = LogEntry(seq=0, block_id=BLOCK, direction=Direction.TO_LEADER, start=65536, length=4096)
    empty = appendlog.begin(SECRET)
    ksid = KSID(BLOCK)
    return {
        "context": context,
        "secret part": secret,
        "frame": frame.seal(context, 1, 4096, pad, secret),
        'refusal "no"': frame.opening(wire.encode_opening(wire.Refusal("no"))),
        "log, empty": empty,
        "entry": bytes(8) + BLOCK.bytes + b"\1" + (65536).to_bytes(8) + (4096).to_bytes(8),
        "log, one entry": appendlog.after(empty, entry),
        "block hash": otp.universal_hash(
            Secret(bytes(range(32))), BLOCK.bytes, bytes(range(256)) * 16
        ),
        "designate": wire.encode([wire.Designate(ksid.bytes, 0, 4, 32, 1 << 28)]),
    }


def test_the_documented_bytes_are_those_that_are_sent() -> None:
    expected = documented()

    assert expected == computed()


def test_the_documented_frame_reads_back() -> None:
    data = documented()["frame"]
    header = frame.read_header(data)
    pad = Secret(bytes(range(frame.overhead(header.secret_bytes))))

    messages = wire.decode(frame.unseal(documented()["context"], header, data, pad))

    assert [wire.Grant(131072)] == messages


def test_every_message_and_field_of_the_wire_is_in_the_document() -> None:
    text = DOCUMENT.read_text("utf-8")
    missing = []
    for each in (*get_args(wire.Message), *get_args(wire.Opening)):
        row = re.search(rf"^\| {each.__struct_config__.tag} \| {each.__name__} \|.*$", text, re.M)
        words = set(re.findall(r"\w+", row[0])) if row else set()
        missing += [
            f"{each.__name__}.{name}" for name in each.__struct_fields__ if name not in words
        ]
        missing += [] if row else [each.__name__]

    assert [] == missing
