"""What a neighbour may say about keys for several slaves, and what of it changes nothing (I9)."""

from collections.abc import Callable
from uuid import UUID

import pytest

from kms.domain import limits
from kms.domain.effects import Audit, Effect, SendFrame
from kms.domain.keyrequests import Outcome
from kms.domain.names import KSID, SAEId
from kms.domain.policy import Policy, Rule
from kms.domain.records import BundleState
from kms.domain.wire import AnnouncePair, Declined, Entrust, Entrusted, Withdraw
from tests.domain.multicast_play import AB, ANA, ANN, BEA, BEN, CAT, Party, outcome
from tests.siege import Siege, alarms, hung_up, still_right, written
from tests.statehash import SESSION, changes, state
from tests.world import ALICE, BOB

NAME = KSID(UUID(int=0xBAD << 80 | 0x4000 << 64 | 0x8000 << 48))
SPENT = frozenset({"ReaderPad.use", "ReaderPad.window"})


def entrust(
    *slaves: SAEId,
    name: KSID = NAME,
    master: SAEId = ANN,
    count: int = 1,
    size: int = 32,
    first: int = 0,
    keys: bytes = bytes(range(32)),
) -> Entrust:
    return Entrust(
        name=name.bytes,
        master=master,
        slaves=list(slaves or (BEN,)),
        count=count,
        key_bytes=size,
        first=first,
        keys=bytearray(keys),
    )


def besieged(victim: str = "bob") -> Siege:
    """Bob, whose neighbour alice means harm; or alice with such a bob."""
    return Siege(BOB if victim == "bob" else ALICE, Party())


def said(siege: Siege, *messages: object) -> list[Effect]:
    effects = siege.says(*messages)  # type: ignore[arg-type]

    assert [] == still_right(siege, effects)
    return effects


def held(siege: Siege) -> list[tuple[SAEId, BundleState]]:
    bundles = siege.node.streams._register.bundles.by_name.values()
    return [(each.record.master, each.record.state) for each in bundles]


def audited(effects: list[Effect]) -> list[str]:
    return [each.entry.event for each in effects if isinstance(each, Audit)]


def answers(effects: list[Effect]) -> int:
    """Frames that leave for the hostile neighbour."""
    return sum(isinstance(each, SendFrame) and each.link == AB for each in effects)


# ---- what is declined ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("a slave who lives elsewhere", entrust(BEN, CAT)),
        ("a slave nobody knows", entrust(SAEId("sae:nobody"))),
        ("a master of another node", entrust(master=CAT)),
        ("a master who lives here", entrust(master=BEA)),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_who_does_not_live_where_the_neighbour_says_is_declined(
    what: str, message: Entrust
) -> None:
    """I3"""
    siege = besieged()
    effects = said(siege, message)

    assert (False, [], [], 1) == (hung_up(effects), written(effects), held(siege), answers(effects))


def test_what_policy_forbids_one_of_the_slaves_is_declined_for_all() -> None:
    """I3"""
    siege = besieged()
    siege.node.streams._register.policy = Policy(rules=(Rule(one=ANN, other=BEN),))
    effects = said(siege, entrust(BEN, BEA))

    assert ([], []) == (written(effects), held(siege))
    assert [(ANN, BundleState.HELD)] == held_after(siege, entrust(BEN))


def held_after(siege: Siege, *messages: Entrust) -> list[tuple[SAEId, BundleState]]:
    said(siege, *messages)
    return held(siege)


def test_the_rest_of_a_bundle_that_was_declined_is_let_pass() -> None:
    siege = besieged()
    two = (entrust(CAT, count=2), entrust(CAT, count=2, first=1))
    effects = said(siege, *two)

    assert (False, [], []) == (hung_up(effects), written(effects), held(siege))


def test_nothing_is_taken_over_a_link_under_alarm() -> None:
    """I13"""
    siege = besieged()
    siege.link.memory.alarm = "qber"
    said(siege, entrust())

    assert [] == held(siege)


def test_a_name_of_other_keys_is_declined_and_those_stay_what_they_are() -> None:
    """I2, I10: neither another neighbour's, nor this node's own, nor a pair's."""
    party = Party()
    mine, pair = party.got(BEN, CAT), party.got(BEN)
    own = party.bundles(ALICE)[0].name
    siege = Siege(ALICE, party)
    stream = next(iter(siege.node.streams._register.streams))
    before = held(siege)
    for name in (own, stream, KSID(UUID(bytes=pair.key_ids[:12] + b"\x80\0\0\7"))):
        effects = said(siege, entrust(ANA, master=BEN, name=name))

        assert (False, [], before) == (hung_up(effects), written(effects), held(siege))
    assert (Outcome.DELIVERED, "") == outcome(party.dec(CAT, mine.key_ids))


def test_a_pair_stream_whose_key_ids_would_begin_like_a_bundles_is_refused() -> None:
    siege = besieged()
    said(siege, entrust())
    for name in (NAME, KSID(UUID(bytes=NAME.bytes[:12] + b"abcd"))):
        qos = [32, 0, 0, 0, 0, limits.KEYS_TIMEOUT_MS, limits.KEYS_TTL_S]
        said(siege, AnnouncePair(name.bytes, ANN, BEN, True, qos, "", 0, True, 0))

        assert name not in siege.node.streams._register.streams


def test_there_is_an_end_to_what_one_master_and_one_neighbour_may_leave_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """I8, I10"""
    monkeypatch.setattr(limits, "BUNDLES_PER_MASTER_MAX", 3)
    monkeypatch.setattr(limits, "BUNDLES_PER_LINK_MAX", 5)
    siege = besieged()
    for number in range(10):
        name = KSID(UUID(int=NAME.int ^ number << 100))
        said(siege, entrust(name=name, master=ANN if number < 5 else ANA))

    assert [ANN] * 3 + [ANA] * 2 == [master for master, _ in held(siege)]


def test_there_is_an_end_to_the_bytes_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BUNDLE_BYTES_PER_MASTER_MAX", 64)
    siege = besieged()
    effects = said(siege, entrust(count=3), entrust(name=KSID(UUID(int=NAME.int ^ 1 << 100))))

    assert (False, 1) == (hung_up(effects), len(held(siege)))


def test_names_of_what_is_over_are_remembered_up_to_a_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "BUNDLES_ENDED_MAX", 4)
    siege = besieged()
    for number in range(10):
        name = KSID(UUID(int=NAME.int ^ number << 100))
        said(siege, entrust(name=name), Withdraw(name.bytes))

    assert [(ANN, BundleState.ENDED)] * 4 == held(siege)
    # The first name is free again, and its materials are other ones.
    said(siege, entrust())

    assert BundleState.HELD is held(siege)[-1][1]


# ---- what a right neighbour never says -------------------------------------------------------

WRONG: dict[str, tuple[Entrust, ...]] = {
    "no name of version 4": (entrust(name=KSID(UUID(int=7))),),
    "no URI": (entrust(master=SAEId("no name")),),
    "a slave twice": (entrust(BEN, BEN),),
    "a slave who is the master": (entrust(BEN, ANN),),
    "keys without size": (entrust(size=0),),
    "keys too large": (entrust(size=limits.KEY_BYTES_MAX + 1, keys=bytes(8192)),),
    "half a key": (entrust(keys=bytes(48), count=2),),
    "less than a key": (entrust(keys=bytes(16)),),
    "more keys than it has": (entrust(keys=bytes(64)),),
    "none of its keys": (entrust(count=0),),
    "a bundle too large": (entrust(count=limits.KEYS_PER_REQUEST_MAX + 1),),
    "the same again": (entrust(), entrust()),
    "other bits under the same name": (entrust(), entrust(keys=bytes(32))),
    "out of order": (entrust(count=3), entrust(count=3, first=2)),
    "a part twice": (entrust(count=3), entrust(count=3)),
    "another slave": (entrust(count=2), entrust(BEA, count=2, first=1)),
    "another master": (entrust(count=2), entrust(master=ANA, count=2, first=1)),
    "another count": (entrust(count=2), entrust(count=3, first=1)),
    "parts of several sizes": (
        entrust(count=4, keys=bytes(64)),
        entrust(count=4, first=2, keys=bytes(32)),
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_no_right_neighbour_says_costs_its_session_and_changes_nothing(what: str) -> None:
    siege = besieged()
    *first, last = WRONG[what]
    if first:
        said(siege, *first)
    before = state(siege.node, without=SESSION | SPENT)
    effects = said(siege, Entrust(*(getattr(last, name) for name in last.__struct_fields__)))

    assert (True, ["peer-fault"]) == (hung_up(effects), alarms(effects))
    changed = changes(before, state(siege.node, without=SESSION | SPENT))
    if held(siege) and held(siege)[0][1] is BundleState.ENDED:
        # The session is over, and with it what was on its way.
        assert first
    else:
        assert [] == changed
        assert [] == written(effects)


@pytest.mark.parametrize(
    "message",
    [Entrusted(NAME.bytes), Declined(NAME.bytes, "no"), Withdraw(NAME.bytes)],
    ids=lambda each: type(each).__name__,
)
def test_words_about_keys_that_are_not_known_any_more_change_nothing(message: object) -> None:
    siege = besieged()
    before = state(siege.node, without=SESSION | SPENT)
    effects = said(siege, message)

    assert (False, []) == (hung_up(effects), written(effects))
    assert [] == changes(before, state(siege.node, without=SESSION | SPENT))


def on_its_way(party: Party, sent: bool) -> KSID:
    """Ann's keys for ben and cat are with their nodes, or not even sent to ben's."""
    if not sent:
        party.only_parts(0)
    party.enc(BEN, CAT)
    return party.bundles(ALICE)[0].name


WORDS: list[Callable[[bytes], object]] = [Entrusted, lambda name: Declined(name, "no")]


@pytest.mark.parametrize("word", WORDS)
def test_an_answer_about_keys_that_were_not_sent_is_a_fault(
    word: Callable[[bytes], object],
) -> None:
    party = Party()
    name = on_its_way(party, sent=False)
    siege = Siege(ALICE, party)
    effects = said(siege, word(name.bytes))

    assert (True, ["peer-fault"]) == (hung_up(effects), alarms(effects))


def test_an_acknowledgement_before_all_parts_were_sent_is_a_fault() -> None:
    party = Party()
    party.enc_first_part(BEN, BEA)
    siege = Siege(ALICE, party)
    name = party.bundles(ALICE)[0].name
    effects = said(siege, Entrusted(name.bytes))

    assert (True, ["peer-fault"]) == (hung_up(effects), alarms(effects))


def test_an_acknowledgement_twice_is_a_fault() -> None:
    party = Party()
    name = on_its_way(party, sent=True)
    siege = Siege(ALICE, party)

    assert not hung_up(said(siege, Entrusted(name.bytes)))
    assert hung_up(said(siege, Entrusted(name.bytes)))


def test_the_rest_of_what_was_withdrawn_is_let_pass_and_its_beginning_is_a_fault() -> None:
    siege = besieged()
    said(siege, entrust(count=2), Withdraw(NAME.bytes))
    effects = said(siege, entrust(count=2, first=1))

    assert (False, []) == (hung_up(effects), written(effects))
    assert hung_up(said(siege, entrust(count=2)))


def test_a_neighbour_withdraws_only_what_it_entrusted() -> None:
    """I10"""
    party = Party()
    mine = party.got(BEN, ANA, CAT)
    name = party.bundles(ALICE)[0].name
    siege = Siege(ALICE, party)
    effects = said(siege, Withdraw(name.bytes))

    assert [] == written(effects)
    assert (Outcome.DELIVERED, "") == outcome(party.dec(ANA, mine.key_ids))


def test_what_a_neighbour_withdraws_is_destroyed_once_and_journalled() -> None:
    siege = besieged()
    said(siege, entrust())

    assert ["keys-destroyed"] == audited(said(siege, Withdraw(NAME.bytes)))
    assert [] == audited(said(siege, Withdraw(NAME.bytes)))
