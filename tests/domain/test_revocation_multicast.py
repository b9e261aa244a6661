"""Operators' orders about a link over which keys for several slaves went."""

from uuid import UUID

import pytest

from kms.domain.events import KeysOrdered
from kms.domain.keyrequests import KeysReply, Outcome
from kms.domain.names import LinkId, NodeId
from kms.domain.orders import Act, KeyOrder, OrderDone
from tests.domain.multicast_play import AB, BEN, CAT, NOT_FOUND, Party
from tests.world import ALICE, BOB

HELD = f"the link {AB} is suspended by an operator"
LOST = f"the link {AB} is compromised by an operator"


def order(
    party: Party,
    act: Act,
    name: NodeId,
    *,
    link: LinkId | None = None,
    key_id: UUID | None = None,
    settle: bool = True,
) -> OrderDone:
    """What came of it; all ends know, when it is settled."""
    what = KeyOrder(act=act, link=link, key_id=key_id, operator="olga", reason="a drill")
    party.sites[name].inbox.append(KeysOrdered(request_id=-7, order=what))
    party.step(name, 1000)
    if settle:
        party.settle()
    done = party.sites[name].answers.pop(-7)
    assert isinstance(done, OrderDone)
    return done


def said(found: object) -> tuple[Outcome, str]:
    assert isinstance(found, KeysReply), found
    return found.outcome, found.message


@pytest.mark.parametrize("name", [ALICE, BOB])
def test_over_a_suspended_link_no_slave_gets_keys_and_no_master_new_ones(name: NodeId) -> None:
    party = Party()
    mine = party.got(BEN, CAT)
    assert order(party, Act.SUSPEND, name, link=AB).changed
    number = party.enc(BEN, CAT)

    assert (Outcome.UNAVAILABLE, f"no key is served over {AB}: {HELD}") == party.refusal(number)
    assert (Outcome.UNAVAILABLE, f"no key is served: {HELD}") == said(party.dec(BEN, mine.key_ids))
    assert Outcome.DELIVERED is said(party.dec(CAT, mine.key_ids))[0], "it came over another link"
    order(party, Act.RESUME, name, link=AB)
    theirs = party.dec(BEN, mine.key_ids)

    assert isinstance(theirs, KeysReply)
    assert mine.keys == theirs.keys


@pytest.mark.parametrize("name", [ALICE, BOB])
def test_keys_on_their_way_when_the_link_is_suspended_are_given_to_nobody(name: NodeId) -> None:
    party = Party()
    number = party.enc(BEN, CAT)
    order(party, Act.SUSPEND, name, link=AB)

    assert Outcome.UNAVAILABLE is party.refusal(number)[0]


@pytest.mark.parametrize("name", [ALICE, BOB])
def test_over_a_compromised_link_no_slave_gets_keys(name: NodeId) -> None:
    party = Party()
    mine = party.got(BEN, CAT)
    assert order(party, Act.COMPROMISE, name, link=AB).changed

    assert (Outcome.UNAVAILABLE, f"no key is served: {LOST}") == said(party.dec(BEN, mine.key_ids))
    party.pass_time(1_200)
    party.give_secret(ALICE, BOB, number=9)
    party.connect(ALICE, BOB)
    assert (Outcome.BAD_REQUEST, NOT_FOUND) == said(party.dec(BEN, mine.key_ids))
