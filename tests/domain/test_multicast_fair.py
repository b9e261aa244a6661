"""Keys for several slaves and everybody else: what they may take, what they pay, how they count."""

from kms.domain import limits
from kms.domain.keyrequests import EncKeys, KeysReply, Outcome
from kms.domain.names import LinkId, NodeId
from kms.domain.policy import Rule, Share
from kms.domain.service import LinkService
from tests.domain.multicast_play import AB, AC, ANA, ANN, BEN, CAT, HOMES, Party
from tests.world import ALICE, BOB

PAID = Rule(one=ANN, other="sae:*", max_bps=8 * 96, per=Share.RULE)


def service(party: Party, link: LinkId) -> LinkService:
    return party.sites[ALICE].node.streams._register.service(link)


def wanted(party: Party, *, caller: object = ANN, count: int = 1, size: int = 32) -> int:
    request = EncKeys(slave=BEN, additional_slaves=(CAT,), number=count, key_bytes=size)
    return party.sites[ALICE].node.bytes_wanted(caller, request)  # type: ignore[arg-type]


def lose(party: Party, lost: NodeId) -> None:
    party.lose_frame = lambda sender, data: sender == lost


def test_the_last_seconds_of_what_is_promised_are_no_bundles() -> None:
    """Goal: Min_bps is kept on a link that gets key in blocks, whoever asks for many slaves."""
    party = Party()
    register, level = party.sites[ALICE].node.streams._register, party.level(BOB)
    kept = register.channels[AB].level() - 4096
    register.promised_bps[AB] = 8 * kept // limits.PROMISE_KEEP_S
    large = party.enc(BEN, CAT, count=129)

    assert (Outcome.UNAVAILABLE, "alice~bob has not enough key left") == party.refusal(large)
    assert level == party.level(BOB)
    assert Outcome.DELIVERED is party.got(BEN, CAT, count=16).outcome


def test_what_is_promised_meanwhile_is_not_taken_by_what_is_under_way() -> None:
    party = Party()
    register = party.sites[ALICE].node.streams._register
    party.only_parts(0)
    number = party.enc(BEN, CAT, count=16)
    register.promised_bps[AB] = 8 * register.channels[AB].level() // limits.PROMISE_KEEP_S + 8
    del party.sites[ALICE].node.links[AB].entrust
    level = party.level(BOB)
    party.pass_time(1_000)

    assert party.reply(number) is None
    assert level - party.level(BOB) < 16 * 32


def test_keys_for_several_slaves_count_with_the_time_that_they_took_and_those_that_came_late() -> (
    None
):
    party = Party()
    lose(party, BOB)
    party.enc(BEN, CAT)
    party.settle()
    party.pass_time(limits.KEYS_TIMEOUT_MS + 100)
    lose(party, NodeId("nobody"))
    moment = party.sites[ALICE].node.streams._register.now
    assert moment is not None
    late = [service(party, link).statistics(moment.mono_ms).losses_total for link in (AB, AC)]
    party.only_parts(0)
    number = party.enc(BEN, CAT)
    party.pass_time(1_500)
    del party.sites[ALICE].node.links[AB].entrust
    party.pass_time(100)
    reply = party.reply(number)
    found = service(party, AB).statistics(moment.mono_ms + 2_000)

    assert [1, 0] == late
    assert isinstance(reply, KeysReply)
    assert Outcome.DELIVERED is reply.outcome
    assert 1_500 <= found.delay_ms_mean <= 1_700


def test_what_the_node_could_not_make_is_not_paid_for() -> None:
    party = Party()
    party.allow(HOMES, PAID)
    lose(party, BOB)
    number = party.enc(BEN, CAT)
    (cap,) = party.sites[ALICE].node.streams._register.caps._caps.values()
    paid = cap.allowed(32, party.now_ms)
    party.cut()
    party.settle()

    assert Outcome.UNAVAILABLE is party.refusal(number)[0]
    assert (1, 3) == (paid, cap.allowed(32, party.now_ms))


def test_a_caller_who_hangs_up_has_used_its_rate() -> None:
    """The pad is spent when it is sent: hanging up must not make it free."""
    party = Party()
    party.allow(HOMES, PAID)
    number = party.enc(BEN, CAT)
    party.hang_up(number)
    again = party.enc(BEN, CAT, count=2)

    assert Outcome.UNAVAILABLE is party.refusal(again)[0]
    assert "policy permits 768 bit/s" in party.refusal(again)[1]


def test_only_who_would_be_served_draws_randomness() -> None:
    """Goal: 4 MiB for a request that is refused anyway hold the event loop up for nothing (I10)."""
    party = Party()
    party.allow(HOMES, Rule(one=ANN, other="sae:*"))
    served = wanted(party)
    stranger = wanted(party, caller=ANA)
    too_much = wanted(party, count=limits.KEYS_PER_REQUEST_MAX + 1)
    poor = wanted(party, count=1024, size=limits.KEY_BYTES_MAX)

    assert (32, 0, 0, 0) == (served, stranger, too_much, poor)
