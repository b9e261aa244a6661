"""Operators suspend, resume and compromise keys: at both ends, across cuts, crashes, old disks."""

from collections.abc import Callable
from uuid import UUID

import attrs
import pytest

from kms.domain import limits
from kms.domain.effects import WipeMaterial
from kms.domain.errors import LocalFault, PeerFault
from kms.domain.holds import ALL
from kms.domain.lifecycle import KeyState
from kms.domain.names import KSID, WHOLE_LINK, NodeId
from kms.domain.orders import Act, KeyOrder, OrderDone
from kms.domain.outbox import Outbox
from kms.domain.records import HoldRecord
from kms.domain.status import QoS, Status
from kms.domain.wireheld import Held, IndexRange
from tests.domain.streams_play import ANN, BEN, KNOWN, LINK, A, B, Disk, End, Pair, key_of

SUSPEND, RESUME, COMPROMISE = Act.SUSPEND, Act.RESUME, Act.COMPROMISE
OTHER = KSID(UUID("22222222-2222-4222-8222-222222222222"))


@pytest.fixture
def pair() -> Pair:
    """A stream with keys 0 to 3 at both ends."""
    return Pair().established()


def hold(end: End, ksid: KSID = KNOWN) -> HoldRecord | None:
    """As it is on disk."""
    found = end.disk.records.get((HoldRecord, LINK, ksid))
    assert found is None or isinstance(found, HoldRecord)
    return found


def agreed(pair: Pair, ksid: KSID = KNOWN) -> HoldRecord | None:
    """What both ends have on disk, which is the same but for the time."""
    one, other = (
        attrs.evolve(each, since_ms=0) if (each := hold(end, ksid)) else None
        for end in (pair.a, pair.b)
    )
    assert one == other
    return one


def states(end: End, ksid: KSID = KNOWN) -> list[tuple[int, int, KeyState]]:
    return [(run.first, run.count, run.state) for run in end.runs(ksid)]


def state_at(end: End, index: int) -> tuple[KeyState, str]:
    run = end.runs().at(index)
    assert run is not None
    return run.state, run.reason


def said(pair: Pair, node: NodeId, index: int | None = None, ksid: KSID = KNOWN) -> tuple[int, str]:
    """Status and words of an answer that comes at once, and brings no key."""
    number = pair.get(node, index, ksid=ksid)
    status = pair.status(node, number)
    assert status is not None, "it waits"
    return status, pair.message(node, number)


def refused(done: OrderDone) -> str:
    assert (done.changed, done.waiting) == (False, 0)
    return done.refused


# ---- ranges and streams -------------------------------------------------------------------------


@pytest.mark.parametrize("node", [A, B])
def test_a_suspended_range_is_passed_over_at_both_ends_and_comes_back_when_it_is_resumed(
    pair: Pair, node: NodeId
) -> None:
    done = pair.order(node, SUSPEND, 1, 2)

    assert (done.refused, done.changed, done.waiting, done.delivered) == ("", True, 2, 0)
    for end in (A, B):
        message = (Status.INSUFFICIENT_KEY, "index 1 is suspended by an operator")
        assert said(pair, end, 1) == message
        assert [pair.read(end), pair.read(end)] == [0, 3]
        assert state_at(pair.ends[end], 2)[0] is KeyState.SUSPENDED
    done = pair.order(node, RESUME, 1, 2)

    assert (done.changed, done.waiting) == (True, 2)
    assert [pair.read(A), pair.read(B), pair.read(B, 2), pair.read(A)] == [1, 1, 2, 2]


@pytest.mark.parametrize("node", [A, B])
def test_a_compromised_range_is_destroyed_at_both_ends_and_never_comes_back(
    pair: Pair, node: NodeId
) -> None:
    done = pair.order(node, COMPROMISE, 0, 2)

    assert (done.changed, done.waiting) == (True, 2)
    for end in (A, B):
        assert said(pair, end, 1) == (2, "index 1 is compromised by an operator")
        assert pair.read(end) == 2
        assert state_at(pair.ends[end], 0) == (KeyState.DESTROYED, "compromised by an operator")
        assert not any(pair.ends[end].disk.material[next(iter(pair.ends[end].disk.material))][:64])
    assert "compromised" in refused(pair.order(node, RESUME, 0, 2))
    assert "compromised" in refused(pair.order(node, SUSPEND, 1, 1))


def test_a_suspended_stream_waits_and_goes_on_where_it_was(pair: Pair) -> None:
    assert pair.read(A) == 0
    waits = pair.get(B, 9)
    pair.order(B, SUSPEND)

    assert (pair.status(B, waits), pair.message(B, waits)) == (
        2,
        "index 9 is suspended by an operator",
    )
    designated = pair.a.stream().next_index
    for end in (A, B):
        assert said(pair, end) == (2, "the stream is suspended by an operator")
        assert said(pair, end, 3) == (2, "index 3 is suspended by an operator")
    pair.pass_ms(60_000)

    assert designated == pair.a.stream().next_index
    assert "nothing of it" not in pair.order(A, RESUME).refused
    assert [pair.read(B), pair.read(A), pair.read(B)] == [0, 1, 1]
    pair.pass_ms(1000)
    number = pair.get(A, designated)
    pair.settle()

    assert pair.status(A, number) is Status.SUCCESS


def test_keys_made_on_the_way_of_an_order_are_suspended_as_they_come(pair: Pair) -> None:
    """Alice's end designates while Bob's operator has suspended the stream already."""
    made = pair.a.stream().next_index
    pair.order(B, SUSPEND, settle=False)
    pair.get(A, made + 1)
    pair.hear(B, 1000)

    assert pair.b.stream().next_index > made
    assert {state for _, _, state in states(pair.b)} == {KeyState.SUSPENDED}
    pair.settle()

    assert {state for _, _, state in states(pair.a)} == {KeyState.SUSPENDED}
    pair.order(A, RESUME)

    assert {state for _, _, state in states(pair.b)} == {KeyState.PRE_ACTIVATION}


@pytest.mark.parametrize("node", [A, B])
def test_a_compromised_stream_ends_at_both_ends_and_its_name_is_not_used_again(
    pair: Pair, node: NodeId
) -> None:
    waits = pair.get(B, 9)
    done = pair.order(node, COMPROMISE)

    assert (done.changed, done.waiting, done.count) == (True, 4, None)
    assert "closed" in pair.message(B, waits)
    for end, caller in ((A, ANN), (B, BEN)):
        message = "the stream was compromised by an operator: open another one"
        assert said(pair, end) == (Status.INSUFFICIENT_KEY, message)
        assert pair.status(end, pair.open(end, caller, KNOWN)) is Status.KSID_IN_USE
        assert pair.ends[end].streams.count == 0
        assert hold(pair.ends[end]) is None
    stranger = "no stream of this application has this Key_stream_ID"
    number = pair.get(A, caller=BEN)

    assert pair.message(A, number) == stranger


def test_what_was_delivered_is_compromised_in_the_record_and_wiped_when_it_may_be(
    pair: Pair,
) -> None:
    """One key was delivered long ago, one just now: its bytes may still be under way."""
    assert pair.read(A) == 0
    pair.pass_ms(limits.DESTROY_WITHIN_MS)
    assert pair.read(A) == 1
    done = pair.order(A, COMPROMISE, 0, 3)

    assert (done.waiting, done.delivered) == (1, 2)
    reason = "delivered, then compromised by an operator"
    assert state_at(pair.a, 0) == (KeyState.DESTROYED, reason)
    assert state_at(pair.a, 1) == (KeyState.COMPROMISED, reason)
    assert not [each for each in pair.a.effects if isinstance(each, WipeMaterial)]
    pair.pass_ms(limits.DESTROY_WITHIN_MS)

    assert state_at(pair.a, 1) == (KeyState.DESTROYED, reason)
    assert said(pair, A, 1) == (2, "index 1 is compromised by an operator")
    assert pair.read(A) == 3


def test_only_those_of_the_delivered_keys_are_called_compromised_that_are(pair: Pair) -> None:
    assert [pair.read(A) for _ in range(4)] == [0, 1, 2, 3]
    pair.pass_ms(limits.DESTROY_WITHIN_MS)
    pair.order(A, COMPROMISE, 1, 2)
    lost = "delivered, then compromised by an operator"

    assert ["delivered", lost, lost, "delivered"] == [state_at(pair.a, n)[1] for n in range(4)]
    assert said(pair, A, 0) == (2, "index 0 is destroyed: delivered")


def test_status_says_what_is_ordered_and_whether_the_neighbour_knows(pair: Pair) -> None:
    pair.cut()
    pair.order(A, SUSPEND, 0, 2)
    pair.order(A, COMPROMISE, 3, 1)
    (before,) = pair.a.streams.statistics()
    pair.link()
    pair.settle()
    (after,), (there,) = pair.a.streams.statistics(), pair.b.streams.statistics()

    assert (before.ordered, before.order_told) == ("suspended 0-1; compromised 3", False)
    assert (before.suspended, before.ready) == (2, 1)
    assert (after.ordered, after.order_told) == ("suspended 0-1; compromised 3", True)
    assert (there.ordered, there.order_told) == (after.ordered, True)


def test_a_crash_leaves_what_was_delivered_and_compromised_to_be_wiped(pair: Pair) -> None:
    assert pair.read(A) == 0
    pair.order(A, COMPROMISE, 0, 1)
    pair.crash(A)

    assert state_at(pair.a, 0)[0] is KeyState.COMPROMISED
    pair.pass_ms(1)

    assert state_at(pair.a, 0)[0] is KeyState.DESTROYED


def test_suspended_keys_end_with_their_ttl_and_with_their_stream(pair: Pair) -> None:
    pair.order(A, SUSPEND, 0, 4)
    pair.close(A)
    pair.settle()

    assert {KeyState.DESTROYED} == {state for _, _, state in states(pair.a)}
    other = Pair().established(QoS(ttl=60))
    other.order(B, SUSPEND, 0, 2)
    for _ in range(3):
        other.pass_ms(25_000)
        other.get(A), other.get(B)

    assert state_at(other.b, 0) == (
        KeyState.DESTROYED,
        "its TTL ended before it was delivered",
    )


# ---- wrong orders -------------------------------------------------------------------------------


def test_a_wrong_order_says_why_and_changes_nothing(pair: Pair) -> None:
    assert pair.read(A) == 0
    before = dict(pair.a.disk.records)
    wrong: list[tuple[OrderDone, str]] = [
        (pair.order(A, SUSPEND, ksid=OTHER), f"this node has no stream {OTHER}"),
        (pair.order(A, SUSPEND, 4, 1), "no index 4: its indices so far are 0 to 3"),
        (pair.order(A, COMPROMISE, 3, 2), "no index 4"),
        (pair.order(A, SUSPEND, 0, 1), "no key of stream"),
        (pair.order(A, RESUME), "nothing of it is suspended"),
        (pair.order(A, RESUME, 1, 2), "nothing of it is suspended"),
        (pair.order(A, RESUME, link=LINK), "nothing of it is suspended"),
        (pair.order(A, SUSPEND, link="alice~zoe"), "this node has no link alice~zoe"),  # type: ignore[arg-type]
        (pair.order(A, SUSPEND, key_id=UUID(int=5)), "no key here with the ID"),
    ]

    assert [] == [(done.refused, text) for done, text in wrong if text not in refused(done)]
    assert all(done.hint for done, _ in wrong)
    assert before == pair.a.disk.records
    assert [] == [entry for entry in pair.b.audit if entry.event == "keys-ordered"]


def test_a_stream_without_keys_has_no_indices() -> None:
    pair = Pair()
    pair.open(A, ANN, KNOWN)
    pair.settle()

    assert "it has no keys yet" in refused(pair.order(A, COMPROMISE, 0, 1))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"link": LINK, "ksid": KNOWN},
        {"link": LINK, "first": 1, "count": 2},
        {"key_id": UUID(int=1), "count": 2},
        {"ksid": KNOWN, "first": 1},
        {"ksid": KNOWN, "count": 0},
        {"ksid": KNOWN, "first": -1, "count": 1},
        {"ksid": KNOWN, "first": limits.INDEX_MAX, "count": 2},
        {"ksid": KNOWN, "reason": ""},
        {"ksid": KNOWN, "reason": " "},
        {"ksid": KNOWN, "reason": "two\nlines"},
        {"ksid": KNOWN, "operator": "o" * 65},
    ],
)
def test_an_order_that_contradicts_itself_is_none(fields: dict[str, object]) -> None:
    with pytest.raises(LocalFault):
        KeyOrder(**{"act": SUSPEND, "operator": "olga", "reason": "why", **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize("act", [SUSPEND, COMPROMISE])
def test_an_order_given_twice_is_given_once(pair: Pair, act: Act) -> None:
    first = pair.order(A, act, 1, 2)
    entries = len(pair.a.audit), len(pair.b.audit)
    again = [pair.order(A, act, 1, 2), pair.order(B, act, 1, 1)]

    assert (first.changed, [each.changed for each in again]) == (True, [False, False])
    assert entries == (len(pair.a.audit), len(pair.b.audit))


def test_a_stream_can_have_only_so_many_ranges() -> None:
    pair = Pair().established()
    pair.get(A, 2 * limits.HOLD_RANGES_MAX)
    pair.settle()
    for number in range(limits.HOLD_RANGES_MAX):
        assert pair.order(A, SUSPEND, 2 * number, 1, settle=False).changed
    done = pair.order(A, COMPROMISE, 2 * limits.HOLD_RANGES_MAX, 1)

    assert "more than 64 such ranges" in refused(done)
    assert pair.order(A, SUSPEND).changed


# ---- links --------------------------------------------------------------------------------------


@pytest.mark.parametrize("node", [A, B])
def test_the_streams_of_a_suspended_link_wait_at_both_ends(pair: Pair, node: NodeId) -> None:
    waits = pair.get(A, 9)
    done = pair.order(node, SUSPEND, link=LINK)

    assert (done.changed, done.link, done.waiting >= 4) == (True, LINK, True)
    assert pair.order(node, SUSPEND, link=LINK).changed is False
    text = f"the link {LINK} is suspended by an operator"
    for end in (A, B):
        assert pair.ends[end].streams.stopped(LINK) == text
        for index in (None, 0, 99):
            assert said(pair, end, index) == (2, text)
    assert (pair.status(A, waits), pair.message(A, waits)) == (2, text)
    number = pair.open(A, ANN, key_of(7))

    assert (pair.status(A, number), pair.message(A, number)) == (Status.NO_QKD_CONNECTION, text)
    made = pair.a.stream().next_index
    pair.pass_ms(60_000)

    assert made == pair.a.stream().next_index
    pair.order(A if node == B else B, RESUME, link=LINK)

    assert [pair.read(A), pair.read(B), pair.read(B)] == [0, 0, 1]
    number = pair.get(A, made + 3)
    pair.settle()

    assert pair.status(A, number) is Status.SUCCESS


def test_a_compromised_link_takes_its_streams_with_it_at_both_ends(
    pair: Pair,
) -> None:
    pair.established(ksid=OTHER)
    pair.cut()
    done = pair.order(A, COMPROMISE, link=LINK)

    assert (done.changed, done.waiting) == (True, 8)
    assert f"the link {LINK} is compromised by an operator" == pair.a.streams.stopped(LINK)
    assert (False, True) == (pair.a.streams.told(LINK), pair.b.streams.told(LINK))
    assert ([LINK], []) == (pair.a.streams.compromised(), pair.b.streams.compromised())
    assert said(pair, A, ksid=OTHER)[0] is Status.INSUFFICIENT_KEY
    assert pair.read(B) == 0
    pair.link()
    pair.settle()

    assert (True, True) == (pair.a.streams.told(LINK), pair.b.streams.told(LINK))
    assert [LINK] == pair.b.streams.compromised()
    for end in (A, B):
        for ksid in (KNOWN, OTHER):
            assert "compromised" in said(pair, end, ksid=ksid)[1]
    assert "compromised" in refused(pair.order(B, RESUME, link=LINK))
    for end in (A, B):
        pair.batch(end, lambda streams, out: streams.renewed(LINK, out))

    assert ("", []) == (pair.a.streams.stopped(LINK), pair.b.streams.compromised())
    assert None is agreed(pair, WHOLE_LINK)


def test_another_secret_leaves_a_suspended_link_suspended(pair: Pair) -> None:
    pair.order(A, SUSPEND, link=LINK)
    pair.batch(A, lambda streams, out: streams.renewed(LINK, out))

    assert "suspended" in pair.a.streams.stopped(LINK)


# ---- told to the peer ---------------------------------------------------------------------------


def offline(pair: Pair) -> None:
    pair.cut()
    pair.order(A, COMPROMISE, 1, 1)
    pair.order(A, SUSPEND, 2, 1)
    pair.link()


def lost_on_the_way(pair: Pair) -> None:
    pair.order(A, COMPROMISE, 1, 1, settle=False)
    pair.order(A, SUSPEND, 2, 1, settle=False)
    pair.cut()
    pair.link()


def answer_lost(pair: Pair) -> None:
    pair.order(A, COMPROMISE, 1, 1, settle=False)
    pair.order(A, SUSPEND, 2, 1, settle=False)
    pair.hear(B, 1000)
    pair.cut()
    pair.link()


def crash_behind_the_order(pair: Pair) -> None:
    pair.order(A, COMPROMISE, 1, 1, settle=False)
    pair.order(A, SUSPEND, 2, 1, settle=False)
    pair.crash(A)
    pair.link()


def peer_crashes_behind_it(pair: Pair) -> None:
    pair.order(A, COMPROMISE, 1, 1)
    pair.order(A, SUSPEND, 2, 1, settle=False)
    pair.hear(B, 1000)
    pair.crash(B)
    pair.link()


def both_crash(pair: Pair) -> None:
    pair.order(A, COMPROMISE, 1, 1, settle=False)
    pair.order(A, SUSPEND, 2, 1, settle=False)
    pair.crash(B)
    pair.crash(A)
    pair.link()


def one_order_at_each_end(pair: Pair) -> None:
    pair.cut()
    pair.order(A, COMPROMISE, 1, 1)
    pair.order(B, SUSPEND, 2, 1)
    pair.link()


def peer_is_put_back(pair: Pair) -> None:
    copy = pair.b.disk.copy()
    pair.order(A, COMPROMISE, 1, 1)
    pair.order(A, SUSPEND, 2, 1)
    pair.crash(B, copy)
    pair.link()


def this_end_is_put_back(pair: Pair) -> None:
    copy = pair.a.disk.copy()
    pair.order(A, COMPROMISE, 1, 1)
    pair.order(A, SUSPEND, 2, 1)
    pair.crash(A, copy)
    pair.link()


@pytest.mark.parametrize(
    "story",
    [
        offline,
        lost_on_the_way,
        answer_lost,
        crash_behind_the_order,
        peer_crashes_behind_it,
        both_crash,
        one_order_at_each_end,
        peer_is_put_back,
        this_end_is_put_back,
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_both_ends_come_to_know_of_an_order_whatever_happens_on_the_way(
    story: Callable[[Pair], None], turned: bool
) -> None:
    """``turned``: Bob's end designates the stream."""
    pair = Pair()
    if turned:
        pair.open(B, BEN, KNOWN)
        pair.settle()
        pair.open(A, ANN, KNOWN)
        pair.settle()
    else:
        pair.established()
    story(pair)
    pair.settle()
    held = agreed(pair)

    assert held is not None
    assert (held.compromised, held.suspended) == (((1, 2),), ((2, 3),))
    for end in (A, B):
        for index in (1, 2):
            status, text = said(pair, end, index)
            assert (status, "operator" in text or "destroyed" in text) == (2, True)
    talk = [len(end.channel.sent) for end in (pair.a, pair.b)]
    pair.pass_ms(1000)

    assert talk == [len(end.channel.sent) for end in (pair.a, pair.b)]


def test_what_both_ends_suspend_at_once_is_suspended_and_either_may_resume_it(pair: Pair) -> None:
    pair.cut()
    pair.order(A, SUSPEND, 0, 2)
    pair.order(B, SUSPEND, 1, 2)
    pair.link()
    pair.settle()
    held = agreed(pair)

    assert held is not None
    assert ((0, 3),) == held.suspended
    pair.cut()
    pair.order(A, RESUME, 0, 3)
    pair.order(B, SUSPEND, 3, 1)
    pair.link()
    pair.settle()
    held = agreed(pair)

    assert held is not None
    assert ((0, 4),) == held.suspended
    pair.order(B, RESUME)
    held = agreed(pair)

    assert held is not None
    assert () == held.suspended


def test_an_old_store_that_orders_anew_unlearns_nothing(pair: Pair) -> None:
    """Put back to before two orders, it counts as far again by its own clock."""
    copy = pair.a.disk.copy()
    pair.order(A, COMPROMISE, 0, 1)
    pair.pass_ms(10)
    pair.order(A, SUSPEND, 1, 1)
    pair.crash(A, copy)
    pair.order(A, SUSPEND, 3, 1)
    pair.link()
    pair.settle()
    held = agreed(pair)

    assert held is not None
    assert ((0, 1),) == held.compromised
    assert (3, 4) in held.suspended


def test_the_peer_that_has_lost_the_stream_is_told_with_its_announcement(pair: Pair) -> None:
    before = Disk()
    pair.order(A, SUSPEND)
    pair.crash(B, before)
    pair.link()
    pair.settle()
    number = pair.open(B, BEN, KNOWN)
    pair.settle()

    assert pair.status(B, number) is Status.SUCCESS
    assert ALL == (agreed(pair) or HoldRecord(link=LINK, ksid=KNOWN)).suspended
    assert said(pair, B) == (2, "the stream is suspended by an operator")


def test_a_compromised_stream_that_the_peer_does_not_hear_of_is_told_in_the_next_session(
    pair: Pair,
) -> None:
    pair.cut()
    pair.order(A, COMPROMISE)
    pair.crash(A)
    pair.crash(B)
    pair.link()
    pair.settle()

    assert (0, 0) == (pair.a.streams.count, pair.b.streams.count)
    assert "compromised" in said(pair, B)[1]
    pair.pass_ms(1)

    assert [] == [run for end in (pair.a, pair.b) for run in end.runs() if run.material]


def test_both_audits_say_who_ordered_what_where_and_why(pair: Pair) -> None:
    pair.read(B)
    pair.order(A, SUSPEND, 1, 2)
    pair.order(B, RESUME, 1, 1)
    pair.order(A, COMPROMISE)
    pair.established(ksid=OTHER)
    pair.order(A, SUSPEND, link=LINK)
    for end, delivered in ((pair.a, 0), (pair.b, 1)):
        found = [
            (each.actor, each.subject, *(each.detail[name] for name in ("act", "first", "count")))
            for each in end.audit
            if each.event == "keys-ordered"
        ]
        entry = next(each for each in end.audit if each.detail.get("act") == "compromise")

        assert [
            ("operator", str(KNOWN), "suspend", 1, 2),
            ("operator", str(KNOWN), "resume", 1, 1),
            ("operator", str(KNOWN), "compromise", 0, None),
            ("operator", LINK, "suspend", 0, None),
        ] == found
        assert ("olga", A, "a laptop was lost", delivered) == tuple(
            entry.detail[name] for name in ("operator", "node", "reason", "delivered")
        )
    events = [each.event for each in pair.b.audit]

    assert {"keys-suspended", "keys-released", "keys-compromised"} <= set(events)


# ---- a neighbour that means harm ----------------------------------------------------------------


def word(**fields: object) -> Held:
    right: dict[str, object] = {
        "ksid": KNOWN.bytes,
        "local": BEN,
        "remote": ANN,
        "leader": 0,
        "follower": 5,
        "suspended": [],
        "compromised": [IndexRange(0, 0)],
        "operator": "mallory",
        "reason": "for fun",
    }
    return Held(**{**right, **fields})  # type: ignore[arg-type]


def hear(pair: Pair, message: Held) -> None:
    out = Outbox(pair.now)
    pair.a.streams.on_message(LINK, message, None, out)
    pair.a.disk.commit(list(out.effects))


RANGE = IndexRange


@pytest.mark.parametrize(
    "message",
    [
        word(compromised=[RANGE(2, 1)]),
        word(compromised=[RANGE(2, 3), RANGE(0, 0)]),
        word(suspended=[RANGE(0, 1), RANGE(2, 3)]),
        word(suspended=[RANGE(0, 4), RANGE(3, 9)]),
        word(leader=1 << 61),
        word(follower=1 << 61),
        word(local=""),
        word(ksid=b""),
        word(ksid=b"", local="", remote="", compromised=[RANGE(0, 1)]),
        word(ksid=KNOWN.bytes[:15]),
        word(ksid=WHOLE_LINK.bytes),
    ],
)
def test_a_word_that_makes_no_sense_is_the_neighbours_fault_and_changes_nothing(
    pair: Pair, message: Held
) -> None:
    before = dict(pair.a.disk.records)
    with pytest.raises(PeerFault):
        hear(pair, message)

    assert before == pair.a.disk.records


@pytest.mark.parametrize(
    "message",
    [word(ksid=OTHER.bytes), word(local="sae:else.bob"), word(remote="sae:else.alice")],
)
def test_a_word_about_another_stream_changes_nothing(pair: Pair, message: Held) -> None:
    before = dict(pair.a.disk.records)
    hear(pair, message)

    assert before == pair.a.disk.records


def test_a_neighbour_cannot_fill_the_memory_with_ranges(pair: Pair) -> None:
    most = 2 * limits.HOLD_RANGES_MAX
    for turn in range(2):
        ranges = [RANGE(4 * each + 2 * turn, 4 * each + 2 * turn) for each in range(most)]
        message = word(suspended=ranges, compromised=[], leader=turn, follower=9 - turn)
        if not turn:
            hear(pair, message)
            continue
        with pytest.raises(PeerFault):
            hear(pair, message)
    kept = hold(pair.a)

    assert kept is not None
    assert most == len(kept.suspended)
