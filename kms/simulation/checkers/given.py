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


_Answer = DeliverKey | DeliverKeys
_latest: list[tuple[_Answer, tuple[Given, ...]]] = []
"""the answer that was asked for last: every checker asks for the same one in turn"""


def given(effect: _Answer) -> tuple[Given, ...]:
    """All keys of the answer, in order."""
    if not _latest or _latest[0][0] is not effect:
        _latest[:] = [(effect, tuple(_each(effect)))]
    return _latest[0][1]


def _each(effect: _Answer) -> Iterator[Given]:
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
