"""Where two ends go on after a hello, as a table of cases; and hellos that never arrived."""

import attrs
import msgspec
import pytest

from kms.domain import hello, limits
from kms.domain.hello import Outcome, Refused
from kms.domain.linkmemory import LinkMemory
from kms.domain.outbox import Outbox
from kms.domain.wire import Hello, PadState, Want
from tests.world import ALICE, BOB, LINK, SETTINGS, World

SECRET = "1" * 32
LOG = b"L" * 32


def memory(granted: tuple[int, int] = (0, 0), confirmed: int = 0) -> LinkMemory:
    """Alice's, who leads: grants of the pad she writes and of the one she reads."""
    made = LinkMemory(ALICE, BOB, LINK, SETTINGS)
    made.secrets, made.epoch, made.log_count, made.log_hash = (SECRET,), 1, 5, LOG
    made.writer.granted, made.reader.granted = granted
    made.reader.confirmed = confirmed
    return made


def says(writes: PadState, reads: PadState, **fields: object) -> Hello:
    base = Hello(
        ["kms/1"], "bob", LINK, 7, 0, 1, SECRET, 5, LOG, from_leader=reads, to_leader=writes
    )
    return msgspec.structs.replace(base, **fields)


def settled(
    mine: tuple[PadState, PadState], theirs: Hello, *, met: bool = False, confirmed: int = 0
) -> Outcome:
    made = memory((mine[0].granted, mine[1].granted), confirmed)
    own = msgspec.structs.replace(
        says(mine[1], mine[0]), node="alice", boot=3, seen_boot=7 if met else 0
    )
    theirs = msgspec.structs.replace(theirs, seen_boot=3 if met else 0)
    known = {5: LOG, 4: b"4" * 32}
    return hello.settle(made, own, theirs, settled=4, hash_at=known.get)


EQUAL = PadState(granted=100, mark=40, end=500)
CASES: dict[str, tuple[PadState, PadState, dict[str, object], bool, int, dict[str, object]]] = {
    "nobody restarted": (EQUAL, EQUAL, {}, True, 100, {"continuous": True, "writer_start": 40}),
    "somebody restarted": (
        EQUAL,
        EQUAL,
        {},
        False,
        100,
        {"continuous": False, "reader_start": 100},
    ),
    "a grant on its way was lost": (
        PadState(60, 40, 500),
        EQUAL,
        {"to_leader": PadState(80, 40, 500)},
        False,
        60,
        {"old": "", "writer_start": 100, "reader_start": 100, "recorded": 80},
    ),
    "the reader forgot a grant": (
        PadState(150, 120, 500),
        EQUAL,
        {},
        False,
        100,
        {"old": "the reader recorded a lower grant than its writer", "epoch": 2},
    ),
    "the writer forgot a grant": (
        EQUAL,
        EQUAL,
        {"to_leader": PadState(50, 40, 500)},
        False,
        100,
        {"old": "the writer recorded a lower grant than it had confirmed", "reader_start": 100},
    ),
    "the follower forgot appends": (
        EQUAL,
        EQUAL,
        {"log_count": 3, "log_hash": b"?"},
        False,
        0,
        {},
    ),
    "the leader forgot appends": (
        EQUAL,
        EQUAL,
        {"log_count": 9, "log_hash": b"?"},
        False,
        0,
        {"old": "the leader lacks appends that its follower has", "cut_to": None, "epoch": 2},
    ),
    "one end lacks what was granted": (
        PadState(100, 40, 500),
        PadState(100, 100, 500),
        {"to_leader": PadState(100, 40, 90)},
        False,
        0,
        {"old": "one end lacks what was granted", "reader_start": 100},
    ),
}


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case[5]])
def test_settled(name: str) -> None:
    writes, reads, fields, met, confirmed, expected = CASES[name]
    outcome = attrs.asdict(
        settled((writes, reads), says(EQUAL, EQUAL, **fields), met=met, confirmed=confirmed)
    )

    assert expected == {key: outcome[key] for key in expected}


@pytest.mark.parametrize(
    ("fields", "reason", "doubt"),
    [
        ({"protocols": ["kms/2"]}, "no common protocol", False),
        ({"node": "eve"}, "another node's", False),
        ({"link": "alice~eve"}, "another node's", False),
        ({"secret_id": "2" * 32}, "different link secrets", False),
        ({"log_hash": b"x" * 32}, "append logs differ", True),
        ({"log_count": 3}, "too old to compare", True),
        ({"epoch": 2 + limits.EPOCH_JUMP_MAX}, "out of reach", False),
        ({"to_leader": PadState(2**61 + 1, 0, 2**61 + 1)}, "used up", False),
        ({"to_leader": PadState(501, 0, 400)}, "beyond the end", False),
    ],
)
def test_refused(fields: dict[str, object], reason: str, doubt: bool) -> None:
    with pytest.raises(Refused, match=reason) as caught:
        settled((EQUAL, EQUAL), says(EQUAL, EQUAL, **fields))

    assert doubt is caught.value.doubt


def test_a_hello_that_only_the_reader_heard_never_looks_like_an_old_store() -> None:
    """Its grant was lost on the way, then its hello: the writer still has recorded neither."""
    world = World()
    world.settle()
    world.give_secret()
    world.connect()
    for number in range(40):
        world.block(number)
        world.settle()
    for _ in range(3):
        # Alice grants more, and bob never hears of it.
        bob = world.sites[BOB].node.links[LINK]
        recorded = bob.memory.writer.granted
        world.lose_frame = lambda sender, data: sender == ALICE
        for number in range(2000):
            bob.send(Want(number, recorded))
            world.pass_time(100)
            if world.sites[ALICE].node.links[LINK].memory.reader.granted > recorded:
                break
        world.cut()
        world.settle()
        # A restart of alice; only she hears a hello.
        world.crash(ALICE)
        world.settle()
        world.connect()
        world.cut()
        world.settle()
        world.lose_frame = lambda sender, data: False
        world.connect()

    assert [[], []] == [site.alarms for site in world.sites.values()]
    assert [1, 1] == [site.node.links[LINK].memory.epoch for site in world.sites.values()]


def test_an_end_that_began_anew_unheard_comes_to_terms_with_its_neighbour() -> None:
    """A lost grant, windows lost, and a hello that only one end heard: both said for ever that
    the other's mark was beyond its grant (simulated seeds 220, 224)."""
    world = World()
    world.settle()
    world.give_secret()
    world.connect()
    for number in range(40):
        world.block(number)
        world.settle()
    alice, bob = (world.sites[name].node.links[LINK] for name in (ALICE, BOB))
    recorded = bob.memory.writer.granted
    world.lose_frame = lambda sender, data: sender == ALICE
    while alice.memory.reader.granted == recorded:
        bob.send(Want(2000, recorded))
        world.pass_time(100)
    for _ in range(2):
        world.cut()
        world.settle()
        alice.greeting.windows_lost("its bits are unreadable", Outbox(world.moment))
        world.connect()
    assert alice.memory.reader.mark > bob.memory.writer.granted
    world.cut()
    world.settle()
    world.lose_frame = lambda sender, data: False
    world.connect()

    assert [True, True] == [alice.up, bob.up]
    assert alice.memory.reader.granted == bob.memory.writer.granted
    assert [[], []] == [site.alarms for site in world.sites.values()]


def test_an_old_leader_appends_behind_what_its_follower_once_cut() -> None:
    """The follower cut its log when it heard the leader; the leader did not hear the follower."""
    world = World()
    world.settle()
    world.give_secret()
    world.connect()
    for number in range(3):
        world.block(number)
        world.settle()
    backup = world.sites[ALICE].disk.copy()
    for number in range(3, 5):
        world.block(number)
        world.settle()
    world.crash(ALICE, backup)
    world.settle()
    world.lose_frame = lambda sender, data: sender == BOB
    world.connect()
    world.cut()
    world.settle()
    world.lose_frame = lambda sender, data: False
    world.connect()
    for number in range(10, 16):
        world.block(number)
        world.settle()

    assert world.connected()
    assert [11, 11] == [site.node.links[LINK].memory.log_count for site in world.sites.values()]
    kinds = {kind for site in world.sites.values() for kind, _ in site.alarms}
    assert {"old-store"} == kinds


def test_a_writer_whose_store_forgot_a_grant_that_it_used_is_noticed() -> None:
    """The logs are equal and the reader forgot nothing: only the confirmed grant can tell."""
    world = World()
    world.settle()
    world.give_secret()
    world.connect()
    backup = world.sites[BOB].disk.copy()
    bob = world.sites[BOB].node.links[LINK]
    other = bob.memory.reader.granted
    for _ in range(400):
        bob.send(Want(0, 0))
        world.pass_time(100)
    unmoved = other == bob.memory.reader.granted
    world.crash(BOB, backup)
    world.settle()
    world.connect()

    assert unmoved
    assert ["old-store"] == [kind for kind, _ in world.sites[ALICE].alarms]
    assert [2, 2] == [site.node.links[LINK].memory.epoch for site in world.sites.values()]
