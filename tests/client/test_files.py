"""Encrypted files: they open for the other end whole and unaltered, or not at all."""

import io
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kms.client import BadAnswer, BadFile, ClientError, KeyNotFound, Malformed
from kms.client.files import Cipher, Drawn, Header, read_header, seal, sealing, unseal
from kms.client.files.header import MAGIC, encode

A, B = "sae:app.a", "sae:app.b"
KSID = UUID("7b7b2a53-5c6b-4a70-8b7c-0f4d5f3f3f3f")
CIPHERS = list(Cipher)


class FakeKeys:
    """Both ends of one source of keys; each key is drawn once and fetched once."""

    def __init__(self, ksid: UUID | None = KSID, pad_bytes: int = 100) -> None:
        self.ksid = ksid
        self.drawn: dict[bytes, bytes] = {}
        self.fetched: list[bytes] = []
        self._pad_bytes = pad_bytes

    def pad_bytes(self, total: int) -> int:
        return self._pad_bytes

    def draw(self, length: int) -> Drawn:
        number = len(self.drawn)
        reference = number.to_bytes(4, "big") if self.ksid else UUID(int=number + 1).bytes
        self.drawn[reference] = secrets.token_bytes(length)
        return Drawn(reference=reference, bits=bytearray(self.drawn[reference]))

    def fetch(self, reference: bytes, length: int) -> bytearray:
        if reference not in self.drawn or reference in self.fetched:
            raise KeyNotFound("not here")
        self.fetched.append(reference)
        assert len(self.drawn[reference]) == length
        return bytearray(self.drawn[reference])


def nothing(done: int) -> None:
    """Hears no progress."""


def sealed(path: Path, contents: bytes, keys: FakeKeys, cipher: Cipher) -> Path:
    path.write_bytes(contents)
    target = path.with_suffix(".sealed")
    with path.open("rb") as plain, target.open("wb") as out:
        seal(plain, out, keys, cipher=cipher, source=A, destination=B, progress=nothing)
    return target


def opened(path: Path, keys: FakeKeys) -> bytes:
    out = io.BytesIO()
    with path.open("rb") as file:
        unseal(file, out, keys, progress=nothing)
    return out.getvalue()


@pytest.mark.parametrize("ksid", [KSID, None])
@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 65_535, 65_536, 65_537, 200_000])
def test_a_file_of_every_size_comes_back(
    tmp_path: Path, cipher: Cipher, size: int, ksid: UUID | None
) -> None:
    contents, keys = secrets.token_bytes(size), FakeKeys(ksid)

    target = sealed(tmp_path / "plain", contents, keys, cipher)

    assert contents == opened(target, keys)
    assert contents not in target.read_bytes() or size < 4


@pytest.mark.parametrize("cipher", CIPHERS)
def test_no_altered_octet_goes_unseen(
    tmp_path: Path, cipher: Cipher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "_SEGMENT_BYTES", 32)
    keys = FakeKeys(pad_bytes=32)
    target = sealed(tmp_path / "plain", secrets.token_bytes(80), keys, cipher)
    whole = target.read_bytes()
    for place in range(len(whole)):
        for bit in (1, 0x80):
            bent = bytearray(whole)
            bent[place] ^= bit
            target.write_bytes(bent)
            keys.fetched.clear()
            with pytest.raises((BadFile, KeyNotFound)):
                opened(target, keys)


@pytest.mark.parametrize("cipher", CIPHERS)
def test_what_is_cut_off_or_longer_costs_no_key(tmp_path: Path, cipher: Cipher) -> None:
    keys = FakeKeys()
    target = sealed(tmp_path / "plain", bytes(300), keys, cipher)
    whole = target.read_bytes()
    for length in range(0, len(whole), 7):
        target.write_bytes(whole[:length])
        with pytest.raises(BadFile):
            opened(target, keys)
    target.write_bytes(whole + b"x")
    with pytest.raises(BadFile, match="1 bytes too many"):
        opened(target, keys)

    assert [] == keys.fetched


def test_segments_in_another_order_do_not_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "_SEGMENT_BYTES", 32)
    keys = FakeKeys()
    target = sealed(tmp_path / "plain", bytes(range(96)), keys, Cipher.SEALED)
    whole = target.read_bytes()
    body = len(whole) - 3 * (32 + 17)
    first, second = whole[body : body + 49], whole[body + 49 : body + 98]
    target.write_bytes(whole[:body] + second + first + whole[body + 98 :])

    with pytest.raises(BadFile, match="altered"):
        opened(target, keys)


def test_a_pad_is_not_spent_on_what_is_not_genuine(tmp_path: Path) -> None:
    """A stranger who bends a file must not make us draw the keys of other files."""
    keys = FakeKeys()
    target = sealed(tmp_path / "plain", bytes(300), keys, Cipher.ONE_TIME_PAD)
    bent = bytearray(target.read_bytes())
    bent[-20] ^= 1
    target.write_bytes(bent)

    with pytest.raises(BadFile, match="altered"):
        opened(target, keys)
    assert [bytes(4)] == keys.fetched


def test_every_byte_of_a_pad_is_used_once(tmp_path: Path) -> None:
    keys = FakeKeys()
    contents = bytes(250)

    body = sealed(tmp_path / "plain", contents, keys, Cipher.ONE_TIME_PAD).read_bytes()

    pads = list(keys.drawn.values())[1:]
    assert [100, 100, 100] == [len(pad) for pad in pads]
    for pad, used in zip(pads, (100, 100, 50), strict=True):
        assert pad[:used] in body, "contents of zeros are the pad itself"


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_that_changes_while_it_is_read_is_told(
    tmp_path: Path, cipher: Cipher, change: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "plain"

    def regular_size(file: BinaryIO) -> int:
        return path.stat().st_size - change

    monkeypatch.setattr(sealing, "regular_size", regular_size)
    for size in (1, 300):
        with pytest.raises(BadFile, match="while it was read"):
            sealed(path, bytes(size), FakeKeys(), cipher)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """No read asks for more than a segment."""
    largest = 0

    class Watched(io.FileIO):
        def read(self, size: int | None = -1) -> bytes:  # type: ignore[override]
            nonlocal largest
            assert size is not None
            assert size >= 0
            largest = max(largest, size)
            return super().read(size)  # type: ignore[return-value]

    (tmp_path / "plain").write_bytes(bytes(1_000_000))
    keys = FakeKeys()
    with Watched(tmp_path / "plain") as plain, (tmp_path / "sealed").open("wb") as out:
        seal(plain, out, keys, cipher=Cipher.SEALED, source=A, destination=B, progress=nothing)  # type: ignore[arg-type]
    with Watched(tmp_path / "sealed") as file, (tmp_path / "again").open("wb") as out:
        unseal(file, out, keys, progress=nothing)  # type: ignore[arg-type]

    assert 65_536 + 17 == largest


def test_progress_adds_up_to_the_contents(tmp_path: Path) -> None:
    heard: list[int] = []
    keys = FakeKeys()
    target = sealed(tmp_path / "plain", bytes(200_000), keys, Cipher.SEALED)
    with target.open("rb") as file:
        unseal(file, io.BytesIO(), keys, progress=heard.append)

    assert 200_000 == sum(heard)
    assert len(heard) == 4


@pytest.mark.parametrize("name", ["", "x" * 257])
def test_names_that_no_header_holds_cost_no_key(tmp_path: Path, name: str) -> None:
    (tmp_path / "plain").write_bytes(b"x")
    keys = FakeKeys()
    for source, destination in ((name, B), (A, name)):
        with (tmp_path / "plain").open("rb") as plain, pytest.raises(Malformed):
            seal(
                plain,
                io.BytesIO(),
                keys,
                cipher=Cipher.SEALED,
                source=source,
                destination=destination,
                progress=nothing,
            )

    assert {} == keys.drawn


@pytest.mark.parametrize("pad_bytes", [0, 2**20 + 1])
def test_pads_that_no_header_holds_cost_no_key(tmp_path: Path, pad_bytes: int) -> None:
    keys = FakeKeys(pad_bytes=pad_bytes)

    with pytest.raises(BadAnswer):
        sealed(tmp_path / "plain", b"x", keys, Cipher.ONE_TIME_PAD)

    assert {} == keys.drawn


@given(st.binary(max_size=200), st.integers(0, 2**32 - 1))
def test_any_octets_are_a_header_or_told(text: bytes, length: int) -> None:
    for said in (len(text), length):
        with suppress(BadFile):
            read_header(io.BytesIO(MAGIC + said.to_bytes(4, "big") + text))


# ---- headers of strangers -------------------------------------------------------------------


def header(**changes: object) -> bytes:
    made = Header(
        cipher=Cipher.SEALED,
        source=A,
        destination=B,
        size_bytes=5,
        segment_bytes=65_536,
        key_stream_id=KSID,
        index=0,
    )
    fields = msgspec.to_builtins(made) | changes
    text = msgspec.json.encode({name: value for name, value in fields.items() if value != ""})
    return MAGIC + len(text).to_bytes(4, "big") + text


def test_a_header_reads_as_it_was_written() -> None:
    for made in (
        Header(
            cipher=Cipher.ONE_TIME_PAD,
            source=A,
            destination=B,
            size_bytes=0,
            segment_bytes=1,
            key_id=KSID,
        ),
        read_header(io.BytesIO(header()))[0],
    ):
        assert (made, encode(made)) == read_header(io.BytesIO(encode(made) + b"body"))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"KMSFILE",
        b"PK\x03\x04" + bytes(100),
        b"KMSFILE\x02" + bytes(100),
        MAGIC + b"\xff\xff\xff\xff",
        MAGIC + b"\x00\x00\x00\x02[]",
        MAGIC + b"\x00\x00\x10\x00" + b"[" * 4096,
        MAGIC + b"\x00\x00\x00\x02\xff\xff",
        header(cipher="rot13"),
        header(source=""),
        header(source=[]),
        header(source="x" * 257),
        header(size_bytes=-1),
        header(size_bytes=2**53),
        header(segment_bytes=0),
        header(segment_bytes=2**30),
        header(index=2**32),
        header(index=-1),
        header(index=""),
        header(key_stream_id=""),
        header(key_stream_id="", index=""),
        header(key_id=str(KSID)),
        header(later=1),
        header(size_bytes=4),
        header(size_bytes=6),
    ],
)
def test_what_is_no_encrypted_file_is_told_and_costs_no_key(tmp_path: Path, data: bytes) -> None:
    keys = FakeKeys()
    (tmp_path / "file").write_bytes(data + bytes(24 + 5 + 17) if data.startswith(MAGIC) else data)

    with pytest.raises(BadFile):
        opened(tmp_path / "file", keys)
    assert [] == keys.fetched


def test_a_pipe_has_no_length(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(writing)
    with open(reading, "rb", buffering=0) as pipe, pytest.raises(ClientError, match="regular"):
        seal(  # type: ignore[arg-type]
            pipe,
            io.BytesIO(),
            FakeKeys(),
            cipher=Cipher.SEALED,
            source=A,
            destination=B,
            progress=nothing,
        )
