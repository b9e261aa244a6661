"""Keys for an application: a client of a node's ETSI GS QKD 004 interfaces.

``Client`` runs on trio, ``SyncClient`` needs no event loop; both take the same arguments and raise
the same errors. docs/client.md begins with an example.
"""

from kms.adapters.tls import Credentials
from kms.client.errors import (
    AnswerLost,
    BadAnswer,
    ClientError,
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
from kms.client.sync_client import SyncClient, SyncStream
from kms.client.trio_client import Client, Stream
from kms.domain.status import QoS

__all__ = [
    "AnswerLost",
    "BadAnswer",
    "Client",
    "ClientError",
    "Credentials",
    "KSIDInUse",
    "Key",
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
    "SyncStream",
    "TimedOut",
    "Unavailable",
    "Unreachable",
    "WrongServer",
]
