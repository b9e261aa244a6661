"""Status and QoS of ETSI GS QKD 004 V2.1.1 (2020-08), table 2."""

from enum import IntEnum

import attrs


class Status(IntEnum):
    """What OPEN_CONNECT, GET_KEY and CLOSE answer."""

    SUCCESS = 0
    PEER_NOT_CONNECTED_YET = 1
    """Connected; the peer application has not opened the stream yet."""
    INSUFFICIENT_KEY = 2
    PEER_NOT_CONNECTED = 3
    """GET_KEY before the peer application is there; also an unknown or foreign KSID."""
    NO_QKD_CONNECTION = 4
    KSID_IN_USE = 5
    TIMEOUT = 6
    QOS_NOT_MET = 7
    """OPEN_CONNECT failed; the QoS returned is what would be admitted."""
    METADATA_SIZE_INSUFFICIENT = 8
    """Nothing delivered, nothing lost; Metadata_size says what is needed."""


@attrs.frozen(kw_only=True)
class QoS:
    """Quality of service of one stream. 0 and '' mean: the KMS chooses."""

    key_chunk_size: int = 0
    """bytes of each GET_KEY result"""
    max_bps: int = 0
    """bit/s, the most that is delivered"""
    min_bps: int = 0
    """bit/s, the least the application needs"""
    jitter: int = 0
    """bit/s, expected deviation of the delivery rate"""
    priority: int = 0
    """larger is served first"""
    timeout: int = 0
    """ms, for every function of the stream"""
    ttl: int = 0
    """s, then undelivered keys are erased"""
    metadata_mimetype: str = ""
    """application/json, or empty for no metadata"""
