"""Alarms and doubt of one link, step by step (I13)."""

from kms.domain import limits
from kms.domain.effects import Audit, Note
from kms.domain.linkguard import LinkGuard
from kms.domain.outbox import Outbox
from kms.domain.records import LinkRecord, LinkState
from kms.domain.wire import Alarmed, Message
from tests.domain.linkbench import Bench, alarms, outbox, saved
from tests.world import BOB, LINK

ENDS_AFTER = limits.ALARM_CLEAR_BLOCKS


def guarded() -> tuple[Bench, LinkGuard]:
    bench = Bench()
    return bench, LinkGuard(bench.memory, bench.agreement)


def agreed(bench: Bench, guard: LinkGuard, count: int) -> Outbox:
    """So many good blocks, and the batch ends."""
    bench.memory.log_count += count
    out = outbox()
    guard.look(out)
    return out


def ended(out: Outbox) -> list[object]:
    """What the journal and the log say about the end of an alarm."""
    return [
        (each.entry.event, each.entry.actor, each.entry.subject, each.entry.detail)
        if isinstance(each, Audit)
        else (each.name, each.fields)
        for each in out.effects
        if isinstance(each, Audit | Note)
    ]


def end_of(kind: str) -> list[object]:
    return [
        ("alarm-ended", "node", LINK, {"kind": kind}),
        ("alarm-ended", {"link": LINK, "kind": kind}),
    ]


def test_an_alarm_is_recorded_and_told_once() -> None:
    bench, guard = guarded()
    first, again, other = outbox(), outbox(), outbox()
    guard.alarm("qber", "0.2", first)
    guard.alarm("qber", "0.3", again)
    guard.alarm("mismatch", "now this", other)

    assert [("qber", "0.2")] == alarms(first.effects)
    assert [each.alarm for each in saved(first) if isinstance(each, LinkRecord)] == ["qber"]
    assert again.effects == []
    assert [("mismatch", "now this")] == alarms(other.effects)
    assert guard.alarmed == bench.memory.alarm == "mismatch"


def test_good_blocks_in_a_row_end_an_alarm_and_a_bad_one_begins_the_count_again() -> None:
    bench, guard = guarded()
    guard.alarm("qber", "0.2", outbox())
    agreed(bench, guard, ENDS_AFTER - 1)
    guard.alarm("qber", "0.2", outbox())
    still = agreed(bench, guard, ENDS_AFTER - 1)

    assert (guard.alarmed, still.effects) == ("qber", [])
    out = agreed(bench, guard, 1)
    assert guard.alarmed == ""
    assert [each.alarm for each in saved(out) if isinstance(each, LinkRecord)] == [""]
    assert end_of("qber") == ended(out)
    assert agreed(bench, guard, 5).effects == []


def test_blocks_that_were_cut_away_do_not_count_against_the_good_ones() -> None:
    bench, guard = guarded()
    guard.alarm("qber", "0.2", outbox())
    agreed(bench, guard, 2)
    agreed(bench, guard, -2)
    assert guard.alarmed == "qber"
    agreed(bench, guard, ENDS_AFTER - 2)

    assert guard.alarmed == ""


def test_what_was_in_the_log_at_the_start_says_nothing_about_the_device() -> None:
    bench, guard = guarded()
    bench.memory.log_count = 100
    bench.memory.alarm = "qber"
    guard.begin()
    agreed(bench, guard, ENDS_AFTER - 1)
    assert guard.alarmed == "qber"
    guard.begin()
    agreed(bench, guard, ENDS_AFTER - 1)
    assert guard.alarmed == "qber"
    agreed(bench, guard, 1)

    assert guard.alarmed == ""


def test_blocks_that_differ_one_after_another_raise_the_alarm_and_are_counted_anew() -> None:
    bench, guard = guarded()
    bench.agreement.mismatches_in_a_row = limits.MISMATCHES_MAX - 1
    calm = agreed(bench, guard, 0)
    bench.agreement.mismatches_in_a_row = limits.MISMATCHES_MAX
    out = agreed(bench, guard, 0)

    assert calm.effects == []
    assert [("mismatch", "the two ends' blocks differ, one after another")] == alarms(out.effects)
    assert (guard.alarmed, bench.agreement.mismatches_in_a_row) == ("mismatch", 0)


def test_the_neighbour_is_told_of_each_change_once_a_session() -> None:
    _, guard = guarded()
    said: list[Message] = []
    guard.say(said.append)
    guard.alarm("qber", "0.2", outbox())
    guard.say(said.append)
    guard.say(said.append)
    guard.session_begins()
    guard.say(said.append)
    guard._memory.alarm = ""
    guard.say(said.append)
    guard.session_begins()
    guard.say(said.append)

    assert said == [Alarmed("qber"), Alarmed("qber"), Alarmed("")]


def test_the_neighbours_alarm_holds_this_end_until_it_says_otherwise() -> None:
    _, guard = guarded()
    began, again, other, over, calm = (outbox() for _ in range(5))
    guard.heard("", calm)
    guard.heard("qber", began)
    guard.heard("qber", again)

    assert guard.alarmed == f"qber at {BOB}"
    assert [("neighbour-alarm", f"{BOB} is under alarm: qber")] == alarms(began.effects)
    assert calm.effects == again.effects == []
    guard.heard("mismatch", other)
    assert [("neighbour-alarm", f"{BOB} is under alarm: mismatch")] == alarms(other.effects)
    guard.alarm("own", "too", outbox())
    assert guard.alarmed == "own"
    guard.heard("", over)
    assert end_of("neighbour-alarm") == ended(over)
    assert guard.alarmed == "own"


def test_a_doubted_link_is_recorded_with_its_reason_and_alarmed() -> None:
    bench, guard = guarded()
    out = outbox()
    guard.doubt("why", out)

    assert [("link-doubted", "why")] == alarms(out.effects)
    record = saved(out)[0]
    assert isinstance(record, LinkRecord)
    assert (record.state, record.reason) == (LinkState.DOUBTED, "why")
    assert (bench.memory.state, bench.memory.reason) == (LinkState.DOUBTED, "why")
