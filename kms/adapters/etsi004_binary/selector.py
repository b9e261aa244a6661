"""The oblivious-key extension: which kind of key a GET_KEY wants, in two octets.

Some programs of the reference library's line put ``{type, role}`` where others offer a buffer for
metadata. Two octets that read as such a pair are one: no metadata is shorter than three.
"""

from enum import IntEnum

import attrs

from kms.adapters.etsi004_binary.messages import GetKeyRequest

SELECTOR_BYTES = 2


class KeyType(IntEnum):
    """What the two ends are to have of a key."""

    SYMMETRIC = 0
    """the same bits"""
    OBLIVIOUS = 1
    """one end all of them, the other half of them"""


class KeyRole(IntEnum):
    """Which end of an oblivious key is asked for."""

    DEFAULT = 0x00
    ERROR = 0x01
    SENDER = 0x10
    RECEIVER = 0x11


@attrs.frozen
class Selector:
    """The kind of key that is asked for."""

    key_type: KeyType
    key_role: KeyRole


def selector(request: GetKeyRequest) -> Selector | None:
    """None: the request offers a buffer, or nothing."""
    if len(request.metadata) != SELECTOR_BYTES:
        return None
    key_type, key_role = request.metadata
    try:
        return Selector(KeyType(key_type), KeyRole(key_role))
    except ValueError:
        return None
