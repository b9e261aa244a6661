"""What a node has to say, packed into the window it has, in the order that keeps the link alive."""

import pytest

from kms.domain import frame, limits, wire
from kms.domain.effects import SendFrame
from kms.domain.linkmemory import LinkMemory
from kms.domain.outgoing import Outgoing
from kms.domain.pad import WriterPad
from kms.domain.secret import Secret
from kms.domain.wire import (
    Alarmed,
    Appended,
    Burnt,
    Designate,
    Differ,
    Entrust,
    Grant,
    Mark,
    Marked,
    Message,
    Offer,
    Want,
)
from tests.domain.linkbench import extend, fill, memory_of, outbox
from tests.world import LINK

ID = bytes(range(16))
DESIGNATE = Designate(ID, 0, 1, 32, 7)
LEVEL = 64 * limits.KIB
"""of the pad, above the window"""
KEPT = 4 * limits.KIB
"""what streams leave of a reserve of twice as much"""


class Kept(WriterPad):
    """A pad with a reserve of its own."""

    kept = limits.RESERVE_BYTES

    def reserve(self) -> int:
        return self.kept


def ready(
    *pieces: tuple[int, int], level: int = LEVEL, reserve: int = limits.RESERVE_BYTES
) -> tuple[LinkMemory, Outgoing]:
    """A writer whose window has these bytes, all granted, and ``level`` more behind them."""
    memory = memory_of()
    writer = memory.writer = Kept(LINK, memory.writer.direction)
    writer.kept = reserve
    end = max((end for _, end in pieces), default=0)
    if end:
        extend(writer, end, seq=0)
        writer.restart_at(0, outbox())
        writer.granted = end
    if level:
        extend(writer, level, seq=1)
    for start, stop in pieces:
        fill(writer, start, stop - start)
    return memory, Outgoing(memory)


def flushed(memory: LinkMemory, outgoing: Outgoing) -> list[list[Message]]:
    """The messages of each frame that leaves."""
    out = outbox()
    outgoing.flush(9, out)
    return [opened(memory, effect) for effect in out.effects if isinstance(effect, SendFrame)]


def opened(memory: LinkMemory, effect: SendFrame) -> list[Message]:
    """The frame, read as the neighbour reads it: pad byte ``at`` is ``at % 251``."""
    assert (effect.link, effect.session) == (LINK, 9)
    header = frame.read_header(effect.data)
    size = frame.overhead(header.secret_bytes)
    pad = Secret(bytes(at % 251 for at in range(header.offset, header.offset + size)))
    context = frame.context(LINK, memory.secret_id, memory.writer.direction)
    assert header.epoch == memory.epoch
    return wire.decode(frame.unseal(context, header, effect.data, pad))


def cost(*messages: Message) -> int:
    return limits.MAC_KEY_BYTES + len(wire.encode(list(messages)))


def test_grants_go_first_then_agreement_then_streams() -> None:
    memory, outgoing = ready((0, 4096))
    sent: list[Message] = [
        Marked(),
        Appended(1, []),
        Grant(5),
        Want(1, 0),
        Alarmed("x"),
        Burnt(1, 2),
    ]
    for message in sent:
        outgoing.put(message)

    assert len(outgoing) == 6
    assert flushed(memory, outgoing) == [
        [Grant(5), Burnt(1, 2), Appended(1, []), Alarmed("x"), Marked(), Want(1, 0)]
    ]
    assert (len(outgoing), outgoing.frames, outgoing.own_bytes) == (0, 1, cost(*sent))
    assert memory.writer.mark == cost(*sent)
    outgoing.put(Grant(6))
    assert flushed(memory, outgoing) == [[Grant(6)]]
    assert (outgoing.frames, outgoing.own_bytes) == (2, cost(*sent) + cost(Grant(6)))


def test_what_was_queued_for_a_session_that_ended_is_dropped() -> None:
    memory, outgoing = ready((0, 4096))
    for message in (Grant(1), Offer([]), Marked()):
        outgoing.put(message)
    outgoing.clear()

    assert (len(outgoing), flushed(memory, outgoing)) == (0, [])


def test_i8_too_many_messages_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OUTBOX_MESSAGES_MAX", 2)
    _, outgoing = ready()
    for _ in range(2):
        outgoing.put(Marked())

    assert not outgoing.overflown
    outgoing.put(Grant(1))
    assert outgoing.overflown


# The frame's own array header is one byte for up to 15 messages; three are kept for it.
ROOM = limits.MAC_KEY_BYTES + 3


@pytest.mark.parametrize(
    ("message", "keeps"),
    [
        (Grant(5), 0),
        (Differ([ID]), limits.GRANT_KEEP_BYTES),
        (Mark(ID, 0, True, False, 0, 0), limits.GRANT_KEEP_BYTES),
    ],
)
def test_each_kind_leaves_pad_for_those_before_it(message: Message, keeps: int) -> None:
    needs = ROOM + len(wire.encode_one(message)) + keeps
    for window, leaves in ((needs, True), (needs - 1, False)):
        memory, outgoing = ready((0, window))
        outgoing.put(message)

        assert flushed(memory, outgoing) == ([[message]] if leaves else [])
        assert memory.writer.mark == (cost(message) if leaves else 0)


@pytest.mark.parametrize(("spare", "leaves"), [(0, True), (-1, False)])
def test_streams_leave_half_of_the_reserve_to_agreement(spare: int, leaves: bool) -> None:
    message = Marked()
    size = len(wire.encode_one(Appended(1, []))) + len(wire.encode_one(message))
    kept = KEPT + size + spare
    memory, outgoing = ready((0, 3000), level=kept - 3000, reserve=2 * KEPT)
    outgoing.put(message)
    outgoing.put(Appended(1, []))

    assert flushed(memory, outgoing) == [[Appended(1, []), *([message] if leaves else [])]]


def test_a_frame_has_a_bounded_number_of_messages_and_of_bytes() -> None:
    memory, outgoing = ready((0, 1_000_000))
    for _ in range(limits.MESSAGES_PER_FRAME_MAX + 1):
        outgoing.put(Marked())

    assert [limits.MESSAGES_PER_FRAME_MAX, 1] == [len(each) for each in flushed(memory, outgoing)]
    large = Differ([ID] * limits.ENTRIES_PER_MESSAGE_MAX)
    fits = limits.FRAME_SECRET_BYTES_MAX // len(wire.encode_one(large))
    for _ in range(fits + 2):
        outgoing.put(large)
    assert [fits, 2] == [len(each) for each in flushed(memory, outgoing)]


# ---- holes --------------------------------------------------------------------------------


def test_a_run_too_short_to_speak_with_is_burnt_when_there_is_more_behind_the_hole() -> None:
    memory, outgoing = ready((0, 20), (30, 2000))
    outgoing.put(Grant(5))

    assert flushed(memory, outgoing) == [[Grant(5)]]
    assert memory.writer.mark == 30 + cost(Grant(5))
    assert memory.writer.window.burnt_bytes == 30


def test_without_anything_behind_it_the_short_run_is_kept() -> None:
    memory, outgoing = ready((0, 20))
    outgoing.put(Grant(5))

    assert flushed(memory, outgoing) == []
    assert (memory.writer.mark, len(outgoing)) == (0, 1)


def test_streams_that_the_reserve_holds_up_burn_nothing() -> None:
    low = KEPT + limits.DRAW_OVERHEAD_BYTES
    for level, burns in ((low, False), (low + 1, True)):
        memory, outgoing = ready((0, 20), (30, 2000), level=level - 1990, reserve=2 * KEPT)
        outgoing.put(Marked())
        flushed(memory, outgoing)

        assert memory.writer.level() <= level
        assert (memory.writer.window.burnt_bytes > 0) is burns


def test_a_draw_begins_with_the_run_that_holds_it() -> None:
    needs = 100 + limits.DRAW_OVERHEAD_BYTES
    memory, outgoing = ready((0, needs - 1), (needs, 2 * needs), (2 * needs + 5, 2 * needs + 6))
    outgoing.make_room(101)

    assert memory.writer.mark == 0
    outgoing.make_room(100)
    assert memory.writer.mark == needs - 1
    assert memory.writer.available() == needs
    outgoing.make_room(100)
    assert memory.writer.available() == needs


@pytest.mark.parametrize(
    ("window", "level", "gives"),
    [
        (limits.DRAW_OVERHEAD_BYTES + 100, LEVEL, 100),
        (limits.DRAW_OVERHEAD_BYTES - 1, LEVEL, 0),
        (2 * KEPT + 60, 0, 60),
        (2 * KEPT, 0, 0),
        (2 * KEPT - 10, 0, 0),
    ],
)
def test_a_draw_leaves_the_reserve_and_the_windows_own(window: int, level: int, gives: int) -> None:
    memory, outgoing = ready((0, window), level=level, reserve=2 * KEPT)
    out = outbox()

    assert gives == outgoing.drawable()
    assert outgoing.draw(DESIGNATE, gives + 1, 9, out) is None
    assert (out.effects, memory.writer.mark) == ([], 0)


def test_i4_a_draw_is_the_bytes_right_behind_its_frame() -> None:
    memory, outgoing = ready((0, 20_000))
    out = outbox()
    drawn = outgoing.draw(DESIGNATE, 32, 9, out)
    own = cost(DESIGNATE)

    assert drawn is not None
    assert bytes(drawn.expose()) == bytes(at % 251 for at in range(own, own + 32))
    assert [DESIGNATE] == opened(memory, next(e for e in out.effects if isinstance(e, SendFrame)))
    assert (memory.writer.mark, outgoing.own_bytes, outgoing.frames) == (own + 32, own, 1)


def test_an_end_is_mute_while_the_nodes_themselves_wait_for_pad() -> None:
    memory, outgoing = ready()

    assert not outgoing.mute
    outgoing.put(Marked())
    assert not outgoing.mute
    outgoing.put(Grant(1))
    assert outgoing.mute
    memory.writer.raise_to(4096, outbox())
    assert not outgoing.mute
    memory, outgoing = ready()
    outgoing.put(Offer([]))
    assert outgoing.mute


def test_entrusted_keys_go_in_a_frame_of_their_own_behind_what_was_queued() -> None:
    memory, outgoing = ready((0, 4096))
    message = Entrust(ID, "sae:a", ["sae:b"], 2, 32, 0, bytearray(range(64)))
    out = outbox()
    outgoing.put(Marked())

    assert outgoing.entrust(message, 9, out)
    frames = [opened(memory, each) for each in out.effects if isinstance(each, SendFrame)]
    assert [[Marked()], [message]] == frames
    assert cost(Marked()) + cost(message) == outgoing.own_bytes


@pytest.mark.parametrize(("window", "level"), [(2260, LEVEL), (4096, 0)])
def test_keys_are_not_entrusted_beyond_the_window_or_out_of_the_reserve(
    window: int, level: int
) -> None:
    memory, outgoing = ready((0, window), level=level)
    message = Entrust(ID, "sae:a", ["sae:b"], 2, 32, 0, bytearray(64))

    assert not outgoing.entrust(message, 9, outbox())
    assert 0 == memory.writer.mark
