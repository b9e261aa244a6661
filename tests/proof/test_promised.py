"""On a link at 120 % of its rate every stream has what it was promised (FR-5).

The same figures on any machine: virtual time, from a seed.
"""

import attrs
import pytest

from kms.domain.stream import Stream
from kms.domain.supply import Supply
from tests.proof.fairness import RATE_BPS
from tests.proof.page import Done, markdown, table
from tests.proof.promised import DEMAND, HEAD, WISHES, run
from tests.proof.tiers import Tier

SECONDS = 10

pytestmark = pytest.mark.slow


def test_ten_streams_of_three_priorities_get_what_was_promised_at_120_percent() -> None:
    report = run(SECONDS, 1, lambda _: None)
    asked = sum(min(each.bps, each.qos.max_bps or each.bps) for each in WISHES)

    assert report.failures(SECONDS) == []
    assert asked == DEMAND * RATE_BPS
    assert report.made["streams"] == 10
    assert len({each.qos.priority for each in WISHES}) == 3


def test_promised_and_got_stand_in_the_tiers_report() -> None:
    report = run(1, 1, lambda _: None)
    done = [Done(name="promised", amount=1, report=report, failures=[])]
    shown, page = table(Tier.COMMIT, done, 1.0), markdown(Tier.COMMIT, done, 1.0)

    assert report.table[0] == HEAD
    assert len(report.table) == 11
    for each in report.table:
        assert f"| {' | '.join(each)} |" in page
        assert all(cell in shown for cell in each)


def test_a_pacer_that_turns_priorities_round_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def inverted(self: Supply, stream: Stream, now_ms: int) -> None:
        qos = stream.record.qos
        stream.record = attrs.evolve(
            stream.record, qos=attrs.evolve(qos, priority=9 - qos.priority)
        )
        stand(self, stream, now_ms)
        stream.record = attrs.evolve(stream.record, qos=qos)

    stand = Supply._stand_in_line
    monkeypatch.setattr(Supply, "_stand_in_line", inverted)
    found = run(SECONDS, 1, lambda _: None).violations

    assert any(each.startswith("I8 stream") and "before its class" in each for each in found)
    assert all("again: " in each for each in found)
