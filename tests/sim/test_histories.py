"""Random lives of two nodes, some hundred seeds: no bit twice, no two keys, nothing lost.

A failure names its seed: ``lives(seed, faults)`` replays it. More seeds: KMS_SEEDS=1000.
"""

import os

import attrs
import pytest

from tests.sim.history import Faults, lives

SEEDS = int(os.environ.get("KMS_SEEDS", "30"))
PROFILES = {
    "crashes and cuts": Faults(),
    "small blocks": Faults(blocks=(4096,)),
    "old stores": Faults(restores=True),
    "bit rot": Faults(rot=True),
    "second secrets and different blocks": Faults(second_secrets=True, mismatches=True),
    "both restored": Faults(both_restored=True, second_secrets=True),
    "all at once": Faults(restores=True, rot=True, second_secrets=True, mismatches=True),
}


@pytest.mark.slow
@pytest.mark.parametrize("profile", PROFILES)
def test_whatever_happens_no_bit_is_used_twice_and_all_goes_on_when_it_ends(profile: str) -> None:
    checks = crashes = served = 0
    for seed in range(SEEDS):
        history = lives(seed, PROFILES[profile])
        checks += history.ledger.checks
        crashes += history.done["crashed"]
        served += len(history.ledger.served)

    # A run in which little happened proves little.
    assert checks > 50 * SEEDS
    assert crashes > SEEDS
    assert served > SEEDS


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "found"), [(159, "I1 bits used twice"), (67, "I1 bits used twice"), (79, "I2 two")]
)
def test_without_a_witness_the_ledger_finds_what_is_used_twice(seed: int, found: str) -> None:
    """The profile "both restored" can fail: these seeds do, as soon as nobody outside remembers."""
    blind = attrs.evolve(PROFILES["both restored"], witness=False)

    with pytest.raises(AssertionError, match=found):
        lives(seed, blind)

    assert lives(seed, PROFILES["both restored"]).done["both restored"]
