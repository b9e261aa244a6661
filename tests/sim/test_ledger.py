"""The ledger finds the physical bits of a key wherever its parts lie."""

from uuid import UUID

import pytest

from tests.sim.ledger import Ledger
from tests.world import World

ONE, OTHER, THIRD = (
    bytes([number]) * 3 + bytes(range(number, number + 61)) for number in (1, 70, 150)
)
KSID = UUID(int=7)


@pytest.fixture
def ledger() -> Ledger:
    found = Ledger(World())
    for bits in (ONE, OTHER, THIRD):
        found._placed(bits)
    return found


@pytest.mark.parametrize("tail", [0, 1, 5, 15, 16, 40])
def test_a_key_out_of_the_end_of_one_source_and_the_begin_of_another_is_found(
    ledger: Ledger, tail: int
) -> None:
    """Life 340 of a night of restored stores: a part shorter than what is searched for."""
    ledger._key_made(KSID, ONE[len(ONE) - tail :] + THIRD[:40])

    assert 40 + tail == sum(
        end - start for start, (end, _) in zip(ledger._starts, ledger._uses, strict=True)
    )
    assert 128 == ledger._starts[-1]


def test_a_source_that_begins_by_chance_as_the_key_goes_on_is_not_taken_for_it(
    ledger: Ledger,
) -> None:
    ledger._placed(OTHER[:1] + bytes(range(200, 255)))
    ledger._key_made(KSID, THIRD[-20:] + OTHER[:40])

    assert [(64, 104), (172, 192)] == [
        (start, end) for start, (end, _) in zip(ledger._starts, ledger._uses, strict=True)
    ]


def test_bits_that_nobody_gave_are_found(ledger: Ledger) -> None:
    with pytest.raises(AssertionError, match="I1 key is made of bits that no device gave"):
        ledger._key_made(KSID, ONE[-5:] + bytes(range(30, 70)))
