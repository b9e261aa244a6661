"""``kill -9`` at any moment: no index with two keys, no index twice, progress afterwards.

Method: the proof's part itself (``tests/proof/kills.py``), with few kills. ``KMS_KILLS`` and
``KMS_SEED`` choose a longer run or another one.
"""

import os

import pytest

from tests.proof import kills

KILLS = int(os.environ.get("KMS_KILLS", "8"))
SEED = int(os.environ.get("KMS_SEED", "1"))


@pytest.mark.timeout(240 + 20 * KILLS)
def test_either_node_or_device_killed_at_any_moment_costs_no_agreement() -> None:
    report = kills.run(KILLS, SEED, print)
    print(report.made, report.measured)

    assert report.failures(KILLS) == []
    assert report.made["key pairs compared"] > kills.KEYS_AFTERWARDS
