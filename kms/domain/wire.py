"""Messages between two nodes: bounded, versioned, strict to read.

Rules: every message is an array of typed fields with bounds in the type, so that reading checks
everything there is to check about one message alone; unknown tags, missing or extra fields and
trailing bytes are a ``PeerFault`` and change nothing (I9). The encoding is MessagePack by msgspec
(docs/adr/0003). ``Hello`` and ``Welcome`` go outside the pads, under TLS only; all else is in the
secret part of frames (NFR-1).
"""

from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from kms.domain import limits
from kms.domain.errors import PeerFault
from kms.domain.secret import zero
from kms.domain.wirefields import AlarmKind, Count, Hash, Offset, SAEText, Tag, Text, UUIDBytes
from kms.domain.wireheld import Held, HeldKeys

PROTOCOLS: Final = ("kms/1",)
"""Protocol versions this node speaks, best first."""

_ENTRIES = Meta(max_length=limits.ENTRIES_PER_MESSAGE_MAX)


class Range(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """A stretch of a pad."""

    start: Offset
    length: Count


Ranges = Annotated[list[Range], _ENTRIES]


class PadState(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """What one end knows of one pad."""

    granted: Offset
    mark: Offset
    end: Offset


class Hello(Struct, array_like=True, frozen=True, tag=1, forbid_unknown_fields=True):
    """First message of a session, from both ends. It can only raise marks."""

    protocols: Annotated[list[Annotated[str, Meta(max_length=16)]], Meta(max_length=8)]
    node: Annotated[str, Meta(max_length=32)]
    link: Annotated[str, Meta(max_length=65)]
    boot: Offset
    """the sender's process: no other of that node, nor of a copy of it, has this number"""
    seen_boot: Offset
    """the receiver's boot whose window the sender still holds in memory; 0 none"""
    epoch: Count
    secret_id: Annotated[str, Meta(max_length=32)]
    """newest secret used"""
    log_count: Offset
    log_hash: Hash
    from_leader: PadState
    to_leader: PadState


class Welcome(Struct, array_like=True, frozen=True, tag=2, forbid_unknown_fields=True):
    """Second message: what both hellos come to, as the sender has made it durable."""

    protocol: Annotated[str, Meta(max_length=16)]
    epoch: Count
    log_count: Offset
    start: Offset
    """first offset, in the pad that the sender reads, that may still be used"""
    granted: Offset
    """the sender's grant for that pad"""
    burnt_reads: Ranges
    """what the sender has no bits of, in the pad that it reads"""
    burnt_writes: Ranges
    """likewise in the pad that it writes"""
    alarm: AlarmKind
    """the alarm that the sender's end is under (I13); empty for none"""


class Grant(Struct, array_like=True, frozen=True, tag=3, forbid_unknown_fields=True):
    """The sender of this message has durably granted its neighbour's pad up to here (I1)."""

    granted: Offset


class OfferEntry(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    block_id: UUIDBytes
    length: Count
    tag: Tag


class Offer(Struct, array_like=True, frozen=True, tag=4, forbid_unknown_fields=True):
    """The follower holds these blocks durably; universal-hash tags of their bits."""

    entries: Annotated[list[OfferEntry], _ENTRIES]


class AppendEntry(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    block_id: UUIDBytes
    seq: Offset
    to_leader: bool
    start: Offset
    length: Count


class Append(Struct, array_like=True, frozen=True, tag=5, forbid_unknown_fields=True):
    """The leader has appended these blocks, durably; in order of ``seq``."""

    entries: Annotated[list[AppendEntry], _ENTRIES]


class Appended(Struct, array_like=True, frozen=True, tag=6, forbid_unknown_fields=True):
    """The follower has appended up to ``count`` entries, durably. ``missing``: of these, the
    ones whose block it no longer holds: burnt at both ends."""

    count: Offset
    missing: Annotated[list[Offset], _ENTRIES]


class Differ(Struct, array_like=True, frozen=True, tag=7, forbid_unknown_fields=True):
    """The leader found other bits or another length under these ids: destroyed at both ends."""

    block_ids: Annotated[list[UUIDBytes], _ENTRIES]


class Burnt(Struct, array_like=True, frozen=True, tag=8, forbid_unknown_fields=True):
    """The sender has no bits of this range of the pad it reads: never granted, never used."""

    start: Offset
    length: Count


class Want(Struct, array_like=True, frozen=True, tag=9, forbid_unknown_fields=True):
    """The sender waits to draw this many bytes at once from the pad it writes: the window should
    hold them. ``recorded``: the grant that it has recorded."""

    length: Count
    recorded: Offset


class Refusal(Struct, array_like=True, frozen=True, tag=10, forbid_unknown_fields=True):
    """Opening: the sender ends the session for this reason."""

    reason: Text


class Alarmed(Struct, array_like=True, frozen=True, tag=11, forbid_unknown_fields=True):
    """The sender's end of the link is under this alarm, or, empty, under none any more (I13). Said
    at each change, and at the begin of a session that begins under an alarm."""

    kind: AlarmKind


class Announce(Struct, array_like=True, frozen=True, tag=16, forbid_unknown_fields=True):
    """The sender has this stream. Idempotent; answered by ``Verdict``."""

    ksid: UUIDBytes
    local: SAEText
    """the sender's application"""
    remote: SAEText
    designates: bool
    """the sender allocates the chunks"""
    qos: Annotated[list[Count], Meta(min_length=7, max_length=7)]
    mimetype: Annotated[str, Meta(max_length=64)]
    next_index: Count
    joined: bool
    branch: Offset
    """of the newest chunk that the sender holds"""


class AnnouncePair(Announce, array_like=True, frozen=True, tag=21, forbid_unknown_fields=True):
    """The same of a stream of keys with IDs, which no application opens by itself: its receiver
    joins for the application there."""


class Lapsed(Struct, array_like=True, frozen=True, tag=22, forbid_unknown_fields=True):
    """Of a stream of keys with IDs, from the slave's end: of its keys below this index none waits
    there any more. What the master did not get of them it is not given."""

    ksid: UUIDBytes
    below: Count


class Verdict(Struct, array_like=True, frozen=True, tag=17, forbid_unknown_fields=True):
    """Answer to ``Announce``: status 0 the receiver has the stream durably; else refused."""

    ksid: UUIDBytes
    status: Count
    reason: Text
    joined: bool


class Mark(Struct, array_like=True, frozen=True, tag=18, forbid_unknown_fields=True):
    """How far the sender is with a stream: chunks it knows both ends to hold durably (the one that
    designates: what was acknowledged to it; the other: what it has), and its application. Closed
    without having joined: the sender's opening is withdrawn."""

    ksid: UUIDBytes
    next_index: Count
    joined: bool
    closed: bool
    wanted: Count
    """chunks from next_index on that the sender's application waits for"""
    branch: Offset
    """of the newest chunk that the sender holds"""


class Marked(Struct, array_like=True, frozen=True, tag=19, forbid_unknown_fields=True):
    """After a hello: the sender has sent a ``Mark`` for every open stream of the link."""


class Designate(Struct, array_like=True, frozen=True, tag=20, forbid_unknown_fields=True):
    """The next chunks of a stream are the pad bytes right behind the frame that carries this,
    ``count`` times ``chunk_bytes``, after those of earlier designations in the frame. The length is
    said here because the receiver may have forgotten the stream while this was under way."""

    ksid: UUIDBytes
    first: Count
    count: Count
    chunk_bytes: Count
    branch: Offset
    """under it no index is ever made twice: it ends with the process, and when chunks are taken
    back"""


class Entrust(Struct, array_like=True, frozen=True, tag=32, forbid_unknown_fields=True):
    """Keys of one bundle, for these applications at the receiver; a bundle comes in order, all of
    it in one session. Answered by ``Entrusted`` or ``Declined``. Never printed with its keys."""

    name: UUIDBytes
    master: SAEText
    slaves: Annotated[
        list[SAEText], Meta(min_length=1, max_length=limits.ADDITIONAL_SLAVES_MAX + 1)
    ]
    count: Count
    """of the whole bundle"""
    key_bytes: Count
    first: Count
    """of the keys in this message"""
    keys: Annotated[bytearray, Meta(min_length=1, max_length=limits.ENTRUST_BYTES_MAX)]
    """one after the other"""

    def __repr__(self) -> str:
        return f"Entrust({self.name.hex()}, {self.first} of {self.count}, {len(self.keys)} B)"


class Entrusted(Struct, array_like=True, frozen=True, tag=33, forbid_unknown_fields=True):
    """The sender holds the whole bundle, durably."""

    name: UUIDBytes


class Declined(Struct, array_like=True, frozen=True, tag=34, forbid_unknown_fields=True):
    """The sender does not take the bundle, and holds nothing of it."""

    name: UUIDBytes
    reason: Text


class Withdraw(Struct, array_like=True, frozen=True, tag=35, forbid_unknown_fields=True):
    """Nobody was given a key of the sender's bundle, and nobody will be."""

    name: UUIDBytes


BundleMessage = Entrust | Entrusted | Declined | Withdraw | HeldKeys
"""What is said about keys for several nodes."""

StreamMessage = (
    Announce | AnnouncePair | Lapsed | Verdict | Mark | Marked | Designate | Held | BundleMessage
)
"""What the two ends' streams say to each other."""

Message = (
    Grant
    | Offer
    | Append
    | Appended
    | Differ
    | Burnt
    | Want
    | Alarmed
    | Announce
    | AnnouncePair
    | Lapsed
    | Verdict
    | Mark
    | Marked
    | Designate
    | Held
    | Entrust
    | Entrusted
    | Declined
    | Withdraw
    | HeldKeys
)
_Messages = Annotated[list[Message], Meta(max_length=limits.MESSAGES_PER_FRAME_MAX)]

_encoder = msgspec.msgpack.Encoder()
Opening = Hello | Welcome | Refusal
_opening: msgspec.msgpack.Decoder[Opening] = msgspec.msgpack.Decoder(Opening)
_messages = msgspec.msgpack.Decoder(_Messages)


# MessagePack: a string of at most 64 bytes; the two arrays, tag, name, slaves' array, three numbers
# and the head of the keys.
_NAME_HEAD_BYTES: Final = 2
_ENTRUST_FIELDS_BYTES: Final = 2 + 1 + 18 + 1 + 3 * 5 + 5

# msgspec says of text that is not UTF-8 what the codec says.
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def encode(messages: list[Message]) -> bytes:
    """The secret part of a frame."""
    return _encoder.encode(messages)


def encode_one(message: Message) -> bytes:
    """One message, to be ``joined`` with others."""
    return _encoder.encode(message)


def entrust_bytes(master: str, slaves: Sequence[str], key_bytes: int) -> int:
    """What the secret part with this one message takes at the most, ``key_bytes`` of keys in it."""
    names = sum(_NAME_HEAD_BYTES + len(each.encode()) for each in (master, *slaves))
    return key_bytes + names + _ENTRUST_FIELDS_BYTES


def encode_entrust(message: Entrust) -> bytearray:
    """The secret part with this one message; whoever asks for it wipes it."""
    # A buffer that need not grow leaves no copy behind.
    size = entrust_bytes(message.master, message.slaves, len(message.keys))
    buffer = bytearray(size)
    _encoder.encode_into([message], buffer)
    assert len(buffer) <= size, "what a message says beside its keys is bounded"
    return buffer


def joined(encoded: list[bytes]) -> bytes:
    """The secret part made of these messages: what ``encode`` of them all would give."""
    count = len(encoded)
    assert count <= limits.MESSAGES_PER_FRAME_MAX, "a frame's messages are bounded"
    # MessagePack: fixarray up to 15 elements, array 16 above.
    header = bytes([0x90 | count]) if count < 16 else b"\xdc" + count.to_bytes(2, "big")
    return b"".join((header, *encoded))


def decode(data: bytes | bytearray | memoryview) -> list[Message]:
    """The messages, each within its bounds. Raises ``PeerFault``."""
    try:
        return _messages.decode(data)
    except _UNREADABLE as error:
        raise _broken(error) from None


def decode_wiping(data: bytearray) -> list[Message]:
    """The same; ``data``, in which keys may be, is zero afterwards."""
    try:
        return decode(data)
    finally:
        zero(data)


def encode_opening(message: Opening) -> bytes:
    return _encoder.encode(message)


def decode_opening(data: bytes | memoryview) -> Opening:
    """The hello or welcome, each field within its bounds. Raises ``PeerFault``."""
    try:
        return _opening.decode(data)
    except _UNREADABLE as error:
        raise _broken(error) from None


def _broken(error: Exception) -> PeerFault:
    return PeerFault(
        f"a message does not read: {type(error).__name__}",
        hint="both nodes must run a version that speaks the same protocol",
    )
