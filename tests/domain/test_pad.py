"""Grant before use: a pad at its writer and at its reader, step by step (I1)."""

import pytest

from kms.domain import limits
from kms.domain.direction import Direction
from kms.domain.effects import TakeMaterial, WipeMaterial
from kms.domain.names import MaterialId
from kms.domain.pad import ReaderPad, WriterPad
from kms.domain.records import PadRecord
from kms.domain.secret import Secret
from tests.domain.linkbench import extend, fill, outbox, ranges, saved
from tests.world import LINK

KIB = limits.KIB
# Blocks of 64 KiB have units of 4 KiB.
BLOCK = 64 * KIB
UNIT = 4 * KIB


def writer(*lengths: int) -> WriterPad:
    pad = WriterPad(LINK, Direction.FROM_LEADER)
    extend(pad, *lengths)
    return pad


def reader(*lengths: int) -> ReaderPad:
    pad = ReaderPad(LINK, Direction.TO_LEADER)
    extend(pad, *lengths)
    return pad


def opened(pad: ReaderPad | WriterPad, granted: int) -> None:
    """The grant is given and its bytes are in memory."""
    pad.raise_to(granted, outbox())
    for (material, offset), part in list(pad._opening.items()):
        pad.opened(material, offset, Secret(bytes(part.length)))


def record(pad: ReaderPad | WriterPad, granted: int, confirmed: int, end: int) -> PadRecord:
    return PadRecord(
        link=LINK, direction=pad.direction, granted=granted, confirmed=confirmed, end=end
    )


def test_i1_a_grant_is_recorded_with_the_batch_that_asks_for_its_bytes() -> None:
    pad, out = writer(BLOCK, BLOCK), outbox()
    pad.raise_to(UNIT, out)
    pad.raise_to(BLOCK + UNIT, out)

    assert [("m0", 0, UNIT), ("m0", UNIT, BLOCK - UNIT), ("m1", 0, UNIT)] == ranges(
        out, TakeMaterial
    )
    assert [record(pad, UNIT, 0, 2 * BLOCK), record(pad, BLOCK + UNIT, 0, 2 * BLOCK)] == saved(out)
    assert pad.granted == BLOCK + UNIT


def test_i1_a_grant_never_falls_and_never_passes_the_end() -> None:
    pad, out = writer(BLOCK), outbox()
    pad.raise_to(UNIT, out)
    pad.raise_to(UNIT, out)
    pad.raise_to(BLOCK, out)
    for wrong in (BLOCK - 1, BLOCK + 1):
        with pytest.raises(AssertionError, match="I1 a grant only grows, up to the end"):
            pad.raise_to(wrong, out)


def test_granted_bytes_are_opening_until_the_last_of_them_came() -> None:
    pad, out = writer(BLOCK, BLOCK), outbox()
    m0, m1 = MaterialId("m0"), MaterialId("m1")
    pad.raise_to(BLOCK + UNIT, out)

    assert pad.opening
    assert pad.asked_for(m0, 0)
    assert not pad.asked_for(m0, UNIT)
    first = pad.opened(m0, 0, Secret(bytes(BLOCK)))
    assert first is not None
    assert (first.start, first.length, first.block_end) == (0, BLOCK, BLOCK)
    assert pad.opening
    assert not pad.asked_for(m0, 0)
    assert pad.opened(m0, 0, Secret(bytes(BLOCK))) is None
    pad.opened(m1, 0, Secret(bytes(UNIT)))
    assert not pad.opening
    assert (pad.available(), pad.unreadable) == (BLOCK + UNIT, [])


def test_bytes_that_came_back_without_bits_are_remembered_and_not_ready() -> None:
    pad, out = writer(BLOCK), outbox()
    pad.raise_to(UNIT, out)
    part = pad.opened(MaterialId("m0"), 0, None)

    assert part is not None
    assert ([part], 0, False) == (pad.unreadable, pad.available(), pad.opening)


def test_the_level_is_what_is_ready_and_what_is_not_granted_yet() -> None:
    pad = writer(BLOCK)
    pad.raise_to(UNIT, outbox())

    assert pad.level() == BLOCK - UNIT
    pad.opened(MaterialId("m0"), 0, Secret(bytes(UNIT)))
    assert pad.level() == BLOCK
    pad.take(100)
    assert pad.level() == BLOCK - 100


def test_i1_the_writer_takes_each_byte_once_and_none_above_the_grant() -> None:
    pad = writer(BLOCK)
    pad.raise_to(UNIT, outbox())
    fill(pad, 0, UNIT + 10)

    assert pad.take(30)[0] == 0
    assert pad.take(UNIT - 30)[0] == 30
    assert (pad.mark, pad.use) == (UNIT, UNIT)
    with pytest.raises(AssertionError, match="I1 pad used above the grant"):
        pad.take(1)


def test_i1_a_restart_begins_at_the_recorded_grant_with_nothing_in_memory() -> None:
    pad = writer()
    pad.restore(record(pad, 700, 500, 900))

    assert (pad.granted, pad.confirmed, pad.mark) == (700, 500, 700)
    assert (pad.available(), pad.opening) == (0, False)


def test_i1_going_on_at_an_offset_burns_all_below_and_leaves_nothing_to_be_opened() -> None:
    pad, out = writer(BLOCK, BLOCK), outbox()
    opened(pad, UNIT)
    pad.restart_at(BLOCK + UNIT, out)

    assert [("m0", UNIT, BLOCK - UNIT), ("m1", 0, UNIT)] == ranges(out, WipeMaterial)
    assert (pad.granted, pad.mark, pad.available()) == (BLOCK + UNIT, BLOCK + UNIT, 0)
    assert pad.extents.end == 2 * BLOCK
    pad.restart_at(BLOCK + UNIT, out)
    with pytest.raises(AssertionError, match="I1 a grant is never taken back"):
        pad.restart_at(BLOCK + UNIT - 1, out)


def test_an_end_that_lacks_blocks_goes_on_behind_them() -> None:
    pad = writer(BLOCK)
    pad.restart_at(BLOCK + 5, outbox())

    assert (pad.extents.end, pad.granted) == (BLOCK + 5, BLOCK + 5)


def test_what_is_burnt_of_a_grant_is_said_until_the_mark_is_past_it() -> None:
    pad = reader(UNIT)
    extend(pad, UNIT, burnt=True, seq=1)
    extend(pad, UNIT, seq=2)
    extend(pad, UNIT, burnt=True, seq=3)

    assert [(UNIT, UNIT), (3 * UNIT, UNIT)] == pad.burnt()
    pad.raise_to(3 * UNIT, outbox())
    assert [(UNIT, UNIT), (3 * UNIT, UNIT)] == pad.burnt()
    pad.window.advance(2 * UNIT - 1)
    assert [(UNIT, UNIT), (3 * UNIT, UNIT)] == pad.burnt()
    pad.window.advance(2 * UNIT)
    assert [(3 * UNIT, UNIT)] == pad.burnt()
    pad.raise_to(4 * UNIT, outbox())
    assert [(3 * UNIT, UNIT)] == pad.burnt()


def test_holes_of_several_grants_are_all_said() -> None:
    pad = reader()
    for seq in range(4):
        extend(pad, UNIT, burnt=seq % 2 == 0, seq=seq)
    pad.raise_to(UNIT, outbox())
    pad.raise_to(4 * UNIT, outbox())

    assert [(0, UNIT), (2 * UNIT, UNIT)] == pad.burnt()


def test_use_of_long_ago_counts_half_every_ten_seconds() -> None:
    pad = writer()
    pad.use = 1_000.0
    pad.cool(0)

    assert pad.use == 1_000.0
    pad.cool(10_000)
    assert pad.use == 500.0
    pad.cool(20_000)
    assert pad.use == 125.0


# ---- the reader's side --------------------------------------------------------------------


def test_i1_the_neighbour_spends_up_to_the_grant_and_the_rest_is_burnt() -> None:
    pad = reader(BLOCK)
    opened(pad, UNIT)
    pad.spend(100, 60)

    assert (pad.mark, pad.use, pad.window.burnt_bytes) == (100, 60, 40)
    pad.spend(UNIT, UNIT - 100)
    assert (pad.mark, pad.use) == (UNIT, UNIT - 40)
    with pytest.raises(AssertionError, match="I1 the neighbour used pad above the grant"):
        pad.spend(UNIT + 1, 1)


def test_the_bytes_of_a_frame_are_looked_at_without_being_spent() -> None:
    pad = reader(BLOCK)
    opened(pad, UNIT)
    pad.spend(10, 10)
    found = pad.peek(10, 20)

    assert found is not None
    assert (len(found), pad.mark) == (20, 10)
    assert pad.peek(9, 1) is None
    assert pad.peek(UNIT - 1, 2) is None


@pytest.mark.parametrize(
    ("above", "wanted", "target"),
    [
        (0, 0, UNIT),
        (0, 100_000, UNIT),
        (16 * 5_000, 0, 5_000),
        (16 * 5_000, 6_000, 6_000),
        (16 * 5_000, 4_999, 5_000),
        (16 * 5_000, 2**40, 80_000),
        (1_000 * limits.MIB, 0, limits.WINDOW_BYTES_MAX),
    ],
)
def test_a_window_is_a_share_of_the_level_above_the_reserve_or_what_a_draw_needs(
    above: int, wanted: int, target: int
) -> None:
    pad = reader(*[above] if above else [], limits.RESERVE_UNITS * UNIT)
    pad.wanted = wanted

    assert target == pad.target()


def granted(pad: ReaderPad, settled_end: int | None = None) -> int | None:
    """What ``grant_more`` raises the grant to, the bytes opened and the neighbour told."""
    before = pad.granted
    pad.grant_more(pad.extents.end if settled_end is None else settled_end, outbox())
    for (material, offset), part in list(pad._opening.items()):
        pad.opened(material, offset, Secret(bytes(part.length)))
    due = pad.due()
    pad.told()
    return due if pad.granted > before else None


def test_a_window_is_granted_when_half_of_the_last_one_is_gone() -> None:
    pad = reader(*[BLOCK] * 4)
    window = pad.target() // UNIT * UNIT + UNIT

    assert granted(pad) == window == 16 * KIB
    assert granted(pad) is None
    held = pad.target() // 2
    pad.spend(window - held, window - held)
    assert pad.window.held == held >= pad.target() // 2
    assert granted(pad) is None
    pad.spend(window - held + 300, 300)
    assert granted(pad) == 2 * window


def test_i1_the_next_grant_waits_until_the_writer_is_known_to_have_recorded_the_last() -> None:
    pad = reader(4 * BLOCK)
    first = granted(pad)
    assert first is not None
    pad.spend(first - 100, first - 100)
    second = granted(pad)
    assert second is not None
    pad.window.drop(first, second)

    assert (pad.mark, pad.confirmed) == (first - 100, first)
    assert granted(pad) is None
    pad.spend(first + 1, 1)
    fill(pad, second - 1, 1)
    third = granted(pad)
    assert third is not None
    assert (pad.confirmed, pad.mark <= second) == (second, True)
    pad.window.drop(second, third)
    assert granted(pad) is None
    pad.recorded(third)
    assert granted(pad) is not None


def test_with_nothing_left_to_use_the_next_grant_does_not_wait() -> None:
    pad = reader(4 * BLOCK)
    pad.confirmed = first = granted(pad) or 0
    second = granted_after_drop(pad, first)

    assert second is not None
    assert granted_after_drop(pad, pad.granted) is not None


def granted_after_drop(pad: ReaderPad, end: int) -> int | None:
    pad.window.drop(0, end)
    return granted(pad)


def test_no_grant_is_given_while_one_is_opening_or_beyond_what_both_ends_hold() -> None:
    pad = reader(BLOCK, BLOCK)
    pad.grant_more(BLOCK, outbox())
    granted_first = pad.granted
    pad.grant_more(BLOCK, outbox())

    assert pad.granted == granted_first > 0
    assert pad.due() is None
    unsettled = reader(BLOCK)
    unsettled.grant_more(BLOCK - 1, outbox())
    assert unsettled.granted == 0
    assert saved_nothing(unsettled)


def saved_nothing(pad: ReaderPad) -> bool:
    out = outbox()
    pad.grant_more(0, out)
    return not out.effects


def test_a_wanted_draw_is_granted_although_the_window_is_half_full() -> None:
    pad = reader(4 * BLOCK)
    first = granted(pad)
    assert first is not None
    pad.recorded(first)
    pad.wanted = first + 1

    assert granted(pad) is not None
    assert pad.window.held >= pad.wanted


def test_a_grant_is_due_once_when_it_is_open() -> None:
    pad = reader(4 * BLOCK)

    assert pad.due() is None
    pad.raise_to(UNIT, outbox())
    assert pad.due() is None
    pad.opened(MaterialId("m0"), 0, Secret(bytes(UNIT)))
    assert pad.due() == UNIT
    pad.told()
    assert pad.due() is None


def test_a_new_pad_has_granted_told_and_wants_nothing() -> None:
    pad = reader()

    assert (pad.link, pad.direction, pad.wanted, pad.due()) == (LINK, Direction.TO_LEADER, 0, None)
    assert (pad.granted, pad.confirmed, pad.use, pad.level()) == (0, 0, 0.0, 0)
    pad.restore(record(pad, 1, 0, 1))
    assert pad.due() == 1
    pad.resume(0)
    assert pad.due() == 1


def test_i1_only_a_grant_that_was_told_can_have_been_recorded() -> None:
    pad = reader(4 * BLOCK)
    opened(pad, UNIT)
    pad.recorded(UNIT)

    assert pad.confirmed == 0
    pad.told()
    pad.recorded(UNIT + 1)
    assert pad.confirmed == 0
    pad.recorded(UNIT)
    assert pad.confirmed == UNIT
    pad.recorded(UNIT - 1)
    assert pad.confirmed == UNIT


def test_a_session_begins_with_what_the_writer_says_it_recorded() -> None:
    pad = reader(4 * BLOCK)
    opened(pad, 2 * UNIT)
    pad.told()
    pad.wanted = 5
    pad.resume(UNIT)

    assert (pad.confirmed, pad.wanted, pad.due()) == (UNIT, 0, 2 * UNIT)
    pad.welcomed(UNIT - 1)
    assert pad.confirmed == UNIT
    pad.welcomed(2 * UNIT)
    assert pad.confirmed == 2 * UNIT
