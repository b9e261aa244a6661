"""Agreement on blocks, each end on its own: what is stored, offered, compared, appended (I7)."""

from collections.abc import Callable

import pytest

from kms.domain import limits
from kms.domain.agreement import Held
from kms.domain.direction import Direction
from kms.domain.effects import Audit, StoreMaterial, WipeMaterial
from kms.domain.errors import PeerFault
from kms.domain.names import DeviceId, MaterialId
from kms.domain.otp import universal_hash
from kms.domain.records import BlockRecord, BlockState
from kms.domain.wire import Append, Appended, AppendEntry, Differ, Offer, OfferEntry
from tests.domain.linkbench import (
    HASH_KEY,
    Bench,
    audited,
    block,
    block_id,
    extend,
    forgotten,
    outbox,
    ranges,
    saved,
)
from tests.world import ALICE, BOB, LINK, block_bits

SIZE = limits.BLOCK_BYTES_MIN


def tag(number: int) -> bytes:
    return universal_hash(HASH_KEY, block_id(number).bytes, block_bits(number, SIZE))


def offer(number: int, *, length: int = SIZE, tag_: bytes | None = None) -> Offer:
    return Offer(
        [OfferEntry(block_id(number).bytes, length, tag(number) if tag_ is None else tag_)]
    )


def entry(number: int, seq: int, **changes: object) -> AppendEntry:
    fields: dict[str, object] = {
        "block_id": block_id(number).bytes,
        "seq": seq,
        "to_leader": False,
        "start": 0,
        "length": SIZE,
    }
    return AppendEntry(**(fields | changes))  # type: ignore[arg-type]


# ---- store --------------------------------------------------------------------------------


def test_a_block_is_held_and_sealed_in_the_batch_that_takes_it() -> None:
    bench, out = Bench(BOB), outbox(1_000)
    refused = bench.agreement.store(block(1), b"d" * 8, HASH_KEY, out)
    material = MaterialId(f"block/{LINK}/{block_id(1)}/18bcfe56be8-1")
    expected = BlockRecord(
        link=LINK,
        block_id=block_id(1),
        state=BlockState.HELD,
        length=SIZE,
        material=material,
        device=DeviceId("device"),
        origin="quantum",
        qber=0.01,
        received_ms=1_700_000_001_000,
        bits_digest=b"d" * 8,
    )
    stored = [effect for effect in out.effects if isinstance(effect, StoreMaterial)]

    assert refused == ""
    assert [expected] == saved(out)
    assert [(material, limits.unit_bytes(SIZE))] == [(s.material, s.unit_bytes) for s in stored]
    assert bytes(stored[0].bits.expose()) == block_bits(1, SIZE)
    held = bench.agreement.held[block_id(1)]
    assert (held.record, held.hash, held.since_ms) == (expected, tag(1), 1_000)
    assert bench.agreement.held_bytes == SIZE


def test_a_block_that_comes_again_is_refused_and_its_material_never_named_twice() -> None:
    bench = Bench(BOB)

    assert [bench.store(1) for _ in range(3)] == ["", "duplicate", "duplicate"]
    bench.agreement.drop(bench.agreement.held[block_id(1)], "gone", outbox())
    assert bench.store(1) == ""
    assert bench.agreement.held[block_id(1)].record.material.endswith("-2")
    assert bench.agreement.duplicates == 2


def test_a_block_that_is_agreed_already_is_refused() -> None:
    bench = Bench(ALICE)
    bench.store(1)
    bench.agreement.on_offer(offer(1), outbox())

    assert bench.store(1) == "duplicate"


def test_i8_blocks_that_wait_for_the_other_end_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HELD_BLOCKS_MAX", 2)
    bench = Bench(BOB)

    assert ["", "", "too many blocks wait for the other end"] == [bench.store(n) for n in (1, 2, 3)]
    assert list(bench.agreement.held) == [block_id(1), block_id(2)]
    assert bench.agreement.duplicates == 0


# ---- offer and compare --------------------------------------------------------------------


def test_the_follower_offers_what_it_holds_many_to_one_message() -> None:
    bench = Bench(BOB)
    for number in range(33):
        bench.store(number)
    first, second = bench.said()

    assert isinstance(first, Offer)
    assert isinstance(second, Offer)
    assert [len(first.entries), len(second.entries)] == [32, 1]
    assert first.entries[5] == OfferEntry(block_id(5).bytes, SIZE, tag(5))
    assert bench.said() == []


def test_the_leader_offers_nothing() -> None:
    bench = Bench(ALICE)
    bench.store(1)

    assert bench.said() == []


@pytest.mark.parametrize("offered_first", [True, False])
def test_equal_blocks_are_appended_whichever_end_was_first(offered_first: bool) -> None:
    bench = Bench(ALICE)
    bench.agreement.mismatches_in_a_row = 2
    if offered_first:
        bench.agreement.on_offer(offer(1), outbox())
        bench.store(1)
    else:
        bench.store(1)
        bench.agreement.on_offer(offer(1), outbox())

    assert bench.said() == [Append([entry(1, 0)])]
    assert (bench.agreement.held, bench.agreement.mismatches_in_a_row) == ({}, 0)
    assert bench.memory.log_count == 1
    assert bench.memory.writer.extents.end == SIZE
    assert bench.said() == []


@pytest.mark.parametrize("wrong", [offer(1, length=SIZE + 1), offer(1, tag_=bytes(16))])
def test_i7_blocks_that_differ_are_destroyed_and_the_follower_is_told(wrong: Offer) -> None:
    bench, out = Bench(ALICE), outbox()
    bench.store(1)
    record = bench.agreement.held[block_id(1)].record
    bench.agreement.on_offer(wrong, out)

    assert bench.said() == [Differ([block_id(1).bytes])]
    assert [(record.material, 0, SIZE)] == ranges(out, WipeMaterial)
    assert [record] == forgotten(out)
    assert [("block-destroyed", str(block_id(1)), "the two ends hold different bits")] == audited(
        out
    )
    assert (bench.agreement.mismatches, bench.agreement.mismatches_in_a_row) == (1, 1)
    assert (bench.agreement.held, bench.memory.log_count) == ({}, 0)


def test_i7_the_follower_destroys_what_the_leader_found_different_and_nothing_else() -> None:
    bench, out = Bench(BOB), outbox()
    bench.store(1)
    bench.store(2)
    bench.agreement.on_differ(Differ([block_id(7).bytes, block_id(1).bytes]), out)

    assert list(bench.agreement.held) == [block_id(2)]
    assert len(ranges(out, WipeMaterial)) == 1
    assert (bench.agreement.mismatches, bench.agreement.mismatches_in_a_row) == (1, 1)
    assert [e.block_id for each in bench.said() for e in each.entries] == [block_id(2).bytes]  # type: ignore[union-attr]


def test_an_offer_of_a_block_not_hashed_yet_waits_for_its_hash() -> None:
    bench = Bench(ALICE)
    bench.store(1)
    held = bench.agreement.held[block_id(1)]
    held.hash = None
    bench.agreement.on_offer(offer(1), outbox())

    assert bench.memory.log_count == 0
    bench.agreement.hashed(held, tag(1), outbox())
    assert bench.memory.log_count == 1


def test_an_offer_of_what_is_agreed_already_is_let_pass() -> None:
    bench = Bench(ALICE)
    bench.store(1)
    bench.agreement.on_offer(offer(1), outbox())
    bench.agreement.on_offer(offer(1), outbox())

    assert (bench.memory.log_count, dict(bench.agreement._offered)) == (1, {})


def test_i8_offers_that_nothing_answers_are_bounded_and_the_oldest_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "HELD_BLOCKS_MAX", 2)
    bench = Bench(ALICE)
    for number in (1, 2, 1, 3):
        bench.agreement.on_offer(offer(number), outbox())

    assert list(bench.agreement._offered) == [block_id(1), block_id(3)]


# ---- time ---------------------------------------------------------------------------------


def test_a_block_at_one_end_only_expires_and_those_after_it_wait() -> None:
    bench, out = Bench(BOB), outbox(61_000)
    bench.store(1, mono_ms=1_000)
    bench.store(2, mono_ms=1_001)
    bench.agreement.tick(outbox(60_999))

    assert len(bench.agreement.held) == 2
    bench.agreement.tick(out)
    assert list(bench.agreement.held) == [block_id(2)]
    assert bench.agreement.expired == 1
    assert [("block-destroyed", str(block_id(1)), "the other end never had it")] == audited(out)
    entry_ = next(effect.entry for effect in out.effects if isinstance(effect, Audit))
    assert (entry_.actor, entry_.detail["link"]) == ("device", LINK)
    bench.agreement.tick(outbox(90_000))
    assert (len(bench.agreement.held), bench.agreement.expired) == (0, 2)


def test_an_offer_that_nothing_answers_is_forgotten_after_the_same_time() -> None:
    bench = Bench(ALICE)
    bench.agreement.on_offer(offer(1), outbox(1_000))
    bench.agreement.on_offer(offer(2), outbox(1_001))
    bench.agreement.tick(outbox(60_999))

    assert len(bench.agreement._offered) == 2
    bench.agreement.tick(outbox(61_000))
    assert list(bench.agreement._offered) == [block_id(2)]


# ---- append -------------------------------------------------------------------------------


def test_the_follower_copies_an_append_and_says_what_it_does_not_hold() -> None:
    bench, out = Bench(BOB), outbox()
    bench.agreement.mismatches_in_a_row = 2
    bench.store(1)
    bench.agreement.on_append(
        Append([entry(1, 0), entry(2, 1, start=SIZE), entry(3, 2, to_leader=True)]), out
    )

    assert bench.said() == [Appended(3, [1, 2])]
    assert (bench.agreement.held, bench.agreement.mismatches_in_a_row) == ({}, 0)
    assert [BlockState.AGREED, BlockState.SPENT, BlockState.SPENT] == [
        each.state for each in saved(out) if isinstance(each, BlockRecord)
    ]
    ends = {pad.direction: pad.extents.end for pad in bench.memory.pads}
    assert ends == {Direction.FROM_LEADER: 2 * SIZE, Direction.TO_LEADER: SIZE}
    assert bench.memory.reader.level() == SIZE


def test_an_append_that_comes_again_is_acknowledged_again_and_changes_nothing() -> None:
    bench = Bench(BOB)
    bench.store(1)
    bench.agreement.on_append(Append([entry(1, 0)]), outbox())
    before, out = bench.memory.log_hash, outbox()
    bench.sent.clear()
    bench.agreement.on_append(Append([entry(1, 0), entry(2, 1, start=SIZE)]), out)

    assert bench.said() == [Appended(2, [1])]
    assert before != bench.memory.log_hash
    assert len([each for each in saved(out) if isinstance(each, BlockRecord)]) == 1


HIGH = limits.PAD_OFFSET_MAX - SIZE


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (entry(1, 1), "an append out of order"),
        (entry(2, 0, length=0), "an append of an impossible length"),
        (entry(2, 0, length=limits.BLOCK_BYTES_MAX + 1), "an append of an impossible length"),
        (entry(2, 0, start=99), "an append over another one"),
        (entry(2, 0, to_leader=True, start=49), "an append over another one"),
        (entry(2, 0, start=HIGH + 1), "an append beyond any pad"),
        (entry(1, 0, start=100, length=SIZE + 1), "an append of another length"),
    ],
)
def test_i9_an_append_that_does_not_fit_is_the_leaders_fault(
    wrong: AppendEntry, reason: str
) -> None:
    bench, out = Bench(BOB), outbox()
    bench.memory.reader.extents.end, bench.memory.writer.extents.end = 100, 50
    bench.store(1)
    with pytest.raises(PeerFault) as fault:
        bench.agreement.on_append(Append([wrong]), out)

    assert reason == fault.value.reason
    assert fault.value.hint == "the two ends disagree on who leads or on the append log"
    assert (out.effects, bench.memory.log_count, bench.said()[1:]) == ([], 0, [])


@pytest.mark.parametrize("length", [1, limits.BLOCK_BYTES_MAX])
def test_the_smallest_the_largest_and_the_last_append_fit(length: int) -> None:
    bench = Bench(BOB)
    start = limits.PAD_OFFSET_MAX - length
    bench.agreement.on_append(Append([entry(1, 0, start=start, length=length)]), outbox())

    assert bench.memory.reader.extents.end == limits.PAD_OFFSET_MAX


def test_i9_a_block_is_appended_once() -> None:
    bench = Bench(BOB)
    bench.agreement.on_append(Append([entry(1, 0)]), outbox())
    with pytest.raises(PeerFault, match=r"^a block that is appended twice$"):
        bench.agreement.on_append(Append([entry(1, 1, start=SIZE)]), outbox())


def test_i9_who_does_not_lead_gets_no_offers_and_who_leads_no_appends() -> None:
    leader, follower = Bench(ALICE).agreement, Bench(BOB).agreement
    acts: tuple[tuple[Callable[[], None], str], ...] = (
        (lambda: follower.on_offer(offer(1), outbox()), "an offer to the follower"),
        (lambda: leader.on_append(Append([]), outbox()), "an append to the leader"),
        (
            lambda: follower.on_appended(Appended(0, []), outbox()),
            "an acknowledgement to the follower",
        ),
        (lambda: leader.on_differ(Differ([]), outbox()), "a verdict to the leader"),
    )
    for act, reason in acts:
        with pytest.raises(PeerFault, match=f"^{reason}$"):
            act()


def leader_with(count: int) -> Bench:
    bench = Bench(ALICE)
    for number in range(count):
        bench.store(number)
        bench.agreement.on_offer(offer(number), outbox())
    bench.said()
    return bench


def test_what_the_follower_misses_is_burnt_at_the_leader_too() -> None:
    bench, out = leader_with(3), outbox()
    material = [each.material for each in bench.log._records.values()]
    bench.agreement.on_appended(Appended(2, [1]), out)

    assert bench.log.settled == 2
    assert [(material[1], 0, SIZE)] == ranges(out, WipeMaterial)
    assert [("block-burnt", str(block_id(1)), "the other end does not hold it")] == audited(out)
    bench.agreement.on_appended(Appended(3, [2]), outbox())
    assert bench.log.settled == 3
    bench.agreement.on_appended(Appended(3, []), outbox())
    assert bench.log.settled == 3


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (Appended(4, []), "an acknowledgement of what was not appended"),
        (Appended(0, []), "an acknowledgement of what was not appended"),
        (Appended(2, [0]), "a missing block that was acknowledged before"),
        (Appended(2, [2]), "a missing block that was acknowledged before"),
        (Appended(3, [1, 3]), "a missing block that was acknowledged before"),
    ],
)
def test_i9_an_acknowledgement_that_does_not_fit_burns_nothing(
    wrong: Appended, reason: str
) -> None:
    bench, out = leader_with(3), outbox()
    bench.agreement.on_appended(Appended(1, []), outbox())
    with pytest.raises(PeerFault, match=f"^{reason}$"):
        bench.agreement.on_appended(wrong, out)

    assert (out.effects, bench.log.settled) == ([], 1)


# ---- after a hello, and anew --------------------------------------------------------------


def test_after_a_hello_the_leader_sends_again_what_the_follower_lacks() -> None:
    bench = leader_with(40)
    bench.agreement.resumed(3)
    bench.agreement.resumed(5)
    first, second = bench.said()

    assert isinstance(first, Append)
    assert isinstance(second, Append)
    assert [each.seq for each in first.entries] == list(range(5, 37))
    assert [each.seq for each in second.entries] == [37, 38, 39]
    assert bench.log.settled == 5


def test_after_a_hello_the_follower_offers_again_what_is_hashed() -> None:
    bench = Bench(BOB)
    bench.store(1)
    bench.store(2)
    bench.said()
    bench.agreement.held[block_id(2)].hash = None
    bench.agreement.resumed(0)

    assert bench.said() == [offer(1)]
    assert bench.log.settled == 0


def test_under_another_secret_nothing_held_or_offered_is_left() -> None:
    for node in (ALICE, BOB):
        bench, out = Bench(node), outbox()
        bench.store(1)
        bench.store(2)
        if node == ALICE:
            bench.agreement.on_offer(offer(1), outbox())
            bench.agreement.on_offer(offer(3), outbox())
        bench.agreement.begin(out)

        assert {reason for _, _, reason in audited(out)} == {"another link secret begins"}
        assert (bench.agreement.held_bytes, bench.said()) == (0, [])
        assert not bench.agreement._offered


@pytest.mark.parametrize(
    ("levels", "uses", "expected"),
    [
        ((0, 0), (0, 0), "writer"),
        ((8192, 4096), (0, 0), "reader"),
        ((4096, 4096), (0, 9), "writer"),
        ((4 * 65536, 65536), (9, 0), "writer"),
        ((65536, 2 * 65536), (0, 9), "reader"),
        ((65536, 65536), (9, 9), "writer"),
        ((65536, 2 * 65536), (0, 1), "writer"),
        ((20480, 2 * 65536), (0, 9), "writer"),
        ((2 * 65536, 20480), (9, 0), "reader"),
    ],
)
def test_a_block_goes_to_the_pad_that_runs_lower_against_its_use(
    levels: tuple[int, int], uses: tuple[int, int], expected: str
) -> None:
    bench = Bench(ALICE)
    for pad, level, use in zip(bench.memory.pads, levels, uses, strict=True):
        extend(pad, *[level] if level else [])
        pad.use = use
    chosen = bench.agreement._thirstier()

    assert expected == ("writer" if chosen is bench.memory.writer.direction else "reader")


def test_only_hashed_blocks_are_offered_or_compared() -> None:
    bench = Bench(BOB)
    bench.store(1)
    held: Held = bench.agreement.held[block_id(1)]
    held.hash = None
    with pytest.raises(AssertionError, match="only hashed blocks are offered"):
        bench.said()
