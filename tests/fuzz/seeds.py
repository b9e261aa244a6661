"""Makes the corpus anew, from real traffic: ``python -m tests.fuzz.seeds``.

Files of other names in a corpus, which a crash once left behind, stay.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Final
from uuid import UUID

import attrs
import msgspec

from kms.adapters.etsi004_binary import (
    INDEX_ANY,
    VERSION,
    VERSION_B,
    CloseRequest,
    Dialect,
    GetKeyRequest,
    GetKeyResponse,
    OpenConnectRequest,
    OpenConnectResponse,
    Request,
    encode,
)
from kms.domain import frame, wire
from kms.domain.frame import Kind
from kms.domain.secret import Secret
from kms.domain.status import QoS, Status
from tests.extremes import MESSAGES, drawn, packed, raws
from tests.fuzz import TARGETS, device_frames, keys, peer_frames
from tests.fuzz.keyed import ABE
from tests.fuzz.script import scripted
from tests.siege import CAT, Siege, besieged
from tests.world import ALICE, ANN, BEN, BOB

CORPUS: Final = Path(__file__).parent / "corpus"
FILES_MAX: Final = 150
FILE_BYTES_MAX: Final = 2000


def peer_messages_seeds() -> Iterator[bytes]:
    for _, data in besieged().wire:
        yield data
        if frame.read_header(data).kind is Kind.OPENING:
            yield bytes(frame.opening_message(data))
    for kind in MESSAGES:
        for number, (_, raw) in enumerate(raws(kind, Siege())):
            if number % 10 == 0:
                yield packed(raw)


def peer_frames_seeds() -> Iterator[bytes]:
    siege = Siege()
    alice, bob = b"\0", b"\xff"
    yield alice + scripted([(peer_frames.AGAIN, b""), (peer_frames.AGAIN, b"")])
    for _, data in besieged().wire[:30]:
        yield alice + scripted([(peer_frames.RAW, data)])
    opening = wire.encode_opening(siege.hello())
    yield bob + scripted([(peer_frames.OPENING, opening), (peer_frames.AGAIN, b"")])
    for kind in MESSAGES:
        for victim, begin in ((ALICE, alice), (BOB, bob)):
            choose = Random(kind.__name__)
            secrets = [packed(drawn(kind, Siege(victim), choose)) for _ in range(3)]
            for last in (peer_frames.RESTART, peer_frames.TIME):
                said = [(peer_frames.SEALED, secret) for secret in secrets]
                yield begin + scripted([*said, (last, b"\0\5"), (peer_frames.AGAIN, b"")])
            yield begin + scripted([(peer_frames.FORGED, secrets[0])])
    for number in range(20):
        yield alice + scripted([(peer_frames.DRAWN, bytes([number, each])) for each in range(6)])


def device_frames_seeds() -> Iterator[bytes]:
    opened = (device_frames.OPENED, bytes(4))
    metadata = b'{"age": 12, "hops": 0, "qber": 0.02, "origin": "quantum"}'
    for size in range(3):
        keys = [
            (device_frames.KEY, number.to_bytes(4, "big") + b"\0" + metadata)
            for number in (0, 1, 2, 2, 4, 3, 2**32 - 1)
        ]
        yield bytes([size]) + scripted([opened, *keys])
        yield bytes([size]) + scripted([opened, keys[0], (device_frames.HANG_UP, b""), opened])
    for status in range(9):
        yield b"\1" + scripted(
            [
                opened,
                (device_frames.KEY, bytes([0, 0, 0, 7, status]) + bytes(30)),
                (device_frames.KEY, bytes([0, 0, 0, 7, 0])),
            ]
        )
        yield b"\0" + scripted([(device_frames.OPENED, bytes([0, 0, 0, status]))])
    for odd in (b'{"qber": 0.6}', b'{"qber": -1}', b"{", b"[" * 500, b'{"block_id": "x"}', b"\xff"):
        yield b"\0" + scripted([opened, (device_frames.KEY, bytes(5) + odd)])
    answer = encode(OpenConnectResponse(status=Status.SUCCESS, qos=QoS(), ksid=UUID(int=1)))
    key = encode(GetKeyResponse(status=Status.SUCCESS, index=0, key=Secret(bytes(range(16)))))
    for cut in (0, 3, 8, 20):
        raw = [(device_frames.RAW, bytes(each)[: len(each) - cut]) for each in (answer, key)]
        yield b"\2" + scripted(raw)


def application_seeds() -> Iterator[bytes]:
    ksid = str(next(iter(Siege().node.streams._register.streams)))
    qos = {"Key_chunk_size": 32, "Max_bps": 0, "Min_bps": 100, "Jitter": 0, "Priority": 1}
    qos |= {"Timeout": 5000, "TTL": 60}
    ends = {"source": ANN, "destination": BEN}
    bodies: list[tuple[int, object]] = [
        (0, ends),
        (0, {**ends, "QoS": {**qos, "Metadata_mimetype": "application/json"}}),
        (0, {**ends, "QoS": None, "Key_stream_ID": ksid}),
        (0, {"Source": BEN, "Destination": ANN}),
        (1, {"Key_stream_ID": ksid}),
        (1, {"Key_stream_ID": ksid, "index": 0}),
        (1, {"key_stream_id": ksid, "index": 2**32 - 1, "Metadata": {"Metadata_size": 64}}),
        (2, {"Key_stream_ID": ksid}),
    ]
    for which, body in bodies:
        yield bytes([which]) + msgspec.json.encode(body)
    for which, text in (
        (0, b'{"source": "sae:ann", "source": "sae:ann"}'),
        (1, b'{"Key_stream_ID": NaN}'),
        (1, b"[" * 1000),
        (1, b'{"index": ' + b"9" * 1000 + b"}"),
        (2, b'{"Key_stream_ID": "\\ud800"}'),
        (2, b"\xff\xfe"),
        (0, b""),
        (0, b'{"source": "sae:ann", "destination": "sae:ben", "QoS": {"Jitter": 1e3}}'),
        (1, b'{"Key_stream_ID": null}'),
        (2, b'{"Key_stream_ID": "x", "key_stream_id": "x"}'),
    ):
        yield bytes([which]) + text


def frames_seeds() -> Iterator[bytes]:
    """Both dialects and versions, streams that there are and are not, and frames one after the
    other or cut."""
    ksid: UUID = next(iter(Siege().node.streams._register.streams))
    qos = QoS(key_chunk_size=32, timeout=5000, ttl=60, metadata_mimetype="application/json")
    requests: list[Request] = [
        OpenConnectRequest(source=ANN, destination=BEN, qos=wanted, ksid=name, dialect=dialect)
        for wanted in (QoS(), qos, QoS(key_chunk_size=65_536), QoS(metadata_mimetype="m" * 255))
        for name in (None, ksid, UUID(int=1))
        for dialect in Dialect
    ]
    requests += [
        GetKeyRequest(ksid=name, index=index, metadata=bytes(room))
        for name in (ksid, UUID(int=0))
        for index in (0, 3, INDEX_ANY)
        for room in (0, 2, 4, 64)
    ]
    requests += [GetKeyRequest(ksid=ksid, index=0, metadata_size=room) for room in (4, 2**32 - 1)]
    requests += [
        GetKeyRequest(ksid=ksid, index=0, metadata=bytes([1, 0x10])),
        CloseRequest(ksid=ksid),
    ]
    for number, request in enumerate(requests):
        yield bytes(encode(request, version=(VERSION, VERSION_B)[number % 2]))
    several = b"".join(bytes(encode(each)) for each in requests[-4:])
    yield several
    yield several[:-1]
    yield bytes(encode(requests[0]))[:8]
    yield bytes.fromhex("020101ff00000000")
    # As a program in C leaves its char[256].
    uncleared = bytearray(encode(attrs.evolve(requests[0], dialect=Dialect.B)))
    uncleared[-16 - 255 : -16] = b"\xff" * 255
    yield bytes(uncleared)


def keys_seeds() -> Iterator[bytes]:
    """Both forms of each method, keys that there are and are not, and words that do not fit."""
    enc, dec, enc_get, dec_get, status, other = range(len(keys.WAYS))
    wishes: list[tuple[str, object]] = [
        (BEN, {}),
        (BEN, {"number": 3, "size": 256}),
        (BEN, {"number": 1024, "size": 32_768}),
        (BEN, {"size": 1e3, "key_type": 0, "extension_optional": [{"a": 1}]}),
        (BEN, {"additional_slave_SAE_IDs": [CAT, ABE], "number": 2}),
        (CAT, {"additional_slave_SAE_IDs": [BEN], "size": 64}),
        (BEN, {"additional_slave_SAE_IDs": [f"sae:{n}" for n in range(9)]}),
        (BEN, {"extension_mandatory": [{"route": "x"}, {"oqkd_key_type": 1}]}),
        (BEN, {"Number": 1, "number": 1}),
        (CAT, {"number": None, "size": 72}),
        (ABE, {}),
        ("sae:nobody", {}),
        (ANN, {}),
    ]
    for slave, wish in wishes:
        yield bytes([enc]) + slave.encode() + b"\n" + msgspec.json.encode(wish)
    nobody = str(UUID(int=5 << 64, version=4))
    for master, names in (
        *((BEN, list(each)) for each in (["@0"], ["@3", "@1"], ["@0", "@1", "@2", "@3", "@4"])),
        *((BEN, list(each)) for each in (["@5", "@6"], ["@0", "@5"], ["@7"], ["@0", "@8"])),
        *((BEN, list(each)) for each in (["@9"], ["@0", "@0"], [nobody], ["@0", nobody], [])),
        *((each, ["@2"]) for each in (CAT, ANN, "consumer-1", "sae%3Aben", "%zz", "")),
    ):
        body = {"key_IDs": [{"key_ID": name} for name in names]}
        yield bytes([dec]) + master.encode() + b"\n" + msgspec.json.encode(body)
    for which, query in (
        *((enc_get, each) for each in ("number=2&size=64", "size=", "number=1&number=1", "a=%ff")),
        *((dec_get, each) for each in ("key_ID=@4", "key_ID=@4&key_ID=@3", f"key_ID={nobody}", "")),
        *((status, each) for each in ("", "number=1")),
    ):
        yield bytes([which]) + f"{BEN}?{query}".encode()
    for which, text in (
        (enc, b'{"number": 1, "number": 2}'),
        (enc, b'{"size": NaN}'),
        (enc, b"[" * 1000),
        (dec, b'{"key_IDs": [{"key_ID": "@1", "key_ID_extension": {"a": 1}}]}'),
        (dec, b'{"key_IDs": [{"key_ID": "\\ud800"}], "key_IDs_extension": null}'),
        (dec, b'{"key_IDs": {"key_ID": "@1"}}'),
        (dec + len(keys.WAYS), b'{"key_IDs": [{"key_ID": "@1"}]}'),
        (dec + 2 * len(keys.WAYS), b'{"key_IDs": [{"key_ID": "@1"}]}'),
        (enc_get, b"{}"),
        (enc, b"\xff\xfe"),
    ):
        yield bytes([which]) + BEN.encode() + b"\n" + text
    for target in (
        b"/api/v1/keys/sae:ben/enc_keys",
        b"/api/v1/openapi.json",
        b"/",
        b"/api/v1/keys",
    ):
        yield bytes([other]) + target


def write(directory: Path = CORPUS) -> None:
    """Each target's seeds are in a directory of its name, each under its digest."""
    made = {
        "peer_messages": peer_messages_seeds,
        "peer_frames": peer_frames_seeds,
        "device_frames": device_frames_seeds,
        "application": application_seeds,
        "frames": frames_seeds,
        "keys": keys_seeds,
    }
    assert tuple(made) == TARGETS, "every target has seeds"
    for target, seeds in made.items():
        place = directory / target
        place.mkdir(parents=True, exist_ok=True)
        for old in place.glob("seed-*"):
            old.unlink()
        small = [seed for seed in dict.fromkeys(seeds()) if len(seed) <= FILE_BYTES_MAX]
        step = -(-len(small) // FILES_MAX)
        for seed in small[::step]:
            name = hashlib.sha256(seed).hexdigest()[:12]
            (place / f"seed-{name}").write_bytes(seed)


if __name__ == "__main__":
    write()
