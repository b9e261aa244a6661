"""On a link at 120 % of its rate every stream has what it was promised (FR-5). Run with ``-s`` to
see the table. The same figures on any machine: virtual time, from a seed."""

from collections import defaultdict

import pytest
from rich.console import Console

from kms.domain import limits
from tests.proof.fairness import RATE_BPS, jain
from tests.proof.promised import CHUNK_BYTES, DEMAND, WISHES, Got, promised_and_got, table

SEED = 1
SECONDS = 10
# An application asks at uneven times, by chunks, and this is how far a second's count can be off.
RAGGED_BPS = 12 * CHUNK_BYTES * 8
JAIN_MIN = 0.98

pytestmark = pytest.mark.slow


def test_ten_streams_of_three_priorities_get_what_was_promised_at_120_percent() -> None:
    got, market = promised_and_got(SECONDS, SEED)
    Console(width=limits.KIB // 8).print(table(got))
    asked = sum(min(each.wish.bps, each.wish.qos.max_bps or each.wish.bps) for each in got)
    classes: dict[int, list[Got]] = defaultdict(list)
    for each in got:
        classes[each.wish.qos.priority].append(each)

    assert len(got) == 10
    assert len(classes) == 3
    assert asked == DEMAND * RATE_BPS
    assert [each for client in market.clients for each in client.wrong] == []
    for each in got:
        most = each.wish.qos.max_bps
        assert each.bps >= 0.98 * each.due_bps, "Min_bps on the whole"
        assert each.worst_bps >= each.due_bps - RAGGED_BPS, "Min_bps in every second"
        if most:
            burst = most * limits.DELIVERY_BURST_MS / 1000 + CHUNK_BYTES * 8
            assert each.best_bps <= most + burst, "Max_bps in no second"
            assert each.bps <= most + burst / SECONDS, "Max_bps on the whole"
    # Excess by priority: the first two classes lack nothing, the last lacks what is missing.
    for priority in (9, 5):
        for each in classes[priority]:
            wanted = min(each.wish.bps, each.wish.qos.max_bps or each.wish.bps)
            assert each.bps >= 0.95 * wanted
    last = [each for each in classes[0] if each.wish.qos.min_bps]
    assert sum(each.bps for each in last) < 0.8 * sum(each.wish.bps for each in last)
    assert jain([int(each.bps - each.wish.qos.min_bps) for each in last]) >= JAIN_MIN
    assert len(WISHES) == len(got)
