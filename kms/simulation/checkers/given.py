"""Keys that leave, one by one, whatever answer they leave in."""

from collections.abc import Iterator

import attrs

from kms.domain.effects import DeliverKey, DeliverKeys
from kms.domain.names import MaterialId

DELIVERIES = (DeliverKey, DeliverKeys)
"""the outputs that carry key"""


@attrs.frozen(kw_only=True)
class Given:
    """One key of an answer."""

    index: int
    material: MaterialId
    offset: int
    length: int
    at: int
    """where it begins in the answer's bytes"""


def given(effect: DeliverKey | DeliverKeys) -> Iterator[Given]:
    """All keys of the answer, in order."""
    if isinstance(effect, DeliverKey):
        yield Given(
            index=effect.index,
            material=effect.material,
            offset=effect.offset,
            length=effect.length,
            at=0,
        )
        return
    at = 0
    for each in effect.stretches:
        size = each.length // each.count
        for number in range(each.count):
            yield Given(
                index=each.index + number,
                material=each.material,
                offset=each.offset + number * size,
                length=size,
                at=at,
            )
            at += size
