"""OPEN_CONNECT, from the first ask to both applications' answers."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kms.domain import limits
from kms.domain.effects import Refuse
from kms.domain.events import NetworkChanged
from kms.domain.names import NodeId
from kms.domain.newcomer import _full
from kms.domain.policy import Policy
from kms.domain.qos import min_bps_for
from kms.domain.records import StreamRecord
from kms.domain.requests import OpenConnect, OpenReply
from kms.domain.status import QoS, Status
from kms.domain.wire import Announce, encode
from tests.domain.streams_play import (
    ANN,
    BEN,
    DIRECTORY,
    EVE,
    KNOWN,
    LINK,
    STRANGER,
    A,
    B,
    End,
    Pair,
    key_of,
)

SETTLED = QoS(key_chunk_size=32, timeout=5_000, ttl=86_400)


def reply(end: End, number: int) -> OpenReply:
    answer = end.answers[number]
    assert isinstance(answer, OpenReply)
    return answer


def test_without_a_ksid_the_caller_gets_one_and_status_1_when_the_peers_node_has_it() -> None:
    pair = Pair()
    number = pair.open(A, ANN)

    assert pair.status(A, number) is None

    pair.settle()
    answer = reply(pair.a, number)

    assert answer.status is Status.PEER_NOT_CONNECTED_YET
    assert answer.qos == SETTLED
    assert answer.ksid is not None
    assert pair.b.stream(answer.ksid).qos == SETTLED


def test_the_peer_joins_with_that_ksid_and_gets_success_and_the_stored_qos() -> None:
    pair = Pair()
    number = pair.open(A, ANN, qos=QoS(key_chunk_size=64, priority=7))
    pair.settle()
    ksid = reply(pair.a, number).ksid
    joining = pair.open(B, BEN, ksid, qos=QoS(key_chunk_size=4096))

    assert reply(pair.b, joining).status is Status.SUCCESS
    assert reply(pair.b, joining).qos == attrs.evolve(SETTLED, key_chunk_size=64, priority=7)


@pytest.mark.parametrize(("first", "second"), [(A, B), (B, A)])
def test_a_predefined_ksid_waits_for_the_peer_application(first: str, second: str) -> None:
    pair = Pair()
    callers = {A: ANN, B: BEN}
    waiting = pair.open(first, callers[first], KNOWN)  # type: ignore[index, arg-type]
    pair.settle()

    assert pair.status(first, waiting) is None  # type: ignore[arg-type]

    pair.open(second, callers[second], KNOWN)  # type: ignore[index, arg-type]
    pair.settle()

    assert pair.status(first, waiting) is Status.SUCCESS  # type: ignore[arg-type]


def test_both_ends_open_a_predefined_ksid_at_once_and_the_leaders_record_wins() -> None:
    pair = Pair()
    one = pair.open(A, ANN, KNOWN, qos=QoS(key_chunk_size=16))
    other = pair.open(B, BEN, KNOWN, qos=QoS(key_chunk_size=64))
    pair.settle()

    assert [pair.status(A, one), pair.status(B, other)] == [Status.SUCCESS] * 2
    assert reply(pair.a, one).qos.key_chunk_size == 16
    assert pair.b.stream().qos == pair.a.stream().qos
    assert [pair.a.stream().designates, pair.b.stream().designates] == [True, False]
    assert pair.read(A, 0) == pair.read(B, 0) == 0


def test_nobody_joins_a_predefined_ksid_and_the_opening_is_rolled_back_at_both_nodes() -> None:
    pair = Pair()
    number = pair.open(A, ANN, KNOWN)
    pair.settle()
    pair.pass_ms(limits.TIMEOUT_DEFAULT_MS)

    assert pair.status(A, number) is Status.TIMEOUT
    assert [end.disk.streams() for end in pair.ends.values()] == [[], []]

    pair.established()

    assert pair.read(A) == pair.read(B) == 0


def test_the_neighbour_never_answers_and_the_opening_without_a_ksid_times_out() -> None:
    pair = Pair()
    number = pair.open(A, ANN)
    pair.cut()
    pair.pass_ms(limits.TIMEOUT_DEFAULT_MS)

    assert pair.status(A, number) is Status.TIMEOUT
    assert pair.a.disk.streams() == []

    pair.link()
    pair.settle()

    assert pair.b.disk.streams() == []


def test_a_withdrawal_that_crosses_the_peers_joining_leaves_the_peer_waiting_for_the_next() -> None:
    pair = Pair()
    pair.open(A, ANN, KNOWN)
    pair.settle()
    joining = pair.open(B, BEN, KNOWN)
    pair.now = attrs.evolve(pair.now, mono_ms=pair.now.mono_ms + limits.TIMEOUT_DEFAULT_MS)
    pair.batch(A, lambda streams, out: streams.tick(out))
    pair.settle()

    assert pair.status(B, joining) is Status.SUCCESS
    # I7: what one end has open the other knows.
    assert [pair.a.stream().local_joined, pair.b.stream().local_joined] == [False, True]
    early = pair.get(B)
    pair.pass_ms(limits.JOIN_UNDER_WAY_MS)

    assert pair.status(B, early) is Status.PEER_NOT_CONNECTED

    again = pair.open(A, ANN, KNOWN)
    pair.settle()

    assert pair.status(A, again) is Status.SUCCESS
    assert pair.read(A) == pair.read(B) == 0


def test_the_same_application_opens_again_and_resumes() -> None:
    pair = Pair()
    number = pair.open(A, ANN)
    pair.settle()
    ksid = reply(pair.a, number).ksid

    assert reply(pair.a, pair.open(A, ANN, ksid)).status is Status.PEER_NOT_CONNECTED_YET

    pair.open(B, BEN, ksid)
    pair.settle()

    assert reply(pair.a, pair.open(A, ANN, ksid)).status is Status.SUCCESS
    assert reply(pair.b, pair.open(B, BEN, ksid)).status is Status.SUCCESS


def test_a_second_try_waits_beside_the_first_and_only_the_last_time_out_rolls_back() -> None:
    pair = Pair()
    first = pair.open(A, ANN, KNOWN)
    pair.settle()
    pair.pass_ms(3_000)
    second = pair.open(A, ANN, KNOWN)
    pair.pass_ms(2_000)

    assert (pair.status(A, first), pair.status(A, second)) == (Status.TIMEOUT, None)

    pair.open(B, BEN, KNOWN)
    pair.settle()

    assert pair.status(A, second) is Status.SUCCESS


def test_a_caller_that_hangs_up_is_not_answered_and_its_opening_still_rolls_back() -> None:
    pair = Pair()
    number = pair.open(A, ANN, KNOWN)
    pair.hang_up(A, number)
    pair.settle()
    pair.pass_ms(limits.TIMEOUT_DEFAULT_MS)

    assert number not in pair.a.answers
    assert pair.a.disk.streams() == []


def test_another_application_with_the_ksid_is_told_it_is_in_use() -> None:
    pair = Pair().established()

    assert pair.status(A, pair.open(A, EVE, KNOWN)) is Status.KSID_IN_USE

    before = dict(pair.a.disk.records)
    assert pair.status(A, pair.open(A, ANN, KNOWN, other=EVE)) is Status.KSID_IN_USE
    assert pair.a.disk.records == before


@pytest.mark.parametrize("cut", [False, True])
def test_one_ksid_for_two_pairs_of_applications_is_refused_at_both_nodes(cut: bool) -> None:
    """I3: the two streams never become one, whatever is said about that KSID."""
    pair = Pair()
    mine = pair.open(A, EVE, KNOWN)
    theirs = pair.open(B, BEN, KNOWN)
    if cut:
        pair.cut()
        pair.link()
    pair.settle()

    assert pair.status(A, mine) is Status.KSID_IN_USE
    assert pair.status(B, theirs) is Status.KSID_IN_USE
    assert [end.disk.streams() for end in pair.ends.values()] == [[], []]


def test_a_closed_ksid_is_refused() -> None:
    pair = Pair().established()
    pair.close(A)
    pair.settle()

    assert pair.status(A, pair.open(A, ANN, KNOWN)) is Status.KSID_IN_USE

    pair.close(B)
    pair.settle()

    assert pair.status(A, pair.open(A, ANN, KNOWN)) is Status.KSID_IN_USE
    assert pair.status(B, pair.open(B, BEN, KNOWN)) is Status.KSID_IN_USE


@pytest.mark.parametrize(
    ("caller", "source", "destination"),
    [
        (EVE, ANN, BEN),
        (STRANGER, STRANGER, BEN),
        (BEN, BEN, ANN),
    ],
)
def test_who_is_not_named_not_allowed_or_not_at_home_is_refused(
    caller: str, source: str, destination: str
) -> None:
    pair = Pair()
    request = OpenConnect(source=source, destination=destination, qos=QoS())  # type: ignore[arg-type]
    number = pair.ask(A, caller, request)  # type: ignore[arg-type]

    assert isinstance(pair.a.answers[number], Refuse)
    assert pair.a.disk.streams() == []
    assert pair.a.audit[-1].event == "refused"


def test_in_client_server_use_the_caller_may_be_the_destination() -> None:
    pair = Pair()
    number = pair.ask(A, ANN, OpenConnect(source=BEN, destination=ANN, qos=QoS()))
    pair.settle()

    assert pair.status(A, number) is Status.PEER_NOT_CONNECTED_YET


def test_before_the_network_is_known_everything_is_refused() -> None:
    pair = Pair()
    pair.tell_network({}, Policy())
    number = pair.open(A, ANN)

    assert isinstance(pair.a.answers[number], Refuse)


@pytest.mark.parametrize("other", [EVE, ANN])
def test_two_applications_at_one_node_have_no_qkd_connection_and_are_told_why(other: str) -> None:
    pair = Pair()
    number = pair.open(A, ANN, other=other)  # type: ignore[arg-type]

    assert pair.status(A, number) is Status.NO_QKD_CONNECTION
    assert "both applications live at this node" in pair.message(A, number)


def test_without_a_peer_in_the_directory_or_a_link_or_with_an_alarm_there_is_status_4() -> None:
    pair = Pair()
    pair.a.channel.alarmed = "QBER"
    alarmed = pair.open(A, ANN)
    pair.cut()
    down = pair.open(A, ANN)
    pair.tell_network({ANN: A})
    unknown = pair.open(A, ANN)
    pair.tell_network({ANN: A, BEN: "carol"})  # type: ignore[dict-item]
    no_link = pair.open(A, ANN)

    assert [pair.status(A, n) for n in (alarmed, down, unknown, no_link)] == [
        Status.NO_QKD_CONNECTION
    ] * 4
    assert pair.message(A, alarmed).endswith("QBER")


def test_the_peers_node_checks_its_own_policy_and_directory() -> None:
    pair = Pair()
    event = NetworkChanged(neighbours=frozenset((A, B)), directory=DIRECTORY, policy=Policy())
    pair.batch(B, lambda streams, out: streams.network(event, out))
    number = pair.open(A, ANN)
    pair.settle()

    assert pair.status(A, number) is Status.NO_QKD_CONNECTION
    assert "policy" in pair.message(A, number)
    assert [end.disk.streams() for end in pair.ends.values()] == [[], []]


def test_a_min_bps_that_does_not_fit_is_counter_proposed_and_the_proposal_is_admitted() -> None:
    pair = Pair()
    for end in pair.ends.values():
        end.channel.stock = 0
    number = pair.open(A, ANN, qos=QoS(min_bps=950_000))

    answer = reply(pair.a, number)
    assert answer.status is Status.QOS_NOT_MET
    # Some of the 900,000 that are left, designations paid: the link may hold less when the
    # application asks again.
    assert answer.qos.min_bps == min_bps_for(32, 900_000 * limits.PROPOSE_PERCENT // 100)

    again = pair.open(A, ANN, qos=answer.qos)
    pair.settle()

    assert pair.status(A, again) is Status.PEER_NOT_CONNECTED_YET
    left = 900_000 - answer.qos.min_bps
    assert pair.status(A, pair.open(A, ANN, qos=QoS(min_bps=left + 1))) is Status.QOS_NOT_MET


def test_the_leader_refuses_the_followers_opening_that_no_longer_fits() -> None:
    pair = Pair()
    for end in pair.ends.values():
        end.channel.stock = 0
    first = pair.open(A, ANN, qos=QoS(min_bps=600_000))
    second = pair.open(B, BEN, qos=QoS(min_bps=600_000))
    pair.settle()

    assert pair.status(A, first) is Status.PEER_NOT_CONNECTED_YET
    assert pair.status(B, second) is Status.QOS_NOT_MET
    assert reply(pair.b, second).qos.min_bps == 0


def test_an_application_has_a_limited_number_of_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STREAMS_PER_APPLICATION_MAX", 2)
    pair = Pair()
    numbers = [pair.open(A, ANN, other=BEN) for _ in range(3)]
    others = pair.open(A, EVE)
    pair.settle()

    assert pair.status(A, numbers[2]) is Status.NO_QKD_CONNECTION
    assert "2 streams" in pair.message(A, numbers[2])
    assert pair.status(B, numbers[0]) is None
    assert pair.status(A, others) is Status.PEER_NOT_CONNECTED_YET, "Ben opened none of them"


def test_what_one_remote_application_opens_takes_no_place_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A remote application opened streams until the one it named here could open none itself."""
    monkeypatch.setattr(limits, "STREAMS_PER_APPLICATION_MAX", 4)
    monkeypatch.setattr(limits, "STREAMS_ANNOUNCED_PER_PAIR_MAX", 3)
    pair = Pair()
    openings = []
    for _ in range(4):
        openings.append(pair.open(B, BEN, other=ANN))
        pair.settle()
    own = [pair.open(A, ANN, other=BEN) for _ in range(4)]
    of_another = pair.open(B, BEN, other=EVE)
    pair.settle()
    verdicts = [pair.status(B, number) for number in openings]

    assert verdicts == [Status.PEER_NOT_CONNECTED_YET] * 3 + [Status.NO_QKD_CONNECTION]
    assert "3 streams that were opened at the other node" in pair.message(B, openings[3])
    assert [pair.status(A, n) for n in own[:3]] == [Status.PEER_NOT_CONNECTED_YET] * 3
    assert pair.status(A, own[3]) is Status.NO_QKD_CONNECTION, "Bob takes three of them"
    assert pair.status(B, of_another) is Status.PEER_NOT_CONNECTED_YET


@pytest.mark.parametrize("designates", [True, False])
@pytest.mark.parametrize("bound", ["PER_PAIR", "PER_LINK", ""])
def test_what_a_neighbour_announces_takes_no_place_of_those_who_open(
    monkeypatch: pytest.MonkeyPatch, bound: str, designates: bool
) -> None:
    """Whatever it says of who designates, now or later, and through a restart."""
    name = "_".join(filter(None, ("STREAMS_ANNOUNCED", bound, "MAX")))
    monkeypatch.setattr(limits, name, 3)
    monkeypatch.setattr(limits, "STREAMS_PER_APPLICATION_MAX", 3)
    monkeypatch.setattr(limits, "STREAMS_MAX", 7)
    pair = Pair()

    def announce(number: int, *, designates: bool) -> None:
        message = Announce(
            ksid=key_of(number).bytes,
            local=BEN,
            remote=ANN,
            designates=designates,
            qos=list(attrs.astuple(SETTLED)[:7]),
            mimetype="",
            next_index=0,
            joined=True,
            branch=0,
        )
        pair.a.inbox.append((encode([message]), None))
        pair.hear(A)

    for number in range(1, 10):
        announce(number, designates=designates)
    for number in range(1, 10):
        announce(number, designates=not designates)
    told = pair.a.streams.count
    pair.crash(A)
    pair.link()
    numbers = [pair.open(A, ANN) for _ in range(4)]

    assert told == 3
    assert [pair.status(A, number) for number in numbers[:3]] == [None] * 3, "they wait for Bob"
    assert "the application already has 3 streams" in pair.message(A, numbers[3])


def test_a_node_that_is_full_takes_no_stream_of_a_neighbours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pair = Pair()
    pair.open(A, ANN)
    pair.settle()
    monkeypatch.setattr(limits, "STREAMS_MAX", 1)
    monkeypatch.setattr(limits, "STREAMS_ANNOUNCED_MAX", 9)
    register = pair.a.streams._register

    assert "this node already has 1 streams" == _full(register, LINK, ANN, BEN)


def test_a_node_has_a_limited_number_of_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair()
    pair.open(A, ANN)
    pair.settle()
    monkeypatch.setattr(limits, "STREAMS_MAX", 1)
    number = pair.open(A, EVE)

    assert pair.status(A, number) is Status.NO_QKD_CONNECTION
    assert "1 streams" in pair.message(A, number)


def test_a_limited_number_of_openings_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REQUESTS_PER_STREAM_MAX", 2)
    pair = Pair()
    numbers = [pair.open(A, ANN, KNOWN) for _ in range(3)]

    assert [pair.status(A, n) for n in numbers] == [None, None, Status.NO_QKD_CONNECTION]


def test_a_stream_that_policy_no_longer_allows_is_closed_with_the_reason() -> None:
    pair = Pair().established()
    waiting = pair.get(A, 100)
    pair.tell_network(DIRECTORY, Policy())
    pair.settle()

    assert pair.status(A, waiting) is Status.PEER_NOT_CONNECTED
    records = [end.disk.records[(StreamRecord, KNOWN)] for end in pair.ends.values()]
    assert [r.reason for r in records if isinstance(r, StreamRecord)] == [
        "policy no longer allows it"
    ] * 2
    assert pair.status(A, pair.get(A)) is Status.PEER_NOT_CONNECTED


def test_an_opening_survives_the_reconnection_of_the_link() -> None:
    pair = Pair()
    number = pair.open(A, ANN)
    pair.cut()
    pair.link()
    pair.settle()

    assert pair.status(A, number) is Status.PEER_NOT_CONNECTED_YET


def test_a_restart_forgets_who_waited_and_keeps_what_was_told() -> None:
    pair = Pair()
    number = pair.open(A, ANN)
    pair.settle()
    ksid = reply(pair.a, number).ksid
    pair.crash(A)
    pair.link()
    pair.settle()
    joining = pair.open(B, BEN, ksid)
    pair.settle()

    assert pair.status(B, joining) is Status.SUCCESS
    assert pair.status(A, pair.open(A, ANN, ksid)) is Status.SUCCESS


def test_many_openings_have_ksids_of_their_own() -> None:
    pair = Pair()
    numbers = [pair.open(A, ANN) for _ in range(5)]
    pair.settle()

    assert {reply(pair.a, n).ksid for n in numbers} == {key_of(1000 + n) for n in numbers}


@pytest.mark.parametrize("opener", [A, B])
@given(
    stocks=st.tuples(st.integers(0, 10**8), st.integers(0, 10**8)),
    rate=st.integers(0, 10**7),
    asked=st.integers(1, 10**7),
    chunk=st.sampled_from([1, 32, 4096]),
)
def test_a_counter_proposal_sent_back_is_admitted_by_both_nodes(
    opener: NodeId, stocks: tuple[int, int], rate: int, asked: int, chunk: int
) -> None:
    """Each end judges by what lies in the pad that the opener's end writes."""
    pair = Pair()
    for end, stock, other in zip(pair.ends.values(), stocks, reversed(stocks), strict=True):
        end.channel.rate, end.channel.stock, end.channel.peer_stock = float(rate), stock, other
    caller = ANN if opener == A else BEN
    first = pair.open(opener, caller, qos=QoS(min_bps=asked, key_chunk_size=chunk))
    pair.settle()
    answer = reply(pair.ends[opener], first)
    if answer.status is Status.QOS_NOT_MET:
        again = pair.open(opener, caller, qos=answer.qos)
        pair.settle()
        answer = reply(pair.ends[opener], again)

    assert answer.status is Status.PEER_NOT_CONNECTED_YET
