"""How a session begins at one end, message by message: all that leaves, all that is kept."""

from typing import cast

import msgspec
import pytest

from kms.domain import frame, hello, limits, wire
from kms.domain.effects import (
    Alarm,
    Audit,
    Disconnect,
    Effect,
    Note,
    Save,
    SendFrame,
    TakeMaterial,
    WipeMaterial,
)
from kms.domain.errors import PeerFault
from kms.domain.greeting import Greeting
from kms.domain.names import MaterialId, NodeId
from kms.domain.outbox import Outbox
from kms.domain.records import LinkRecord, LinkState, PadRecord, Way
from kms.domain.secret import Secret
from kms.domain.session import Phase
from kms.domain.wire import Append, Hello, Range, Refusal, Welcome
from tests.domain.linkbench import (
    SIZE,
    alarms,
    audited,
    block_id,
    extend,
    fill,
    filled,
    outbox,
    ranges,
    saved,
)
from tests.world import ALICE, BOB, LINK

SESSION = 5
OUR_BOOT, THEIR_BOOT = 7, 9


class Desk:
    """One end's greeting with an empty link around it; ``heard`` is what it told its owner."""

    def __init__(self, node: NodeId = ALICE, *, entries: int = 0) -> None:
        self.bench = filled(entries, node)
        self.memory = self.bench.memory
        self.heard: list[tuple[str, object]] = []
        self.greeting = Greeting(
            self.memory,
            self.bench.agreement,
            doubt=lambda reason, out: self.heard.append(("doubt", reason)),
            on_grant=lambda granted, out: self.heard.append(("grant", granted)),
            on_alarm=lambda kind, out: self.heard.append(("alarm", kind)),
            forget=lambda: self.heard.append(("forget", None)),
        )
        self.greeting.boot = OUR_BOOT

    def connect(self, session: int = SESSION, mono_ms: int = 1_000) -> list[Effect]:
        out = outbox(mono_ms)
        self.greeting.connected(session, out)
        return out.effects

    def hear(self, message: Hello | Welcome | Refusal) -> Outbox:
        out = outbox()
        self.greeting.on_opening(message, out)
        return out

    def own(self, seen_boot: int = 0) -> Hello:
        return hello.own(self.memory, OUR_BOOT, seen_boot)

    def theirs(self, **changes: object) -> Hello:
        """What a neighbour says that has the same as this end."""
        said = msgspec.structs.replace(
            self.own(), node=self.memory.peer, boot=THEIR_BOOT, seen_boot=0
        )
        return msgspec.structs.replace(said, **changes)

    def welcome(self, **changes: object) -> Welcome:
        """The neighbour's, that fits this end."""
        said = Welcome(
            protocol=wire.PROTOCOLS[0],
            epoch=self.memory.epoch,
            log_count=self.memory.log_count,
            start=self.memory.writer.mark,
            granted=self.memory.writer.granted,
            burnt_reads=[],
            burnt_writes=[],
            alarm="",
        )
        return msgspec.structs.replace(said, **changes)

    def up(self, **changes: object) -> Outbox:
        """The session is up; what that brought."""
        self.connect()
        self.hear(self.theirs())
        return self.hear(self.welcome(**changes))


def sent(message: Hello | Welcome | Refusal, session: int = SESSION) -> SendFrame:
    data = frame.opening(wire.encode_opening(message))
    return SendFrame(link=LINK, session=session, data=data)


def welcomes(out: Outbox) -> list[Welcome]:
    frames = [each for each in out.effects if isinstance(each, SendFrame)]
    return [cast(Welcome, wire.decode_opening(frame.opening_message(f.data))) for f in frames]


# ---- the connection -----------------------------------------------------------------------


def test_before_the_first_connection_nothing_is_known() -> None:
    desk = Desk()
    greeting = Greeting(
        desk.memory,
        desk.bench.agreement,
        doubt=lambda reason, out: None,
        on_grant=lambda granted, out: None,
        on_alarm=lambda kind, out: None,
        forget=lambda: None,
    )

    assert (Phase.DOWN, 0, "", 0) == (
        greeting.phase,
        greeting.session,
        greeting.refused,
        greeting.boot,
    )
    assert not greeting.up
    assert not greeting.continuous


def test_a_connection_begins_with_the_own_hello_and_nothing_of_the_last_session() -> None:
    desk = Desk()
    effects = desk.connect()

    assert [sent(desk.own())] == effects
    assert (Phase.GREETING, SESSION) == (desk.greeting.phase, desk.greeting.session)
    assert [("forget", None)] == desk.heard
    assert not desk.greeting.up


@pytest.mark.parametrize(
    ("standing", "state", "reason", "said"),
    [
        ("old copy", LinkState.OPEN, "", "alice stands: old copy"),
        ("old copy", LinkState.DOUBTED, "why", "alice stands: old copy"),
        ("", LinkState.DOUBTED, "why", "at alice it is doubted: why"),
        ("", LinkState.NEW, "", "at alice it is new: no link secret was brought to this end yet"),
        ("", LinkState.DOUBTED, "y" * 300, f"at alice it is doubted: {'y' * 300}"),
    ],
)
def test_a_link_that_cannot_begin_is_refused_by_name(
    standing: str, state: LinkState, reason: str, said: str
) -> None:
    desk = Desk()
    desk.memory.standing, desk.memory.state, desk.memory.reason = standing, state, reason
    effects = desk.connect()

    assert [
        sent(Refusal(said[:200])),
        Note(name="session-refused", fields={"link": LINK, "reason": said}),
        Disconnect(link=LINK, session=SESSION, reason=said),
    ] == effects
    assert (Phase.DOWN, SESSION, said) == (
        desk.greeting.phase,
        desk.greeting.session,
        desk.greeting.refused,
    )
    assert [("forget", None)] == desk.heard


def test_a_connection_is_lost_once_and_only_by_its_own_number() -> None:
    desk = Desk()
    desk.connect()
    desk.heard.clear()
    desk.greeting.lost(SESSION - 1)
    kept = (desk.greeting.phase, list(desk.heard))
    desk.greeting.lost(SESSION)

    assert (Phase.GREETING, []) == kept
    assert (Phase.DOWN, [("forget", None)]) == (desk.greeting.phase, desk.heard)


def test_a_session_is_ended_once_with_the_reason() -> None:
    desk, out = Desk(), outbox()
    desk.greeting.disconnect("early", out)
    desk.connect()
    desk.heard.clear()
    desk.greeting.disconnect("why", out)
    desk.greeting.disconnect("again", out)

    assert [Disconnect(link=LINK, session=SESSION, reason="why")] == out.effects
    assert (Phase.DOWN, [("forget", None)]) == (desk.greeting.phase, desk.heard)


def test_a_hello_out_of_turn_changes_nothing() -> None:
    desk = Desk()
    out = outbox()
    with pytest.raises(PeerFault, match="hello in while down"):
        desk.greeting.on_opening(desk.theirs(), out)
    desk.up()
    with pytest.raises(PeerFault, match="hello in while up"):
        desk.greeting.on_opening(desk.theirs(epoch=4), out)

    assert [] == out.effects
    assert (Phase.UP, 1) == (desk.greeting.phase, desk.memory.epoch)


@pytest.mark.parametrize("settled", [False, True])
def test_a_neighbour_has_so_long_to_greet_and_no_longer(settled: bool) -> None:
    desk = Desk()
    desk.connect(mono_ms=1_000)
    if settled:
        desk.hear(desk.theirs())
    on_time, late = (outbox(1_000 + limits.HELLO_TIMEOUT_MS + more) for more in (0, 1))
    desk.greeting.tick(on_time)
    desk.greeting.tick(late)

    assert [] == on_time.effects
    assert [Disconnect(link=LINK, session=SESSION, reason="no hello in time")] == late.effects


def test_a_session_that_is_up_has_all_the_time_there_is() -> None:
    desk, late = Desk(), outbox(10**9)
    desk.greeting.tick(late)
    desk.up()
    desk.greeting.tick(late)

    assert [] == late.effects
    assert desk.greeting.up


# ---- hello --------------------------------------------------------------------------------


def test_a_neighbour_that_was_met_is_remembered_until_windows_are_lost() -> None:
    for how in ("kept", "lost", "anew"):
        desk, out = Desk(), outbox()
        desk.up()
        if how == "lost":
            desk.greeting.windows_lost("a block is unreadable", out)
        elif how == "anew":
            desk.greeting.begin_anew(out)
        ended = [each.reason for each in out.effects if isinstance(each, Disconnect)]
        effects = desk.connect(6)

        reasons = {"lost": ["a block is unreadable"], "anew": ["another link secret begins"]}
        assert reasons.get(how, []) == ended
        assert [sent(desk.own(THEIR_BOOT if how == "kept" else 0), 6)] == effects


def test_the_welcome_says_what_both_hellos_come_to() -> None:
    desk = Desk(entries=3)
    desk.memory.alarm = "qber"
    desk.memory.epoch = 4
    # Of what was lost below the mark nothing is said; of the rest as much as a message carries.
    reader = desk.memory.reader
    reader.lost = [(start, 1) for start in range(1, limits.ENTRIES_PER_MESSAGE_MAX + 5)]
    desk.memory.writer.lost = [(8, 2)]
    desk.connect()
    out = desk.hear(desk.theirs())

    (welcome,) = welcomes(out)
    assert (
        Welcome(
            protocol="kms/1",
            epoch=4,
            log_count=3,
            start=0,
            granted=0,
            burnt_reads=[Range(at, 1) for at in range(1, limits.ENTRIES_PER_MESSAGE_MAX + 1)],
            burnt_writes=[Range(8, 2)],
            alarm="qber",
        )
        == welcome
    )
    assert (Phase.WAITING, SESSION) == (desk.greeting.phase, desk.greeting.session)
    assert not desk.greeting.continuous


def test_pads_and_link_are_saved_before_the_welcome_leaves() -> None:
    desk = Desk()
    for pad, granted in zip(desk.memory.pads, (SIZE, 2 * SIZE), strict=True):
        extend(pad, SIZE, SIZE)
        pad.granted = granted
        pad.window.advance(granted)
    desk.memory.reader.confirmed = SIZE
    desk.connect()
    out = desk.hear(desk.theirs(epoch=3))
    writer, reader = desk.memory.pads

    assert (SIZE, 2 * SIZE, 2 * SIZE) == (writer.granted, reader.granted, reader.confirmed)
    records = saved(out)
    assert [LinkRecord, PadRecord, PadRecord] == [type(each) for each in records[:3]]
    assert 3 == cast(LinkRecord, records[0]).epoch
    assert [writer.record(), reader.record()] == records[1:3]
    (welcome,) = welcomes(out)
    assert (2 * SIZE, 2 * SIZE) == (welcome.start, welcome.granted)
    assert isinstance(out.effects[-1], SendFrame)
    assert desk.memory.reader.due() is None


def test_a_hello_of_what_the_follower_lacks_has_it_sent_again() -> None:
    desk = Desk(entries=3)
    said = desk.theirs(log_count=1, log_hash=desk.bench.log.hash_at(1))
    desk.connect()
    desk.hear(said)
    (append,) = [each for each in desk.bench.said() if isinstance(each, Append)]

    assert [1, 2] == [each.seq for each in append.entries]
    assert 1 == desk.bench.log.settled


@pytest.mark.parametrize("node", [ALICE, BOB])
def test_windows_in_memory_go_on_where_the_further_mark_is(node: NodeId) -> None:
    desk = Desk(node)
    desk.up()
    for pad in desk.memory.pads:
        extend(pad, SIZE, SIZE)
        pad.granted = SIZE
        fill(pad, 0, SIZE)
    desk.connect(6)
    said = desk.theirs(seen_boot=OUR_BOOT)
    marks = (100, 300) if node == ALICE else (300, 100)
    said = msgspec.structs.replace(
        said,
        from_leader=msgspec.structs.replace(said.from_leader, mark=marks[0]),
        to_leader=msgspec.structs.replace(said.to_leader, mark=marks[1]),
    )
    out = desk.hear(said)
    writer, reader = desk.memory.pads

    assert desk.greeting.continuous
    assert (100, 300) == (writer.mark, reader.mark)
    assert (SIZE - 100, SIZE - 300) == (writer.window.held, reader.window.held)
    assert 300 == welcomes(out)[0].start


@pytest.mark.parametrize("node", [ALICE, BOB])
def test_without_memory_all_below_the_higher_grant_is_burnt(node: NodeId) -> None:
    desk = Desk(node)
    for pad in desk.memory.pads:
        extend(pad, SIZE, SIZE, SIZE, SIZE)
        pad.granted = SIZE
        fill(pad, 0, SIZE)
    desk.connect()
    said = desk.theirs()
    # Each writer has had a lower grant confirmed than its reader recorded, and the like.
    grants = {"from_leader": 2 * SIZE, "to_leader": SIZE}
    if node == BOB:
        grants = {"from_leader": SIZE, "to_leader": 2 * SIZE}
    changes = {
        name: msgspec.structs.replace(getattr(said, name), granted=granted)
        for name, granted in grants.items()
    }
    out = desk.hear(msgspec.structs.replace(said, **changes))
    writer, reader = desk.memory.pads

    assert (2 * SIZE, SIZE) == (writer.granted, reader.granted)
    assert (0, 0) == (writer.window.held, reader.window.held)
    assert [("m1", 0, SIZE)] == ranges(out, WipeMaterial)[:1]
    assert not desk.greeting.continuous
    assert SIZE == welcomes(out)[0].start


def test_what_both_ends_hold_is_granted_and_the_welcome_waits_for_its_bytes() -> None:
    # The follower reads what the leader's log gave the leader to write.
    desk = Desk(BOB, entries=4)
    desk.connect()
    out = desk.hear(desk.theirs())
    taken = ranges(out, TakeMaterial)
    early = desk.hear(desk.welcome())
    reader = desk.memory.reader
    waiting = (desk.greeting.phase, welcomes(out), welcomes(early), reader.due())
    later = outbox()
    for material, offset, length in cast(list[tuple[MaterialId, int, int]], taken):
        desk.greeting.welcome_when_opened(later)
        reader.opened(material, offset, block_of(length))
    unsaid = list(later.effects)
    desk.greeting.welcome_when_opened(later)
    desk.greeting.welcome_when_opened(later)

    assert taken
    assert (Phase.WELCOMED, [], [], None) == waiting
    assert [] == unsaid
    assert [reader.granted] == [each.granted for each in welcomes(later)]
    assert (True, None) == (desk.greeting.up, reader.due())


def block_of(length: int) -> Secret:
    return Secret(b"x" * length)


@pytest.mark.parametrize("doubt", [False, True])
def test_a_hello_that_does_not_fit_is_refused_and_what_cannot_be_explained_is_doubted(
    doubt: bool,
) -> None:
    desk = Desk(entries=1)
    desk.connect()
    desk.heard.clear()
    said = desk.theirs(**({"log_hash": b"?" * 32} if doubt else {"secret_id": "6" * 32}))
    out = desk.hear(said)
    reason = (
        "the append logs differ"
        if doubt
        else "the two ends use different link secrets: bring the newest one to both"
    )

    assert [
        sent(Refusal(reason)),
        Note(name="session-refused", fields={"link": LINK, "reason": reason}),
        Disconnect(link=LINK, session=SESSION, reason=reason),
    ] == out.effects
    assert ([("doubt", reason)] if doubt else []) == desk.heard
    assert (Phase.DOWN, reason) == (desk.greeting.phase, desk.greeting.refused)
    assert not desk.greeting.continuous


def test_an_old_store_raises_the_epoch_and_what_only_this_end_holds_is_cut() -> None:
    desk = Desk(BOB, entries=3)
    known = desk.bench.log.hash_at(2)
    desk.connect()
    out = desk.hear(desk.theirs(log_count=2, log_hash=known))
    old = "the leader lacks appends that its follower has"

    assert [("old-store", old)] == alarms(out.effects)
    assert [LINK] == [each.link for each in out.effects if isinstance(each, Alarm)]
    assert (2, 2, known) == (desk.memory.log_count, desk.memory.epoch, desk.memory.log_hash)
    assert [("alarm", LINK, old), ("block-burnt", str(block_id(2)), old)] == audited(out)


@pytest.mark.parametrize("node", [ALICE, BOB])
def test_only_the_leaders_next_append_starts_behind_what_its_follower_once_cut(
    node: NodeId,
) -> None:
    desk = Desk(node)
    for pad in desk.memory.pads:
        extend(pad, SIZE)
    desk.connect()
    said = desk.theirs()
    further = {
        name: msgspec.structs.replace(getattr(said, name), end=end)
        for name, end in (("from_leader", 3 * SIZE), ("to_leader", 2 * SIZE))
    }
    desk.hear(msgspec.structs.replace(said, **further))
    ends = tuple(pad.extents.end for pad in desk.memory.pads)

    assert ((3 * SIZE, 2 * SIZE) if node == ALICE else (SIZE, SIZE)) == ends


def test_the_leader_that_is_ahead_stays_ahead() -> None:
    desk = Desk()
    for pad in desk.memory.pads:
        extend(pad, SIZE, SIZE)
    desk.connect()
    said = desk.theirs()
    less = {
        name: msgspec.structs.replace(getattr(said, name), end=SIZE)
        for name in ("from_leader", "to_leader")
    }
    desk.hear(msgspec.structs.replace(said, **less))

    assert [2 * SIZE, 2 * SIZE] == [pad.extents.end for pad in desk.memory.pads]


# ---- welcome ------------------------------------------------------------------------------


def test_with_the_welcome_the_session_is_up_and_its_owner_hears_grant_and_alarm() -> None:
    desk = Desk()
    desk.greeting.refused = "of before"
    extend(desk.memory.writer, SIZE)
    desk.connect()
    desk.hear(desk.theirs())
    desk.heard.clear()
    out = desk.hear(desk.welcome(granted=SIZE, alarm="mismatch"))

    assert [("grant", SIZE), ("alarm", "mismatch")] == desk.heard
    assert [Note(name="link-up", fields={"link": LINK, "epoch": 1})] == out.effects
    assert (True, "") == (desk.greeting.up, desk.greeting.refused)


def test_a_welcome_confirms_where_this_end_said_that_the_session_starts() -> None:
    desk = Desk()
    extend(desk.memory.reader, SIZE, SIZE)
    desk.memory.reader.granted = SIZE
    desk.memory.reader.window.advance(SIZE)
    desk.connect()
    said = desk.theirs()
    # The writer has recorded none of it yet.
    desk.hear(
        msgspec.structs.replace(
            said, to_leader=msgspec.structs.replace(said.to_leader, granted=0, mark=0)
        )
    )
    before = desk.memory.reader.confirmed
    desk.hear(desk.welcome())

    assert (0, SIZE) == (before, desk.memory.reader.confirmed)


def test_how_this_end_was_put_back_is_forgotten_once_the_session_is_up() -> None:
    desk = Desk()
    desk.memory.restored = Way.ASK_PEERS
    desk.connect()
    desk.hear(desk.theirs(protocols=list(wire.PROTOCOLS)))
    seen = [desk.memory.restored]
    out = desk.hear(desk.welcome())
    seen.append(desk.memory.restored)

    assert [Way.ASK_PEERS, None] == seen
    assert [None] == [cast(LinkRecord, each).restored for each in saved(out)]


def test_a_welcome_of_the_next_epoch_tells_this_end_that_its_store_is_old() -> None:
    desk = Desk()
    desk.connect()
    desk.hear(desk.theirs())
    out = desk.hear(desk.welcome(epoch=2))

    assert 2 == desk.memory.epoch
    assert [("old-store", "the neighbour found this end's store to be old")] == alarms(out.effects)
    assert [LINK] == [each.link for each in out.effects if isinstance(each, Alarm)]
    assert [Alarm, Audit, Save, Note] == [type(each) for each in out.effects]
    assert [2] == [cast(LinkRecord, each).epoch for each in saved(out)]


def test_a_welcome_of_an_epoch_that_passed_changes_none() -> None:
    desk = Desk()
    desk.memory.epoch = 3
    desk.connect()
    desk.hear(desk.theirs())
    out = desk.hear(desk.welcome(epoch=2))

    assert (3, []) == (desk.memory.epoch, alarms(out.effects))


def test_what_the_other_end_has_no_bits_of_is_burnt_in_the_pad_that_it_means() -> None:
    desk = Desk()
    for pad in desk.memory.pads:
        extend(pad, SIZE, SIZE, SIZE)
    desk.connect()
    desk.hear(desk.theirs())
    out = desk.hear(
        desk.welcome(burnt_reads=[Range(0, 1), Range(SIZE, 1)], burnt_writes=[Range(2 * SIZE, 1)])
    )

    usable = [[each.material for each in pad.extents] for pad in desk.memory.pads]
    assert [[None, None, "m2"], ["m0", "m1", None]] == usable
    burnt = [("block-burnt", str(block_id(n)), "the other end has no bits of it") for n in range(3)]
    assert burnt == audited(out)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"protocol": "kms/9"}, "a welcome in another protocol"),
        ({"start": 1}, "a welcome with another start"),
        ({"epoch": 3}, "a welcome of an epoch out of reach"),
        ({"granted": SIZE - 1}, "a welcome with an impossible grant"),
        ({"granted": 2 * SIZE + 1}, "a welcome with an impossible grant"),
    ],
)
def test_i9_a_welcome_that_does_not_fit_changes_nothing(
    changes: dict[str, object], fault: str
) -> None:
    desk = Desk()
    writer = desk.memory.writer
    extend(writer, SIZE, SIZE)
    writer.granted = SIZE
    writer.window.advance(SIZE)
    desk.connect()
    desk.hear(desk.theirs())
    desk.heard.clear()
    out = outbox()
    with pytest.raises(PeerFault) as raised:
        desk.greeting.on_opening(desk.welcome(**changes), out)

    assert fault == raised.value.reason
    assert "the neighbour breaks the protocol; its link begins again" == raised.value.hint
    assert ([], [], Phase.WAITING) == (out.effects, desk.heard, desk.greeting.phase)
    for granted in (SIZE, 2 * SIZE):
        again = Desk()
        extend(again.memory.writer, SIZE, SIZE)
        again.memory.writer.granted = SIZE
        again.memory.writer.window.advance(SIZE)
        again.up(granted=granted)
        assert again.greeting.up


def test_a_welcome_before_the_hello_is_out_of_turn() -> None:
    desk = Desk()
    desk.connect()
    with pytest.raises(PeerFault, match="welcome in while greeting"):
        desk.hear(desk.welcome())

    assert Phase.GREETING is desk.greeting.phase


def test_a_refusal_ends_the_session_and_says_whose_it_was() -> None:
    desk = Desk()
    desk.connect()
    desk.heard.clear()
    out = desk.hear(Refusal("at bob it is new"))
    reason = "refused by the neighbour: at bob it is new"

    assert [
        Note(name="session-refused-by-peer", fields={"link": LINK, "reason": "at bob it is new"}),
        Disconnect(link=LINK, session=SESSION, reason=reason),
    ] == out.effects
    assert (Phase.DOWN, reason) == (desk.greeting.phase, desk.greeting.refused)
    assert [("forget", None)] == desk.heard
