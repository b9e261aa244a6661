"""Two ends that lose messages, processes and disks, and neighbours that break the rules."""

import copy

import pytest

from kms.domain import limits
from kms.domain.errors import PeerFault
from kms.domain.outbox import Outbox
from kms.domain.records import StreamRecord
from kms.domain.secret import Secret
from kms.domain.status import QoS, Status
from kms.domain.wire import Announce, Designate, Mark, Marked, Message, Verdict
from tests.domain.streams_play import (
    ANN,
    BEN,
    KNOWN,
    LINK,
    A,
    B,
    FakeChannel,
    Pair,
    key_of,
)


def nexts(pair: Pair) -> list[int]:
    return [end.stream().next_index for end in pair.ends.values()]


def relink(pair: Pair) -> Pair:
    pair.link()
    pair.settle()
    return pair


def with_a_designation_under_way() -> Pair:
    """Alice made chunks 4 and on; Bob has not heard of them."""
    pair = Pair().established()
    for _ in range(4):
        pair.read(A)
    pair.batch(A)

    assert pair.a.stream().next_index > 4
    return pair


def test_chunks_lost_on_the_wire_are_taken_back_and_made_anew_with_other_bits() -> None:
    pair = with_a_designation_under_way()
    lost = {name: bytes(bits) for name, bits in pair.a.disk.material.items()}
    pair.cut()
    relink(pair)
    index = pair.read(A)

    assert index == 4
    assert pair.read(B, 4) == 4
    assert pair.ledger[(KNOWN, 4)] not in [bits[:32] for bits in lost.values()]
    assert pair.a.stream().falls == 1


def test_an_acknowledgement_lost_on_the_wire_is_heard_again_after_the_reconnection() -> None:
    pair = with_a_designation_under_way()
    pair.hear(B, 10)
    pair.cut()
    relink(pair)

    assert pair.a.stream().falls == 0
    assert pair.read(A) == pair.read(B, 4) == 4


def test_i2_a_copy_of_chunks_that_were_taken_back_is_not_taken_for_what_the_other_end_holds() -> (
    None
):
    """As many chunks, and not the same ones: only their branch tells (restores, seed 11)."""
    pair = with_a_designation_under_way()
    copy = pair.a.disk.copy()
    made = pair.a.stream().next_index
    pair.cut()
    relink(pair)
    while pair.read(B) + 1 < made:
        pass
    pair.crash(A, copy)
    relink(pair)

    assert pair.a.stream().next_index == pair.b.stream().next_index
    statuses = {pair.status(A, pair.get(A, index)) for index in range(4, made)}
    assert statuses == {Status.INSUFFICIENT_KEY}
    assert pair.read(A) == pair.read(B) >= made


@pytest.mark.parametrize("node", [A, B])
def test_a_crash_of_one_end_loses_only_what_was_under_way(node: str) -> None:
    pair = with_a_designation_under_way()
    pair.crash(node)  # type: ignore[arg-type]
    relink(pair)

    index = pair.read(A)

    assert index == 8
    assert pair.read(B, index) == index


@pytest.mark.parametrize("node", [A, B])
def test_a_restored_store_never_delivers_another_key_at_an_old_index(node: str) -> None:
    """I2: what was acknowledged is never made anew, whichever end forgot it."""
    pair = Pair().established()
    backup = pair.ends[node].disk.copy()  # type: ignore[index]
    for _ in range(8):
        pair.get(A)
        pair.settle()
    pair.crash(node, backup)  # type: ignore[arg-type]
    relink(pair)
    for other in (A, B):
        for index in range(20):
            pair.get(other, index)
            pair.settle()

    assert len({index for _, _, index in pair.delivered}) == 20
    assert nexts(pair)[0] == nexts(pair)[1]


def test_i7_an_end_that_restarts_before_its_application_joins_still_has_the_stream() -> None:
    """Simulated seed 102: the restarted end took the opener's mark for nothing, and rolled back."""
    pair = Pair()
    pair.open(A, ANN, KNOWN)
    pair.settle()
    pair.crash(B)
    relink(pair)

    assert [pair.a.stream().remote_joined, pair.b.stream().remote_joined] == [False, True]
    assert "stream-rolled-back" not in [entry.event for entry in pair.b.audit]


def test_a_store_from_before_the_application_joined_does_not_end_the_stream() -> None:
    pair = Pair()
    pair.open(A, ANN, KNOWN)
    pair.settle()
    backup = pair.b.disk.copy()
    pair.established()
    made = pair.a.stream().next_index
    pair.crash(B, backup)
    relink(pair)
    pair.open(B, BEN, KNOWN)
    number = pair.get(B)
    pair.settle()

    assert pair.b.keys[number].index == made == pair.read(A, made)


def test_a_store_from_before_the_stream_gets_it_again() -> None:
    pair = Pair()
    backup = pair.b.disk.copy()
    pair.established()
    pair.read(A)
    pair.crash(B, backup)
    relink(pair)

    early = pair.get(A)
    pair.pass_ms(limits.JOIN_UNDER_WAY_MS)

    assert pair.status(A, early) is Status.PEER_NOT_CONNECTED
    assert pair.status(B, pair.open(B, BEN, KNOWN)) is Status.SUCCESS

    pair.settle()
    number = pair.get(B)
    pair.settle()

    assert pair.b.keys[number].index == 4
    assert pair.message(B, pair.get(B, 0)).startswith("index 0 is destroyed: lost")


def test_the_end_that_made_the_keys_forgot_the_stream_and_makes_them_again() -> None:
    pair = Pair()
    backup = pair.a.disk.copy()
    pair.established()
    pair.read(B, 3)
    pair.crash(A, backup)
    relink(pair)
    pair.open(A, ANN, KNOWN)
    pair.settle()
    number = pair.get(A)
    pair.settle()

    assert pair.a.keys[number].index == 4
    assert pair.read(B, 4) == 4


def test_a_hundred_streams_are_said_a_batch_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MARKS_PER_BATCH_MAX", 10)
    pair = Pair()
    for number in range(25):
        pair.established(ksid=key_of(number))
    pair.cut()
    pair.a.channel.sent.clear()
    pair.link()

    assert len([m for m in pair.a.channel.sent if isinstance(m, Mark)]) == 10

    pair.settle()

    assert len([m for m in pair.a.channel.sent if isinstance(m, Marked)]) == 1
    assert [pair.read(B, ksid=key_of(number)) for number in range(25)] == [0] * 25


def test_a_closed_side_ignores_designations_under_way_and_wipes_their_bits() -> None:
    pair = with_a_designation_under_way()
    bits = [secret for _, secret in pair.b.inbox if secret is not None]
    pair.close(B)
    pair.settle()

    assert bits
    assert [bytes(secret.expose()) for secret in bits] == [bytes(len(s)) for s in bits]
    assert pair.a.runs().ready == 0


# ---- neighbours that break the rules (I9) ------------------------------------------------------

GOOD = Designate(ksid=KNOWN.bytes, first=4, count=2, chunk_bytes=32, branch=0)


def designation(**changes: int) -> Designate:
    fields = {name: getattr(GOOD, name) for name in ("first", "count", "chunk_bytes", "branch")}
    return Designate(ksid=KNOWN.bytes, **{**fields, **changes})


def announce(**changes: object) -> Announce:
    fields: dict[str, object] = {
        "ksid": key_of(9).bytes,
        "local": ANN,
        "remote": BEN,
        "designates": True,
        "qos": [32, 0, 0, 0, 0, 5000, 86400],
        "mimetype": "",
        "next_index": 0,
        "joined": True,
        "branch": 0,
    }
    return Announce(**{**fields, **changes})  # type: ignore[arg-type]


def mark(next_index: int, *, joined: bool = True, ksid: bytes = KNOWN.bytes) -> Mark:
    return Mark(ksid=ksid, next_index=next_index, joined=joined, closed=False, wanted=0, branch=0)


def tell(pair: Pair, message: Message, bits: int | None = None) -> None:
    secret = None if bits is None else Secret(b"\x55" * bits)
    pair.batch(
        B,
        lambda streams, out: streams.on_message(LINK, message, secret, out),  # type: ignore[arg-type]
    )


def state_of(pair: Pair) -> object:
    end = pair.b
    return (
        copy.deepcopy(end.disk.records),
        end.streams.statistics(),
        end.streams.deadline_ms(),
    )


@pytest.mark.parametrize(
    ("message", "bits"),
    [
        (designation(first=3), 64),
        (designation(first=5), 64),
        (designation(count=0), 0),
        (designation(count=limits.DESIGNATION_CHUNKS_MAX + 1), 64),
        (designation(chunk_bytes=16), 32),
        (designation(chunk_bytes=0), 0),
        (designation(chunk_bytes=limits.CHUNK_BYTES_MAX + 1), 64),
        (designation(first=2**32 - 1), 64),
        (designation(), 63),
        (designation(), None),
        (Designate(ksid=bytes(16), first=0, count=1, chunk_bytes=32, branch=0), 32),
        (mark(4, joined=False), None),
        (mark(4), 32),
        (mark(4, ksid=bytes(16)), None),
        (Marked(), None),
        (Verdict(ksid=KNOWN.bytes, status=3, reason="", joined=True), None),
        (Verdict(ksid=KNOWN.bytes, status=99, reason="", joined=True), None),
        (announce(ksid=bytes(16)), None),
        (announce(local="no uri"), None),
        (announce(remote=""), None),
    ],
)
def test_what_a_right_neighbour_never_sends_is_its_fault_and_changes_nothing(
    message: Message, bits: int | None
) -> None:
    pair = Pair().established()
    before = state_of(pair)
    with pytest.raises(PeerFault):
        tell(pair, message, bits)

    assert before == state_of(pair)


def test_the_right_designation_is_taken() -> None:
    """What the cases above are one step away from."""
    pair = Pair().established()
    tell(pair, designation(), 64)

    assert pair.b.stream().next_index == 6


def test_the_end_that_designates_takes_no_designation() -> None:
    pair = Pair().established()
    with pytest.raises(PeerFault):
        pair.batch(
            A,
            lambda streams, out: streams.on_message(LINK, GOOD, Secret(bytes(64)), out),
        )


@pytest.mark.parametrize("held", [3, 5, 2**32 - 1])
def test_the_acknowledgement_of_less_than_before_or_of_too_much_is_the_neighbours_fault(
    held: int,
) -> None:
    pair = Pair().established()
    with pytest.raises(PeerFault):
        pair.batch(A, lambda streams, out: streams.on_message(LINK, mark(held), None, out))


def test_an_old_store_never_gets_a_new_key_at_an_index_that_it_delivered() -> None:
    """I2: Bob delivers at once, his acknowledgement is lost, and so is his memory of it."""
    pair = with_a_designation_under_way()
    backup = pair.b.disk.copy()
    pair.hear(B, 10)

    assert pair.read(B, 4) == 4

    pair.crash(B, backup)
    relink(pair)
    index = pair.read(A)

    assert index == 8
    assert pair.status(A, pair.get(A, 4)) is Status.INSUFFICIENT_KEY
    assert pair.read(B, 8) == 8


def test_a_message_before_the_hello_is_the_neighbours_fault() -> None:
    pair = Pair(linked=False)
    with pytest.raises(PeerFault):
        tell(pair, announce())


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (announce(), Status.SUCCESS),
        (announce(remote="sae:nobody.bob"), Status.NO_QKD_CONNECTION),
        (announce(local="sae:nobody.alice"), Status.NO_QKD_CONNECTION),
        (announce(local=BEN, remote=ANN), Status.NO_QKD_CONNECTION),
        (announce(local="sae:stranger.alice"), Status.NO_QKD_CONNECTION),
        (announce(ksid=KNOWN.bytes, local="sae:eve.alice"), Status.KSID_IN_USE),
        (announce(ksid=KNOWN.bytes, qos=[64, 0, 0, 0, 0, 5000, 86400]), Status.KSID_IN_USE),
        (announce(qos=[2**32 - 1, 0, 0, 0, 0, 5000, 86400]), Status.QOS_NOT_MET),
        (announce(qos=[0, 0, 0, 0, 0, 0, 0]), Status.QOS_NOT_MET),
        (announce(mimetype="text/html"), Status.QOS_NOT_MET),
    ],
)
def test_an_announcement_is_judged(message: Announce, status: Status) -> None:
    pair = Pair().established()
    pair.b.channel.sent.clear()
    known = len(pair.b.streams.statistics())
    tell(pair, message)
    (verdict,) = [m for m in pair.b.channel.sent if isinstance(m, Verdict)]

    assert verdict.status == status
    assert len(pair.b.streams.statistics()) == known + (status is Status.SUCCESS)


def test_what_is_said_about_another_links_stream_changes_nothing() -> None:
    """An opening that is being refused for that KSID may be withdrawn at the same moment."""
    pair = Pair().established()
    other = FakeChannel("alice~carol", "carol", "x")  # type: ignore[arg-type]
    other.up = True
    channels = {LINK: pair.a.channel, other.link: other}
    from kms.domain.streams import Streams

    pair.a.streams = Streams(A, pair.a.disk.streams(), channels)
    out = Outbox(pair.now)
    pair.a.streams.linked(other.link, out)
    pair.a.streams.linked(LINK, out)
    for message in (
        Mark(ksid=KNOWN.bytes, next_index=0, joined=False, closed=True, wanted=0, branch=0),
        mark(2),
        Verdict(ksid=KNOWN.bytes, status=5, reason="", joined=False),
    ):
        pair.a.streams.on_message(other.link, message, None, out)
    pair.a.streams.on_message(other.link, announce(ksid=KNOWN.bytes, local=BEN), None, out)

    assert [s.link for s in pair.a.streams.statistics()] == [LINK]
    assert not any(isinstance(getattr(e, "record", None), StreamRecord) for e in out.effects)
    assert [m.status for m in other.sent if isinstance(m, Verdict)] == [Status.KSID_IN_USE]


def test_max_bps_and_other_limits_travel_with_the_announcement() -> None:
    pair = Pair().established(QoS(max_bps=8_000, min_bps=800, jitter=300, priority=9, ttl=50))

    assert pair.b.stream().qos == pair.a.stream().qos
    assert pair.b.stream().qos.priority == 9
