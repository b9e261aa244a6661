"""The QoS provider: what an application asked for, against what a link can promise.

Rules: 0 and '' mean that the KMS chooses (ETSI GS QKD 004 V2.1.1 table 2; a NULL cannot be said in
every binding). A refusal is status 7 and carries a QoS near it that the same link would admit, with
room for what changes until the application asks again. Filling the streams at the promised rates
is ``supply``.

Jitter is what the rate of delivery may differ, in any second, from Min_bps below and from Max_bps
above, for an application that asks steadily. Less than one chunk is refused; 0 leaves it to the
KMS: ``DELIVERY_BURST_MS`` of Max_bps, and a chunk.

Theory of operation: what a link can still promise is ``ADMIT_PERCENT`` of the rate at which key is
agreed, plus its stock spread over ``ADMIT_LEVEL_S``, less what the Min_bps of the streams admitted
cost: the key, and the designations that it takes. The opener's node judges; so does the link's
leader when the opening comes from the other end, so that two openings at once cannot both take the
last of the rate. Whether it goes on so is ``qoswatch``.
"""

import attrs

from kms.domain import limits
from kms.domain.channel import Channel
from kms.domain.metadata import JSON
from kms.domain.status import QoS

_U32_MAX = 2**32 - 1
_NO_END = 2**64
_DESIGNATION_BITS = limits.DESIGNATION_OVERHEAD_BYTES * 8
# A turn is a whole number of chunks, so it may be as short as half of what is aimed at.
_TURNS_PER_S_MAX = 2 * 1000 // limits.PROMISE_TURN_MS


@attrs.frozen(kw_only=True)
class Judgement:
    """``qos`` holds when ``refused`` is empty, else it is the counter-proposal."""

    qos: QoS
    refused: str


def spare_bps(channel: Channel, promised_bps: int, level: int) -> int:
    """What the link can promise on top of ``promised_bps``, bit/s. ``level``: bytes in stock for
    the end that will make the key."""
    return max(0, capacity_bps(channel, limits.ADMIT_PERCENT, level) - promised_bps)


def capacity_bps(channel: Channel, percent: int, level: int) -> int:
    """What the link can promise in all, bit/s, with so much of its rate."""
    made = channel.rate_bps() * percent / 100
    kept = level * 8 / limits.ADMIT_LEVEL_S
    return int(made + kept)


def cost_bps(qos: QoS) -> int:
    """What keeping Min_bps takes of the link's rate, bit/s, designations included."""
    named = min(qos.min_bps, _TURNS_PER_S_MAX * qos.key_chunk_size * 8)
    return qos.min_bps - (-named * _DESIGNATION_BITS // (qos.key_chunk_size * 8))


def min_bps_for(chunk_bytes: int, spare: int) -> int:
    """The largest Min_bps, or nearly, that ``spare`` pays for."""
    bits, most = chunk_bytes * 8, _TURNS_PER_S_MAX * _DESIGNATION_BITS
    if spare >= _TURNS_PER_S_MAX * bits + most:
        return spare - most
    return spare * bits // (bits + _DESIGNATION_BITS)


def judge(asked: QoS, spare: int, permitted_bps: int | None = None) -> Judgement:
    """Every field decided. A field that cannot be had is named; the others stand as asked.
    ``permitted_bps``: what policy lets be promised; None: no bound."""
    refused: list[str] = []

    def bounded(name: str, value: int, default: int, most: int) -> int:
        if 0 <= value <= most:
            return value or default
        refused.append(f"{name} is at most {most}")
        return most if value > most else default

    chunk = bounded(
        "Key_chunk_size",
        asked.key_chunk_size,
        limits.CHUNK_BYTES_DEFAULT,
        limits.CHUNK_BYTES_MAX,
    )
    timeout = bounded("Timeout", asked.timeout, limits.TIMEOUT_DEFAULT_MS, limits.TIMEOUT_MAX_MS)
    ttl = bounded("TTL", asked.ttl, limits.TTL_DEFAULT_S, limits.TTL_MAX_S)
    jitter = bounded("Jitter", asked.jitter, 0, _U32_MAX)
    priority = bounded("Priority", asked.priority, 0, _U32_MAX)
    max_bps = bounded("Max_bps", asked.max_bps, 0, _U32_MAX)
    min_bps = bounded("Min_bps", asked.min_bps, 0, _U32_MAX)
    if max_bps and min_bps > max_bps:
        refused.append("Min_bps is above Max_bps")
        min_bps = max_bps
    if permitted_bps is not None and min_bps > permitted_bps:
        refused.append(f"policy permits {permitted_bps} bit/s")
        min_bps = permitted_bps
    if jitter and jitter < chunk * 8 and (min_bps or max_bps):
        # Key comes in whole chunks: any second may have one more or less than its share.
        refused.append(f"Jitter is at least {chunk * 8}, one chunk a second")
        jitter = chunk * 8
    settled = attrs.evolve(asked, key_chunk_size=chunk, min_bps=min_bps)
    if min_bps and cost_bps(settled) > spare:
        refused.append(too_much(settled, spare))
        min_bps = min(min_bps, min_bps_for(chunk, spare * limits.PROPOSE_PERCENT // 100))
    # A first octet of 0 is the binary way to say "no metadata" (table 2).
    mimetype = "" if asked.metadata_mimetype[:1] == "\0" else asked.metadata_mimetype
    if mimetype and mimetype.lower() != JSON:
        refused.append(f"Metadata_mimetype is {JSON} or empty")
        mimetype = JSON
    qos = QoS(
        key_chunk_size=chunk,
        max_bps=max_bps,
        min_bps=min_bps,
        jitter=jitter,
        priority=priority,
        timeout=timeout,
        ttl=ttl,
        metadata_mimetype=mimetype and JSON,
    )
    return Judgement(qos=qos, refused="; ".join(refused))


def too_much(qos: QoS, spare: int) -> str:
    """Why Min_bps is refused, for the application."""
    return (
        f"the link can promise {min_bps_for(qos.key_chunk_size, spare)} bit/s more"
        f" in chunks of {qos.key_chunk_size} bytes"
    )


def pair_qos(key_bytes: int) -> QoS:
    """That of a stream of keys with IDs (ETSI GS QKD 014): nothing but the size is asked for."""
    return QoS(key_chunk_size=key_bytes, timeout=limits.KEYS_TIMEOUT_MS, ttl=limits.KEYS_TTL_S)


def is_pairs(qos: QoS) -> bool:
    """Whether a node that follows ``pair_qos`` could have settled on this."""
    size = qos.key_chunk_size
    return limits.KEY_BYTES_MIN <= size <= limits.KEY_BYTES_MAX and qos == pair_qos(size)


def is_settled(qos: QoS) -> bool:
    """Whether a node that follows ``judge`` could have settled on this, rates aside."""
    # Jitter is between the application and the node that admitted it.
    rest = attrs.evolve(qos, jitter=0)
    return 0 <= qos.jitter <= _U32_MAX and judge(rest, _NO_END) == Judgement(qos=rest, refused="")
