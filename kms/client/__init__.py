"""Keys for an application: a client of a node's ETSI GS QKD 004 and 014 interfaces.

``Client`` (key streams, 004) and ``KeyClient`` (keys with IDs, 014) run on trio; ``SyncClient`` and
``SyncKeyClient`` need no event loop. Both faces take the same arguments and raise the same errors.
docs/client.md begins with an example.
"""

from kms.adapters.tls import Credentials
from kms.client.errors import (
    AnswerLost,
    BadAnswer,
    BadFile,
    ClientError,
    KeyNotFound,
    KSIDInUse,
    Malformed,
    MetadataTooSmall,
    NoConnection,
    NotEnoughKey,
    PeerNotConnected,
    QoSNotMet,
    Refused,
    TimedOut,
    Unavailable,
    Unreachable,
    WrongServer,
)
from kms.client.key import Key
from kms.client.keys import Keys, KeysStatus, KeyWithID
from kms.client.sync_client import SyncClient, SyncStream
from kms.client.sync_key_client import SyncKeyClient
from kms.client.trio_client import Client, Stream
from kms.client.trio_key_client import KeyClient
from kms.domain.status import QoS

__all__ = [
    "AnswerLost",
    "BadAnswer",
    "BadFile",
    "Client",
    "ClientError",
    "Credentials",
    "KSIDInUse",
    "Key",
    "KeyClient",
    "KeyNotFound",
    "KeyWithID",
    "Keys",
    "KeysStatus",
    "Malformed",
    "MetadataTooSmall",
    "NoConnection",
    "NotEnoughKey",
    "PeerNotConnected",
    "QoS",
    "QoSNotMet",
    "Refused",
    "Stream",
    "SyncClient",
    "SyncKeyClient",
    "SyncStream",
    "TimedOut",
    "Unavailable",
    "Unreachable",
    "WrongServer",
]
