"""A witness in memory, with a failure on demand."""

import trio

from kms.domain.attestation import Attestation
from kms.domain.errors import WitnessFault
from kms.domain.names import NodeId


class WitnessPlace:
    """Where a witness is kept: it outlives the processes that hold it."""

    def __init__(self) -> None:
        self.attestation: Attestation | None = None
        self.holder: MemoryWitness | None = None

    def open(self, node: NodeId) -> "MemoryWitness":
        """Held by this process. Raises ``WitnessFault`` as the port says."""
        if self.holder is not None:
            raise WitnessFault("the witness is held by another process", hint="stop it first")
        if self.attestation is not None and self.attestation.node != node:
            raise WitnessFault(f"it is {self.attestation.node}'s", hint="each node needs its own")
        self.holder = MemoryWitness(self, node)
        return self.holder

    def crash(self) -> None:
        """The process is gone without a word."""
        self.holder = None


class MemoryWitness:
    """Use ``WitnessPlace.open``; ``fail()`` makes it behave as a full disk does."""

    def __init__(self, place: WitnessPlace, node: NodeId) -> None:
        self._place, self._node = place, node
        self._fault = ""
        self.attested: list[int] = []

    def fail(self, reason: str = "no space left") -> None:
        """Every call raises from now on."""
        self._fault = reason

    @property
    def attestation(self) -> Attestation | None:
        return self._place.attestation

    @property
    def trouble(self) -> str:
        return "" if self.attestation else "it was never written"

    async def attest(self, attestation: Attestation) -> None:
        await trio.lowlevel.checkpoint()
        if self._fault:
            raise WitnessFault(self._fault, hint="a test asked for it")
        assert attestation.node == self._node, "each node has its own"
        self._place.attestation = attestation
        self.attested.append(attestation.generation)

    async def aclose(self) -> None:
        self._fault = self._fault or "the witness is closed"
        if self._place.holder is self:
            self._place.holder = None
        await trio.lowlevel.checkpoint()
