"""The ``qos`` alarm: once per episode, with hysteresis, and over when the promises are kept."""

from itertools import product

import pytest

from kms.domain import limits
from kms.domain.effects import Alarm, Audit, Note
from kms.domain.meter import SPAN_MS
from kms.domain.orders import Act
from kms.domain.qoswatch import _AFTER, Look, Promise
from kms.domain.status import QoS
from tests.domain.streams_play import LINK, A, Pair

PROMISED = QoS(key_chunk_size=1024, min_bps=100_000)


class Watched(Pair):
    """A pair that keeps what Alice's end says of its promises."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self.established(PROMISED)
        self.pass_s(SPAN_MS // 1000 + 1)

    def pass_s(self, seconds: int) -> None:
        for _ in range(seconds):
            self.pass_ms(1_000)

    def _commit(self, end, out):  # type: ignore[no-untyped-def]
        super()._commit(end, out)
        for effect in out.effects if end.node == A else ():
            if isinstance(effect, Alarm):
                assert (effect.kind, effect.link) == ("qos", LINK)
                self.said.append("raised")
            elif isinstance(effect, Note) and effect.name == "alarm-ended":
                assert effect.fields == {"link": LINK, "kind": "qos"}
                self.said.append("ended")

    def set_link(self, rate_bps: float) -> None:
        """Bob's too; and no stock that would count as rate."""
        for end in self.ends.values():
            end.channel.rate, end.channel.stock = rate_bps, 0


def test_the_table_has_every_cell() -> None:
    assert set(product(Promise, Look)) == set(_AFTER)


def test_a_link_that_makes_less_than_was_promised_is_alarmed_once_and_recovers() -> None:
    pair = Watched()
    pair.set_link(1_000_000.0)
    pair.pass_s(10)
    pair.set_link(50_000.0)
    pair.pass_s(100)
    raised = list(pair.said)
    pair.set_link(1_000_000.0)
    pair.pass_s(limits.QOS_KEPT_S - 2)
    not_yet = list(pair.said)
    pair.pass_s(4)
    events = [entry.event for entry in pair.a.audit if entry.detail.get("kind") == "qos"]

    assert (raised, not_yet, pair.said) == (["raised"], ["raised"], ["raised", "ended"])
    assert events == ["alarm", "alarm-ended"]


def test_a_passing_dip_is_no_alarm() -> None:
    pair = Watched()
    for _ in range(5):
        pair.set_link(50_000.0)
        pair.pass_s(limits.QOS_SHORT_S - 1)
        pair.set_link(1_000_000.0)
        pair.pass_s(1)

    assert pair.said == []


def test_a_rate_that_comes_and_goes_around_the_promise_is_one_episode() -> None:
    pair = Watched()
    for _ in range(10):
        pair.set_link(90_000.0)
        pair.pass_s(10)
        pair.set_link(102_000.0)
        pair.pass_s(limits.QOS_KEPT_S - 5)

    assert pair.said == ["raised"]


def test_a_link_that_is_down_breaks_its_promises_and_mends_them_when_it_is_back() -> None:
    pair = Watched()
    pair.cut()
    pair.pass_s(limits.QOS_SHORT_S + 1)
    raised = list(pair.said)
    pair.link()
    pair.settle()
    pair.pass_s(limits.QOS_KEPT_S + 2)

    assert raised == ["raised"]
    assert pair.said == ["raised", "ended"]


@pytest.mark.parametrize("waits", [True, False])
def test_promised_key_that_is_waited_for_and_does_not_come_is_alarmed(waits: bool) -> None:
    """The rate looks well, and yet nothing comes: the window does not open."""
    pair = Watched()
    ready = pair.a.streams.statistics()[0].ready
    pair.a.channel.window = 0
    for _ in range(ready + (4 if waits else -4)):
        pair.get(A)
    for _ in range(12):
        pair.pass_s(1)
        if waits:
            pair.get(A)

    assert pair.said == (["raised"] if waits else [])


def test_the_alarm_ends_with_the_last_stream_that_was_promised_anything() -> None:
    pair = Watched()
    pair.set_link(0.0)
    pair.pass_s(10)
    pair.close(A)
    pair.settle()
    pair.close("bob")  # type: ignore[arg-type]
    pair.settle()
    pair.pass_s(5)
    reasons = [e.detail["reason"] for e in pair.a.audit if e.event == "alarm-ended"]

    assert pair.said == ["raised", "ended"]
    assert reasons == ["nothing is promised any longer"]


def test_promises_that_end_unbroken_end_without_a_word() -> None:
    pair = Watched()
    pair.close(A)
    pair.settle()
    pair.close("bob")  # type: ignore[arg-type]
    pair.settle()
    pair.pass_s(5)

    assert [] == pair.said
    assert not pair.a.streams._watch._watched


def test_a_node_that_has_just_started_is_not_alarmed_for_what_it_has_not_measured() -> None:
    pair = Watched()
    pair.set_link(0.0)
    pair.said.clear()
    pair.crash(A)
    pair.link()
    pair.settle()
    pair.pass_s(SPAN_MS // 1000 - 2)
    before = list(pair.said)
    pair.pass_s(limits.QOS_SHORT_S + 4)

    assert before == []
    assert pair.said == ["raised"]


def test_a_link_on_which_nothing_is_promised_has_no_qos_alarm() -> None:
    pair = Pair().established(QoS())
    pair.cut()
    for _ in range(100):
        pair.pass_ms(1_000)

    assert not [e for e in pair.a.audit if e.event == "alarm"]
    assert not [e for e in pair.a.effects if isinstance(e, Alarm | Audit)]


def test_a_link_that_an_operator_has_suspended_breaks_no_promise_and_is_not_available() -> None:
    pair = Watched()
    pair.set_link(0.0)
    pair.order(A, Act.SUSPEND, link=LINK)
    pair.pass_s(60)
    outages = pair.a.streams._register.service(LINK).outages

    assert [] == pair.said
    assert outages.total_ms(pair.now.mono_ms) > 50_000
