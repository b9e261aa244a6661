"""Each checker that judges keys for several slaves finds a bug that is planted in how they go."""

from collections.abc import Iterator
from typing import Any

import pytest

from kms.domain import entrusting, outgoing
from kms.domain.bundle import Bundle
from kms.domain.bundleorders import BundleOrders
from kms.domain.bundles import Bundles
from kms.domain.deckeys import Claiming
from kms.domain.entrusting import Entrusting
from kms.domain.frame import HEADER_BYTES
from kms.domain.holds import Holds
from kms.domain.keyids import grouped
from kms.domain.keyrequests import DecKeys
from kms.domain.names import NodeId
from kms.domain.orders import Act
from kms.domain.outbox import Outbox
from kms.domain.register import Register
from kms.domain.secret import Secret
from kms.domain.speech import Speech
from kms.simulation.bits import PhysicalBits
from kms.simulation.checkers.i01_pad_once import PadOnce
from kms.simulation.checkers.i02_same_key import SameKey
from kms.simulation.checkers.i03_named_only import NamedOnly
from kms.simulation.checkers.i04_sealed_wire import SealedWire
from kms.simulation.checkers.i05_entrusted import Entrusted
from kms.simulation.checkers.i06_destroyed import Destroyed
from kms.simulation.checkers.i07_agreed import Agreed
from kms.simulation.checkers.i11_audited import Audited
from kms.simulation.checkers.i12_goes_on import GoesOn
from kms.simulation.checkers.i13_quarantined import Quarantined
from kms.simulation.checkers.i13_revoked import Revoked
from kms.simulation.conferences import Conference
from kms.simulation.entropy import Entropy
from kms.simulation.faults.devices import BadBlock
from kms.simulation.faults.revocations import Revocation
from kms.simulation.fetching import Errand, Fetching
from kms.simulation.topology import named
from tests.simulation.planted import ALICE, BOB, LINK, violation

pytestmark = pytest.mark.slow
Patch = pytest.MonkeyPatch
NEC = named("nec-five-node")


def test_i1_finds_keys_that_are_pad(monkeypatch: Patch) -> None:
    def bits(self: Entropy, length_bytes: int) -> Secret:
        return Secret(PhysicalBits(1).make(7, length_bytes))

    monkeypatch.setattr(Entropy, "bits", bits)

    assert "makes keys for several of pad" in violation(checkers=[PadOnce])


def test_i2_finds_other_bits_at_a_slaves_node(monkeypatch: Patch) -> None:
    part = entrusting._part

    def altered(*what: Any) -> Any:
        message = part(*what)
        message.keys[0] ^= 1
        return message

    monkeypatch.setattr(entrusting, "_part", altered)

    assert "delivers another key" in violation(checkers=[SameKey])


def test_i2_finds_a_key_that_one_slave_gets_twice(monkeypatch: Patch) -> None:
    fetch = Fetching.fetch

    def twice(self: Fetching, errand: Errand) -> None:
        fetch(self, errand)
        fetch(self, errand)

    monkeypatch.setattr(Bundle, "take", lambda self, slave, spans: None)
    monkeypatch.setattr(Fetching, "_fetched", lambda self, errand, outcome: None)
    monkeypatch.setattr(Fetching, "fetch", twice)

    assert "a second time" in violation(checkers=[SameKey])


def test_i3_finds_who_was_not_named(monkeypatch: Patch) -> None:
    def entitled(self: Claiming, event: Any, request: Any) -> Iterator[Any]:
        register = self._register
        for prefix, ids in grouped(request.key_ids):
            ksid = register.pairs.named(prefix)
            stream = register.streams.get(ksid) if ksid else None
            # Whoever calls is called a slave.
            yield stream or register.bundles.named(prefix), ids

    made = Conference._made

    def rude(self: Conference, slaves: list[Any], outcome: Any) -> None:
        made(self, slaves, outcome)
        stranger = next((each for each in self.others if each not in slaves), None)
        if stranger is not None and self.ids:
            wish = DecKeys(master=self.master.sae, key_ids=self.ids[-1])
            self.ask(stranger, wish, lambda outcome: None)

    monkeypatch.setattr(Claiming, "_entitled", entitled)
    monkeypatch.setattr(Bundle, "waits_for", lambda self, *what: True)
    monkeypatch.setattr(Bundle, "take", lambda self, *what: None)
    monkeypatch.setattr(Conference, "_made", rude)

    assert "which is (" in violation(checkers=[NamedOnly])


def test_i4_finds_keys_for_several_that_cross_the_wire_in_clear(monkeypatch: Patch) -> None:
    seal = outgoing.frame.seal

    def clear(*what: Any) -> bytes:
        data, secret = seal(*what), what[-1]
        if not isinstance(secret, bytearray):
            return data
        return data[:HEADER_BYTES] + bytes(secret) + data[HEADER_BYTES + len(secret) :]

    monkeypatch.setattr(outgoing.frame, "seal", clear)

    assert "keys for several in clear" in violation(checkers=[SealedWire])


def test_i5_finds_a_master_that_is_answered_before_every_node_holds_its_keys(
    monkeypatch: Patch,
) -> None:
    entrusted = Entrusting.entrusted

    def hasty(self: Entrusting, link: Any, name: Any, out: Outbox) -> None:
        flight = self._flights.get(name)
        if flight is not None:
            flight.unanswered = {link}
        entrusted(self, link, name, out)

    monkeypatch.setattr(Entrusting, "entrusted", hasty)

    assert "does not hold them" in violation(checkers=[Entrusted], topology=NEC, minutes=20)


def test_i5_finds_keys_that_are_withdrawn_after_the_master_was_given_them(
    monkeypatch: Patch,
) -> None:
    complete = Entrusting._complete

    def regrets(self: Entrusting, flight: Any, out: Outbox) -> None:
        complete(self, flight, out)
        self.withdraw(flight.bundle)

    monkeypatch.setattr(Entrusting, "_complete", regrets)

    assert "which the master was given" in violation(checkers=[Entrusted])


def test_i5_finds_a_node_that_says_that_it_holds_what_it_has_not_stored(
    monkeypatch: Patch,
) -> None:
    store = Bundles.store

    def lazy(self: Bundles, bundle: Bundle, keys: Secret, out: Outbox) -> None:
        nowhere = Outbox(out.now)
        store(self, bundle, keys, out if bundle.record.own else nowhere)

    monkeypatch.setattr(Bundles, "store", lazy)

    assert "its files have 0 bytes" in violation(checkers=[Entrusted])


def test_i6_finds_keys_that_stay_when_every_slave_has_them(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Bundles, "_wipe", lambda self, bundle, ranges, out: None)

    assert "entrusted/" in violation(checkers=[Destroyed])


@pytest.mark.parametrize("event", ["keys-entrusted", "key-delivered"])
def test_i11_finds_keys_for_several_that_go_unaudited(monkeypatch: Patch, event: str) -> None:
    audit = Outbox.audit

    def mute(self: Outbox, said: str, **what: Any) -> None:
        # What a stream delivers names its one link as well.
        if said != event or (event == "key-delivered" and what["count"] == 1):
            audit(self, said, **what)

    monkeypatch.setattr(Outbox, "audit", mute)

    assert "unaudited" in violation(checkers=[Audited])


def test_i12_finds_a_master_that_is_never_served(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Entrusting, "entrusted", lambda self, *what: None)

    assert ">*" in violation(checkers=[GoesOn], minutes=1, calm_minutes=4)


def test_i13_finds_keys_for_several_that_are_made_under_an_alarm(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Register, "stopped", lambda self, link: "")
    monkeypatch.setattr(Quarantined, "outputs", ())
    faults = [
        BadBlock(at_ms=at, link=LINK, moods=("QBER over the limit",))
        for at in range(60_000, 220_000, 2_000)
    ]

    assert "makes keys for several" in violation(*faults, checkers=[Quarantined])


@pytest.mark.parametrize("site", [ALICE, BOB])
def test_i13_finds_a_key_for_several_that_an_operator_has_suspended(
    monkeypatch: Patch, site: NodeId
) -> None:
    monkeypatch.setattr(Holds, "bars", lambda self, *what: False)
    faults = [
        Revocation(at_ms=at, site=site, act=Act.SUSPEND, scope=0.99, width=0.3)
        for at in range(60_000, 220_000, 1_000)
    ]

    assert "which is suspended" in violation(*faults, checkers=[Revoked])


def test_i13_finds_an_order_that_is_answered_and_not_kept(monkeypatch: Patch) -> None:
    monkeypatch.setattr(BundleOrders, "_hold", lambda self, hold, out: None)
    faults = [
        Revocation(at_ms=at, site=ALICE, act=Act.COMPROMISE, scope=0.99, width=0.3)
        for at in range(60_000, 220_000, 1_000)
    ]

    assert "said yes to" in violation(*faults, checkers=[Revoked])


def test_i7_finds_a_node_that_does_not_tell_what_its_operator_ordered(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Speech, "say_keys", lambda self, link, name: None)
    faults = [
        Revocation(at_ms=at, site=ALICE, act=Act.COMPROMISE, scope=0.99, width=0.3)
        for at in range(60_000, 110_000, 1_000)
    ]
    found = violation(*faults, checkers=[Agreed], minutes=2, calm_minutes=4)

    assert "ordered of" in found
