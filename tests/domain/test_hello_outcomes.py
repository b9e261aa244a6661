"""What two hellos come to, whole: every field of the outcome, at the end that leads and at the
other."""

from collections.abc import Callable

import attrs
import msgspec
import pytest

from kms.domain import hello, limits, wire
from kms.domain.direction import Direction
from kms.domain.hello import Outcome, Refused
from kms.domain.linkmemory import LinkMemory
from kms.domain.names import NodeId
from kms.domain.wire import Hello, PadState
from tests.domain.linkbench import SECRET, memory_of
from tests.world import ALICE, BOB, LINK

LOG, OLD = b"L" * 32, b"O" * 32
KNOWN: Callable[[int], bytes | None] = {5: LOG, 4: OLD}.get
# Of the leader's pad and of the follower's, as both ends see them.
LEADERS = PadState(granted=100, mark=40, end=500)
FOLLOWERS = PadState(granted=200, mark=150, end=900)
NOTHING = PadState(granted=0, mark=0, end=0)


def says(who: NodeId, /, **changes: object) -> Hello:
    base = Hello(
        protocols=list(wire.PROTOCOLS),
        node=who,
        link=LINK,
        boot=3 if who == ALICE else 7,
        seen_boot=0,
        epoch=1,
        secret_id=SECRET,
        log_count=5,
        log_hash=LOG,
        from_leader=LEADERS,
        to_leader=FOLLOWERS,
    )
    return msgspec.structs.replace(base, **changes)


def memory_at(node: NodeId, mine: Hello, confirmed: int = 0) -> LinkMemory:
    made = memory_of(node)
    made.epoch = mine.epoch
    for pad in made.pads:
        state = mine.from_leader if pad.direction is Direction.FROM_LEADER else mine.to_leader
        pad.granted = state.granted
    made.reader.confirmed = confirmed
    return made


def outcome(
    leader: Hello, follower: Hello, *, at: NodeId = ALICE, confirmed: int = 0, settled: int = 4
) -> Outcome:
    mine, theirs = (leader, follower) if at == ALICE else (follower, leader)
    return hello.settle(
        memory_at(at, mine, confirmed), mine, theirs, settled=settled, hash_at=KNOWN
    )


def mirrored(here: Outcome) -> Outcome:
    """What the other end must come to."""
    return attrs.evolve(
        here,
        writer_start=here.reader_start,
        reader_start=here.writer_start,
        writer_end=here.reader_end,
        reader_end=here.writer_end,
    )


ALIKE = Outcome(
    protocol="kms/1",
    continuous=False,
    epoch=1,
    cut_to=None,
    writer_start=100,
    reader_start=200,
    writer_end=500,
    reader_end=900,
    recorded=200,
    old="",
    mine=False,
)


def test_ends_that_agree_after_a_restart_go_on_at_the_grants() -> None:
    leader, follower = says(ALICE), says(BOB)

    assert ALIKE == outcome(leader, follower)
    assert attrs.evolve(mirrored(ALIKE), recorded=100) == outcome(leader, follower, at=BOB)


@pytest.mark.parametrize("at", [ALICE, BOB])
@pytest.mark.parametrize(
    ("mine", "theirs", "continuous"),
    [((3, 7), (7, 3), True), ((3, 7), (7, 2), False), ((3, 6), (7, 3), False)],
)
def test_windows_go_on_at_the_marks_only_when_both_remember_each_other(
    at: NodeId, mine: tuple[int, int], theirs: tuple[int, int], continuous: bool
) -> None:
    leader = says(ALICE, boot=mine[0], seen_boot=mine[1], from_leader=PadState(100, 60, 500))
    follower = says(BOB, boot=theirs[0], seen_boot=theirs[1], to_leader=PadState(200, 170, 900))
    found = outcome(leader, follower, at=at)
    starts = (found.writer_start, found.reader_start)[:: 1 if at == ALICE else -1]

    assert continuous is found.continuous
    assert starts == ((60, 170) if continuous else (100, 200))


@pytest.mark.parametrize("at", [ALICE, BOB])
def test_i1_a_pad_goes_on_at_the_higher_grant_of_either_end(at: NodeId) -> None:
    leader = says(ALICE, from_leader=PadState(90, 0, 500), to_leader=PadState(260, 0, 900))
    follower = says(BOB, from_leader=PadState(120, 0, 500), to_leader=PadState(200, 0, 900))
    found = outcome(leader, follower, at=at)
    starts = (found.writer_start, found.reader_start)[:: 1 if at == ALICE else -1]

    assert (starts, found.old, found.recorded) == ((120, 260), "", 200 if at == ALICE else 90)


@pytest.mark.parametrize("at", [ALICE, BOB])
def test_what_only_one_end_has_appended_is_the_pads_end(at: NodeId) -> None:
    leader = says(ALICE, from_leader=PadState(100, 40, 600), to_leader=PadState(200, 150, 950))
    found = outcome(leader, says(BOB), at=at)

    assert (found.writer_end, found.reader_end)[:: 1 if at == ALICE else -1] == (600, 950)
    assert found.old == ""


FORGOT = "the reader recorded a lower grant than its writer"
LACKS = "one end lacks what was granted"


@pytest.mark.parametrize("at", [ALICE, BOB])
@pytest.mark.parametrize(
    ("leader", "follower", "old", "whose"),
    [
        ({"from_leader": PadState(101, 40, 500)}, {}, FORGOT, BOB),
        ({}, {"to_leader": PadState(201, 150, 900)}, FORGOT, ALICE),
        ({"from_leader": PadState(100, 40, 99)}, {}, LACKS, ALICE),
        ({"from_leader": PadState(100, 40, 100)}, {}, "", None),
        ({}, {"from_leader": PadState(100, 40, 99)}, LACKS, BOB),
        ({}, {"to_leader": PadState(200, 150, 199)}, LACKS, BOB),
        ({}, {"to_leader": PadState(200, 150, 200)}, "", None),
        (
            {"log_count": 4, "log_hash": OLD},
            {"log_count": 5, "log_hash": LOG},
            "the leader lacks appends that its follower has",
            ALICE,
        ),
    ],
)
def test_i1_an_old_store_is_named_and_the_epoch_rises(
    at: NodeId,
    leader: dict[str, object],
    follower: dict[str, object],
    old: str,
    whose: NodeId | None,
) -> None:
    found = outcome(says(ALICE, **leader), says(BOB, **follower), at=at, settled=0)

    assert (found.old, found.epoch, found.continuous) == (old, 2 if old else 1, False)
    assert found.mine is (at == whose)


def test_an_old_store_is_never_continuous_and_what_only_the_other_holds_is_cut() -> None:
    leader = says(ALICE, log_count=4, log_hash=OLD, seen_boot=7)
    follower = says(BOB, seen_boot=3)
    here, there = outcome(leader, follower), outcome(leader, follower, at=BOB)

    assert (here.continuous, there.continuous) == (False, False)
    assert (here.cut_to, there.cut_to) == (None, 4)
    assert (here.writer_start, there.writer_start) == (100, 200)


@pytest.mark.parametrize(("settled", "old"), [(4, False), (5, True)])
def test_the_leader_knows_a_follower_that_forgot_what_it_acknowledged(
    settled: int, old: bool
) -> None:
    leader, follower = says(ALICE), says(BOB, log_count=4, log_hash=OLD)
    found = outcome(leader, follower, settled=settled)

    assert old is (found.old == "the follower lacks appends that it had acknowledged")
    assert (found.cut_to, found.mine) == (4 if old else None, False)
    assert outcome(leader, follower, at=BOB, settled=settled).old == ""


@pytest.mark.parametrize(("confirmed", "old"), [(200, False), (201, True)])
def test_i1_a_writer_that_recorded_less_than_it_had_confirmed_is_old(
    confirmed: int, old: bool
) -> None:
    found = outcome(says(ALICE), says(BOB), confirmed=confirmed)
    met = outcome(says(ALICE, seen_boot=7), says(BOB, seen_boot=3), confirmed=confirmed)

    assert old is (found.old == "the writer recorded a lower grant than it had confirmed")
    assert found.epoch == 1 + old
    assert (met.old, met.continuous, found.mine) == ("", True, False)


def test_the_reason_that_was_found_first_is_the_one_that_is_told() -> None:
    leader = says(ALICE, log_count=4, log_hash=OLD, from_leader=PadState(300, 40, 200))
    found = outcome(leader, says(BOB), confirmed=999)

    assert found.old == "the leader lacks appends that its follower has"
    forgot = says(ALICE, from_leader=PadState(300, 40, 200))
    assert outcome(forgot, says(BOB), confirmed=999).old == FORGOT


# ---- refusals -----------------------------------------------------------------------------


@pytest.mark.parametrize("at", [ALICE, BOB])
@pytest.mark.parametrize(
    "changes",
    [
        {"from_leader": PadState(100, 101, 500)},
        {"from_leader": PadState(39, 39, 500)},
        {"to_leader": PadState(200, 201, 900)},
        {"to_leader": PadState(1, 2**61, 900)},
    ],
)
def test_i1_a_mark_above_either_ends_grant_ends_both_windows(
    at: NodeId, changes: dict[str, object]
) -> None:
    """Whoever says so, all that either end has granted is burnt."""
    met = {ALICE: {"seen_boot": 7}, BOB: {"seen_boot": 3}}
    other = BOB if at == ALICE else ALICE
    pair = {at: says(at, **met[at]), other: says(other, **met[other], **changes)}
    here, there = (outcome(pair[ALICE], pair[BOB], at=node) for node in (at, other))

    starts = (here.writer_start, here.reader_start)[:: 1 if at == ALICE else -1]
    assert (here.continuous, *starts) == (False, 100, 200)
    assert (there.continuous, there.reader_start, there.writer_start) == (
        False,
        here.writer_start,
        here.reader_start,
    )


def test_a_mark_at_its_grant_is_right() -> None:
    state = PadState(100, 100, 500)
    found = outcome(says(ALICE, seen_boot=7, from_leader=state), says(BOB, seen_boot=3))

    assert (found.continuous, found.writer_start) == (True, 100)


@pytest.mark.parametrize(
    ("changes", "reason", "doubt"),
    [
        ({"protocols": ["kms/0", "x"]}, "no common protocol: here kms/1, there kms/0, x", False),
        ({"node": "eve"}, "the hello is another node's or another link's", False),
        ({"link": "alice~eve"}, "the hello is another node's or another link's", False),
        (
            {"secret_id": "6" * 32},
            "the two ends use different link secrets: bring the newest one to both",
            False,
        ),
        (
            {"epoch": 2 + limits.EPOCH_JUMP_MAX},
            "the neighbour's epoch is out of reach",
            False,
        ),
        ({"log_hash": OLD}, "the append logs differ", True),
        ({"log_count": 3}, "the neighbour's append log is too old to compare", True),
        ({"from_leader": PadState(501, 0, 400)}, "a mark beyond the end of its pad", False),
        (
            {"from_leader": PadState(100, 40, limits.PAD_OFFSET_MAX + 1)},
            "the pad's offsets are used up: bring another link secret",
            False,
        ),
    ],
)
def test_a_hello_that_does_not_fit_is_refused_with_the_reason(
    changes: dict[str, object], reason: str, doubt: bool
) -> None:
    with pytest.raises(Refused) as refused:
        outcome(says(ALICE), says(BOB, **changes))

    assert (reason, doubt) == (refused.value.reason, refused.value.doubt)
    assert str(refused.value) == reason


def test_the_last_offset_and_the_furthest_epoch_fit() -> None:
    end = PadState(100, 40, limits.PAD_OFFSET_MAX)

    assert outcome(says(ALICE), says(BOB, from_leader=end)).writer_end == limits.PAD_OFFSET_MAX
    high = 1 + limits.EPOCH_JUMP_MAX
    assert outcome(says(ALICE), says(BOB, epoch=high)).epoch == high


@pytest.mark.parametrize("granted", ["from_leader", "to_leader"])
def test_only_an_end_that_just_began_with_the_secret_takes_any_epoch(granted: str) -> None:
    fresh = {"from_leader": NOTHING, "to_leader": NOTHING}
    far = says(BOB, **fresh, epoch=limits.EPOCH_MAX)

    assert outcome(says(ALICE, **fresh), far).epoch == limits.EPOCH_MAX
    with pytest.raises(Refused, match="out of reach"):
        outcome(says(ALICE, **(fresh | {granted: PadState(1, 0, 1)})), far)


def test_a_link_without_another_epoch_is_stopped_by_name() -> None:
    last = {"epoch": limits.EPOCH_MAX}

    assert outcome(says(ALICE, **last), says(BOB, **last)).epoch == limits.EPOCH_MAX
    with pytest.raises(Refused) as refused:
        outcome(says(ALICE, **last, from_leader=PadState(101, 40, 500)), says(BOB, **last))
    assert refused.value.reason == "the link's epochs are used up: bring another link secret"
    assert refused.value.doubt


def test_the_log_of_a_neighbour_that_is_ahead_is_its_own_to_compare() -> None:
    found = outcome(says(ALICE), says(BOB, log_count=6, log_hash=b"?" * 32))

    assert found.old == "the leader lacks appends that its follower has"
    ahead = outcome(says(ALICE, log_count=6, log_hash=b"?" * 32), says(BOB), at=BOB)
    assert ahead.old == ""


@pytest.mark.parametrize("node", [ALICE, BOB])
def test_the_own_hello_says_what_is_in_memory(node: NodeId) -> None:
    memory = memory_at(node, says(node))
    for pad in memory.pads:
        state = LEADERS if pad.direction is Direction.FROM_LEADER else FOLLOWERS
        pad.window.advance(state.mark)
        pad.extents.end = state.end
    memory.log_count, memory.log_hash = 5, LOG

    assert hello.own(memory, 3 if node == ALICE else 7, 9) == says(node, seen_boot=9)
