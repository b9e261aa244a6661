"""Reading messages is strict: whatever is not exactly a message is the neighbour's fault (I9)."""

import contextlib
import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kms.domain import frame, limits, wire
from kms.domain.errors import PeerFault

VECTORS: dict[str, str] = json.loads(
    (Path(__file__).parents[1] / "vectors/peer-frames/peer-frames.json").read_text()
)["messages"]
OPENINGS = ("hello", "welcome", "refusal")


def read(name: str, message: object) -> object:
    data = msgspec.msgpack.encode(message)
    if name in OPENINGS:
        return wire.decode_opening(data)
    return wire.decode(wire.joined([data]))


def fields(name: str) -> list[object]:
    decoded = msgspec.msgpack.decode(bytes.fromhex(VECTORS[name]))
    assert isinstance(decoded, list)
    return decoded


@pytest.mark.parametrize("name", VECTORS)
def test_a_field_more_or_less_or_of_another_type_is_refused(name: str) -> None:
    good = fields(name)
    read(name, good)
    wrong: list[list[object]] = [[*good, 0], [99, *good[1:]], [good]]
    if len(good) > 1:
        wrong.append(good[:-1])
    for place in range(1, len(good)):
        for bad in ({"a": 1}, 1.5, -1, 2**64 - 1, None):
            wrong.append([*good[:place], bad, *good[place + 1 :]])
    for message in wrong:
        with pytest.raises(PeerFault):
            read(name, message)


@pytest.mark.parametrize("name", VECTORS)
def test_every_cut_and_every_byte_behind_is_refused(name: str) -> None:
    data = bytes.fromhex(VECTORS[name])
    decode = wire.decode_opening if name in OPENINGS else wire.decode
    whole = data if name in OPENINGS else wire.joined([data])
    for cut in range(len(whole)):
        with pytest.raises(PeerFault):
            decode(whole[:cut])
    with pytest.raises(PeerFault):
        decode(whole + b"\0")


def test_more_messages_or_entries_than_their_bounds_are_refused() -> None:
    marked = bytes.fromhex(VECTORS["marked"])
    count = limits.MESSAGES_PER_FRAME_MAX + 1
    with pytest.raises(PeerFault):
        wire.decode(b"\xdc" + count.to_bytes(2, "big") + marked * count)
    entries = fields("appended")
    with pytest.raises(PeerFault):
        read("appended", [entries[0], 9999, list(range(limits.ENTRIES_PER_MESSAGE_MAX + 1))])


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_noise_is_a_message_or_a_fault_and_nothing_else(noise: bytes) -> None:
    for decode in (wire.decode, wire.decode_opening, frame.read_header):
        # Any other exception would end the node, not the session.
        with contextlib.suppress(PeerFault):
            decode(noise)


def test_joined_is_what_encoding_them_together_gives() -> None:
    for count in (1, 15, 16, 17, limits.MESSAGES_PER_FRAME_MAX):
        grants: list[wire.Message] = [wire.Grant(number) for number in range(count)]

        assert wire.encode(grants) == wire.joined([wire.encode_one(each) for each in grants])


def test_text_that_is_not_utf8_is_the_neighbours_fault() -> None:
    """The simulator's seed 2: one altered byte in a hello ended the node."""
    hello = bytearray.fromhex(VECTORS["hello"])
    at = hello.index(b"alice")
    hello[at + 2] = 0xA9

    with pytest.raises(PeerFault):
        wire.decode_opening(bytes(hello))


@pytest.mark.parametrize(("count", "size"), [(1, 1), (1, 64), (9, 64)])
@pytest.mark.parametrize("keys", [1, limits.ENTRUST_BYTES_MAX])
def test_what_a_message_of_entrusted_keys_takes_is_known_before_it_is_made(
    count: int, size: int, keys: int
) -> None:
    master, slaves = "m" * size, [f"{number}" * size for number in range(count)]
    most = (1 << 32) - 1
    message = wire.Entrust(bytes(16), master, slaves, most, most, most, bytearray(keys))
    known, taken = wire.entrust_bytes(master, slaves, keys), len(wire.encode_entrust(message))

    assert known - 8 <= taken <= known


def test_entrusted_keys_are_never_printed_and_what_they_are_read_from_is_wiped() -> None:
    keys = bytes(range(65, 97))
    message = wire.Entrust(bytes(16), "sae:ann", ["sae:ben"], 1, 32, 0, bytearray(keys))
    secret = wire.encode_entrust(message)

    assert "ABC" not in repr(message)
    assert "0 of 1, 32 B" in repr(message)
    assert [message] == wire.decode_wiping(secret)
    assert not any(secret)
