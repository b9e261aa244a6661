"""The JSON beside each key (ETSI GS QKD 004 V2.1.1 table 3, with our members).

``{"age": ms, "hops": 0, "block_id": uuid, "qber": 0.021, "origin": "quantum"}``, each optional;
members of other names are a vendor's and ignored, as table 3 allows.
"""

from typing import Annotated, Final, Literal
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from kms.adapters.qkd_socket.faults import device_fault

# What is offered to the device at first: table 3 with our members takes some 130 bytes.
METADATA_BYTES_OFFERED: Final = 512
# A half is a coin: no ratio of wrong bits is above it.
QBER_MAX: Final = 0.5

U32 = Annotated[int, Meta(ge=0, lt=2**32)]


class Metadata(Struct, frozen=True):
    """What the device says about one key."""

    age: U32 = 0
    hops: U32 = 0
    block_id: UUID | None = None
    qber: float | None = None
    origin: Literal["quantum", "post-quantum", "classical"] = "quantum"


def read_metadata(data: bytes) -> Metadata:
    """Whole and in bounds, or ``DeviceFault`` ``bad-metadata`` or ``qber-invalid``."""
    if not data:
        return Metadata()
    try:
        metadata = msgspec.json.decode(data, type=Metadata)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise device_fault("bad-metadata", str(error)) from None
    except RecursionError:
        raise device_fault("bad-metadata", "nested too deep") from None
    if metadata.qber is not None and not 0 <= metadata.qber <= QBER_MAX:
        raise device_fault("qber-invalid", f"{metadata.qber} is not within 0 to {QBER_MAX}")
    return metadata
