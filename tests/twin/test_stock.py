"""Which blocks an end has, as a function of time and of what was taken."""

from typing import Any
from uuid import UUID

import pytest

from kms.domain.names import KSID
from kms.twin.bits import block_bits, block_id
from kms.twin.chance import Chance
from kms.twin.config import Knobs, TwinConfig
from kms.twin.stock import CIRCLE, Found, Missing, Stock

STREAM = KSID(UUID("6f2c8d5e-0b1a-4c3d-9e4f-5a6b7c8d9e0f"))
# One block of 1000 bytes each second.
RATE = 8000
CHUNK = 1000
START = 1_800_000_000_000
SECOND = 1000


def stock(
    *, end: str = "A", after_s: float = 0, knobs: Knobs | None = None, **changes: Any
) -> Stock:
    fields: dict[str, Any] = {
        "link": "a~b",
        "end": end,
        "seed": "s",
        "ksid": STREAM,
        "key_chunk_size": CHUNK,
        "rate_bps": RATE,
        "epoch_ms": START,
        "knobs": knobs or Knobs(),
    }
    config = TwinConfig(**{**fields, **changes})
    chance = Chance(config.seed, config.link, config.end)
    return Stock(config, chance, START + int(after_s * SECOND))


def taken(one: Stock, index: int, at_s: float) -> int | None:
    found = one.take(index, START + int(at_s * SECOND))
    return found.index if isinstance(found, Found) else None


def test_a_block_is_there_from_its_time_on() -> None:
    one = stock()

    assert one.take(0, START + 999) == Missing(index=0)
    assert isinstance(one.take(0, START + 1000), Found)
    assert one.take(1, START + 1999) == Missing(index=1)


def test_ends_started_at_different_moments_number_alike() -> None:
    early = stock(end="A")
    late = stock(end="B", after_s=100.5)
    at_ms = START + 110 * SECOND
    one, other = early.take(105, at_ms), late.take(105, at_ms)

    assert isinstance(one, Found)
    assert one == other


def test_what_was_made_before_the_start_is_not_there() -> None:
    assert stock(after_s=100).take(0, START + 110 * SECOND) == Missing(index=100)


def test_a_restarted_end_gives_nothing_again() -> None:
    before = stock()
    given = {taken(before, index, 10) for index in range(8)}
    after = stock(after_s=10)
    again = {taken(after, index, 20) for index in range(20)} - {None}

    assert not given & again
    assert again == set(range(10, 20))


def test_a_block_is_given_once_but_the_last_answer_may_be_asked_for_again() -> None:
    one = stock()

    assert [taken(one, index, 10) for index in (1, 1, 2, 1)] == [1, 1, 2, None]


def test_a_new_reader_never_gets_the_first_block_a_second_time() -> None:
    one = stock()

    assert [taken(one, 0, 10), taken(one, 0, 10)] == [0, None]
    assert one.take(0, START + 10 * SECOND) == Missing(index=1)


def test_the_buffer_drops_the_oldest() -> None:
    one = stock(stock_blocks=5)

    assert one.take(0, START + 100 * SECOND) == Missing(index=95)


def test_a_wall_clock_that_falls_takes_nothing_back() -> None:
    one = stock()
    one.take(0, START + 10 * SECOND)

    assert taken(one, 9, 2) == 9


def test_lost_blocks_are_the_same_in_every_run_and_others_at_the_other_end() -> None:
    def had(end: str) -> set[int]:
        one = stock(end=end, knobs=Knobs(lost=0.3))
        return {index for index in range(200) if taken(one, index, 200) is not None}

    assert had("A") == had("A")
    assert had("A") != had("B")
    assert 100 < len(had("A")) < 180


def test_a_missing_block_names_the_oldest_one_that_is_there() -> None:
    one = stock(knobs=Knobs(lost=0.5))
    twin = stock(knobs=Knobs(lost=0.5))
    there = [index for index in range(50) if taken(twin, index, 50) is not None]
    lost = next(index for index in range(50) if index not in there)
    for index in there:
        if index < lost:
            taken(one, index, 50)
    answer = one.take(lost, START + 50 * SECOND)

    assert answer == Missing(index=next(index for index in there if index > lost))


def test_an_end_that_loses_everything_still_answers() -> None:
    answer = stock(knobs=Knobs(lost=1.0)).take(0, START + 10 * SECOND)

    assert isinstance(answer, Missing)


def test_a_late_block_comes_later_and_the_others_in_time() -> None:
    one = stock(knobs=Knobs(late=1.0, late_s=5))

    assert taken(one, 0, 5.9) is None
    assert taken(one, 0, 6.0) == 0


def test_a_duplicate_comes_in_place_of_the_next_and_then_the_next() -> None:
    one = stock(knobs=Knobs(duplicate=1.0))

    assert [taken(one, index, 10) for index in (0, 1, 1, 2, 2)] == [0, 0, 1, 1, 2]


def test_reordered_blocks_change_places() -> None:
    one = stock(knobs=Knobs(reordered=1.0))

    assert [taken(one, index, 10) for index in (0, 0, 2, 2)] == [1, 0, 3, 2]


def test_an_end_that_is_down_makes_nothing_meanwhile() -> None:
    one = stock(knobs=Knobs(down=((3.0, 6.0),)))
    had = [index for index in range(10) if taken(one, index, 20) is not None]

    # Number i is made at second i + 1: those of seconds 3, 4 and 5 are missing.
    assert had == [0, 1, 5, 6, 7, 8, 9]


def test_a_qber_rises_from_its_time_on() -> None:
    knobs = Knobs(qber=0.02, qber_rises_after_s=10, qber_rise_per_s=0.01)
    one = stock(knobs=knobs)
    seen = []
    for index in (0, 9, 19, 99):
        found = one.take(index, START + 100 * SECOND)
        assert isinstance(found, Found)
        seen.append(found.qber)

    assert seen == pytest.approx([0.02, 0.02, 0.12, 0.5])


def test_the_index_wraps_and_the_bits_do_not() -> None:
    one = stock(after_s=CIRCLE - 2)
    at_ms = START + (CIRCLE + 2) * SECOND
    found = [one.take(index, at_ms) for index in (CIRCLE - 2, CIRCLE - 1, 0, 1)]

    assert [each.number for each in found if isinstance(each, Found)] == [
        CIRCLE - 2,
        CIRCLE - 1,
        CIRCLE,
        CIRCLE + 1,
    ]


def test_without_a_rate_every_block_is_there_at_once_and_once() -> None:
    one = stock(rate_bps=0, stock_blocks=3)

    assert [taken(one, index, 0) for index in (0, 1, 2, 1, 1_000_000)] == [0, 1, 2, None, 1_000_000]


def test_what_the_stock_remembers_is_bounded() -> None:
    one = stock(rate_bps=0, stock_blocks=4, knobs=Knobs(duplicate=0.5, reordered=0.5))
    for index in range(0, 1000, 2):
        taken(one, index, 0)

    assert len(one._delivered) <= 5
    assert len(one._struck) <= 4


def test_bits_are_a_function_of_seed_link_and_number() -> None:
    bits = block_bits("seed", "a~b", 5, 64)
    others = {
        block_bits("other", "a~b", 5, 64),
        block_bits("seed", "a~c", 5, 64),
        block_bits("seed", "a~b", 6, 64),
        # The border between seed and link is part of what is hashed.
        block_bits("seeda", "~b", 5, 64),
    }

    assert bits == block_bits("seed", "a~b", 5, 64)
    assert bits not in others
    assert len(others) == 4
    assert block_id("a~b", 5) != block_id("a~b", 6)
