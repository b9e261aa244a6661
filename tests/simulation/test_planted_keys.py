"""Each checker that judges keys with IDs finds a bug that is planted in how they leave."""

from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from kms.domain import handout, revocation
from kms.domain.deckeys import Claiming
from kms.domain.effects import Answer, DeliverKeys, Stretch
from kms.domain.enckeys import Issuing
from kms.domain.handout import HandOut
from kms.domain.holds import Holds
from kms.domain.keyids import grouped
from kms.domain.keyrequests import DecKeys
from kms.domain.keyruns import KeyRuns
from kms.domain.lifecycle import KeyEvent
from kms.domain.names import NodeId
from kms.domain.orders import Act
from kms.domain.outbox import Outbox
from kms.domain.stream import Stream
from kms.simulation.checkers.i02_same_key import SameKey
from kms.simulation.checkers.i03_named_only import NamedOnly
from kms.simulation.checkers.i11_audited import Audited
from kms.simulation.checkers.i12_goes_on import GoesOn
from kms.simulation.checkers.i13_revoked import Revoked
from kms.simulation.faults.revocations import Revocation
from kms.simulation.keyspairs import KeysPair
from tests.simulation.planted import ALICE, BOB, CROWDED, violation
from tests.simulation.test_planted_bugs import LOSSES

pytestmark = pytest.mark.slow
Patch = pytest.MonkeyPatch


def test_i2_finds_keys_of_other_bits_at_the_other_end(monkeypatch: Patch) -> None:
    stretch = handout._stretch

    def moved(stream: Stream, span: Any) -> Stretch:
        found = stretch(stream, span)
        if not isinstance(stream, Stream) or stream.record.designates or not found.offset:
            return found
        return attrs.evolve(found, offset=found.offset - found.length // found.count)

    monkeypatch.setattr(handout, "_stretch", moved)

    assert "delivers another key" in violation(checkers=[SameKey])


def test_i2_finds_keys_that_leave_twice(monkeypatch: Patch) -> None:
    move = KeyRuns.move

    def forgets(self: KeyRuns, span: Any, *events: KeyEvent, **how: Any) -> None:
        if span.count < 2 or events != (KeyEvent.DELIVER,):
            move(self, span, *events, **how)

    monkeypatch.setattr(KeyRuns, "move", forgets)

    assert "a second time" in violation(checkers=[SameKey])


def test_i3_finds_a_slave_that_gets_keys_of_others(monkeypatch: Patch) -> None:
    def entitled(self: Claiming, event: Any, request: Any) -> Iterator[Any]:
        for prefix, ids in grouped(request.key_ids):
            ksid = self._register.pairs.named(prefix)
            stream = self._register.streams.get(ksid) if ksid else None
            # Whoever calls is called its slave.
            yield stream, ids

    made = KeysPair._made

    def rude(self: KeysPair, outcome: Any) -> None:
        made(self, outcome)
        there = [each for each in self._strangers() if each.site == self.slave.site]
        stranger = next(each for each in there if each.sae != self.slave.sae)
        wish = DecKeys(master=self.master.sae, key_ids=b"".join(self.ids[-1:]) or bytes(16))
        self.ask(stranger, wish, lambda outcome: None)

    monkeypatch.setattr(Claiming, "_entitled", entitled)
    monkeypatch.setattr(KeysPair, "_made", rude)

    assert "which is (" in violation(checkers=[NamedOnly], topology=CROWDED)


def test_i3_finds_keys_under_ids_of_others(monkeypatch: Patch) -> None:
    deliver = HandOut.deliver

    def swapped(
        self: HandOut, number: int, caller: Any, ids: bytes, *what: Any, **how: Any
    ) -> None:
        deliver(self, number, caller, ids[16:] + ids[:16], *what, **how)

    monkeypatch.setattr(HandOut, "deliver", swapped)

    assert "under another key's ID" in violation(checkers=[NamedOnly])


def test_i5_finds_keys_that_the_slaves_node_does_not_hold(monkeypatch: Patch) -> None:
    right = Stream.deliverable.fget

    def hasty(self: Stream) -> int:
        return self.record.next_index if self.record.paired else right(self)  # type: ignore[misc]

    monkeypatch.setattr(Stream, "deliverable", property(hasty))

    assert violation(*LOSSES).startswith("I5 ")


def test_i11_finds_keys_that_leave_unaudited(monkeypatch: Patch) -> None:
    audit = Outbox.audit

    def mute(self: Outbox, event: str, **what: Any) -> None:
        if event != "key-delivered" or what["count"] == 1:
            audit(self, event, **what)

    monkeypatch.setattr(Outbox, "audit", mute)

    assert "key-delivered" in violation(checkers=[Audited])


def test_i12_finds_a_master_that_is_never_served(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Issuing, "serve", lambda self, *what: False)

    assert ">sae:" in violation(checkers=[GoesOn], minutes=1, calm_minutes=4)


@pytest.mark.parametrize("site", [ALICE, BOB])
def test_i13_finds_keys_that_an_operator_has_suspended(monkeypatch: Patch, site: NodeId) -> None:
    monkeypatch.setattr(Holds, "pauses", lambda self, record: False)
    monkeypatch.setattr(revocation, "enforce", lambda register, stream, out: 0)
    monkeypatch.setattr(Revoked, "outputs", (Answer, DeliverKeys))
    faults = [
        Revocation(at_ms=at, site=site, act=Act.SUSPEND, scope=scope, width=0.2)
        for at in range(60_000, 200_000, 20_000)
        for scope in (0.0, 0.5, 0.75, 0.99)
    ]

    assert "which is suspended" in violation(*faults, checkers=[Revoked])
