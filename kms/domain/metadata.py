"""The metadata of one delivered chunk (ETSI GS QKD 004 V2.1.1 table 3).

Rules: UTF-8 JSON. Two members of the standard, both uint32: ``age``, ms since the chunk was ready
for delivery here; ``hops``, trusted nodes passed. One of ours: ``link_type``, what feeds the link
that the chunk comes from, PHYS for devices (the word of ETSI GS QKD 015). What a caller must offer
is known before the age is.
"""

from typing import Final

JSON: Final = "application/json"
"""The media type that every KMS supports."""

_U32_MAX: Final = 2**32 - 1


def describe(age_ms: int, hops: int) -> bytes:
    """The metadata; an age that cannot be, or does not fit, is shown at its bound."""
    age = min(max(age_ms, 0), _U32_MAX)
    return b'{"age":%d,"hops":%d,"link_type":"PHYS"}' % (age, hops)


METADATA_BYTES_MAX: Final = len(describe(_U32_MAX, _U32_MAX))
"""What status 8 asks for: enough whatever the age will be."""
