"""Every message between nodes, said by a neighbour that means harm, with every field at its ends
(I1, I9, I10): sealed under the right pad, sealed under another, and not sealed at all.

The messages are those of ``kms.domain.wire``, whatever they are: one that is added is tried too.
"""

import random
from collections.abc import Mapping
from functools import cache

import pytest
from msgspec import Struct

from kms.domain import frame, limits, wire
from kms.domain.errors import PeerFault
from kms.domain.events import PeerConnected, PeerFrame, PeerLost
from kms.domain.names import LinkId, NodeId, link_id
from kms.domain.records import LinkState
from kms.domain.secret import Secret
from kms.domain.window import Window
from kms.domain.wire import Burnt
from tests.extremes import MESSAGES, OPENINGS, Raw, drawn, packed, raws, reads
from tests.siege import CAROL, Siege, alarms, hung_up, still_right, written
from tests.statehash import SESSION, changes, state, state_hash
from tests.world import ALICE, BOB, LINK

NAMES = [kind.__name__ for kind in MESSAGES]
# What a sealed frame costs its sender however wrong it is: the pad it used.
SPENT = frozenset({"ReaderPad.use", "ReaderPad.window"})
# State that one message may leave: every entry of it, with all that is known of each.
GROWTH_MAX = 20 * limits.ENTRIES_PER_MESSAGE_MAX


def kind_of(name: str) -> type[Struct]:
    return next(each for each in (*MESSAGES, *OPENINGS) if each.__name__ == name)


@cache
def said(name: str, victim: NodeId) -> tuple[tuple[str, Raw], ...]:
    siege = Siege(victim)
    right = {"Hello": siege.hello(), "Welcome": siege.welcome()}
    return tuple(raws(kind_of(name), siege, right.get(name)))


def opened(raw: Raw) -> bytes:
    """The message outside the pads."""
    return frame.opening(packed(raw)[1:])


@pytest.mark.slow
@pytest.mark.parametrize("victim", [ALICE, BOB])
@pytest.mark.parametrize("name", NAMES)
def test_a_traitor_says_every_message_with_every_field_at_its_ends(
    name: str, victim: NodeId
) -> None:
    """It holds the right pads. What does not read ends its session and changes nothing else."""
    before = state(Siege(victim).node, without=SESSION | SPENT)
    for number, (what, raw) in enumerate(said(name, victim)):
        if not reads(raw):
            with pytest.raises(PeerFault):
                wire.decode(packed(raw))
            if number % 8:
                continue
        siege = Siege(victim)
        effects = siege.hears(siege.sealed(packed(raw)))
        after = state(siege.node, without=SESSION | SPENT)

        assert [] == still_right(siege, effects), what
        assert siege.link.memory.state is LinkState.OPEN, what
        assert _far(before, siege) == _far(after, siege), what
        assert len(after) - len(before) < GROWTH_MAX, what
        if not reads(raw):
            assert (True, []) == (hung_up(effects), changes(before, after)), what
        if hung_up(effects):
            assert ["peer-fault"] == alarms(effects), what
            assert [] == written(effects), what


def _far(known: Mapping[str, str], siege: Siege) -> list[str]:
    """Of all that a node knows, what it knows of the other link."""
    begin = f"node.links[{siege.far}]"
    return [f"{path}={leaf}" for path, leaf in known.items() if path.startswith(begin)]


@pytest.mark.slow
@pytest.mark.parametrize("victim", [ALICE, BOB])
def test_whatever_a_traitor_says_the_store_can_be_opened_again(victim: NodeId) -> None:
    choose = random.Random(7)
    for _ in range(40):
        siege = Siege(victim)
        said: list[tuple[str, Raw]] = []
        for _ in range(choose.choice((1, 2, 4, 8))):
            kind = choose.choice(MESSAGES)
            raw = drawn(kind, siege, choose)
            said.append((kind.__name__, raw))
            effects = siege.hears(siege.sealed(packed(raw)))

            assert [] == still_right(siege, effects), said
            if hung_up(effects):
                break
        marks = [pad.granted for pad in siege.link.memory.pads]
        siege.restarts()

        assert marks == [pad.granted for pad in siege.link.memory.pads], said


@pytest.mark.parametrize("victim", [ALICE, BOB])
@pytest.mark.parametrize("name", NAMES)
def test_who_does_not_hold_the_pad_changes_nothing_but_a_counter(name: str, victim: NodeId) -> None:
    """I9: neither with one wrong bit of pad, nor with another epoch, range, link or direction."""
    siege = Siege(victim)
    raw = said(name, victim)[0][1]
    before, session = state_hash(siege.node), state_hash(siege.node, without=SESSION)
    effects = siege.hears(siege.sealed(packed(raw), change=lambda pad: _flip(pad)))

    assert (before, []) == (state_hash(siege.node), effects)
    assert 1 == siege.link.forgeries
    for data in (
        siege.sealed(packed(raw), epoch=2),
        siege.sealed(packed(raw), ahead=2**40),
        siege.sealed(packed(raw), ahead=-64),
        siege.sealed(packed(raw))[:-1],
        opened(raw),
    ):
        victim_of_this = Siege(victim)
        effects = victim_of_this.hears(data)

        assert session == state_hash(victim_of_this.node, without=SESSION)
        assert ([], True) == (written(effects), hung_up(effects))


def _flip(pad: bytearray) -> None:
    pad[3] ^= 1


@pytest.mark.parametrize("name", NAMES)
def test_a_frame_for_another_link_or_of_another_session_changes_nothing(name: str) -> None:
    siege = Siege()
    data = siege.sealed(packed(said(name, ALICE)[0][1]))
    session, before = siege.link.greeting.session, state_hash(siege.node)
    elsewhere = (
        (LINK, session + 1),
        (LINK, 0),
        (link_id(BOB, CAROL), session),
        (LinkId("nobody~noone"), session),
    )
    for link, number in elsewhere:
        effects = siege.takes(PeerFrame(link=link, session=number, data=data))

        assert (before, []) == (state_hash(siege.node), effects)
    far = siege.node.links[siege.far].greeting.session
    siege.takes(PeerFrame(link=siege.far, session=far, data=data))

    assert 1 == siege.node.links[siege.far].forgeries
    assert before == state_hash(siege.node)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [ALICE, BOB])
@pytest.mark.parametrize("name", [kind.__name__ for kind in OPENINGS])
def test_every_opening_at_every_moment_can_only_raise_marks(name: str, victim: NodeId) -> None:
    """Openings are outside the pads: whoever breaks TLS says them, and may burn key with them."""
    right = opened(said("Hello", victim)[0][1])
    far = _far(state(Siege(victim).node), Siege(victim))
    for moment, before_it in enumerate(((), (right,))):
        for number, (what, raw) in enumerate(said(name, victim)):
            # Each at one of the two moments; of those that do not read, some.
            if (number + moment) % (2 if _reads_as_opening(raw) else 8):
                continue
            siege = Siege(victim)
            marks = _marks(siege)
            siege.takes(PeerLost(link=LINK, session=siege.link.greeting.session, reason="cut"))
            siege.takes(PeerConnected(link=LINK, session=99))
            effects = [each for data in (*before_it, opened(raw)) for each in siege.hears(data)]

            assert "mistake" not in siege.link.memory.reason, what
            assert far == _far(state(siege.node), siege), what
            assert siege.link.memory.epoch <= 1 + limits.EPOCH_JUMP_MAX + 1, what
            for old, new in zip(marks, _marks(siege), strict=True):
                assert all(was <= now for was, now in zip(old, new, strict=True)), what
                assert new[0] <= new[1] <= new[2], what
            if not _reads_as_opening(raw):
                assert "peer-fault" in alarms(effects), what


@pytest.mark.parametrize("victim", [ALICE, BOB])
def test_the_right_hello_and_the_right_welcome_are_taken(victim: NodeId) -> None:
    """What the test above varies is right as it is."""
    siege = Siege(victim)
    siege.takes(PeerLost(link=LINK, session=siege.link.greeting.session, reason="cut"))
    siege.takes(PeerConnected(link=LINK, session=99))
    for name in ("Hello", "Welcome"):
        siege.hears(opened(said(name, victim)[0][1]))

    assert siege.link.up


def _marks(siege: Siege) -> list[tuple[int, int, int]]:
    return [(pad.mark, pad.granted, pad.extents.end) for pad in siege.link.memory.pads]


def _reads_as_opening(raw: Raw) -> bool:
    try:
        wire.decode_opening(packed(raw)[1:])
    except PeerFault:
        return False
    return True


def test_a_frame_full_of_burnt_ranges_leaves_exactly_the_others() -> None:
    """A traitor that names every second byte of the window."""
    siege = Siege(ALICE)
    window = siege.link.memory.writer.window
    mark, held = window.mark, window.held
    messages = [Burnt(mark + 2 * each + 1, 1) for each in range(150)]
    siege.says(*messages)

    assert held - 150 == window.held
    assert 151 <= len(window._pieces) <= 151 + 3
    assert 1 == window.run()


def test_a_byte_burnt_out_of_a_large_window_moves_no_more_than_the_smaller_side() -> None:
    """A thousand of them in one frame would else copy gigabytes."""
    window = Window()
    window.add(0, Secret(bytes(range(256)) * 4096))
    before = window._pieces[0].bits
    window.drop(1, 2)
    window.drop(5, 5)
    window.drop(2**20 - 2, 2**20 - 1)
    sizes = sorted(len(piece.bits) for piece in window._pieces)

    assert any(piece.bits is before for piece in window._pieces)
    assert [1, 1, 2**20 - 2] == sizes
    assert (0, 2**20 - 1) == (window._pieces[0].first, window._pieces[-1].first)
    assert 2**20 - 2 == window.held
