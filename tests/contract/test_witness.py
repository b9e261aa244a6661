"""What every witness must keep, the one on disk and the fake."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import attrs
import pytest

from kms.adapters.memory.witness import MemoryWitness, WitnessPlace
from kms.adapters.witness_file import FileOperations, FileWitness
from kms.domain.attestation import Attestation
from kms.domain.errors import WitnessFault
from kms.domain.names import NodeId
from kms.ports.witness import Witness

A, B = NodeId("a"), NodeId("b")


def said(generation: int, *, node: NodeId = A, store: str = "1" * 32) -> Attestation:
    return Attestation(node=node, store=store, generation=generation, wall_ms=1_700_000_000_000)


@attrs.frozen
class Rig:
    """A place for a witness, and how a test breaks its disk."""

    open: Callable[[NodeId], Awaitable[Witness]]
    fail: Callable[[Witness], object]


@pytest.fixture(params=["file", "memory"])
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    opened: list[Witness] = []
    broken: list[object] = []
    place = WitnessPlace()

    def sync(fd: int) -> None:
        if broken:
            raise OSError(28, "No space left on device")

    async def open_witness(node: NodeId) -> Witness:
        witness: Witness
        if request.param == "memory":
            witness = place.open(node)
        else:
            files = FileOperations(sync=sync)
            witness = await FileWitness.open(tmp_path / "a.witness", node, files=files)
        opened.append(witness)
        return witness

    def fail(witness: Witness) -> None:
        broken.append(witness)
        if isinstance(witness, MemoryWitness):
            witness.fail()

    yield Rig(open_witness, fail)
    for witness in opened:
        await witness.aclose()


async def test_a_new_witness_says_nothing_and_why(rig: Rig) -> None:
    witness = await rig.open(A)

    assert witness.attestation is None
    assert "empty" in witness.trouble or "never" in witness.trouble


async def test_what_was_acknowledged_is_said_at_once_and_after_the_next_open(rig: Rig) -> None:
    witness = await rig.open(A)
    for generation in (1, 2, 7):
        await witness.attest(said(generation))
        assert said(generation) == witness.attestation
    await witness.aclose()
    again = await rig.open(A)

    assert said(7) == again.attestation
    assert "" == again.trouble


async def test_a_second_process_is_refused_until_the_first_has_closed(rig: Rig) -> None:
    witness = await rig.open(A)
    with pytest.raises(WitnessFault, match="held"):
        await rig.open(A)
    await witness.aclose()
    await witness.aclose()

    assert (await rig.open(A)).attestation is None


async def test_another_nodes_witness_is_refused_and_stays_as_it_is(rig: Rig) -> None:
    witness = await rig.open(A)
    await witness.attest(said(3))
    await witness.aclose()
    with pytest.raises(WitnessFault, match="a's"):
        await rig.open(B)

    assert said(3) == (await rig.open(A)).attestation


async def test_another_store_of_the_same_node_may_be_attested_to(rig: Rig) -> None:
    """After ``kms restore`` of a store that the witness did not know."""
    witness = await rig.open(A)
    await witness.attest(said(3))
    await witness.attest(said(4, store="2" * 32))

    assert said(4, store="2" * 32) == witness.attestation


async def test_after_one_failure_every_call_raises_and_what_was_acknowledged_stays(
    rig: Rig,
) -> None:
    witness = await rig.open(A)
    await witness.attest(said(1))
    rig.fail(witness)
    for generation in (2, 3):
        with pytest.raises(WitnessFault):
            await witness.attest(said(generation))

    assert said(1) == witness.attestation


async def test_a_closed_witness_takes_nothing(rig: Rig) -> None:
    witness = await rig.open(A)
    await witness.aclose()

    with pytest.raises(WitnessFault):
        await witness.attest(said(1))
