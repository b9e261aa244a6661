"""The witness as the shell uses it: told after the commit, before every output, or the node ends.

Whole nodes on a clock that jumps; disk and witness outlive the processes, and are put back apart.
"""

import copy
from collections.abc import Sequence

import pytest
import trio

from kms.adapters.memory.storage import MemoryStorage
from kms.adapters.memory.witness import MemoryWitness
from kms.domain.attestation import Attestation
from kms.domain.effects import Write
from kms.domain.errors import LocalFault, WitnessFault
from kms.domain.events import Restored
from kms.domain.records import LinkState, Way
from kms.domain.requests import OpenConnect
from kms.domain.status import QoS, Status
from tests.wired.nodes import device_blocks, site
from tests.world import ANN, BEN, LINK


async def test_the_witness_is_told_after_the_commit_and_before_what_follows_from_it(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: object
) -> None:
    done: list[str] = []
    commit, attest = MemoryStorage.commit, MemoryWitness.attest

    async def committed(storage: MemoryStorage, writes: Sequence[Write]) -> None:
        await commit(storage, writes)
        done.append("commit")

    async def attested(witness: MemoryWitness, attestation: Attestation) -> None:
        assert done[-1] == "commit"
        await trio.sleep(0.001)
        await attest(witness, attestation)
        done.append("attest")

    monkeypatch.setattr(MemoryStorage, "commit", committed)
    monkeypatch.setattr(MemoryWitness, "attest", attested)
    async with trio.open_nursery() as nursery:
        alice = site(nursery).alice
        await nursery.start(alice.run)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()

    assert done[:2] == ["commit", "attest"]


async def test_a_witness_that_fails_ends_the_node_before_anything_left(
    autojump_clock: object,
) -> None:
    async with trio.open_nursery() as nursery:
        alice = site(nursery).alice
        alice.witness_failing = "no space left"
        with pytest.raises(ExceptionGroup) as raised:
            await alice.run()
        told = list(alice.told)
        alice.witness_failing = ""
        await nursery.start(alice.run)
        nursery.cancel_scope.cancel()

    assert raised.group_contains(WitnessFault, match="no space left")
    assert told == []


async def test_a_second_node_on_the_same_witness_does_not_start(autojump_clock: object) -> None:
    async with trio.open_nursery() as nursery:
        both = site(nursery)
        await nursery.start(both.alice.run)
        both.bob.witness_place = both.alice.witness_place
        with pytest.raises(LocalFault, match="held"):
            await both.bob.run()
        nursery.cancel_scope.cancel()


async def test_a_disk_put_back_stands_serves_nobody_and_goes_on_when_told(
    autojump_clock: object,
) -> None:
    async with trio.open_nursery() as nursery:
        alice = site(nursery).alice
        await nursery.start(alice.run)
        alice.stop.set()
        await alice.ended.wait()
        old = copy.deepcopy(alice.disk)
        await nursery.start(alice.run)
        alice.stop.set()
        await alice.ended.wait()
        alice.disk = old
        await nursery.start(alice.run)
        node = alice.pump.node
        stood = node.standing is not None
        nursery.start_soon(alice.feed, device_blocks(1))
        wish = OpenConnect(source=ANN, destination=BEN, qos=QoS(key_chunk_size=32))
        refused = await alice.counter.open_connect(ANN, wish)
        shown = alice.running.view.status(stopping=False, uptime_s=1)
        await alice.pump.handled(Restored(Way.BURN))
        after = alice.running.view.status(stopping=False, uptime_s=1)
        state = node.links[LINK].memory.state
        nursery.cancel_scope.cancel()

    assert stood
    assert Status.NO_QKD_CONNECTION is refused.status
    assert "standing" == shown.state.value
    assert {"old-store"} == {alarm.kind for alarm in shown.alarms}
    assert "degraded" == after.state.value
    assert "old-store" not in {alarm.kind for alarm in after.alarms}
    assert LinkState.DOUBTED is state
