"""What a simulated site does of what its node asks for."""

from typing import get_args

from kms.domain.effects import Attest, Effect, Output
from kms.simulation.outputs import DURABLE, LEAVES


def test_every_effect_is_committed_or_told_to_the_witness_or_leaves() -> None:
    assert set(get_args(Output)) == set(LEAVES)
    assert set(get_args(Effect)) == set(LEAVES) | DURABLE | {Attest}
