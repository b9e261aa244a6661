"""How much is measured: every size of a run."""

import attrs

from kms.domain.limits import KIB, MIB

# 1 MiB blocks: the sizes that a device of this class hands over.
BLOCK_BYTES = MIB
CHUNK_SIZES = (32, KIB, 64 * KIB, MIB)


@attrs.frozen(kw_only=True)
class Plan:
    """One run's amounts. More of them changes the noise, not what is measured."""

    rounds: int
    """of floor and figure in turns; the medians are shown"""
    block_bytes: int = BLOCK_BYTES
    agreed_s: float
    """how long agreed key is counted in one round"""
    tunnel_bytes: int
    """through the tunnel in one round"""
    created_bytes: dict[int, int]
    """key made in one round, by chunk size"""
    delivered_s: float
    """how long one round of small chunks over HTTP lasts, at the most"""
    requested_bytes: int = 8 * MIB
    """made ahead for each of the streams that many connections ask of: a stream's stock"""
    connections: int = 6
    """of the client that fetches keys"""
    step_s: float
    """how long one step is repeated"""

    @property
    def pad_bytes(self) -> int:
        """Agreed key that the later scenarios use up, twice: the pacer makes key ahead that nobody
        fetches, windows are burnt, and the two pads are not used alike."""
        return self.rounds * sum(self.created_bytes.values()) * 2 + 64 * MIB


QUICK = Plan(
    rounds=1,
    agreed_s=3.0,
    tunnel_bytes=24 * MIB,
    created_bytes={32: 2 * MIB, KIB: 4 * MIB, 64 * KIB: 16 * MIB, MIB: 24 * MIB},
    delivered_s=2.0,
    step_s=0.15,
)
FULL = Plan(
    rounds=3,
    agreed_s=5.0,
    tunnel_bytes=64 * MIB,
    created_bytes={32: 2 * MIB, KIB: 8 * MIB, 64 * KIB: 32 * MIB, MIB: 48 * MIB},
    delivered_s=4.0,
    step_s=0.5,
)
