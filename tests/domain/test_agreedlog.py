"""The append log of one end: entries, extents and records stay one another's picture (I7)."""

import hashlib

import attrs
import pytest

from kms.domain import appendlog, bootstrap, limits
from kms.domain.appendlog import LogEntry, LogHistory
from kms.domain.direction import Direction
from kms.domain.effects import Audit, Effect, StoreMaterial, WipeMaterial
from kms.domain.events import SecretCarried
from kms.domain.names import MaterialId, SecretId
from kms.domain.outbox import Outbox
from kms.domain.records import BlockRecord, BlockState, LinkRecord, LinkState, PadRecord
from kms.domain.secret import Secret
from tests.domain.linkbench import (
    LEADERS,
    SECRET,
    SIZE,
    Bench,
    audited,
    block_id,
    entry,
    fill,
    filled,
    forgotten,
    held,
    outbox,
    ranges,
    saved,
)
from tests.world import LINK


def blocks(out: Outbox) -> list[tuple[int | None, BlockState]]:
    return [(each.seq, each.state) for each in saved(out) if isinstance(each, BlockRecord)]


def wiped(out: Outbox) -> list[object]:
    return ranges(out, WipeMaterial)


# ---- the hashes ---------------------------------------------------------------------------


def test_a_log_has_one_hash_that_covers_every_field_of_every_entry() -> None:
    first = LogEntry(seq=0, block_id=block_id(1), direction=LEADERS, start=0, length=SIZE)
    packed = bytes(8) + block_id(1).bytes + b"\0" + bytes(8) + SIZE.to_bytes(8, "big")
    empty = hashlib.sha256(b"append log " + SECRET.encode()).digest()

    assert empty == appendlog.begin(SECRET)
    assert hashlib.sha256(empty + packed).digest() == appendlog.after(empty, first)
    for change in (
        {"seq": 1},
        {"block_id": block_id(2)},
        {"direction": Direction.TO_LEADER},
        {"start": 1},
        {"length": SIZE + 1},
    ):
        assert appendlog.after(empty, first) != appendlog.after(
            empty, attrs.evolve(first, **change)
        )


def test_i8_the_newest_hashes_are_remembered_and_the_oldest_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(appendlog, "HISTORY", 2)
    history = LogHistory()

    assert [None, None, 1] == [history.remember(each, bytes([each])) for each in (1, 2, 3)]
    assert [None, b"\2", b"\3", None] == [history.hash_at(each) for each in (1, 2, 3, 4)]
    history.cut(2)
    assert [b"\2", None] == [history.hash_at(each) for each in (2, 3)]
    history.clear()
    assert history.hash_at(2) is None


def test_an_operator_may_have_more_of_them_remembered_and_never_fewer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(appendlog, "HISTORY", 2)
    for most, kept in ((0, 2), (1, 2), (4, 4)):
        history = LogHistory(most)
        for each in range(1, 7):
            history.remember(each, bytes([each]))

        assert kept == sum(history.hash_at(each) is not None for each in range(1, 7))


# ---- append -------------------------------------------------------------------------------


def test_an_append_is_a_record_an_extent_and_a_longer_log_in_one_batch() -> None:
    bench, out = filled(0), outbox()
    before = bench.memory.log_hash
    new = entry(bench, 1)
    bench.log.append(new, held(1), out)
    record = attrs.evolve(
        held(1),
        state=BlockState.AGREED,
        seq=0,
        direction=LEADERS,
        start=0,
        log_hash=appendlog.after(before, new),
    )
    block, pad, link = saved(out)

    assert record == block
    assert pad == PadRecord(link=LINK, direction=LEADERS, granted=0, confirmed=0, end=SIZE)
    assert isinstance(link, LinkRecord)
    assert (link.log_count, link.log_hash) == (1, record.log_hash)
    assert (bench.log.agreed_blocks, bench.log.agreed_bytes) == (1, SIZE)
    assert bench.memory.writer.level() == SIZE
    assert bench.log.knows(block_id(1))
    assert bench.log.has(new)
    assert not bench.log.has(attrs.evolve(new, start=1))
    assert not bench.log.has(attrs.evolve(new, seq=1))
    assert [new] == bench.log.entries_from(0)
    assert bench.log.entries_from(1) == []


def test_an_append_without_its_block_is_a_hole_at_both_ends() -> None:
    bench, out = filled(1), outbox()
    bench.log.append(entry(bench, 7), None, out)
    record = saved(out)[0]

    assert isinstance(record, BlockRecord)
    assert (record.state, record.origin, record.device) == (BlockState.SPENT, "absent", None)
    assert (record.link, record.qber, record.length) == (LINK, None, SIZE)
    assert record.material == f"absent/{LINK}/{block_id(7)}"
    assert record.received_ms == out.now.wall_ms
    assert (bench.log.agreed_blocks, bench.log.agreed_bytes) == (1, SIZE)
    assert (bench.memory.writer.extents.end, bench.memory.writer.level()) == (2 * SIZE, SIZE)


def test_the_log_has_no_gaps() -> None:
    bench = filled(1)
    with pytest.raises(AssertionError, match="the log has no gaps"):
        bench.log.append(attrs.evolve(entry(bench, 2), seq=2), held(2), outbox())


def test_the_followers_copy_is_durable_at_both_ends_and_the_leaders_only_when_heard() -> None:
    leader, follower = filled(3), filled(3, "bob")

    assert (leader.log.settled, follower.log.settled) == (0, 3)
    leader.log.settle(2)
    leader.log.settle(1)
    assert leader.log.settled == 2
    leader.log.settle(99)
    assert leader.log.settled == 3


def test_only_what_both_ends_hold_is_granted() -> None:
    bench = filled(1)
    for number in (1, 2, 3):
        bench.log.append(entry(bench, number, Direction.TO_LEADER), held(number), outbox())
    bench.log.settle(2)

    assert bench.log.settled_end() == SIZE
    bench.log.settle(4)
    assert bench.log.settled_end() == 3 * SIZE


def test_a_prefix_of_the_log_is_known_by_its_hash() -> None:
    bench = filled(0)
    hashes = [bench.memory.log_hash]
    for number in range(3):
        bench.log.append(entry(bench, number), held(number), outbox())
        hashes.append(bench.memory.log_hash)

    assert hashes == [bench.log.hash_at(count) for count in range(4)]
    assert len(set(hashes)) == 4
    assert bench.log.hash_at(4) is None


# ---- spend and burn -----------------------------------------------------------------------


def grant(bench: Bench, granted: int, *, opened: bool = True) -> None:
    bench.memory.writer.raise_to(granted, outbox())
    if opened:
        for (material, offset), part in list(bench.memory.writer._opening.items()):
            bench.memory.writer.opened(material, offset, Secret(bytes(part.length)))


def test_blocks_wholly_below_the_grant_are_spent_once_their_bytes_are_in_memory() -> None:
    bench, out = filled(3), outbox()
    grant(bench, 2 * SIZE, opened=False)
    bench.log.spend(out)

    assert blocks(out) == []
    grant(bench, 2 * SIZE)
    bench.log.spend(out)
    assert [(0, BlockState.SPENT), (1, BlockState.SPENT)] == blocks(out)
    bench.log.spend(out)
    assert len(blocks(out)) == 2


def test_a_pad_that_is_opening_does_not_hold_the_other_up() -> None:
    bench, out = filled(1), outbox()
    bench.log.append(entry(bench, 9, Direction.TO_LEADER), held(9), outbox())
    grant(bench, SIZE, opened=False)
    bench.memory.reader.restart_at(SIZE, outbox())
    bench.log.spend(out)

    assert [(1, BlockState.SPENT)] == blocks(out)


def test_a_burnt_entry_is_unreadable_spent_and_journalled() -> None:
    bench, out = filled(2), outbox()
    bench.log.burn_seq(1, "why", out)

    assert [("m1", 0, SIZE)] == wiped(out)
    assert [(1, BlockState.SPENT)] == blocks(out)
    assert [("block-burnt", str(block_id(1)), "why")] == audited(out)
    entries = [effect.entry for effect in out.effects if isinstance(effect, Audit)]
    assert [("alice", {"link": LINK, "reason": "why"})] == [(e.actor, e.detail) for e in entries]
    assert (bench.log.burnt_bytes, bench.memory.writer.level()) == (SIZE, SIZE)
    again = outbox()
    bench.log.burn_seq(1, "why", again)
    bench.log.burn_seq(2, "why", again)
    assert again.effects == []
    bench.log.burn_seq(0, "why", again)
    assert bench.log.burnt_bytes == 2 * SIZE


def test_a_burnt_range_takes_whole_blocks_above_the_grant_and_bytes_below_it() -> None:
    bench, out = filled(4), outbox()
    grant(bench, 2 * SIZE)
    bench.log.burn_range(bench.memory.writer, SIZE + 10, SIZE, "why", out)

    assert [("m2", 0, SIZE)] == wiped(out)
    assert bench.memory.writer.window.held == SIZE + 10
    assert bench.memory.writer.level() == SIZE + 10 + SIZE
    nothing = outbox()
    bench.log.burn_range(bench.memory.writer, 0, 2 * SIZE, "why", nothing)
    assert nothing.effects == []
    bench.log.burn_range(bench.memory.writer, 4 * SIZE - 1, 1, "why", nothing)
    assert [("m3", 0, SIZE)] == wiped(nothing)


# ---- cut, clear ---------------------------------------------------------------------------


def test_a_cut_log_is_as_if_the_rest_never_was_but_its_offsets_stay_used() -> None:
    bench, out = filled(2), outbox()
    hash_2 = bench.memory.log_hash
    bench.log.append(entry(bench, 2), held(2), outbox())
    bench.log.append(entry(bench, 3, Direction.TO_LEADER), held(3), outbox())
    bench.log.settle(4)
    bench.log.cut(2, "old", out)

    assert [("m2", 0, SIZE), ("m3", 0, SIZE)] == wiped(out)
    assert ["block-burnt"] * 2 == [event for event, _, _ in audited(out)]
    assert {reason for _, _, reason in audited(out)} == {"old"}
    assert [2, 3] == [each.seq for each in forgotten(out) if isinstance(each, BlockRecord)]
    assert (bench.memory.log_count, bench.memory.log_hash) == (2, hash_2)
    assert (bench.log.settled, bench.log.hash_at(3)) == (2, None)
    assert [False, True] == [bench.log.knows(block_id(each)) for each in (2, 1)]
    assert [pad.extents.end for pad in bench.memory.pads] == [3 * SIZE, SIZE]
    bench.log.append(entry(bench, 2), held(2), outbox())
    assert [each.start for each in bench.memory.writer.extents][-1] == 3 * SIZE


def test_a_log_is_cut_only_where_it_was_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appendlog, "HISTORY", 2)
    bench = filled(5)
    with pytest.raises(AssertionError, match="the hello compared this prefix"):
        bench.log.cut(1, "old", outbox())


def test_under_another_secret_nothing_of_the_log_is_left() -> None:
    bench, out = filled(3), outbox()
    bench.log.settle(2)
    bench.log.clear("anew", out)

    assert [("m0", 0, SIZE), ("m1", 0, SIZE), ("m2", 0, SIZE)] == wiped(out)
    assert {reason for _, _, reason in audited(out)} == {"anew"}
    assert len(forgotten(out)) == 3
    assert (bench.log.settled, bench.log.entries_from(0)) == (0, [])
    assert not bench.log.knows(block_id(1))
    assert bench.log.hash_at(1) is None


# ---- a long life --------------------------------------------------------------------------


def test_i8_records_of_spent_blocks_go_when_their_hash_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(appendlog, "HISTORY", 2)
    bench = filled(2)
    grant(bench, SIZE)
    bench.log.spend(outbox())
    out = outbox()
    bench.log.append(entry(bench, 2), held(2), out)

    assert [0] == [each.seq for each in forgotten(out) if isinstance(each, BlockRecord)]
    assert [False, True] == [bench.log.knows(block_id(each)) for each in (0, 1)]
    kept = outbox()
    bench.log.append(entry(bench, 3), held(3), kept)
    assert forgotten(kept) == []
    assert bench.log.knows(block_id(1))
    # Its hash is forgotten already: when it is spent, its record goes at once.
    late = outbox()
    grant(bench, 2 * SIZE)
    bench.log.spend(late)
    assert [1] == [each.seq for each in forgotten(late) if isinstance(each, BlockRecord)]
    assert blocks(late) == []
    assert not bench.log.knows(block_id(1))


# ---- restart ------------------------------------------------------------------------------


def restarted(bench: Bench, granted: int) -> Bench:
    """The records of the log in a new process, the leader's pad granted up to ``granted``."""
    again = Bench(bench.memory.node)
    again.memory.log_count, again.memory.log_hash = bench.memory.log_count, bench.memory.log_hash
    again.memory.pad(LEADERS).restore(
        PadRecord(link=LINK, direction=LEADERS, granted=granted, confirmed=0, end=0)
    )
    for record in bench.log._records.values():
        again.log.restore(record)
    return again


@pytest.mark.parametrize(
    ("granted", "settled", "level", "lost"),
    [
        (0, 0, 3 * SIZE, []),
        (1, 1, 3 * SIZE - 1, [("m0", 0, 1)]),
        (SIZE, 1, 2 * SIZE, [("m0", 0, SIZE)]),
        (SIZE + 100, 2, 2 * SIZE - 100, [("m0", 0, SIZE), ("m1", 0, 100)]),
        (3 * SIZE, 3, 0, [("m0", 0, SIZE), ("m1", 0, SIZE), ("m2", 0, SIZE)]),
    ],
)
def test_i1_what_lies_below_the_grant_is_burnt_at_a_start_and_nothing_else(
    granted: int, settled: int, level: int, lost: list[object]
) -> None:
    again, out = restarted(filled(3), granted), outbox()
    again.log.started(out)

    assert lost == wiped(out)
    assert settled == again.log.settled
    assert level == again.memory.writer.level()
    assert granted // SIZE == len(blocks(out))
    assert all(again.log.knows(block_id(each)) for each in range(3))


def test_a_store_that_is_burnt_before_it_starts_leaves_nothing_below_the_grant_readable() -> None:
    """I6: what a crash left between a grant's commit and its opening is in no extent (two-nodes
    seed 113: a copy put back, and burnt by its operator's word)."""
    again, out = restarted(filled(3), SIZE + 100), outbox()
    again.log.clear("put back", out)

    assert [("m0", 0, SIZE), ("m1", 0, SIZE), ("m2", 0, SIZE)] == sorted(wiped(out))
    assert len(forgotten(out)) == 3


def test_a_burnt_block_above_the_grant_is_still_a_hole_after_a_restart() -> None:
    bench = filled(2)
    bench.log.burn_seq(1, "why", outbox())
    again, out = restarted(bench, 0), outbox()
    again.log.started(out)

    assert [(SIZE, SIZE)] == again.memory.writer.burnt()
    assert out.effects == []


def test_records_that_are_not_agreed_are_our_mistake() -> None:
    with pytest.raises(AssertionError, match="agreed"):
        filled(0).log.restore(held(1))


# ---- the hand-carried secret --------------------------------------------------------------


def carried(number: int = 6) -> SecretCarried:
    bits = b"k" * 32 + b"l" * limits.SECRET_PAD_BYTES + b"f" * limits.SECRET_PAD_BYTES
    return SecretCarried(link=LINK, secret_id=SecretId(f"{number:032x}"), bits=Secret(bits))


def stored(effects: list[Effect]) -> list[tuple[str, bytes, int, int]]:
    return [
        (each.material, bytes(each.bits.expose())[:1], len(each.bits), each.unit_bytes)
        for each in effects
        if isinstance(each, StoreMaterial)
    ]


@pytest.mark.parametrize("node", ["alice", "bob"])
def test_a_secret_is_the_hash_key_and_the_first_block_of_each_pad(node: str) -> None:
    bench, out, event = filled(2, node), outbox(), carried()
    bench.memory.state, bench.memory.alarm = LinkState.DOUBTED, "qber"
    bench.memory.hash_key, bench.memory.reason = MaterialId("old key"), "why"
    fill(bench.memory.writer, 0, 10)
    key = bootstrap.begin_secret(bench.memory, bench.log, event, out)
    memory, name = bench.memory, f"secret/{LINK}/{event.secret_id}"
    unit, size = limits.unit_bytes(limits.SECRET_PAD_BYTES), limits.SECRET_PAD_BYTES

    assert bytes(key.expose()) == b"k" * 32
    assert stored(out.effects) == [
        (f"{name}/hash-key", b"k", 32, 32),
        (f"{name}/{Direction.FROM_LEADER.value}", b"l", size, unit),
        (f"{name}/{Direction.TO_LEADER.value}", b"f", size, unit),
    ]
    assert [("m0", 0, SIZE), ("m1", 0, SIZE), ("old key", 0, 32)] == wiped(out)
    assert (memory.state, memory.alarm, memory.reason) == (LinkState.OPEN, "", "")
    assert (memory.epoch, memory.secrets) == (2, (SECRET, event.secret_id))
    assert (memory.hash_key, memory.log_count, bench.log.settled) == (f"{name}/hash-key", 2, 2)
    assert [(pad.mark, pad.granted, pad.extents.end) for pad in memory.pads] == [(0, 0, size)] * 2
    assert memory.writer.available() == 0
    assert not any(event.bits.expose())
    entries = [effect.entry for effect in out.effects if isinstance(effect, Audit)]
    last = entries[-1]
    assert (last.event, last.actor, last.subject) == ("link-secret-imported", "operator", LINK)
    assert last.detail == {"secret_id": event.secret_id, "epoch": 2}
    records = [each for each in saved(out) if isinstance(each, BlockRecord)][-2:]
    assert [(each.origin, each.device, each.qber, each.start) for each in records] == [
        ("secret", None, None, 0)
    ] * 2
    assert [each.received_ms for each in records] == [out.now.wall_ms] * 2
    assert [each.length for each in records] == [size] * 2


def test_both_ends_name_the_secrets_blocks_alike_and_each_direction_differently() -> None:
    logs = []
    for node in ("alice", "bob"):
        bench = filled(0, node)
        bootstrap.begin_secret(bench.memory, bench.log, carried(), outbox())
        logs.append((bench.memory.log_hash, [each.block_id for each in bench.log.entries_from(0)]))
    name = f"{carried().secret_id} {Direction.FROM_LEADER.value}"

    assert logs[0] == logs[1]
    assert hashlib.sha256(name.encode()).digest()[:16] == logs[0][1][0].bytes
    assert len(set(logs[0][1])) == 2


def test_i1_a_secret_is_used_once_and_has_its_length() -> None:
    bench = filled(0)
    short = attrs.evolve(carried(), bits=Secret(bytes(limits.SECRET_BYTES - 1)))
    with pytest.raises(AssertionError, match="read_link_secret checks the length"):
        bootstrap.begin_secret(bench.memory, bench.log, short, outbox())
    bootstrap.begin_secret(bench.memory, bench.log, carried(), outbox())
    with pytest.raises(AssertionError, match="I1 a secret is used once"):
        bootstrap.begin_secret(bench.memory, bench.log, carried(), outbox())


def test_the_first_secret_wipes_no_key_and_the_last_epoch_stays() -> None:
    bench, out = filled(0), outbox()
    bench.memory.epoch = limits.EPOCH_MAX
    bootstrap.begin_secret(bench.memory, bench.log, carried(), out)

    assert wiped(out) == []
    assert bench.memory.epoch == limits.EPOCH_MAX


def test_i8_the_oldest_secrets_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SECRETS_PER_LINK_MAX", 2)
    bench = filled(0)
    for number in (6, 7):
        bootstrap.begin_secret(bench.memory, bench.log, carried(number), outbox())

    assert bench.memory.secrets == (carried(6).secret_id, carried(7).secret_id)


@pytest.mark.parametrize("way", ["clear", "cut", "spend"])
def test_what_is_burnt_already_is_not_destroyed_twice(way: str) -> None:
    bench, out = filled(2), outbox()
    bench.log.burn_seq(1, "why", outbox())
    if way == "clear":
        bench.log.clear("anew", out)
    elif way == "cut":
        bench.log.cut(0, "old", out)
    else:
        grant(bench, 2 * SIZE)
        bench.log.spend(out)

    assert ([] if way == "spend" else [("m0", 0, SIZE)]) == wiped(out)
    assert [(0, BlockState.SPENT)] == blocks(out)
    assert bench.log.burnt_bytes == (SIZE if way == "spend" else 2 * SIZE)
