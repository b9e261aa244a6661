"""Witness: one number about the store, kept where no backup of the store reaches (I1)."""

from typing import Protocol

from kms.domain.attestation import Attestation


class Witness(Protocol):
    """Remembers the highest generation of one node's store. Exactly one process holds it.

    Opening (each adapter's own) raises ``WitnessFault`` for a place that cannot be used, that is
    held by another process, or that is another node's.
    """

    @property
    def attestation(self) -> Attestation | None:
        """What it says; None: nothing that can be read."""
        ...

    @property
    def trouble(self) -> str:
        """Why it says nothing; empty when it says something."""
        ...

    async def attest(self, attestation: Attestation) -> None:
        """It says this, durably: never less than what was acknowledged, whenever a crash comes.

        Cancellation: the write goes on to its end. Raises ``WitnessFault``; from then on every
        call raises, and the node stops: no output may follow from what no witness has.
        """
        ...

    async def aclose(self) -> None:
        """Another process may hold it. Later calls raise. Twice is once."""
        ...
