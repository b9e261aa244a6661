"""What an application may ask in whole keys with IDs, and what it is told.

The three methods of ETSI GS QKD 014 V1.1.1 clause 5, free of any transport: Get key status, Get
key, Get key with key IDs. Keys of one answer lie in one block, their IDs in another: never one
object a key.
"""

from enum import Enum

import attrs

from kms.domain.names import SAEId
from kms.domain.secret import Secret


@attrs.frozen(kw_only=True)
class EncKeys:
    """Get key (clause 5.2). The caller becomes the master SAE of these keys."""

    slave: SAEId
    number: int
    """of keys, at least 1"""
    key_bytes: int
    """size of each"""
    additional_slaves: tuple[SAEId, ...] = ()
    """who else gets the same keys under the same IDs; all different, neither master nor slave"""


@attrs.frozen(kw_only=True)
class DecKeys:
    """Get key with key IDs (clause 5.3). The caller is a slave SAE of these keys."""

    master: SAEId
    key_ids: bytes
    """16 octets each (RFC 4122 order), all different, in the order of the answer"""


@attrs.frozen(kw_only=True)
class PairStatus:
    """Get status (clause 5.1) of the caller and this slave."""

    slave: SAEId


class Outcome(Enum):
    """What an answer in whole keys comes to."""

    DELIVERED = "delivered"
    BAD_REQUEST = "bad-request"
    """400: it can never be met as it stands"""
    NOT_ENTITLED = "not-entitled"
    """401: one of the keys was not made for the caller"""
    UNAVAILABLE = "unavailable"
    """503: not now"""


@attrs.frozen(kw_only=True)
class KeysReply:
    """Answer to ``EncKeys`` and ``DecKeys``: all keys asked for, or none. With none, nothing was
    taken, unless the store could not read what was: then those keys are lost at this end."""

    outcome: Outcome
    message: str = ""
    """empty when delivered; else whose fault it is and what to do next, or clause 6.4's words"""
    key_ids: bytes = b""
    """16 octets each"""
    keys: Secret | None = None
    """one after the other, all of one size; there exactly when ``outcome`` is DELIVERED"""


@attrs.frozen(kw_only=True)
class PairStatusReply:
    """Answer to ``PairStatus``. Sizes in octets: the interface renders bits."""

    outcome: Outcome
    message: str = ""
    slave_node: str = ""
    """the KME that serves the slave"""
    key_bytes: int = 0
    """of a key when the request names no size"""
    stored_keys: int = 0
    """of that size that could be delivered now"""
    stored_keys_max: int = 0
