"""What block number i of a link is: the same at both ends, another for every number."""

from hashlib import shake_256
from uuid import NAMESPACE_URL, UUID, uuid5


def block_bits(seed: str, link: str, number: int, length_bytes: int) -> bytes:
    """``shake_256(seed ‖ link ‖ i)``, the parts kept apart by their lengths."""
    material = b"".join(
        len(part).to_bytes(4, "big") + part for part in (seed.encode(), link.encode())
    )
    return shake_256(material + number.to_bytes(8, "big")).digest(length_bytes)


def block_id(link: str, number: int) -> UUID:
    """A name both ends give it."""
    return uuid5(NAMESPACE_URL, f"kms-twin:{link}/{number}")
