"""Files under keys of a node: sealed with one key, or hidden under a one-time pad.

``seal`` and ``unseal`` work on open files and a ``KeySource``; docs/client.md describes the format
so that others can write and read it.
"""

from kms.client.files.header import Cipher, Header, read_header
from kms.client.files.keysource import Drawn, KeySource
from kms.client.files.sealing import seal, unseal
from kms.client.files.sources import IdentifiedKeys, StreamKeys

__all__ = [
    "Cipher",
    "Drawn",
    "Header",
    "IdentifiedKeys",
    "KeySource",
    "StreamKeys",
    "read_header",
    "seal",
    "unseal",
]
