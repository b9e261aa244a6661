"""Writes peer-frames.json. Run it only to add cases: a changed old case is a changed protocol.

PYTHONPATH=. python tests/vectors/peer-frames/make.py
"""

import json
from pathlib import Path
from uuid import UUID

from kms.domain import appendlog, frame, wire
from kms.domain.appendlog import LogEntry
from kms.domain.direction import Direction
from kms.domain.names import BlockId, LinkId, SecretId
from kms.domain.otp import universal_hash
from kms.domain.secret import Secret
from kms.domain.wireheld import Held, HeldKeys, IndexRange

LINK, SECRET = LinkId("alice~bob"), SecretId("00112233445566778899aabbccddeeff")
BLOCK = UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
KSID = UUID("0f0e0d0c-0b0a-4908-8706-050403020100")


def counting(length: int, start: int = 0) -> bytes:
    return bytes((start + each) % 256 for each in range(length))


def messages() -> dict[str, wire.Message | wire.Opening]:
    pad = wire.PadState(4096, 130, 65536)
    return {
        "hello": wire.Hello(["kms/1"], "alice", LINK, 3, 0, 1, SECRET, 2, counting(32), pad, pad),
        "welcome": wire.Welcome("kms/1", 1, 2, 4096, 8192, [wire.Range(65536, 4096)], [], ""),
        "refusal": wire.Refusal("the append logs differ"),
        "grant": wire.Grant(131072),
        "offer": wire.Offer([wire.OfferEntry(BLOCK.bytes, 65536, counting(16))]),
        "append": wire.Append([wire.AppendEntry(BLOCK.bytes, 2, True, 65536, 65536)]),
        "appended": wire.Appended(3, [2]),
        "differ": wire.Differ([BLOCK.bytes]),
        "burnt": wire.Burnt(65536, 4096),
        "alarmed": wire.Alarmed("qber"),
        "want": wire.Want(6240, 4096),
        "announce": wire.Announce(
            KSID.bytes, "sae:ann", "sae:ben", True, [32, 0, 0, 0, 0, 5000, 60], "", 0, True, 0
        ),
        "announce pair": wire.AnnouncePair(
            KSID.bytes, "sae:ann", "sae:ben", True, [32, 0, 0, 0, 0, 2000, 3600], "", 0, True, 0
        ),
        "lapsed": wire.Lapsed(KSID.bytes, 8),
        "verdict": wire.Verdict(KSID.bytes, 0, "", False),
        "mark": wire.Mark(KSID.bytes, 8, True, False, 1, 1 << 28),
        "marked": wire.Marked(),
        "entrust": wire.Entrust(
            KSID.bytes, "sae:ann", ["sae:ben", "sae:bea"], 3, 32, 1, bytearray(counting(64))
        ),
        "entrusted": wire.Entrusted(KSID.bytes),
        "declined": wire.Declined(KSID.bytes, "the applications do not live at these nodes"),
        "withdraw": wire.Withdraw(KSID.bytes),
        "designate": wire.Designate(KSID.bytes, 8, 4, 32, 1 << 28),
        "held": Held(
            KSID.bytes,
            "sae:ann",
            "sae:ben",
            1_700_000_000_000,
            0,
            [IndexRange(4, 2**32 - 1)],
            [IndexRange(0, 1), IndexRange(3, 3)],
            "olga",
            "a laptop was lost",
        ),
        "held, keys for several slaves": HeldKeys(
            KSID.bytes,
            "sae:ann",
            1_700_000_000_000,
            0,
            [IndexRange(4, 4)],
            [IndexRange(0, 1)],
            "olga",
            "a laptop was lost",
        ),
        "held, the whole link": Held(
            b"", "", "", 0, 1_700_000_000_001, [IndexRange(0, 2**32 - 1)], [], "olga", ""
        ),
    }


def made() -> dict[str, object]:
    frames = []
    for name, secret, public in (
        ("a grant", wire.encode([wire.Grant(131072)]), b""),
        ("no message, and a public part", wire.encode([]), b"masks"),
        ("a thousand bytes", counting(1000, 7), b""),
    ):
        for direction in Direction:
            context = frame.context(LINK, SECRET, direction)
            pad = counting(frame.overhead(len(secret)))
            sealed = frame.seal(context, 1, 4096, Secret(pad), secret, public)
            frames.append(
                {
                    "name": name,
                    "link": LINK,
                    "secret_id": SECRET,
                    "direction": direction.value,
                    "epoch": 1,
                    "offset": 4096,
                    "pad": pad.hex(),
                    "secret": secret.hex(),
                    "public": public.hex(),
                    "frame": sealed.hex(),
                }
            )
    hashes = [
        {
            "key": counting(32, 1).hex(),
            "block_id": BLOCK.hex,
            "bits": counting(length, 3).hex(),
            "hash": universal_hash(Secret(counting(32, 1)), BLOCK.bytes, counting(length, 3)).hex(),
        }
        for length in (16, 17, 4096)
    ]
    log, steps = appendlog.begin(SECRET), []
    for seq, direction in enumerate((Direction.FROM_LEADER, Direction.TO_LEADER)):
        entry = LogEntry(
            seq=seq, block_id=BlockId(BLOCK), direction=direction, start=seq * 65536, length=4096
        )
        log = appendlog.after(log, entry)
        steps.append(
            {
                "seq": seq,
                "block_id": BLOCK.hex,
                "to_leader": direction is Direction.TO_LEADER,
                "start": seq * 65536,
                "length": 4096,
                "hash": log.hex(),
            }
        )
    return {
        "version": 1,
        "frames": frames,
        "universal_hashes": hashes,
        "append_log": {
            "secret_id": SECRET,
            "empty": appendlog.begin(SECRET).hex(),
            "entries": steps,
        },
        "messages": {
            name: wire.encode_one(message).hex()  # type: ignore[arg-type]
            for name, message in messages().items()
        },
    }


if __name__ == "__main__":
    target = Path(__file__).with_name("peer-frames.json")
    target.write_text(json.dumps(made(), indent=1) + "\n")
