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
# Each was once broken: (profile, seed).
BROKEN_ONCE = [
    ("both restored", 16),  # One end asked, the other had burnt: they doubted each other for ever.
    ("both restored", 30),
    ("bit rot", 10),  # A crash between a grant's commit and its opening left the bits on disk.
    ("bit rot", 25),  # A block burnt before a restart was granted as if it were there.
    ("bit rot", 33),  # A grant overtook the word of what was burnt of it.
    ("bit rot", 1147),  # What was burnt of a grant was forgotten with a lost welcome.
    ("bit rot", 1081),  # So was what a grant stepped over.
    ("all at once", 1001),
    ("all at once", 1230),  # An old store held open what the other end had seen it close.
    ("bit rot", 1213),  # The last acknowledgement found no pad, and without it none was granted.
    ("crashes and cuts", 0),  # What a restart burnt stayed readable.
    ("crashes and cuts", 27),  # An announcement that is said twice was believed twice.
    ("crashes and cuts", 106),
]


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
    ("seed", "found"), [(16, "I1 bits used twice"), (67, "I1 bits used twice"), (44, "I2 two")]
)
def test_without_a_witness_the_ledger_finds_what_is_used_twice(seed: int, found: str) -> None:
    """The profile "both restored" can fail: these seeds do, as soon as nobody outside remembers."""
    blind = attrs.evolve(PROFILES["both restored"], witness=False)

    with pytest.raises(AssertionError, match=found):
        lives(seed, blind)

    assert lives(seed, PROFILES["both restored"]).done["both restored"]


@pytest.mark.slow
@pytest.mark.parametrize(("profile", "seed"), BROKEN_ONCE)
def test_what_was_broken_once_stays_mended(profile: str, seed: int) -> None:
    assert lives(seed, PROFILES[profile]).ledger.checks
