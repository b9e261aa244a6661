"""Each checker finds a bug that is planted for it: a checker that cannot fail is worth nothing."""

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from kms.domain import getkey, revocation
from kms.domain.agreement import Agreement
from kms.domain.blockintake import BlockIntake
from kms.domain.close import Ending
from kms.domain.comparison import Comparison
from kms.domain.due import Due
from kms.domain.effects import Answer, DeliverKey, ReadMaterial
from kms.domain.events import KeysOrdered, NetworkChanged
from kms.domain.getkey import Reading
from kms.domain.holds import Holds
from kms.domain.keyruns import KeyRuns
from kms.domain.lifecycle import KeyEvent
from kms.domain.linkguard import LinkGuard
from kms.domain.orders import Act, OrderDone
from kms.domain.outbox import Outbox
from kms.domain.outgoing import Outgoing
from kms.domain.policy import Policy, Rule
from kms.domain.register import Register
from kms.domain.requests import GetKey
from kms.domain.revocation import Revocation as Revocations
from kms.domain.secret import Secret
from kms.domain.speech import Speech
from kms.domain.stream import Stream
from kms.domain.supply import Supply
from kms.domain.window import Window
from kms.simulation.checkers.i02_same_key import SameKey
from kms.simulation.checkers.i03_named_only import NamedOnly
from kms.simulation.checkers.i07_agreed import Agreed
from kms.simulation.checkers.i10_unhurt import Unhurt
from kms.simulation.checkers.i12_goes_on import GoesOn
from kms.simulation.checkers.i13_revoked import Revoked
from kms.simulation.faults import Fault
from kms.simulation.faults.devices import BadBlock
from kms.simulation.faults.processes import Kill
from kms.simulation.faults.revocations import Revocation
from kms.simulation.faults.wires import Attack, Cut
from kms.simulation.simulation import Simulation
from tests.simulation.planted import ALICE, BOB, CROWDED, LINK, violation

pytestmark = pytest.mark.slow
Patch = pytest.MonkeyPatch
LOSSES = [
    Attack(at_ms=at, link=LINK, what=("drop a frame",) * 2) for at in range(20_000, 110_000, 500)
]


def test_without_a_planted_bug_no_checker_says_anything() -> None:
    faults: list[Fault] = [
        Kill(at_ms=60_000, site=ALICE, down_ms=2_000),
        Cut(at_ms=80_000, link=LINK),
        BadBlock(at_ms=100_000, link=LINK, moods=("QBER over the limit",)),
        Attack(at_ms=150_000, link=LINK, what=("alter a frame", "repeat a frame")),
    ]

    assert violation(*faults, topology=CROWDED, calm_minutes=4) == ""


# ---- I1, I2 -----------------------------------------------------------------------------------


def test_i1_finds_a_window_whose_mark_stays_behind(monkeypatch: Patch) -> None:
    def take(self: Window, length: int) -> tuple[int, Secret]:
        start = self._pieces[0].first
        bits = self.peek(start, length)
        assert bits is not None
        self.advance(start + length - 1, used=length)
        return start, bits

    monkeypatch.setattr(Window, "take", take)

    assert violation().startswith("I1 bits used twice")


def test_i1_finds_key_that_is_the_pad_of_the_frame_which_names_it(monkeypatch: Patch) -> None:
    seal = Outgoing._seal

    def sealed(self: Outgoing, packed: list[bytes], draw: int, session: int, out: Any) -> Secret:
        drawn = seal(self, packed, draw, session, out)
        again = [each for each in kept if draw and len(each) >= draw]
        kept[:] = [drawn.part(0, len(drawn))] if draw else kept
        return again[0].part(0, draw) if again else drawn

    kept: list[Secret] = []
    monkeypatch.setattr(Outgoing, "_seal", sealed)

    assert violation().startswith("I1 bits used twice")


def test_i1_finds_a_frame_sealed_with_other_bits_than_it_says(monkeypatch: Patch) -> None:
    take = Window.take

    def shifted(self: Window, length: int) -> tuple[int, Secret]:
        start, bits = take(self, length)
        return start + 1, bits

    monkeypatch.setattr(Window, "take", shifted)

    assert violation().startswith("I1 ")


def test_i2_finds_ends_that_deliver_different_bits(monkeypatch: Patch) -> None:
    def moved(**fields: Any) -> DeliverKey:
        key = DeliverKey(**fields)
        # Two requests of one index never have the same number at both ends.
        other = key.request_id % 2 and key.offset
        return attrs.evolve(key, offset=key.offset - key.length) if other else key

    monkeypatch.setattr(getkey, "DeliverKey", moved)

    assert violation(checkers=[SameKey]).startswith("I2 ")


def test_i2_finds_an_index_that_is_delivered_twice(monkeypatch: Patch) -> None:
    move = KeyRuns.move

    def forgets(self: KeyRuns, span: Any, *events: KeyEvent, **how: Any) -> None:
        if events != (KeyEvent.DELIVER,):
            move(self, span, *events, **how)

    monkeypatch.setattr(KeyRuns, "move", forgets)

    assert violation().startswith("I2 ")


# ---- I3, I4 -----------------------------------------------------------------------------------


def test_i3_finds_a_policy_that_nobody_asks(monkeypatch: Patch) -> None:
    view = Simulation.network_view
    strict = Policy(rules=(Rule(one="sae:app0*", other="sae:app0*"),))

    def strictly(self: Simulation, name: Any) -> NetworkChanged:
        return attrs.evolve(view(self, name), policy=strict)

    monkeypatch.setattr(Simulation, "network_view", strictly)
    monkeypatch.setattr(Rule, "matches", lambda self, caller, peer: True)

    assert violation().startswith("I3 ")


def test_i3_finds_a_key_given_to_somebody_else(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Reading, "_reads", lambda self, stream, event: True)

    assert violation(topology=CROWDED, checkers=[NamedOnly]).startswith("I3 ")


def test_i4_finds_pad_in_clear(monkeypatch: Patch) -> None:
    from kms.domain import frame

    seal = frame.seal

    def open_seal(context: bytes, epoch: int, offset: int, pad: Secret, secret: Any) -> bytes:
        return seal(context, epoch, offset, pad, secret, bytes(pad.expose()))

    monkeypatch.setattr(frame, "seal", open_seal)

    assert violation().startswith("I4 ")


def test_i4_finds_a_frame_that_is_not_encrypted(monkeypatch: Patch) -> None:
    from kms.domain import frame

    monkeypatch.setattr(frame, "xor", lambda one, other: bytearray(one))

    assert violation().startswith("I4 ")


# ---- I5, I6 -----------------------------------------------------------------------------------


def test_i5_finds_a_key_delivered_before_the_other_end_holds_it(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Stream, "deliverable", property(lambda self: self.record.next_index))

    assert violation(*LOSSES).startswith("I5 ")


def test_i5_finds_a_block_that_was_taken_and_not_stored(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Agreement, "store", lambda self, *what: "")

    assert violation().startswith("I5 ")


def test_i6_finds_delivered_keys_that_are_not_wiped(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Register, "wipe", lambda self, stream, span, out: None)

    assert violation().startswith("I6 ")


def test_i6_finds_pad_that_stays_readable_when_it_is_opened(monkeypatch: Patch) -> None:
    from kms.domain import pad

    monkeypatch.setattr(pad, "TakeMaterial", ReadMaterial)

    assert violation().startswith("I6 ")


# ---- I7, I8, I9 -------------------------------------------------------------------------------


def test_i7_finds_ends_that_do_not_compare(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Comparison, "catch_up", lambda self, stream, *what: None)
    monkeypatch.setattr(Comparison, "give_up", lambda self, stream, *what: None)
    found = violation(*LOSSES, minutes=2, calm_minutes=2, checkers=[Agreed])

    assert found.startswith("I7 ")


def test_i8_finds_requests_that_wait_without_a_limit(monkeypatch: Patch) -> None:
    def flood(simulation: Simulation) -> None:
        def ask() -> None:
            party = simulation.applications.pairs[0].parties[0]
            if party.ksid is not None:
                for _ in range(20):
                    far, site = GetKey(ksid=party.ksid, index=100_000), party.site
                    simulation.sites[site].ask(party.sae, far, lambda outcome: None)
            simulation.loop.after_ms(200, ask)

        simulation.loop.after_ms(20_000, ask)

    monkeypatch.setattr(Register, "crowd", lambda self, caller, stream=None: "")
    monkeypatch.setattr(getkey, "stock_chunks", lambda chunk_bytes: 1_000_000)

    assert violation(begin=flood, minutes=2, calm_minutes=1).startswith("I8 ")


def test_i9_finds_a_tag_that_nobody_compares(monkeypatch: Patch) -> None:
    from kms.domain import frame

    monkeypatch.setattr(frame, "tag_matches", lambda *what: True)
    attacks = [
        Attack(at_ms=at, link=LINK, what=("alter a frame",)) for at in range(20_000, 200_000, 500)
    ]

    assert violation(*attacks).startswith("I9 ")


# ---- I10, I11, I12 ----------------------------------------------------------------------------


def test_i10_finds_a_request_that_is_never_answered(monkeypatch: Patch) -> None:
    set_ = Due.set

    def forgets(self: Any, name: Any, mono_ms: int, wall_ms: int | None = None) -> None:
        # Bundles have timers of their own, under another name.
        if not isinstance(name, tuple) or name[0] != "request":
            set_(self, name, mono_ms, wall_ms)

    monkeypatch.setattr(Due, "set", forgets)

    assert violation(Kill(at_ms=60_000, site=BOB, down_ms=60_000)).startswith("I10 ")


def test_i10_finds_two_answers_to_one_request(monkeypatch: Patch) -> None:
    def twice(self: Register, waiting: Any, reply: Any, out: Outbox) -> None:
        self.unwait(waiting)
        for _ in range(2):
            out.add(Answer(request_id=waiting.request_id, reply=reply))

    monkeypatch.setattr(Register, "answer", twice)

    assert violation().startswith("I10 ")


def test_i10_finds_a_stream_that_a_stranger_ends(monkeypatch: Patch) -> None:
    asked = Ending.asked

    def anybody(self: Ending, event: Any, request: Any, out: Outbox) -> None:
        stream = self._register.streams.get(request.ksid)
        caller = stream.record.local if stream is not None else event.caller
        asked(self, attrs.evolve(event, caller=caller), request, out)

    monkeypatch.setattr(Ending, "asked", anybody)

    assert violation(topology=CROWDED, checkers=[Unhurt]).startswith("I10 ")


@pytest.mark.parametrize(
    "event", ["key-delivered", "stream-opened", "stream-joined", "keys-designated"]
)
def test_i11_finds_an_entry_that_is_left_out(monkeypatch: Patch, event: str) -> None:
    audit: Callable[..., None] = Outbox.audit

    def forgets(self: Outbox, name: str, **detail: Any) -> None:
        if name != event:
            audit(self, name, **detail)

    monkeypatch.setattr(Outbox, "audit", forgets)

    assert violation().startswith("I11 ")


def test_i12_finds_streams_that_are_never_said_again(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Supply, "fill", lambda self, out: None)

    found = violation(minutes=1, calm_minutes=4, checkers=[GoesOn])

    assert found.startswith("I12 ")
    assert "no common key" in found


def test_i12_finds_a_node_that_ends_by_itself(monkeypatch: Patch) -> None:
    def breaks(self: Speech, stream: Stream) -> None:
        raise ValueError("planted")

    monkeypatch.setattr(Speech, "say", breaks)

    assert violation().startswith("I12 the node")


# ---- I13 --------------------------------------------------------------------------------------

NOISY = BadBlock(at_ms=60_000, link=LINK, moods=("QBER over the limit",) * 5)


def test_i13_finds_an_alarm_that_is_ignored(monkeypatch: Patch) -> None:
    monkeypatch.setattr(LinkGuard, "alarmed", property(lambda self: ""))

    assert violation(NOISY).startswith("I13 ")


def test_i13_finds_a_neighbours_alarm_that_is_ignored(monkeypatch: Patch) -> None:
    # Only one of the two devices says that it is noisy.
    from kms.simulation import devices

    event = devices.DevicePair._event

    def quiet(self: Any, name: Any, length: int, *, different: bool, qber: float) -> Any:
        heard = qber if name == ALICE else devices.GOOD_QBER
        return event(self, name, length, different=different, qber=heard)

    monkeypatch.setattr(devices.DevicePair, "_event", quiet)
    monkeypatch.setattr(LinkGuard, "heard", lambda self, kind, out: None)

    assert violation(NOISY).startswith("I13 ")


def test_i13_finds_a_noisy_block_that_is_kept(monkeypatch: Patch) -> None:
    monkeypatch.setattr(BlockIntake, "_judge", lambda self, event, out: "")

    assert violation(NOISY).startswith("I13 ")


def test_i13_finds_different_blocks_that_become_pad(monkeypatch: Patch) -> None:
    from kms.domain import agreement

    monkeypatch.setattr(agreement, "same_hash", lambda one, other: True)
    different = BadBlock(at_ms=30_000, link=LINK, moods=("different at the two ends",) * 3)

    assert violation(different).startswith("I13 ")


SUSPENDED = [
    Revocation(at_ms=at, site=ALICE, act=Act.SUSPEND, scope=0.5, width=0.2)
    for at in range(60_000, 200_000, 20_000)
]


def test_i13_a_suspended_stream_that_is_read_on(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Holds, "pauses", lambda self, record: False)
    monkeypatch.setattr(Holds, "refusal", lambda self, record, index: "")
    monkeypatch.setattr(revocation, "enforce", lambda register, stream, out: 0)

    assert "which is suspended" in violation(*SUSPENDED, checkers=[Revoked])


def test_i13_an_order_that_was_answered_and_not_done(monkeypatch: Patch) -> None:
    def lazy(self: Revocations, event: KeysOrdered, out: Outbox) -> None:
        done = OrderDone(link=LINK, ksid=event.order.ksid, changed=True)
        out.add(Answer(request_id=event.request_id, reply=done))

    monkeypatch.setattr(Revocations, "ordered", lazy)

    assert "did not do it" in violation(*SUSPENDED, checkers=[Revoked])


def test_i7_an_order_that_the_other_end_never_takes_in(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Revocations, "heard", lambda self, link, message, out: None)
    faults = [
        Revocation(at_ms=at, site=ALICE, act=Act.COMPROMISE, scope=scope, width=0.5)
        for at in range(200_000, 239_000, 5_000)
        for scope in (0.0, 0.5, 0.99)
    ]
    found = violation(*faults, checkers=[Agreed], calm_minutes=4)

    assert "ordered of" in found
