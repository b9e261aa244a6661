"""What two nodes say to each other of their operators' orders about keys."""

from typing import Annotated

from msgspec import Meta, Struct

from kms.domain import limits
from kms.domain.wirefields import Count, Offset, SAEText, Text, UUIDBytes


class IndexRange(Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Indices of a stream, both ends of it included."""

    first: Count
    last: Count


# Both ends may have ordered at once: then the union of what each may keep is said.
IndexRanges = Annotated[list[IndexRange], Meta(max_length=2 * limits.HOLD_RANGES_MAX)]


# Of one bundle: every second key.
KeyRanges = Annotated[list[IndexRange], Meta(max_length=limits.KEYS_PER_REQUEST_MAX // 2)]


class Held(Struct, array_like=True, frozen=True, tag=24, forbid_unknown_fields=True):
    """What the sender knows operators of either end to have said about the keys of a stream, or of
    all streams of the link: durable there. Idempotent; answered by the receiver's, unless that has
    said the very same in this session."""

    ksid: Annotated[bytes, Meta(max_length=16)]
    """16 bytes, or none: the whole link"""
    local: Annotated[str, Meta(max_length=64)]
    """the stream's application at the sender; empty for the whole link"""
    remote: Annotated[str, Meta(max_length=64)]
    leader: Offset
    """number of the last order that the link's leader gave, as far as the sender knows"""
    follower: Offset
    suspended: IndexRanges
    compromised: IndexRanges
    operator: Annotated[str, Meta(max_length=limits.OPERATOR_CHARACTERS_MAX)]
    """who gave the newest order"""
    reason: Text


class HeldKeys(Struct, array_like=True, frozen=True, tag=36, forbid_unknown_fields=True):
    """The same of the keys of one bundle, which went over this link, between its master's node and
    a slave's. The master's node says to the other slaves' what it hears."""

    name: UUIDBytes
    master: SAEText
    leader: Offset
    follower: Offset
    suspended: KeyRanges
    compromised: KeyRanges
    operator: Annotated[str, Meta(max_length=limits.OPERATOR_CHARACTERS_MAX)]
    reason: Text
